"""Figures that tell a healthy space of vectors from a collapsed one."""

from __future__ import annotations

import numpy as np

from ..vectors import unit

# A covariance whose trace is below this, of unit vectors, is rounding.
ROUNDING = 1e-9


def effective_rank(covariance: np.ndarray) -> float:
    """Number of dimensions that vectors really use: the exponential of the entropy of the covariance's eigenvalues.

    After Roy and Vetterli, "The effective rank", EUSIPCO 2007, with eigenvalues of the covariance (variances) as the
    distribution, where they take singular values. It is D for equal variances in all dimensions `(D, D)` and 1 where all
    variance lies in one direction, or there is none.
    """
    if np.trace(covariance) < ROUNDING:
        return 1.0
    variances = np.clip(np.linalg.eigvalsh(covariance), 0, None)
    shares = variances[variances > 0] / variances.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def mean_cosine_between(vectors: np.ndarray, groups: np.ndarray) -> float:
    """Mean cosine of `vectors` (M, D) over all pairs of different groups (M,); NaN where there is a single group."""
    vectors = unit(vectors, np.float64)
    _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(size), vectors.shape[1]))
    np.add.at(sums, number, vectors)
    # The cosines of all pairs add up to the squared length of the sum of the unit vectors.
    total = (sums.sum(0) ** 2).sum() - (sums**2).sum()
    pairs = len(vectors) ** 2 - (size.astype(np.float64) ** 2).sum()
    return float(total / pairs) if pairs else float("nan")
