"""Directions of vectors."""

import numpy as np
from numpy.typing import DTypeLike


def unit(vectors: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Vectors `(..., D)` scaled to length 1 in `dtype`; those of zeros stay zeros."""
    vectors = np.asarray(vectors, dtype=dtype)
    # Scaled by the largest entry first: squares of large float16 values are fine in float32, of large float32 not.
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0)
    vectors = vectors / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
