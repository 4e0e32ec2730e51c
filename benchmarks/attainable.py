"""How much of what can be known a model knows: its gain over chance as a share of the optimum's."""

from __future__ import annotations

import numpy as np

from modeling_comicseq.evaluation.metrics import Interval, widened_tail


def attainable_share(
    model: np.ndarray,
    chance: np.ndarray,
    optimum: np.ndarray,
    books: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """(model − chance) / (optimum − chance), with its interval by bootstrap over books, widened as in `BookBootstrap`.

    All three are resampled together: an easy book lifts model and optimum alike, so the share is surer than either.

    Args:
        model: How right the model is, question by question `(Q,)`.
        chance: How right a guess is on average `(Q,)`.
        optimum: How right the best possible answer is `(Q,)`.
        books: Book of each question `(Q,)`.
        confidence: Probability that the interval is meant to hold the share with.
        resamples: Bootstrap samples.
        seed: Their seed.

    Returns:
        The share; 1 is the optimum, 0 is chance. NaN at the ends where there is a single book.
    """
    _, book = np.unique(books, return_inverse=True)
    gain, attainable = (np.bincount(book, weights=answers - chance) for answers in (model, optimum))
    share = float(gain.sum() / attainable.sum())
    num_books = len(gain)
    if num_books < 2:
        return Interval(share, float("nan"), float("nan"))
    times = np.random.default_rng(seed).multinomial(num_books, np.full(num_books, 1 / num_books), resamples)
    tail = widened_tail(1 - confidence, num_books)
    low, high = np.quantile((times @ gain) / (times @ attainable), (tail, 1 - tail)).tolist()
    return Interval(share, low, high)
