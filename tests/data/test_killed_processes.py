"""A conversion in two processes that is killed, workers and all."""

from __future__ import annotations

import multiprocessing
import shutil
import signal

import numpy as np

from modeling_comicseq.data import conversion
from modeling_comicseq.data.conversion import convert_store

from ..stores.stage3_stores import make_source
from .killing import convert_until
from .test_conversion import same_files


def test_killed_anywhere_in_two_processes(tmp_path, monkeypatch):
    """No output or the complete one, and the next run completes it with the same bytes."""
    monkeypatch.setattr(conversion, "_SHARD_BYTES", 1500)
    source = make_source(tmp_path / "in", pages=96)
    folder = tmp_path / "work"
    arguments = {"embeddings": source.embeddings, "metadata": source.metadata, "output": folder / "out"}
    reference = tmp_path / "reference" / "out"
    convert_store(**(arguments | {"output": reference}), num_proc=2, progress=False)
    fork = multiprocessing.get_context("fork")

    def run(step: int) -> tuple[int | None, int]:
        steps = multiprocessing.get_context("forkserver").Value("i")
        process = fork.Process(target=convert_until, args=(step, steps, folder), kwargs=arguments)
        process.start()
        process.join(60)
        assert process.exitcode is not None
        return process.exitcode, steps.value

    exit_code, total = run(-1)
    assert exit_code == 0 and total > 100
    assert same_files(folder / "out", reference)
    # Ten moments over the whole work, and the last ones: state, card, provenance, the rename, tidying up.
    moments = sorted({*np.linspace(0, total - 1, 10).astype(int).tolist(), *range(total - 8, total)})
    seen, killed = [], 0
    for moment in moments:
        shutil.rmtree(folder)
        exit_code, _ = run(moment)
        # Two workers that make one folder at the same time can make a step more or less: the last moment may be too late.
        killed += exit_code == -signal.SIGKILL
        assert exit_code in (0, -signal.SIGKILL)
        is_complete = (folder / "out").exists()
        if is_complete:
            assert same_files(folder / "out", reference)
        seen.append(is_complete)
        convert_store(**arguments, num_proc=2, progress=False)
        assert same_files(folder / "out", reference)
        assert [path.name for path in folder.iterdir()] == ["out"]
    assert killed >= 10 and seen == sorted(seen) and set(seen) == {True, False}
