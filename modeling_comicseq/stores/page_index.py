"""The pages of a store by row: who they are, which split they go to, and where they stand in their book.

What every row needs is kept as one small NumPy record a page. The texts go to flat files in the order of the metadata,
from which a run of pages is read in one piece: a million pages with their texts do not fit comfortably in memory.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from natsort import natsort_keygen

from ..errors import ComicSeqDataError
from .metadata import PageColumns, PageEntry, PageProblem, dump_all, iter_batches, parse_batch, parse_entry
from .splits import SPLITS, SplitRule
from .windows import window_counts

__all__ = ["PAGE_RECORD", "PageIndex", "TEXT_FIELDS", "Skipped", "build_page_index", "natural_order"]

# row: row of the store; order: rank of the page's first window in its split; entry: place among the spilled texts;
# split: place in SPLITS.
PAGE_RECORD = np.dtype(
    [("row", "i8"), ("order", "i8"), ("entry", "i8"), ("num_panels", "i4"), ("page_index", "i4"), ("split", "i1")]
)
_NAMES = 8192  # pages whose names are read at a time
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
        unlisted: Number of pages of books that no list names.
        has_characters: Whether the metadata of some page tells its `character_ids`.
    """

    def __init__(self, folder: Path):
        summary = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.skipped: list[Skipped] = summary["skipped"]
        self.books: dict[str, int] = summary["books"]
        self.unlisted: int = summary["unlisted"]
        self.has_characters: bool = summary["has_characters"]
        self.pages = np.asarray(np.load(folder / "pages.npy", mmap_mode="r"))
        self.rows = np.ascontiguousarray(self.pages["row"])
        self._folder = folder
        self._bounds = np.load(folder / "texts.npy", mmap_mode="r")

    def between(self, lo: int, hi: int) -> np.ndarray:
        """Records of the pages in rows lo to hi."""
        first, last = np.searchsorted(self.rows, (lo, hi))
        return np.array(self.pages[first:last])

    def has_pages(self, lo: int, hi: int) -> bool:
        """Whether one of the pages is in rows lo to hi."""
        first, last = np.searchsorted(self.rows, (lo, hi))
        return bool(first < last)

    def texts(self, field: str, pages: np.ndarray) -> pa.StringArray:
        """One of TEXT_FIELDS of the pages with these records."""
        bounds = self._bounds[:, TEXT_FIELDS.index(field)]
        return _read_texts(_text_file(self._folder, field), bounds, pages["entry"])


def _text_file(folder: Path, field: str) -> Path:
    return folder / f"{field}.txt"


def _read_texts(path: Path, bounds: np.ndarray, entries: np.ndarray) -> pa.StringArray:
    """Texts of these entries; bounds[n] to bounds[n + 1] are the bytes of entry n."""
    parts = [pa.array([], pa.string())]
    breaks = np.flatnonzero(np.diff(entries) != 1) + 1
    with open(path, "rb") as file:
        for first, last in zip([0, *breaks], [*breaks, len(entries)], strict=True):
            if first == last:
                continue
            run = np.array(bounds[entries[first] : entries[last - 1] + 2])
            file.seek(run[0])
            data = file.read(run[-1] - run[0])
            offsets = (run - run[0]).astype(np.int32)
            parts.append(pa.StringArray.from_buffers(last - first, pa.py_buffer(offsets), pa.py_buffer(data)))
    return pa.concat_arrays(parts)


