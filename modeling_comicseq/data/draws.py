"""Random numbers that depend on nothing but (seed, epoch, row): equal in any process, after any resume, anywhere."""

from __future__ import annotations

import zlib

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): a bijection of 64-bit integers that looks random."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Draws:
    """Uniform numbers for a batch of rows.

    Args:
        seed: Seed of the run.
        epoch: Epoch, or any other number under which the same rows shall draw anew.
        rows: Rows of the data set `(B,)`.
    """

    def __init__(self, seed: int, epoch: int, rows: np.ndarray):
        with np.errstate(over="ignore"):
            state = _mix(np.asarray([seed], dtype=np.uint64) + _GAMMA)
            state = _mix(state + np.asarray([epoch], dtype=np.uint64) * _GAMMA + np.uint64(1))
            self._state = _mix(state + np.asarray(rows, dtype=np.uint64) * _GAMMA + np.uint64(2))

    def uniform(self, purpose: str, size: int | None = None) -> np.ndarray:
        """Numbers in [0, 1), `(B,)` or `(B, size)`. Each `purpose` has its own, independent ones."""
        with np.errstate(over="ignore"):
            state = _mix(self._state + np.uint64(zlib.crc32(purpose.encode())) * _GAMMA)
            counter = np.arange(1, (size or 1) + 1, dtype=np.uint64) * _GAMMA
            values = (_mix(state[:, None] + counter) >> np.uint64(11)) * 2.0**-53
        return values[:, 0] if size is None else values

    def integer(self, purpose: str, below: np.ndarray) -> np.ndarray:
        """Integers in [0, below), `(B,)`."""
        return (self.uniform(purpose) * below).astype(np.int64)
