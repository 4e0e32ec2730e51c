"""How well strip vectors find what belongs together: pages of the same book, and the two halves of a page.

All of it is by cosine, each page asked against all others. Vectors that are equally near share the point, as in a
collapsed space, where whoever stands first in the file would win otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..vectors import unit

_BLOCK = 512  # queries at a time: a block of similarities has this many rows
SAME = 1e-6  # cosines that differ by less are ties: float32 sums of unit vectors are no more exact


class SameBook(NamedTuple):
    """Whether each page's nearest page is of its own book.

    Attributes:
        hits: 1 where it is, 0 where it is not, the share among equally near ones between; NaN for a page that is the
            only one of its book, which has no right answer `(N,)`.
        chance: Mean over the other pages of the probability that a page drawn at random is of the same book.
    """

    hits: np.ndarray
    chance: float


class HalfPages(NamedTuple):
    """Where the other half of each page stands among the second halves of all pages.

    Attributes:
        hits: 1 where it is the nearest, else 0; ties share the 1 `(N,)`. Chance is 1 / N.
        ranks: Its rank from 1 on, the mean one among ties `(N,)`. Chance is (N + 1) / 2.
    """

    hits: np.ndarray
    ranks: np.ndarray


def same_book_retrieval(vectors: np.ndarray, book_ids: Sequence | np.ndarray) -> SameBook:
    """How often the nearest page comes from the same book (precision at 1).

    Args:
        vectors: One vector a page `(N, D)`, finite.
        book_ids: The book of each page `(N,)`.

    Returns:
        Hits of each page and the chance level of their mean.

    Raises:
        ValueError: If no book has two pages.
    """
    books, asked = number_books(vectors, book_ids)
    hits = np.full(len(books), np.nan)
    for rows, cosines in cosine_blocks(unit(vectors)):
        nearest = cosines >= cosines.max(axis=1, keepdims=True) - SAME
        same = books[rows, None] == books
        hits[rows] = (nearest & same).sum(axis=1) / nearest.sum(axis=1)
    hits[~asked] = np.nan
    chance = (np.bincount(books)[books[asked]] - 1) / (len(books) - 1)
    return SameBook(hits, float(chance.mean()))


def half_page_retrieval(first_halves: np.ndarray, second_halves: np.ndarray) -> HalfPages:
    """How often the first half of a page finds its second half among those of all pages.

    Args:
        first_halves: Strip vectors of the first halves, encoded apart `(N, D)`, finite.
        second_halves: Those of the second halves, row for row `(N, D)`.
    """
    if np.shape(first_halves) != np.shape(second_halves):
        raise ValueError(f"halves have shapes {np.shape(first_halves)} and {np.shape(second_halves)}")
    hits, ranks = np.empty((2, len(first_halves)))
    first_halves, second_halves = unit(first_halves), unit(second_halves)
    for start in range(0, len(hits), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(hits)))
        cosines = first_halves[rows] @ second_halves.T
        right = cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop), None]
        nearer = (cosines > right + SAME).sum(axis=1)
        ties = (np.abs(cosines - right) <= SAME).sum(axis=1)
        hits[rows] = np.where(nearer == 0, 1 / ties, 0)
        ranks[rows] = nearer + (ties + 1) / 2
    return HalfPages(hits, ranks)


def number_books(vectors: np.ndarray, book_ids: Sequence | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the book of each page, and whether the book has other pages."""
    if len(vectors) != len(book_ids):
        raise ValueError(f"{len(vectors)} vectors but {len(book_ids)} book ids")
    _, books = np.unique(np.asarray(book_ids), return_inverse=True)
    asked = np.bincount(books)[books] > 1 if len(books) else np.zeros(0, bool)
    if not asked.any():
        raise ValueError("no book has two pages: there is nothing to find")
    return books, asked


def cosine_blocks(vectors: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosines of blocks of unit vectors with all `(rows, N)`, minus infinity with themselves."""
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(vectors)))
        cosines = vectors[rows] @ vectors.T
        cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop)] = -np.inf
        yield rows, cosines
