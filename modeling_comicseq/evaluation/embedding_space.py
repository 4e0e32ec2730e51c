"""Figures that tell a healthy space of vectors from a collapsed one."""

from __future__ import annotations

import numpy as np


def effective_rank(vectors: np.ndarray) -> float:
    """Effective rank of `vectors` (M, D) around their mean: how many directions they spread over, 1 to D.

    The exponential of the entropy of the covariance's eigenvalues, scaled to sum 1 (Roy and Vetterli, 2007, on the
    covariance). 1 where all vectors are equal.
    """
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(0)
    eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2
    shares = eigenvalues / max(eigenvalues.sum(), np.finfo(np.float64).tiny)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_cosine_between(vectors: np.ndarray, groups: np.ndarray) -> float:
    """Mean cosine of `vectors` (M, D) over all pairs of different groups (M,); NaN where there is a single group."""
    vectors = np.asarray(vectors, dtype=np.float64)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(size), vectors.shape[1]))
    np.add.at(sums, number, vectors)
    # The cosines of all pairs add up to the squared length of the sum of the unit vectors.
    total = (sums.sum(0) ** 2).sum() - (sums**2).sum()
    pairs = len(vectors) ** 2 - (size.astype(np.float64) ** 2).sum()
    return float(total / pairs) if pairs else float("nan")
