"""Random numbers that depend on nothing but (seed, epoch, row): equal in any process, after any resume, anywhere."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

_GAMMA = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): a bijection of 64-bit integers that looks random."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache
def _state(seed: int, epoch: int) -> int:
    state = int(_mix(np.asarray([(seed + _GAMMA) & _WORD], dtype=np.uint64))[0])
    return int(_mix(np.asarray([(state + epoch * _GAMMA + 1) & _WORD], dtype=np.uint64))[0])


@lru_cache
def _shift(purpose: str) -> np.uint64:
    return np.uint64(zlib.crc32(purpose.encode()) * _GAMMA & _WORD)


class Draws:
    """Uniform numbers for a batch of rows; `draws[chosen]` has those of some of the rows.

    Args:
        seed: Seed of the run.
        epoch: Epoch, or any other number under which the same rows shall draw anew.
        rows: Rows of the data set `(B,)`.
    """

    def __init__(self, seed: int, epoch: int, rows: np.ndarray):
        rows = np.asarray(rows, dtype=np.uint64)
        self._state = _mix(rows * np.uint64(_GAMMA) + np.uint64((_state(seed, epoch) + 2) & _WORD))

    def __getitem__(self, chosen: np.ndarray) -> Draws:
        some = object.__new__(Draws)
        some._state = self._state[chosen]
        return some

    def uniform(self, purpose: str, size: int | None = None) -> np.ndarray:
        """Numbers in [0, 1), `(B,)` or `(B, size)`. Each `purpose` has its own, independent ones."""
        state = _mix(self._state + _shift(purpose))
        counter = np.arange(1, (size or 1) + 1, dtype=np.uint64) * np.uint64(_GAMMA)
        values = (_mix(state[:, None] + counter) >> np.uint64(11)) * 2.0**-53
        return values[:, 0] if size is None else values

    def integer(self, purpose: str, below: np.ndarray) -> np.ndarray:
        """Integers in [0, below), `(B,)`."""
        return (self.uniform(purpose) * below).astype(np.int64)