def build_page_index(
    metadata: str, folder: Path, store_pages: int, rule: SplitRule, window: int, stride: int, skip: bool
) -> None:
    """Reads the metadata once and writes the texts, `texts.npy`, `pages.npy` and, last, `index.json`.

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
    (folder / "index.json").unlink(missing_ok=True)
    skipped: list[Skipped] = []

    def fault(page: str | None, row: int | None, entry: int | None, found: str, remedy: str) -> None:
        if not skip:
            place = f"entry {entry}" if page is None else f"page {page!r}"
            place += "" if row is None else f" (sequence_index {row})"
            raise ComicSeqDataError(
                f"{metadata}: {place}: {found}; {remedy}, or leave such pages out with --on-error skip"
            )
        skipped.append({"page": page, "sequence_index": row, "entry": entry, "reason": found})

    twice: set[int] = set()
    spilled = _spill(folder, _usable_pages(metadata, store_pages, twice, fault))
    np.save(folder / "texts.npy", spilled.bounds)

    def names(entries: np.ndarray) -> list[str]:
        bounds = spilled.bounds[:, TEXT_FIELDS.index("canonical_id")]
        return _read_texts(_text_file(folder, "canonical_id"), bounds, entries).to_pylist()

    for row in sorted(twice):
        # Which of the entries is right cannot be known: the first, already among the pages, goes too.
        (page,) = names(np.flatnonzero(spilled.rows == row))
        fault(page, row, None, f"sequence_index {row} stands twice", "give each page its own row")
    pages, books, unlisted = _place_pages(spilled, twice, names, rule, window, stride, fault)
    if not len(pages) or not pages["num_panels"].any():
        raise ComicSeqDataError(
            f"{metadata} leaves no usable page ({len(skipped)} left out); check it against the store"
        )
    np.save(folder / "pages.npy", pages)
    summary = {
        "skipped": skipped,
        "books": books,
        "unlisted": unlisted,
        "has_characters": spilled.has_characters,
    }
    temporary = folder / "index.json.tmp"
    temporary.write_text(json.dumps(summary), encoding="utf-8")
    os.replace(temporary, folder / "index.json")


def _usable_pages(
    metadata: str, store_pages: int, twice: set[int], fault: Callable[[str | None, int | None, int, str, str], None]
) -> Iterator[PageColumns]:
    seen = np.zeros(store_pages, dtype=bool)
    number = 0  # of the first entry of the batch
    for entries in iter_batches(metadata):
        pages = parse_batch(entries)
        if pages is None or not _are_new(pages.row, seen):
            one_by_one = (
                _parse_one_by_one(entries, number, fault) if pages is None else enumerate(pages.entries(), number)
            )
            usable = [page for at, page in one_by_one if _is_usable(page, at, seen, twice, fault)]
            pages = PageColumns.of(usable) if usable else None
        else:
            seen[pages.row] = True
        number += len(entries)
        if pages is not None:
            yield pages


def _are_new(rows: np.ndarray, seen: np.ndarray) -> bool:
    """Whether all are rows of the store, and none of them stands twice or was seen before."""
    return rows.max() < len(seen) and not seen[rows].any() and len(np.unique(rows)) == len(rows)


def _parse_one_by_one(
    entries: list[dict[str, Any]], number: int, fault: Callable[[str | None, int | None, int, str, str], None]
) -> Iterator[tuple[int, PageEntry]]:
    for at, entry in enumerate(entries, number):
        try:
            yield at, parse_entry(entry)
        except PageProblem as problem:
            name = entry.get("canonical_id") or entry.get("page_name")
            row = entry.get("sequence_index")
            name, row = name if isinstance(name, str) else None, row if type(row) is int else None
            fault(name, row, at, problem.found, problem.remedy)


def _is_usable(
    page: PageEntry,
    number: int,
    seen: np.ndarray,
    twice: set[int],
    fault: Callable[[str | None, int | None, int, str, str], None],
) -> bool:
    """Whether the page's row is in the store and was not seen before; marks it as seen."""
    if page.row >= len(seen):
        found = f"sequence_index {page.row} is out of range"
        fault(page.canonical_id, page.row, number, found, f"the store has rows 0 to {len(seen) - 1}: correct it")
        return False
    if seen[page.row]:
        found = f"sequence_index {page.row} stands twice"
        fault(page.canonical_id, page.row, number, found, "give each page its own row")
        twice.add(page.row)
        return False
    seen[page.row] = True
    return True


class _Spilled(NamedTuple):
    """What stays in memory of the entries, in the order of the metadata.

    Attributes:
        rows: Their rows of the store.
        num_panels: Panels of each.
        book: The place of each one's book in `books`.
        books: All book ids.
        bounds: Bounds of their texts in the files, shape (entries + 1, TEXT_FIELDS).
        has_characters: Whether one of them tells its `character_ids`.
    """

    rows: np.ndarray
    num_panels: np.ndarray
    book: np.ndarray
    books: list[str]
    bounds: np.ndarray
    has_characters: bool


def _spill(folder: Path, batches: Iterable[PageColumns]) -> _Spilled:
    """Writes the texts of the pages to one file a field."""
    numbers, bounds = [np.zeros((3, 0), np.int64)], [np.zeros((1, len(TEXT_FIELDS)), np.int64)]
    places: dict[str, int] = {}
    has_characters = False
    with ExitStack() as stack:
        files = [stack.enter_context(open(_text_file(folder, field), "wb")) for field in TEXT_FIELDS]
        for rows, num_panels, *names, rests in batches:
            books = names[0].dictionary_encode()
            numbers_of = [places.setdefault(book, len(places)) for book in books.dictionary.to_pylist()]
            numbers.append(np.stack([rows, num_panels, np.array(numbers_of)[books.indices]]))
            if "character_ids" in set().union(*rests):
                has_characters = has_characters or any(rest.get("character_ids") is not None for rest in rests)
            lengths = np.empty((len(rows), len(TEXT_FIELDS)), np.int64)
            for field, texts in enumerate([*names, pa.array(dump_all(rests), pa.string())]):
                _, offsets, data = texts.buffers()
                ends = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1]
                lengths[:, field] = np.diff(ends)
                files[field].write(memoryview(data)[ends[0] : ends[-1]])
            bounds.append(bounds[-1][-1] + np.cumsum(lengths, axis=0))
    row, panels, book = np.concatenate(numbers, axis=1)
    return _Spilled(row, panels, book, list(places), np.concatenate(bounds), has_characters)


