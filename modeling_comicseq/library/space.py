"""Measures of a set of vectors that belong to pages of books, gathered block by block.

The mean cosines over all pairs need no pairs: for unit vectors, the squared length of a sum is the sum of all cosines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash

from ..evaluation.embedding_space import ROUNDING, effective_rank
from ..vectors import unit

__all__ = ["Space", "SpaceGatherer"]


@dataclass
class Space:
    """Measures of panel or strip vectors. Cosines are None where there is no such pair.

    Attributes:
        vectors: How many there are, unusable ones included.
        width: Their width.
        not_finite: Those with NaN or infinity; left out of everything else.
        zero: Those that are all zero; left out of everything below.
        duplicates: Those that equal another vector exactly.
        constant_dimensions: Dimensions with one value in all vectors.
        effective_rank: Of the unit vectors, see `effective_rank`.
        within_pages: Mean cosine of two panels of a page; every page counts alike. None for strips.
        within_books: Of two vectors from different pages of a book; every book counts alike.
        between_books: Of two vectors from different books; every pair counts alike.
    """

    vectors: int
    width: int
    not_finite: int
    zero: int
    duplicates: int
    constant_dimensions: int
    effective_rank: float
    within_pages: float | None
    within_books: float | None
    between_books: float | None

    @property
    def usable(self) -> int:
        """Vectors that have a direction."""
        return self.vectors - self.not_finite - self.zero

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """What the vectors' variance about their common mean consists of: book, page within the book, the rest.

        For unit vectors these are differences of the mean cosines over 1 - `between_books`: the components of a nested
        analysis of variance (book, page, panel). For strips the page is the rest. None where a cosine is missing or
        all vectors are equal.
        """
        if self.within_books is None or self.between_books is None or 1 - self.between_books < ROUNDING:
            return None
        spread = 1 - self.between_books
        book = (self.within_books - self.between_books) / spread
        if self.within_pages is None:
            return book, 1 - book, 0.0
        return book, (self.within_pages - self.within_books) / spread, (1 - self.within_pages) / spread


class SpaceGatherer:
    """Takes blocks of vectors with the page and the book of each, and gives their `Space`.

    Memory: one vector a page and a book, 8 bytes a vector, and a matrix (D, D).
    """

    def __init__(self, width: int):
        self.width = width
        self.vectors = self.not_finite = self.zero = 0
        self.hashes = [np.zeros(0, np.uint64)]
        self.lowest, self.highest = np.full(width, np.inf), np.full(width, -np.inf)
        self.products = np.zeros((width, width))
        # Of the pages of each block: page, book, number of vectors, and their sum.
        self.pages = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros((0, width)))]

    def add(self, vectors: np.ndarray, pages: np.ndarray, books: np.ndarray) -> None:
        """Takes vectors `(n, D)` and the numbers of their pages and books `(n,)`."""
        self.vectors += len(vectors)
        vectors = vectors.astype(np.float32)
        finite = np.isfinite(vectors).all(axis=1)
        some = vectors.any(axis=1)
        self.not_finite += int((~finite).sum())
        self.zero += int((finite & ~some).sum())
        vectors, pages, books = (each[finite & some] for each in (vectors, pages, books))
        self.lowest = np.minimum(self.lowest, vectors.min(axis=0, initial=np.inf))
        self.highest = np.maximum(self.highest, vectors.max(axis=0, initial=-np.inf))
        self.hashes.append(np.asarray([xxhash.xxh3_64_intdigest(row.tobytes()) for row in vectors], np.uint64))
        units = unit(vectors)
        self.products += units.T @ units
        first, counts, sums = _add_up(pages, np.ones(len(pages)), units)
        self.pages.append((pages[first], books[first], counts, sums))

    def finish(self) -> Space:
        """The measures of all that was added."""
        pages, books, counts, sums = (np.concatenate(each) for each in zip(*self.pages, strict=True))
        first, counts, sums = _add_up(pages, counts, sums)  # a page may have come in several blocks
        squares = _squares(sums)
        several = counts > 1
        in_pages = (squares - counts)[several] / (counts * (counts - 1))[several]
        _, book_counts, book_sums, counts_squared, page_squares = _add_up(
            books[first], counts, sums, counts**2, squares
        )
        book_squares = _squares(book_sums)
        pairs = book_counts**2 - counts_squared
        in_books = (book_squares - page_squares)[pairs > 0] / pairs[pairs > 0]
        total, number = book_sums.sum(axis=0), book_counts.sum()
        other_pairs = number**2 - (book_counts**2).sum()
        mean = total / max(number, 1)
        _, copies = np.unique(np.concatenate(self.hashes), return_counts=True)
        return Space(
            vectors=self.vectors,
            width=self.width,
            not_finite=self.not_finite,
            zero=self.zero,
            duplicates=int(copies[copies > 1].sum()),
            constant_dimensions=int((self.lowest == self.highest).sum()),
            effective_rank=effective_rank(self.products / number - np.outer(mean, mean)) if number else 1.0,
            within_pages=float(np.mean(in_pages)) if len(in_pages) else None,
            within_books=float(np.mean(in_books)) if len(in_books) else None,
            between_books=float((total @ total - sum(book_squares)) / other_pairs) if other_pairs else None,
        )


def _add_up(keys: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Where each key first stands in `keys` (n,), in that order, and the sums over each key of all `values` (n, …)."""
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)[place]
    sums = [np.zeros((len(first), *value.shape[1:])) for value in values]
    for total, value in zip(sums, values, strict=True):
        np.add.at(total, place, value)
    return [first[order], *sums]


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.asarray([vector @ vector for vector in vectors], float)
