"""Where a run writes: into nobody else's folder, one run at a time; and what it needs is known before it trains."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.files import locked
from modeling_comicseq.training.arguments import parse_arguments
from modeling_comicseq.training.run import main, pretrain, take_output

from . import processes
from .processes import REPOSITORY, Run, argv, write_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    write_inputs(folder)
    return folder


def take(folder: Path, output: Path, **fields) -> None:
    with ExitStack() as held:
        take_output(parse_arguments(argv(folder, output, **fields)), held)


def test_a_second_run_in_the_same_place_is_refused(folder, tmp_path):
    words, before = argv(folder, tmp_path / "out"), sorted(tmp_path.iterdir())
    with locked(tmp_path / "out"):
        assert f"another process is writing {tmp_path / 'out'}: wait for it" in str(main(words))
        assert not (tmp_path / "out").exists()
    assert sorted(tmp_path.iterdir()) == before  # the lock is gone
    # What a killed run leaves of it keeps nobody away.
    (tmp_path / ".out.lock").touch()
    take(folder, tmp_path / "out")


@pytest.mark.slow
def test_two_processes_of_a_run_stop_at_another_s_lock_and_go_on_without_it(folder, tmp_path):
    output, words = tmp_path / "out", argv(folder, tmp_path / "out", max_steps=2)
    with open(tmp_path / ".out.lock", "w") as file:  # as a run holds it
        fcntl.flock(file, fcntl.LOCK_EX)
        run = Run(words, tmp_path / "log", processes=2)
    assert run.exit_codes == [1, 1] and "another process is writing" in run.output and not output.exists()
    run = Run(words, tmp_path / "log", partial(processes.kill_at_step, 2), processes=2)
    assert run.exit_codes == [-signal.SIGKILL] * 2
    run = Run(words, tmp_path / "log", processes=2)
    assert run.exit_codes == [0, 0], run.output


def test_a_run_that_had_ended_is_left_as_it_is(folder, tmp_path, capsys):
    """Its card may hold an evaluation; options that come too late are told of, and more steps train on."""
    output = tmp_path / "out"
    pretrain(parse_arguments(argv(folder, output, max_steps=2)))
    (output / "README.md").write_text("with an evaluation")
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    capsys.readouterr()
    pretrain(parse_arguments(argv(folder, output, max_steps=2, learning_rate=1e-5)))
    told = " ".join(capsys.readouterr().out.split())
    assert "The run had already ended, at step 2: nothing was trained" in told and "--max-steps" in told
    assert "mean loss" not in told and "Saved to" not in told
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    (output / "trainer_state.json").unlink()  # as if it had been killed before the end
    pretrain(parse_arguments(argv(folder, output, max_steps=2)))
    assert (output / "README.md").read_text() != "with an evaluation"


def test_an_output_that_is_an_input_or_somebody_else_s(folder, tmp_path):
    with pytest.raises(ComicSeqDataError, match="lies in the input"):
        take(folder, folder / "data")
    with pytest.raises(ComicSeqDataError, match="lies in the input"):
        take(folder, folder / "data" / "model")
    (tmp_path / "README.md").write_text("My project")
    with pytest.raises(ComicSeqDataError, match="`output_dir` is .*, whose README.md no run wrote"):
        take(folder, tmp_path)
    (tmp_path / "checkpoint-2").mkdir()  # what a run leaves
    take(folder, tmp_path)
    assert (tmp_path / "README.md").read_text() == "My project"


def test_an_output_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ComicSeqDataError, match="cannot be made: .*file is a file"):
        take(folder, tmp_path / "file" / "out")
    assert "name another `output_dir`" in str(main(argv(folder, Path("/proc/out"))))


def test_the_hub_is_asked_before_the_training(folder, tmp_path, monkeypatch):
    with pytest.raises(ComicSeqDataError, match=r"`push_to_hub` needs, cannot be reached on the Hub: .*hf auth login"):
        take(folder, tmp_path / "out", push_to_hub=True)  # tests have no network
    monkeypatch.setattr(HfApi, "whoami", lambda self, token: {"name": "someone"})
    take(folder, tmp_path / "out", push_to_hub=True)


@pytest.mark.slow
def test_a_repository_that_cannot_be_made_is_told_before_the_training(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(HfApi, "whoami", lambda self, token: {"name": "someone"})
    words = argv(folder, tmp_path / "out", push_to_hub=True, hub_model_id="other/comics")
    with pytest.raises(ComicSeqDataError, match="The repository other/comics cannot be reached on the Hub"):
        pretrain(parse_arguments(words))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_during_the_first_imports_end_with_one_line(tmp_path, number, code):
    words = [sys.executable, str(REPOSITORY / "run_pretraining.py"), "demo", "--dataset", "x"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    time.sleep(1.5)
    started = time.monotonic()
    os.kill(process.pid, number)
    _, output = process.communicate(timeout=60)
    assert process.returncode == code and time.monotonic() - started < 30
    assert output == "run_pretraining.py: stopped before anything was begun: run the same command again.\n"
