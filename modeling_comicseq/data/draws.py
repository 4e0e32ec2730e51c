"""Random numbers that depend on nothing but (seed, epoch, row): equal in any process, after any resume, anywhere."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence

import numpy as np

_GAMMA = 0x9E3779B97F4A7C15


def _word(value: int) -> np.ndarray:
    """A number modulo 2**64 `(1,)`: of arrays, the remainder of a sum or product is taken without a warning."""
    return np.asarray([value % 2**64], dtype=np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): a bijection of 64-bit integers that looks random."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


class Draws:
    """Uniform numbers for a batch of rows; `draws[chosen]` has those of some of the rows.

    Args:
        seed: Seed of the run.
        epoch: Epoch, or any other number under which the same rows shall draw anew.
        rows: Rows of the data set `(B,)`.
    """

    def __init__(self, seed: int, epoch: int, rows: np.ndarray):
        state = _mix(_mix(_word(seed + _GAMMA)) + _word(epoch * _GAMMA + 1))
        self._state = _mix(np.asarray(rows, dtype=np.uint64) * _GAMMA + state + 2)

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """Those of several batches, one after the other."""
        some = copy.copy(parts[0])
        some._state = np.concatenate([part._state for part in parts])
        return some

    def __getitem__(self, chosen: np.ndarray | slice) -> Draws:
        some = copy.copy(self)
        some._state = self._state[chosen]
        return some

    def uniform(self, purpose: str, size: int | None = None) -> np.ndarray:
        """Numbers in [0, 1), `(B,)` or `(B, size)`. Each `purpose` has its own, independent ones."""
        state = _mix(self._state + _word(zlib.crc32(purpose.encode()) * _GAMMA))
        if size is not None:
            state = state[:, None]
        values = _mix(state + np.arange(1, (size or 1) + 1, dtype=np.uint64) * _GAMMA)
        return (values >> 11) * 2.0**-53

    def integer(self, purpose: str, below: np.ndarray) -> np.ndarray:
        """Integers in [0, below), `(B,)`."""
        return (self.uniform(purpose) * below).astype(np.int64)
