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
        self.hashes: list[np.ndarray] = []
        self.lowest, self.highest = np.full(width, np.inf), np.full(width, -np.inf)
        self.products = np.zeros((width, width))
        self.pages: dict[int, tuple[int, np.ndarray]] = {}
        self.book_of: dict[int, int] = {}

    def add(self, vectors: np.ndarray, pages: np.ndarray, books: np.ndarray) -> None:
        """Takes vectors `(n, D)` and the numbers of their pages and books `(n,)`."""
        self.vectors += len(vectors)
        vectors = vectors.astype(np.float32)
        finite = np.isfinite(vectors).all(axis=1)
        some = vectors.any(axis=1)
        self.not_finite += int((~finite).sum())
        self.zero += int((finite & ~some).sum())
        vectors, pages, books = (each[finite & some] for each in (vectors, pages, books))
        if not len(vectors):
            return
        self.lowest = np.minimum(self.lowest, vectors.min(axis=0))
        self.highest = np.maximum(self.highest, vectors.max(axis=0))
        self.hashes.append(np.asarray([xxhash.xxh3_64_intdigest(row.tobytes()) for row in vectors], np.uint64))
        units = unit(vectors)
        self.products += units.T @ units
        found, first, place = np.unique(pages, return_index=True, return_inverse=True)
        sums = np.zeros((len(found), self.width))
        np.add.at(sums, place, units)
        for page, book, total, count in zip(
            found.tolist(), books[first].tolist(), sums, np.bincount(place), strict=True
        ):
            known_count, known = self.pages.get(page, (0, 0.0))
            self.pages[page] = (known_count + int(count), known + total)
            self.book_of[page] = book

    def finish(self, panels: bool) -> Space:
        """The measures of all that was added.

        Args:
            panels: Whether a page has several vectors; else its one vector is its strip.
        """
        usable = self.vectors - self.not_finite - self.zero
        within_pages, within_books, between_books, mean = self._cosines()
        rank = effective_rank(self.products / usable - np.outer(mean, mean)) if usable else 1.0
        _, counts = np.unique(np.concatenate(self.hashes or [np.zeros(0, np.uint64)]), return_counts=True)
        return Space(
            vectors=self.vectors,
            width=self.width,
            not_finite=self.not_finite,
            zero=self.zero,
            duplicates=int(counts[counts > 1].sum()),
            constant_dimensions=int((self.lowest == self.highest).sum()),
            effective_rank=rank,
            within_pages=within_pages if panels else None,
            within_books=within_books,
            between_books=between_books,
        )

    def _cosines(self) -> tuple[float | None, float | None, float | None, np.ndarray]:
        """Mean cosines within pages, within books, between books; and the mean vector."""
        # Per book: its vectors, their sum, its pages' counts squared and sums squared, added up.
        books: dict[int, list] = {}
        within_pages = []
        for page, (count, total) in self.pages.items():
            square = float(total @ total)
            book = books.setdefault(self.book_of[page], [0, np.zeros(self.width), 0, 0.0])
            book[0] += count
            book[1] += total
            book[2] += count**2
            book[3] += square
            if count > 1:
                within_pages.append((square - count) / (count * (count - 1)))
        within_books = []
        all_count, all_sum, book_counts, book_squares = 0, np.zeros(self.width), 0, 0.0
        for count, total, page_counts, page_squares in books.values():
            square = float(total @ total)
            if count**2 > page_counts:
                within_books.append((square - page_squares) / (count**2 - page_counts))
            all_count += count
            all_sum += total
            book_counts += count**2
            book_squares += square
        pairs = all_count**2 - book_counts
        return (
            float(np.mean(within_pages)) if within_pages else None,
            float(np.mean(within_books)) if within_books else None,
            (float(all_sum @ all_sum) - book_squares) / pairs if pairs else None,
            all_sum / max(all_count, 1),
        )
