"""A conversion in two processes that is killed, workers and all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from modeling_comicseq.data import builder
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqDataError

from ..stores.stage3_stores import make_source
from .test_conversion import rows_of

CODE = """
import sys, time
from modeling_comicseq.data import builder
from modeling_comicseq.data.conversion import convert_store

builder._BLOCK_BYTES = 1500
convert = builder.BlockConverter.convert
builder.BlockConverter.convert = lambda *arguments: (time.sleep(0.05), convert(*arguments))[1]
convert_store(*sys.argv[1:], num_proc=2, progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_killed_in_two_processes(tmp_path, seconds):
    """No output, and the next run, as soon as the orphaned workers have ended, completes it."""
    source = make_source(tmp_path / "in", pages=96)
    reference = tmp_path / "reference" / "out"
    convert_store(source.embeddings, source.metadata, reference, progress=False)
    folder = tmp_path / "work"
    arguments = [source.embeddings, source.metadata, str(folder / "out")]
    process = subprocess.Popen([sys.executable, "-c", CODE, *arguments])
    while not list(folder.rglob("*.arrow")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [path.name for path in folder.iterdir()] == [".out.partial"]
    for _ in range(100):
        try:
            convert_store(*arguments, num_proc=2, progress=False)
            break
        except ComicSeqDataError as error:
            assert "another process is converting" in str(error)
            time.sleep(0.1)
    assert [path.name for path in folder.iterdir()] == ["out"]
    from datasets import load_from_disk

    assert rows_of(load_from_disk(str(folder / "out"))) == rows_of(load_from_disk(str(reference)))
    assert builder._BLOCK_BYTES > 1500
