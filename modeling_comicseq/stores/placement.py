"""Where each page goes: the split of its book, its place in the book, and its place in the split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from natsort import natsort_keygen

from .pages import Fault, Pages
from .splits import SPLITS, SplitRule
from .windows import window_counts

__all__ = ["Placement", "natural_order", "place_pages"]


class Placement(NamedTuple):
    """Where the pages go that belong to a split, in the order of the store's rows.

    Attributes:
        entry: Their places in `Pages` `(n,)`.
        split: Places in SPLITS `(n,)`.
        page_index: Natural-sort rank in their books `(n,)`.
        order: Rank of their first windows in their splits, by book, page and window `(n,)`.
        books: Number of books in each split.
        unlisted: Number of pages of books that no list names.
    """

    entry: np.ndarray
    split: np.ndarray
    page_index: np.ndarray
    order: np.ndarray
    books: dict[str, int]
    unlisted: int

    def of_split(self, number: int) -> Placement:
        """Those of one split."""
        mine = self.split == number
        return self._replace(
            entry=self.entry[mine], split=self.split[mine], page_index=self.page_index[mine], order=self.order[mine]
        )


def place_pages(pages: Pages, rule: SplitRule, window: int, stride: int, fault: Fault) -> Placement:
    """Sorts pages by book and page.

    Args:
        pages: The pages.
        rule: The split of each book.
        window: Most panels of a row of the data set.
        stride: Panels between the starts of two windows.
        fault: Is told of the pages of a book whose id two sources share; they are left out.
    """
    book_ids = pages.table["book_id"].combine_chunks().dictionary_encode()
    ids = book_ids.dictionary.to_pylist()
    by_name = sorted(range(len(ids)), key=ids.__getitem__)
    rank = np.argsort(by_name)[book_ids.indices.to_numpy()]
    entries = np.argsort(rank, kind="stable")
    bounds = np.searchsorted(rank[entries], np.arange(len(ids) + 1))
    count: Counter[str] = Counter()
    unlisted, kept, splits, ranks = 0, [entries[:0]], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    names_of = pages.table["canonical_id"].combine_chunks()
    for place, first, last in zip(by_name, bounds[:-1], bounds[1:], strict=True):
        book, mine = ids[place], entries[first:last]
        names = names_of.take(mine).to_pylist()
        sources = sorted({_source_of(book, f"{folder}/page") for folder in {n.rpartition("/")[0] for n in names}})
        if len(sources) > 1:
            found = f"book {book!r} comes from {len(sources)} sources ({', '.join(map(repr, sources[:3]))})"
            for name, row in zip(names, pages.rows[mine].tolist(), strict=True):
                fault(name, row, None, found, "give the books different book_id fields")
            continue
        split = rule(book)
        if split is None:
            unlisted += len(mine)
            continue
        count[split] += 1
        kept.append(mine[natural_order(names)])
        splits.append(np.full(len(mine), SPLITS.index(split)))
        ranks.append(np.arange(len(mine)))
    entry, split_of, page_index = (np.concatenate(parts) for parts in (kept, splits, ranks))
    windows, order = window_counts(pages.counts[entry], window, stride), np.zeros(len(entry), np.int64)
    for number in range(len(SPLITS)):
        in_split = np.flatnonzero(split_of == number)
        order[in_split] = np.cumsum(windows[in_split]) - windows[in_split]
    by_row = np.argsort(entry)
    books = {split: count[split] for split in SPLITS}
    return Placement(entry[by_row], split_of[by_row], page_index[by_row], order[by_row], books, unlisted)


def _source_of(book_id: str, canonical_id: str) -> str:
    """What stands before the book in the path: a library, a folder, a bucket."""
    folders = canonical_id.replace("\\", "/").split("/")[:-1]
    # A book_id field need not stand in the path; then the first folder tells one source from another.
    if book_id not in folders:
        return "/".join(folders[:1])
    return "/".join(folders[: len(folders) - 1 - folders[::-1].index(book_id)])


_natural_key = natsort_keygen()


def natural_order(names: Sequence[str]) -> list[int]:
    """Positions of page paths in the order a reader would put them: "page_2.jpg" before "page_10.jpg".

    Args:
        names: Paths or names of the pages of one book.

    Returns:
        The permutation; names that read the same stay in their order.
    """
    # The usual book numbers its pages between a fixed beginning and end, and numbers sort by themselves.
    head = os.path.commonprefix([min(names), max(names)]).rstrip("0123456789")
    tail = re.split("[0-9]", names[0])[-1]
    stop = -len(tail) or None
    numbers = [name[len(head) : stop] for name in names]
    is_numbered = all(numbers) and (joined := "".join(numbers)).isdecimal() and joined.isascii()
    if is_numbered and all(name.endswith(tail) for name in names):
        return sorted(range(len(names)), key=list(map(int, numbers)).__getitem__)

    def key(position: int) -> tuple:
        folder, _, file_name = names[position].replace("\\", "/").rpartition("/")
        stem, dot, extension = file_name.rpartition(".")
        # Compared apart, so that "p-1.jpg" comes before "p-1-2.jpg".
        return _natural_key(folder), _natural_key(stem if dot else extension), extension

    return sorted(range(len(names)), key=key)
