"""Metrics of questions, as plain functions of numpy arrays, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def top1_accuracy(scores: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """1 where the right candidate has the highest of `scores` (Q, K), else 0 `(Q,)`; ties share the 1."""
    best = scores == scores.max(axis=1, keepdims=True)
    return best[np.arange(len(answers)), answers] / best.sum(axis=1)


def pairwise_accuracy(orders: Sequence[np.ndarray], true_orders: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the pairs of panels of each page that `orders` puts as `true_orders` does `(Q,)`. Chance is 0.5."""
    shares = []
    for order, true_order in zip(orders, true_orders, strict=True):
        place, true_place = np.argsort(order), np.argsort(true_order)
        first, second = np.triu_indices(len(order), k=1)
        shares.append(np.mean((place[first] < place[second]) == (true_place[first] < true_place[second])))
    return np.asarray(shares)


def chance_level(candidate_mask: np.ndarray) -> np.ndarray:
    """Probability to guess right `(Q,)`: one over the number of candidates."""
    return 1 / candidate_mask.sum(axis=1)


def bootstrap_mean(
    values: np.ndarray, books: np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `values` (Q,) and its percentile interval by bootstrap over books: questions of a book are not independent.

    For a paired comparison pass the differences of two models on the same questions.
    """
    _, book = np.unique(books, return_inverse=True)
    sums, counts = np.bincount(book, weights=values), np.bincount(book)
    mean = float(np.mean(values))
    if len(counts) < 2:
        return mean, float("nan"), float("nan")
    interval = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis) / c.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return mean, float(interval.low), float(interval.high)
