"""Pages that stand twice: one page under two rows, by its name or by its vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xxhash

from .names import normal_path

__all__ = ["HOW", "has_twin", "hash_spans", "same_pages"]

HOW = "one `canonical_id`, or equal vectors in all panels"


def hash_spans(rows: np.ndarray, bounds: Sequence[int] | np.ndarray) -> np.ndarray:
    """Hashes `(n,)` of what stands from each of `bounds` (n + 1,) to the next in `rows`."""
    rows, ends = np.ascontiguousarray(rows), [int(bound) for bound in bounds]
    spans = (rows[lo:hi] for lo, hi in zip(ends, ends[1:], strict=False))
    return np.fromiter((xxhash.xxh3_64_intdigest(span.data) for span in spans), np.uint64, len(ends) - 1)


def same_pages(hashes: np.ndarray, books: Iterable[str | int], paths: Iterable[str]) -> np.ndarray:
    """For each page the place of the first page that it is the same as, mostly its own `(pages,)`.

    Args:
        hashes: Of the vectors of all panels of each page `(pages,)`.
        books: The book of each: a path may tell no book.
        paths: `canonical_id` of each.
    """
    known: dict[tuple[str | int, str], int] = {}
    names = (known.setdefault((book, normal_path(path)), len(known)) for book, path in zip(books, paths, strict=True))
    keys = [np.unique(key, return_inverse=True)[1] for key in (hashes, np.fromiter(names, np.int64, len(hashes)))]
    first, before = np.arange(len(hashes)), None
    while before is None or (first != before).any():  # the same by name as one that is the same by vectors
        before = first
        for key in keys:
            lowest = np.full(len(hashes), len(hashes))
            np.minimum.at(lowest, key, first)
            first = lowest[key]
    return first


def has_twin(first: np.ndarray) -> np.ndarray:
    """Which of the pages stand twice `(pages,)`, by the places of `same_pages`."""
    return np.bincount(first, minlength=len(first))[first] > 1
