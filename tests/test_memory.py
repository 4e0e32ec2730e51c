"""What was freed is given back."""

import sys
from pathlib import Path

import pytest

from modeling_comicseq.memory import return_freed_memory


def resident() -> int:
    """Bytes of memory of this process that no file stands behind."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_freed_memory_is_given_back_and_the_rest_is_kept():
    pieces = [bytes([number % 251]) * 60_000 for number in range(4000)]  # too small to be mapped one by one
    kept = pieces[::50]
    full = resident()
    del pieces
    before = resident()
    return_freed_memory()
    assert resident() < full - 100e6 and resident() <= before
    assert all(piece == bytes([50 * number % 251]) * 60_000 for number, piece in enumerate(kept))


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    return_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())  # musl
    return_freed_memory()
