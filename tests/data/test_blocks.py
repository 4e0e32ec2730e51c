"""Blocks of a store come in order, whole, and stay as they are while others are read."""

import threading

import numpy as np
import pytest

from modeling_comicseq.data import blocks
from modeling_comicseq.data.blocks import BlockReader
from modeling_comicseq.stores.stage3 import Stage3Store

from ..stores.stage3_stores import make_source


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "in", pages=40, slots=6)  # chunks of 4 rows


@pytest.fixture
def reader(source, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 1)  # a block is one row of chunks
    return BlockReader(Stage3Store.open(source.embeddings), window=6, stride=3)


def check(source, block) -> None:
    assert block.lo < block.hi and not block.failures
    for name, values in source.arrays.items():
        assert np.array_equal(block.arrays[name], values[block.lo : block.hi], equal_nan=True)


def test_blocks_in_order(source, reader):
    bounds = reader.bounds(0, 18)
    assert bounds == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 18)]
    wanted = [*bounds, *reader.bounds(24, 40)]
    read = []
    for block in reader.read(wanted):
        wait_for(reader)  # the reads ahead must not touch the memory of this block
        check(source, block)
        read.append((block.lo, block.hi))
    assert read == wanted


def wait_for(reader) -> None:
    for _, read in reader._started:
        read.result()


@pytest.mark.parametrize("wanted", [(0, 40), (20, 40), (4, 8)])
def test_blocks_that_were_started(source, reader, wanted, monkeypatch):
    """They are taken over where they are asked for, and done with before others get their memory."""
    read, rows = Stage3Store.read, []

    def noted(store, lo, *rest):
        rows.append(lo)
        return read(store, lo, *rest)

    monkeypatch.setattr(Stage3Store, "read", noted)
    reader.start(reader.bounds(0, 40))
    bounds = reader.bounds(*wanted)
    found = []
    for block in reader.read(bounds):
        wait_for(reader)
        check(source, block)
        found.append((block.lo, block.hi))
    assert found == bounds
    if wanted == (0, 40):
        assert sorted(rows) == list(range(0, 40, 4))


def test_as_many_at_once_as_there_is_memory_for(reader, monkeypatch):
    read, most, at_once, lock = Stage3Store.read, 0, 0, threading.Lock()

    def counted(store, *rest):
        nonlocal most, at_once
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return read(store, *rest)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(Stage3Store, "read", counted)
    for _ in reader.read(reader.bounds(0, 40)):
        assert len(reader._started) <= blocks._AHEAD
    assert 1 <= most <= blocks._AHEAD


def test_a_lost_connection_comes_up_at_its_block(source, reader, monkeypatch):
    read = Stage3Store.read

    def fail(store, lo, *rest):
        if lo == 12:
            raise ConnectionResetError("connection lost")
        return read(store, lo, *rest)

    monkeypatch.setattr(Stage3Store, "read", fail)
    seen = []
    with pytest.raises(ConnectionResetError):
        for block in reader.read(reader.bounds(0, 40)):
            check(source, block)
            seen.append(block.lo)
    assert seen == [0, 4, 8]
    for block in reader.read(reader.bounds(20, 40)):  # the reader can be used again
        check(source, block)


def test_blocks_are_smaller_where_windows_overlap(source):
    store = Stage3Store.open(source.embeddings)
    whole, overlapping = BlockReader(store, window=6, stride=3), BlockReader(store, window=4, stride=1)
    (_, rows), (_, fewer) = whole.bounds(0, 10**9)[0], overlapping.bounds(0, 10**9)[0]
    assert rows // 5 < fewer <= rows // 4
