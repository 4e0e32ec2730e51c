"""How near all other pages of a book are among all pages: R-precision and mean average precision of strip vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modeling_comicseq.evaluation.retrieval import SAME, cosine_blocks, number_books
from modeling_comicseq.vectors import unit


def book_ranking(vectors: np.ndarray, book_ids: Sequence | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How near all other pages of the book are among all pages.

    Args:
        vectors: One vector a page `(N, D)`, finite.
        book_ids: The book of each page `(N,)`.

    Returns:
        R-precision (share of the book among the R nearest pages, R its other pages) and average precision, each
        `(N,)`, NaN for a page that is the only one of its book. The mean of the latter is mAP. Ties count as one step of
        the ranking, as in scikit-learn's `average_precision_score`; R-precision takes its expected value over them.

    Raises:
        ValueError: If no book has two pages.
    """
    books, asked = number_books(vectors, book_ids)
    r_precision, average_precision = np.full((2, len(books)), np.nan)
    for rows, cosines in cosine_blocks(unit(vectors)):
        # Whole steps of the tolerance: sorting needs ties that are exactly equal.
        steps = np.round(cosines / SAME)
        order = np.argsort(-steps, axis=1)[:, :-1]  # the page itself, at minus infinity, is last
        steps = np.take_along_axis(steps, order, axis=1)
        same = books[order] == books[rows, None]
        for row, row_steps, row_same in zip(range(rows.start, rows.stop), steps, same, strict=True):
            if asked[row]:
                r_precision[row], average_precision[row] = _precisions(row_steps, row_same)
    return r_precision, average_precision


def _precisions(steps: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """R-precision and average precision of one ranking: similarities from high to low and who is right."""
    ends = np.flatnonzero(np.append(steps[1:] != steps[:-1], True))  # last place of each group of ties
    found = np.cumsum(same)[ends]
    relevant = found[-1]
    average = np.sum(np.diff(found, prepend=0) * found / (ends + 1)) / relevant
    group = np.searchsorted(ends, relevant - 1)  # the group that holds place R
    before, found_before = (ends[group - 1] + 1, found[group - 1]) if group else (0, 0)
    share = (found[group] - found_before) / (ends[group] + 1 - before)
    return (found_before + (relevant - before) * share) / relevant, average
