"""The pages of a store by row: who they are, which split they go to, and where they stand in their book.

The metadata is spilled into an SQLite file, which sorts and looks up without holding the texts in memory; what every
row needs is kept as one small NumPy record a page.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsort_keygen

from .errors import ComicSeqDataError
from .metadata import PageEntry, PageProblem, dump_all, iter_entries, parse_entry
from .splits import SPLITS, SplitRule
from .windows import window_counts

__all__ = ["PAGE_RECORD", "PageIndex", "TEXT_FIELDS", "Skipped", "build_page_index", "natural_order"]

# row: row of the store; order: rank of the page's first window in its split; split: place in SPLITS.
PAGE_RECORD = np.dtype([("row", "i8"), ("order", "i8"), ("num_panels", "i4"), ("page_index", "i4"), ("split", "i1")])
_SCHEMA = """CREATE TABLE pages (
    row INTEGER PRIMARY KEY, num_panels INTEGER, book_id TEXT, page_name TEXT, canonical_id TEXT, metadata TEXT
)"""

TEXT_FIELDS = ("book_id", "page_name", "canonical_id", "metadata")

Skipped = dict[str, Any]
"""A page that was left out: `page` (its canonical_id, or None), `sequence_index`, `entry`, `reason`."""


class PageIndex:
    """The pages that the metadata names, in the store's order.

    Args:
        folder: The folder that `build_page_index` wrote.

    Attributes:
        pages: Records of PAGE_RECORD sorted by row, mapped from the file.
        rows: Their rows.
        skipped: Entries of the metadata that were left out.
        books: Number of books in each split.
    """

    def __init__(self, folder: Path):
        summary = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.skipped: list[Skipped] = summary["skipped"]
        self.books: dict[str, int] = summary["books"]
        self.unlisted: int = summary["unlisted"]
        self.pages = np.asarray(np.load(folder / "pages.npy", mmap_mode="r"))
        self.rows = np.ascontiguousarray(self.pages["row"])
        # The file is finished and read only: no locks, which network file systems may lack.
        self._connection = sqlite3.connect(_uri(folder, "mode=ro&immutable=1"), uri=True, check_same_thread=False)

    def between(self, lo: int, hi: int) -> np.ndarray:
        """Records of the pages in rows lo to hi."""
        first, last = np.searchsorted(self.rows, (lo, hi))
        return np.array(self.pages[first:last])

    def texts(self, lo: int, hi: int) -> dict[str, list]:
        """Strings of the same pages as `between(lo, hi)`, in the same order: a list for each of TEXT_FIELDS."""
        query = f"SELECT row, {', '.join(TEXT_FIELDS)} FROM pages WHERE row >= ? AND row < ? ORDER BY row"
        found = self._connection.execute(query, (lo, hi)).fetchall()
        pages = self.between(lo, hi)
        if len(found) != len(pages):  # some were left out after they were stored, or no list of books names them
            used = set(pages["row"].tolist())
            found = [page for page in found if page[0] in used]
        columns = list(zip(*found, strict=True))[1:] or [()] * len(TEXT_FIELDS)
        return {field: list(column) for field, column in zip(TEXT_FIELDS, columns, strict=True)}


def _uri(folder: Path, options: str) -> str:
    return f"{(folder / 'pages.sqlite').absolute().as_uri()}?{options}"


def build_page_index(
    metadata: str, folder: Path, store_pages: int, rule: SplitRule, window: int, stride: int, skip: bool
) -> None:
    """Reads the metadata once and writes `pages.sqlite`, `pages.npy` and, last, `index.json`.

    Args:
        metadata: Path or URL of the metadata.
        folder: Existing folder to write to.
        store_pages: Rows of the store.
        rule: The split of each book.
        window: Most panels of a row of the data set.
        stride: Panels between the starts of two windows.
        skip: Leave out entries with a fault instead of stopping.

    Raises:
        ComicSeqDataError: The file is faulty, or an entry is and `skip` is false, or no page is left.
    """
    for name in ("index.json", "pages.npy", "pages.sqlite"):
        (folder / name).unlink(missing_ok=True)
    skipped: list[Skipped] = []

    def fault(page: str | None, row: int | None, entry: int | None, found: str, remedy: str) -> None:
        if not skip:
            place = f"entry {entry}" if page is None else f"page {page!r}"
            place += "" if row is None else f" (sequence_index {row})"
            raise ComicSeqDataError(
                f"{metadata}: {place}: {found}; {remedy}, or leave such pages out with --on-error skip"
            )
        skipped.append({"page": page, "sequence_index": row, "entry": entry, "reason": found})

    connection = sqlite3.connect(_uri(folder, "nolock=1"), uri=True, isolation_level=None)
    try:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-32768"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(_SCHEMA)
        connection.execute("BEGIN")
        twice: set[int] = set()
        _insert(connection, _usable_entries(metadata, store_pages, twice, fault))
        for row in sorted(twice):
            # Which of the entries is right cannot be known: the first, already in the table, goes too.
            (page,) = connection.execute("SELECT canonical_id FROM pages WHERE row = ?", (row,)).fetchone()
            connection.execute("DELETE FROM pages WHERE row = ?", (row,))
            fault(page, row, None, f"sequence_index {row} stands twice", "give each page its own row")
        pages, books, unlisted = _place_pages(connection, rule, window, stride, fault)
        connection.execute("COMMIT")
    finally:
        connection.close()
    if not len(pages) or not pages["num_panels"].any():
        raise ComicSeqDataError(
            f"{metadata} leaves no usable page ({len(skipped)} left out); check it against the store"
        )
    np.save(folder / "pages.npy", pages)
    summary = {"skipped": skipped, "books": books, "unlisted": unlisted}
    temporary = folder / "index.json.tmp"
    temporary.write_text(json.dumps(summary), encoding="utf-8")
    os.replace(temporary, folder / "index.json")


def _usable_entries(
    metadata: str, store_pages: int, twice: set[int], fault: Callable[[str | None, int | None, int, str, str], None]
) -> Iterator[PageEntry]:
    seen = bytearray(store_pages)
    for number, entry in enumerate(iter_entries(metadata)):
        try:
            page = parse_entry(entry)
        except PageProblem as problem:
            name = entry.get("canonical_id") or entry.get("page_name")
            row = entry.get("sequence_index")
            fault(
                name if isinstance(name, str) else None,
                row if type(row) is int else None,
                number,
                problem.found,
                problem.remedy,
            )
            continue
        if page.row >= store_pages:
            found = f"sequence_index {page.row} is out of range"
            fault(page.canonical_id, page.row, number, found, f"the store has rows 0 to {store_pages - 1}: correct it")
        elif seen[page.row]:
            fault(
                page.canonical_id,
                page.row,
                number,
                f"sequence_index {page.row} stands twice",
                "give each page its own row",
            )
            twice.add(page.row)
        else:
            seen[page.row] = 1
            yield page


def _insert(connection: sqlite3.Connection, pages: Iterable[PageEntry]) -> None:
    iterator = iter(pages)
    while batch := list(islice(iterator, 4096)):
        metadata = dump_all([page.rest for page in batch])
        rows = [(*page[:-1], text) for page, text in zip(batch, metadata, strict=True)]
        connection.executemany("INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?)", rows)


def _rows_by_book(connection: sqlite3.Connection) -> Iterator[tuple[str, list[tuple[str, int, str, int]]]]:
    """Each book with its pages (book_id, row, canonical_id, num_panels), books and rows in order."""
    query = "SELECT book_id, row, canonical_id, num_panels FROM pages ORDER BY book_id, row"
    for book, pages in groupby(connection.execute(query), key=itemgetter(0)):
        yield book, list(pages)


def _source_of(book_id: str, canonical_id: str) -> str:
    """What stands before the book in the path: a library, a folder, a bucket."""
    folders = canonical_id.replace("\\", "/").split("/")[:-1]
    # A book_id field need not stand in the path; then the first folder tells one source from another.
    if book_id not in folders:
        return "/".join(folders[:1])
    return "/".join(folders[: len(folders) - 1 - folders[::-1].index(book_id)])


def _sources(book_id: str, canonical_ids: Iterable[str]) -> list[str]:
    # Pages of one folder share their source: only the folders need a look.
    folders = {canonical_id.rpartition("/")[0] for canonical_id in canonical_ids}
    return sorted({_source_of(book_id, f"{folder}/page") for folder in folders})


def _place_pages(
    connection: sqlite3.Connection, rule: SplitRule, window: int, stride: int, fault: Callable[..., None]
) -> tuple[np.ndarray, dict[str, int], int]:
    """Records of all pages that belong to a split, sorted by row; books per split; pages that no list names."""
    (count,) = connection.execute("SELECT COUNT(*) FROM pages").fetchone()
    pages = np.zeros(count, PAGE_RECORD)
    ends: Counter[str] = Counter()
    books: Counter[str] = Counter()
    unlisted = filled = 0
    for book, entries in _rows_by_book(connection):
        _, rows, names, num_panels = zip(*entries, strict=True)
        sources = _sources(book, names)
        if len(sources) > 1:
            found = f"book {book!r} comes from {len(sources)} sources ({', '.join(map(repr, sources[:3]))})"
            for name, row in zip(names, rows, strict=True):
                fault(name, row, None, found, "give the books different book_id fields")
            continue
        split = rule(book)
        if split is None:
            unlisted += len(entries)
            continue
        order = natural_order(names)
        part = pages[filled : filled + len(entries)]
        filled += len(entries)
        part["row"] = np.array(rows)[order]
        part["num_panels"] = np.array(num_panels)[order]
        part["page_index"] = np.arange(len(entries))
        part["split"] = SPLITS.index(split)
        windows = window_counts(part["num_panels"], window, stride)
        part["order"] = ends[split] + np.cumsum(windows) - windows
        ends[split] += int(windows.sum())
        books[split] += 1
    pages = pages[:filled]
    return pages[np.argsort(pages["row"])], {split: books[split] for split in SPLITS}, unlisted


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
    if all(n.isdecimal() and n.isascii() for n in numbers) and all(name.endswith(tail) for name in names):
        return sorted(range(len(names)), key=[int(n) for n in numbers].__getitem__)

    def key(position: int) -> tuple:
        folder, _, file_name = names[position].replace("\\", "/").rpartition("/")
        stem, dot, extension = file_name.rpartition(".")
        # Compared apart, so that "p-1.jpg" comes before "p-1-2.jpg".
        return _natural_key(folder), _natural_key(stem if dot else extension), extension

    return sorted(range(len(names)), key=key)