def _source_of(book_id: str, canonical_id: str) -> str:
    """What stands before the book in the path: a library, a folder, a bucket."""
    folders = canonical_id.replace("\\", "/").split("/")[:-1]
    # A book_id field need not stand in the path; then the first folder tells one source from another.
    if book_id not in folders:
        return "/".join(folders[:1])
    return "/".join(folders[: len(folders) - 1 - folders[::-1].index(book_id)])


def _sources(book_id: str, canonical_ids: Sequence[str]) -> list[str]:
    # Pages of one folder share their source: only the folders need a look. Mostly there is but one, which holds every slash.
    folder = os.path.commonprefix([min(canonical_ids), max(canonical_ids)]).rpartition("/")[0]
    if "".join(canonical_ids).count("/") == len(canonical_ids) * f"{folder}/".count("/"):
        return [_source_of(book_id, f"{folder}/page")]
    folders = {canonical_id.rpartition("/")[0] for canonical_id in canonical_ids}
    return sorted({_source_of(book_id, f"{folder}/page") for folder in folders})


def _names_by_book(
    books: Sequence[int], bounds: np.ndarray, entries: np.ndarray, names_of: Callable[[np.ndarray], list[str]]
) -> Iterator[tuple[int, int, int, list[str]]]:
    """The books that have a page, the bounds of their entries, and the names of these, read for many books at a time."""
    lo = hi = 0
    names: list[str] = []
    for book, first, last in zip(books, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if last > hi:
            lo, hi = first, min(len(entries), max(last, first + _NAMES))
            hi = int(bounds[np.searchsorted(bounds, hi, side="right") - 1])
            names = names_of(entries[lo:hi])
        if first < last:  # else all its rows stood twice
            yield book, first, last, names[first - lo : last - lo]


def _place_pages(
    spilled: _Spilled,
    twice: set[int],
    names_of: Callable[[np.ndarray], list[str]],
    rule: SplitRule,
    window: int,
    stride: int,
    fault: Callable[..., None],
) -> tuple[np.ndarray, dict[str, int], int]:
    """Records of all pages that belong to a split, sorted by row; books per split; pages that no list names."""
    by_name = sorted(range(len(spilled.books)), key=spilled.books.__getitem__)
    rank = np.argsort(by_name)[spilled.book]
    entries = np.lexsort((spilled.rows, rank))
    entries = entries[~np.isin(spilled.rows[entries], list(twice))]
    bounds = np.searchsorted(rank[entries], range(len(by_name) + 1))
    books: Counter[str] = Counter()
    unlisted, kept, splits = 0, [entries[:0]], [np.zeros(0, np.int8)]
    for place, first, last, names in _names_by_book(by_name, bounds, entries, names_of):
        book, mine = spilled.books[place], entries[first:last]
        sources = _sources(book, names)
        if len(sources) > 1:
            found = f"book {book!r} comes from {len(sources)} sources ({', '.join(map(repr, sources[:3]))})"
            for name, row in zip(names, spilled.rows[mine].tolist(), strict=True):
                fault(name, row, None, found, "give the books different book_id fields")
            continue
        split = rule(book)
        if split is None:
            unlisted += len(mine)
            continue
        books[split] += 1
        kept.append(mine[natural_order(names)])
        splits.append(np.full(len(mine), SPLITS.index(split), np.int8))
    entries = np.concatenate(kept)
    pages = np.zeros(len(entries), PAGE_RECORD)
    pages["entry"], pages["row"], pages["num_panels"] = entries, spilled.rows[entries], spilled.num_panels[entries]
    pages["page_index"] = np.arange(len(pages)) - np.repeat(*_starts_and_sizes(kept))
    pages["split"] = np.concatenate(splits)
    windows = window_counts(pages["num_panels"], window, stride)
    for number in range(len(SPLITS)):
        in_split = np.flatnonzero(pages["split"] == number)
        pages["order"][in_split] = np.cumsum(windows[in_split]) - windows[in_split]
    return pages[np.argsort(pages["row"])], {split: books[split] for split in SPLITS}, unlisted


def _starts_and_sizes(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where each part begins when they are joined, and how long it is."""
    sizes = np.array([len(part) for part in parts])
    return np.cumsum(sizes) - sizes, sizes


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
