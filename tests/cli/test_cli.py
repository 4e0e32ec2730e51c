"""The command line as a whole: quick help, one dialect of options, errors in one sentence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version

import pytest
from transformers import TrainingArguments
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError, Terminated
from modeling_comicseq.evaluation.arguments import EvaluationArguments
from modeling_comicseq.resources import shipped
from modeling_comicseq.training.arguments import PretrainingArguments

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
HEAVY = {"torch", "transformers", "datasets"}
# As the installed command does it, whose process is named `comicseq`.
START = f"""
import sys
sys.argv[0] = "comicseq"
from modeling_comicseq.cli import app
try:
    app()
finally:
    sys.stderr.write(" ".join({HEAVY} & set(sys.modules)))
"""


def run(*arguments: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "120", "TERM": "dumb"})


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_takes_no_torch(command):
    words = [command, "--help"] if command else ["--help"]
    done = subprocess.run([sys.executable, "-c", START, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Usage: comicseq" in done.stdout, done.stderr
    assert done.stderr == ""
    if command is None:
        assert all(f" {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("command", "arguments"), [("pretrain", PretrainingArguments), ("evaluate", EvaluationArguments)]
)
def test_help_names_the_options_of_a_run(command, arguments):
    shown = run(command, "--help").output
    own = {field.name for field in fields(arguments)} - {field.name for field in fields(TrainingArguments)}
    assert all(f"--{name.replace('_', '-')}" in shown for name in own | {"output_dir"})
    listed = run(command, "--help-all").output
    assert all(f"--{field.name}" in listed for field in fields(arguments) if field.init)


def test_help_of_a_run_names_the_shipped_configurations():
    said = " ".join(run("pretrain", "--help").output.split())
    listed = said.split("name of a shipped one: ")[1].split(". ")[0]
    assert listed.split(", ") == sorted(shipped("pretraining"))


def test_the_version_is_told():
    assert run("--version").output == f"comicseq {version('comicseq')}\n"


def test_options_are_read_with_dashes_and_with_underscores(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("modeling_comicseq.data.conversion.convert_store", lambda *_, **options: given.append(options))
    for spelling in ("--split-books", "--on-error"), ("--split_books", "--on_error"):
        words = (spelling[0], "a_b.json", spelling[1] + "=skip")
        run("convert", "--embeddings", "a_b.zarr", "--metadata", "a.json", "--output", str(tmp_path), *words)
    assert len(given) == 2 and given[0] == given[1]
    assert str(given[0]["split_books"]) == "a_b.json" and given[0]["on_error"] == "skip"


def test_options_of_a_run_are_passed_on_as_they_are(monkeypatch):
    given = []
    monkeypatch.setattr("modeling_comicseq.training.run.main", lambda words, program: given.append((words, program)))
    words = ["demo", "--dataset", "data", "--output-dir=a_b", "--config_overrides", "{hidden_size: 8}", "--seed", "-1"]
    assert run("pretrain", *words).exit_code == 0
    assert given == [(words, "comicseq pretrain")]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ComicSeqDataError("The store\nis empty."), 1, "Error: The store is empty.\n"),
        (ComicSeqArgumentError("No such task."), 1, "Error: No such task.\n"),
        (FileNotFoundError(2, "No such file", "a.json"), 1, "Error: [Errno 2] No such file: 'a.json'\n"),
        (
            KeyboardInterrupt(),
            130,
            "Interrupted: nothing half-written is in place, and the same command starts again.\n",
        ),
        (
            Terminated(),
            143,
            "Terminated: nothing half-written is in place, and the same command starts again.\n",
        ),
    ],
)
def test_what_the_user_is_to_change_is_said_in_one_line(monkeypatch, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("modeling_comicseq.checkpoints.export.export_checkpoint", fail)
    result = run("export", "model", "out")
    assert (result.exit_code, result.output) == (code, message)


def test_an_interrupt_is_told_whatever_it_became(monkeypatch):
    """As of a pool of processes, which raises a TimeoutError while it is ended."""

    def fail(*_, **__):
        try:
            raise Terminated
        finally:
            raise LookupError

    monkeypatch.setattr("modeling_comicseq.checkpoints.export.export_checkpoint", fail)
    result = run("export", "model", "out")
    assert result.exit_code == 143 and result.output.startswith("Terminated: nothing half-written")


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("modeling_comicseq.checkpoints.export.export_checkpoint", lambda *_: 1 / 0)
    assert isinstance(run("export", "model", "out").exception, ZeroDivisionError)


@pytest.mark.slow
def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "modeling_comicseq.cli", "convert"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "Missing option" in done.stderr
