"""No command writes over its input or over what it did not make, and all see before the work that they cannot write."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.synthetic.world import synthesize

STORE = ("--embeddings", "in/stage3_embeddings.zarr", "--metadata", "in/stage3_metadata.json")
MODEL = ("--model", "model")
# What each command is asked to do, up to its output. None of them comes to read the model.
COMMANDS: dict[str, tuple[str, ...]] = {
    "convert": (*STORE, "--output"),
    "encode": (*MODEL, *STORE, "--output"),
    "order": (*MODEL, *STORE, "--output"),
    "order --pages": (*MODEL, "--pages", "in/stage3_metadata.json", "--output"),
    "index": ("--store", STORE[1], "--metadata", STORE[3], "--output"),
    "search": ("--index", "in", "--page", "0", "--output"),
    "inspect": (STORE[1], "--metadata", STORE[3], "--output"),
    "questions": ("--dataset", "in", "--output"),
    "evaluate": (*MODEL, "--dataset", "in", "--output-dir"),
    "comics-pap": (*MODEL, "--data", "in", "--output"),
    "comics-pap --train-split": (*MODEL, "--data", "in", "--train-split", "train", "--output"),
    "export": ("model",),
    "import-checkpoint": ("in/best_model.pt",),
    "synthesize": ("--output",),
    "draw": ("--output",),
    "ingest": ("in", "--annotations", STORE[3], "--output"),
}
# Written one by one into a folder, of which the first is the one that is looked at.
FILES = {"inspect": "inspect.json", "evaluate": "results.json", "comics-pap": "report.md"}
ONE_FILE = ("order", "order --pages", "search")


def run(command: str, output: str, *further: str) -> str:
    result = CliRunner().invoke(app, [command.split()[0], *COMMANDS[command], output, *further])
    assert result.exit_code == 1 and result.exception is None or isinstance(result.exception, SystemExit), result
    assert result.output.startswith("Error: ") and result.output.count("\n") == 1, result.output
    return result.output


def state(folder: Path) -> dict[str, str]:
    """Every file and folder with a hash of what it holds."""
    paths = sorted(folder.rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths}


@pytest.fixture
def place(tmp_path, monkeypatch):
    synthesize(tmp_path / "in", num_books=1, rows_per_chunk=64, progress=False)
    (tmp_path / "in" / "best_model.pt").write_bytes(b"weights")
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["test"]}')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "output", "how"),
    [
        ("convert", "in/stage3_embeddings.zarr", "is the input in/stage3_embeddings.zarr"),
        ("convert", "in/stage3_embeddings.zarr/arrow", "lies in the input"),
        ("convert", "in", "holds the input"),
        ("encode", "in/stage3_embeddings.zarr", "is the input"),
        ("encode", "in/stage3.zarr", "in/stage3_metadata.json is the input in/stage3_metadata.json"),
        ("encode", "model/stage5.zarr", "lies in the input model"),
        ("order", "in/stage3_metadata.json", "is the input in/stage3_metadata.json"),
        ("order", "link.json", "link.json is the input in/stage3_metadata.json"),
        ("order", "in/../in/stage3_metadata.json", "is the input in/stage3_metadata.json"),
        ("order --pages", "in/stage3_metadata.json", "is the input in/stage3_metadata.json"),
        ("index", "in/stage3_embeddings.zarr/index", "lies in the input"),
        ("index", "in/stage3_metadata.json", "is the input in/stage3_metadata.json"),
        ("search", "in/hits.json", "lies in the input in"),
        ("inspect", "in/stage3_embeddings.zarr", "lies in the input"),
        ("questions", "in/questions", "lies in the input in"),
        ("evaluate", "in", "lies in the input in"),
        ("comics-pap", "in/results", "lies in the input in"),
        ("comics-pap --train-split", ".", "model is the input model"),
        ("ingest", "in/pages", "lies in the input in"),
        ("ingest", "in/stage3_metadata.json", "lies in the input in"),
        ("export", "model/.", "is the input model"),
        ("export", "model/again", "lies in the input model"),
        ("import-checkpoint", "in", "holds the input in/best_model.pt"),
    ],
)
def test_no_command_writes_over_its_input(place, command, output, how):
    os.symlink("in/stage3_metadata.json", place / "link.json")
    before = state(place)
    overwrite = [] if command in ("questions", "evaluate", "inspect") or "pap" in command else ["--overwrite"]
    message = run(command, output, *overwrite)
    assert message.startswith(f"Error: The output {output.rstrip('.')}"[:18]) and how in message, message
    assert message.endswith(": name another output.\n")
    assert state(place) == before


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "encode"])  # in its own tests
def test_no_command_writes_over_what_it_did_not_make(place, command):
    path = place / "out" if command in ONE_FILE else place / "out" / FILES.get(command.split()[0], "thesis.txt")
    path.parent.mkdir(exist_ok=True)
    path.write_text("a chapter")
    if command == "comics-pap --train-split":
        path = path.rename(place / "out" / "model")
    before = state(place)
    assert "out" in (message := run(command, "out")) and (" exists" in message or "is a file" in message), message
    assert state(place) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_sees_first_that_it_cannot_write(place, command):
    (place / "file").write_text("a chapter")
    before = state(place)
    message = run(command, "file/out")
    assert "file/out" in message and "is a file; name another output" in message, message
    assert state(place) == before
