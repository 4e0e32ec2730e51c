"""Where each page goes: the split of its book, its place in the book, and its place in the split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from natsort import natsort_keygen

from .names import normal_form, normal_path
from .pages import Faults, Pages
from .splits import SPLITS, SplitRule
from .windows import window_counts

__all__ = ["Placement", "natural_order", "place_pages", "source_of"]


class Placement(NamedTuple):
    """Where the pages go that belong to a split.

    Attributes:
        pages: In the order of the store's rows, with the fields `entry`, the place in `Pages`; `split`, the place in SPLITS;
            `page_index`, the natural-sort rank in the book; and `order`, the rank of the first window in the split, by book,
            page and window.
        books: Number of books in each split.
        unlisted: Number of pages of books that no list names.
    """

    pages: np.recarray
    books: dict[str, int]
    unlisted: int


def place_pages(pages: Pages, rule: SplitRule, window: int, stride: int, faults: Faults, metadata: str) -> Placement:
    """Sorts pages by book and page.

    Args:
        pages: The pages.
        rule: The split of each book.
        window: Most panels of a row of the data set.
        stride: Panels between the starts of two windows.
        faults: Where the pages of a book whose id two sources share are listed; they are left out.
        metadata: Path or URL of their metadata, for the error.
    """
    of_book: dict[str, list[int]] = defaultdict(list)
    for entry, book in enumerate(pages.strings("book_id")):
        of_book[book].append(entry)
    names_of, windows = pages.table["canonical_id"].combine_chunks(), window_counts(pages.counts, window, stride)
    books, next_order, unlisted = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), 0
    placed: list[tuple[int, int, int, int]] = []
    for book in sorted(of_book):
        mine = of_book[book]
        names = names_of.take(pa.array(mine)).to_pylist()
        sources = sorted({source_of(book, f"{folder}/page") for folder in {n.rpartition("/")[0] for n in names}})
        if len(sources) > 1:
            found = f"book {book!r} comes from {len(sources)} sources ({', '.join(map(repr, sources[:3]))})"
            for name, row in zip(names, pages.rows[mine].tolist(), strict=True):
                faults.add(metadata, name, row, None, found, "give the books different book_id fields")
            continue
        split = rule(book)
        if split is None:
            unlisted += len(mine)
            continue
        books[split] += 1
        for page_index, position in enumerate(natural_order(names)):
            placed.append((mine[position], SPLITS.index(split), page_index, next_order[split]))
            next_order[split] += int(windows[mine[position]])
    fields = [(name, np.int64) for name in ("entry", "split", "page_index", "order")]
    return Placement(np.array(sorted(placed), dtype=fields).view(np.recarray), books, unlisted)


def source_of(book_id: str, canonical_id: str) -> str:
    """What stands before the book in the path: a library, a folder, a bucket."""
    folders, book_id = normal_path(canonical_id).split("/")[:-1], normal_form(book_id)
    # A book_id field need not stand in the path; then the first folder tells one source from another.
    if book_id not in folders:
        return "/".join(folders[:1])
    return "/".join(folders[: len(folders) - 1 - folders[::-1].index(book_id)])


_natural_key = lru_cache(natsort_keygen())  # folders and extensions come again and again


def natural_order(names: Sequence[str]) -> list[int]:
    """Positions of page paths in the order a reader would put them: "page_2.jpg" before "page_10.jpg".

    Folder by folder: as one string, "Vol 1 (2)/1.jpg" would come before "Vol 1/1.jpg", since a blank comes before a slash.

    Args:
        names: Paths or names of the pages of one book.

    Returns:
        The permutation; names that read the same stay in their order.
    """

    def key(position: int) -> tuple:
        *folders, file_name = normal_path(names[position]).split("/")
        stem, dot, extension = file_name.rpartition(".")
        # Compared apart, so that "p-1.jpg" comes before "p-1-2.jpg".
        return tuple(map(_natural_key, folders)), _natural_key(stem if dot else extension), _natural_key(extension)

    return sorted(range(len(names)), key=key)
