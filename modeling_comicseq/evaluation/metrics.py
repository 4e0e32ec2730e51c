"""Metrics of questions, as plain functions of numpy arrays, and their intervals.

`choice_metric.py` and `order_metric.py` wrap them for the `evaluate` library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit  # `scipy.stats` takes a second and 60 MB to start

from .results import Score


def top1_accuracy(scores: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """1 where the right candidate has the highest of `scores` (Q, K), else 0 `(Q,)`; ties share the 1."""
    best = scores == scores.max(axis=1, keepdims=True)
    return best[np.arange(len(answers)), answers] / best.sum(axis=1)


def reciprocal_rank(scores: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """One over the rank of the right candidate by `scores` (Q, K) `(Q,)`; among ties, its mean over their ranks."""
    right = scores[np.arange(len(answers)), answers][:, None]
    above, tied = (scores > right).sum(axis=1), (scores == right).sum(axis=1)
    harmonic = _harmonic(scores.shape[1])
    return (harmonic[above + tied] - harmonic[above]) / tied


def chance_level(candidate_mask: np.ndarray) -> np.ndarray:
    """Probability to guess right `(Q,)`: one over the number of candidates."""
    return 1 / candidate_mask.sum(axis=1)


def chance_reciprocal_rank(candidate_mask: np.ndarray) -> np.ndarray:
    """Expected reciprocal rank of a guess `(Q,)`: the mean of 1, 1/2, … 1/K."""
    count = candidate_mask.sum(axis=1).astype(int)
    return _harmonic(candidate_mask.shape[1])[count] / count


def _harmonic(longest: int) -> np.ndarray:
    """Sums of the first n of 1, 1/2, 1/3, … for n from 0 to `longest`."""
    return np.concatenate(([0.0], np.cumsum(1 / np.arange(1, longest + 1))))


def pairwise_accuracy(orders: Sequence[np.ndarray], true_orders: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the pairs of panels of each page that `orders` puts as `true_orders` does `(Q,)`. Chance is 0.5."""
    shares = []
    for order, true_order in zip(orders, true_orders, strict=True):
        place, true_place = np.argsort(order), np.argsort(true_order)
        i, j = np.triu_indices(len(order), k=1)
        shares.append(((place[i] < place[j]) == (true_place[i] < true_place[j])).mean())
    return np.asarray(shares)


def perfect_match(orders: Sequence[np.ndarray], true_orders: Sequence[np.ndarray]) -> np.ndarray:
    """1 for each page whose whole order is right, else 0 `(Q,)`."""
    return np.asarray([float(np.array_equal(a, b)) for a, b in zip(orders, true_orders, strict=True)])


def kendall_tau(orders: Sequence[np.ndarray], true_orders: Sequence[np.ndarray]) -> np.ndarray:
    """Kendall's tau of each page's order with the true one `(Q,)`: orders have no ties, so pairs tell all."""
    return 2 * pairwise_accuracy(orders, true_orders) - 1


FEW_BOOKS = 10  # of fewer, an interval by bootstrap says little
CONFIDENCE = 0.95  # that an interval is meant to hold the true mean with


class Interval(NamedTuple):
    """A mean and the ends of its interval, NaN where a single book cannot give one."""

    mean: float
    low: float
    high: float


def few_books(books: int) -> str | None:
    """What is to be said of intervals over so few books; None of enough."""
    if books >= FEW_BOOKS:
        return None
    return (
        f"Intervals and bands over {books} book{'s' * (books > 1)} mean little: trust them from {FEW_BOOKS} books on."
    )


def bootstrap_mean(values: np.ndarray, books: np.ndarray, resamples: int = 2000) -> Interval:
    """Mean of `values` (Q,) and its 95 % interval by bootstrap over books: questions of a book are not independent.

    For a paired comparison pass the differences of two models on the same questions. `BookBootstrap` gives many at once.
    """
    bootstrap = BookBootstrap(books)
    bootstrap.add(values)
    return bootstrap.intervals(resamples)[0]


class BookBootstrap:
    """Bootstrap over books of the means of many columns, all from the same resamples.

    Books are drawn with replacement, with all their questions (cluster bootstrap, Davison and Hinkley, 1997, section
    3.8). The percentile interval is widened as Hesterberg (2015, section 4.3) proposes, by what Student's t with one
    degree of freedom less than there are books has over the normal: on a dozen books the plain one covers too seldom.

    Args:
        books: Book of each question `(Q,)`.
    """

    def __init__(self, books: np.ndarray):
        names, self._books = np.unique(books, return_inverse=True)
        self.num_books = len(names)
        self._columns: list[tuple[np.ndarray, np.ndarray, Score]] = []

    def add(self, values: np.ndarray, chosen: np.ndarray | None = None) -> Score:
        """Adds a column of `values` (Q,), of which only the `chosen` (Q,) count; `intervals` gives the score its ends."""
        books = self._books if chosen is None else self._books[chosen]
        values = values if chosen is None else values[chosen]
        sums = np.bincount(books, weights=values, minlength=self.num_books)
        counts = np.bincount(books, minlength=self.num_books)
        score = Score(float(np.mean(values)) if len(values) else float("nan"))
        self._columns.append((sums, counts, score))
        return score

    def intervals(self, resamples: int = 2000) -> list[Interval]:
        """The mean and 95 % interval of every column, in the order in which they were added."""
        if not self._columns:
            return []
        sums = np.stack([column[0] for column in self._columns], axis=1)
        counts = np.stack([column[1] for column in self._columns], axis=1)
        held_by = (counts > 0).sum(axis=0)  # books that a column has questions of
        means = np.full((resamples, len(self._columns)), np.nan)
        generator, block = np.random.default_rng(0), max(1, 4_000_000 // self.num_books)
        for start in range(0, resamples, block):
            size = min(block, resamples - start)
            times = generator.multinomial(self.num_books, np.full(self.num_books, 1 / self.num_books), size)
            times = times.astype(np.float64)
            with np.errstate(invalid="ignore"):  # a resample without a question of the column
                means[start : start + size] = (times @ sums) / (times @ counts)
        intervals = []
        for column, (_, _, score) in enumerate(self._columns):
            if held_by[column] > 1:
                tail = widened_tail(1 - CONFIDENCE, int(held_by[column]))
                score.low, score.high = np.nanquantile(means[:, column], (tail, 1 - tail)).tolist()
            intervals.append(Interval(score.mean, score.low, score.high))
        return intervals


def widened_tail(alpha: float, books: int) -> float:
    """What to leave out at each end of the bootstrap's distribution for an interval that misses with `alpha`."""
    return float(ndtr(np.sqrt(books / (books - 1)) * stdtrit(books - 1, alpha / 2)))
