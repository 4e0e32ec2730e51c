"""Random numbers that depend on nothing but (seed, epoch, row): equal in any process, after any resume, anywhere."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

_GAMMA = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


def _word(value: int) -> np.ndarray:
    """A 64-bit integer `()`, with which NumPy computes faster than with a scalar."""
    return np.asarray(value & _WORD, dtype=np.uint64)


_BY_11, _BY_27, _BY_30, _BY_31 = map(_word, (11, 27, 30, 31))
_FACTOR_1, _FACTOR_2 = _word(0xBF58476D1CE4E5B9), _word(0x94D049BB133111EB)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): a bijection of 64-bit integers that looks random."""
    x = x ^ (x >> _BY_30)
    x *= _FACTOR_1
    x ^= x >> _BY_27
    x *= _FACTOR_2
    x ^= x >> _BY_31
    return x


@lru_cache
def _state(seed: int, epoch: int) -> int:
    state = int(_mix(np.asarray([(seed + _GAMMA) & _WORD], dtype=np.uint64))[0])
    return int(_mix(np.asarray([(state + epoch * _GAMMA + 1) & _WORD], dtype=np.uint64))[0])


@lru_cache
def _shift(purpose: str) -> np.ndarray:
    return _word(zlib.crc32(purpose.encode()) * _GAMMA)


@lru_cache
def _counter(size: int) -> np.ndarray:
    return np.arange(1, size + 1, dtype=np.uint64) * _word(_GAMMA)


class Draws:
    """Uniform numbers for a batch of rows; `draws[chosen]` has those of some of the rows.

    Args:
        seed: Seed of the run.
        epoch: Epoch, or any other number under which the same rows shall draw anew.
        rows: Rows of the data set `(B,)`.
    """

    def __init__(self, seed: int, epoch: int, rows: np.ndarray):
        rows = np.asarray(rows, dtype=np.uint64)
        self._state = _mix(rows * _word(_GAMMA) + _word(_state(seed, epoch) + 2))

    def __getitem__(self, chosen: np.ndarray | slice) -> Draws:
        some = object.__new__(Draws)
        some._state = self._state[chosen]
        return some

    def uniform(self, purpose: str, size: int | None = None) -> np.ndarray:
        """Numbers in [0, 1), `(B,)` or `(B, size)`. Each `purpose` has its own, independent ones."""
        state = _mix(self._state + _shift(purpose))
        if size is not None:
            state = state[:, None]
        values = _mix(state + _counter(size or 1))
        values >>= _BY_11
        return values * 2.0**-53

    def integer(self, purpose: str, below: np.ndarray) -> np.ndarray:
        """Integers in [0, below), `(B,)`."""
        return (self.uniform(purpose) * below).astype(np.int64)
