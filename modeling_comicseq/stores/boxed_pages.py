"""The pages of a store with where their panels stand and how they are read, from whatever tells it."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import ComicSeqArgumentError, ComicSeqDataError, PageProblem
from ..layouts.boxes import READING_DIRECTIONS, cut, describe_bad_box, find_bad_boxes
from ..pages.annotations import read_direction, read_entries
from ..pages.matching import PageIndex, path_parts
from .boxes import LostBoxes, slot_boxes
from .findings import LeaveOut
from .metadata import describe_file
from .pages import Faults, Pages, read_pages
from .stage3 import BOX_ARRAY, Stage3Store, list_files, read_rows

__all__ = ["describe_boxes", "entries_of_pages", "read_boxed_pages"]

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 1 << 14  # of the array of boxes that are read at a time


def read_boxed_pages(
    store: Stage3Store,
    metadata: str,
    file: Path | None = None,
    text: str | None = None,
    faults: Faults | None = None,
    boxes: str | os.PathLike | None = None,
    reading_direction: str | None = None,
    leave_out: LeaveOut | None = None,
) -> Pages:
    """Reads the metadata as `read_pages` does, with the boxes of the panels and the reading directions.

    Boxes are those of the file `boxes`, else of the store's array `panel_boxes`, else of the metadata. The direction of a
    page is what that file or the metadata say of it; else what they say of all other pages of its book that they say
    something of; else `reading_direction`; else what the store's attribute of this name says.

    Args:
        store: The store.
        metadata: Path or URL of its metadata.
        file: See `read_pages`.
        text: See `read_pages`.
        faults: Where pages that cannot be used are listed; without it, the first one is an error.
        boxes: A file or folder that `read_annotations` reads, whose pages are found by book and name.
        reading_direction: "ltr" or "rtl", of the pages that nothing else is said of.
        leave_out: See `read_pages`.

    Raises:
        ComicSeqError: A file is faulty, or a page is and is not to be left out.
    """
    if reading_direction not in (None, *READING_DIRECTIONS):
        raise ComicSeqArgumentError(f"reading_direction {reading_direction!r} is not possible; give ltr or rtl")
    faults = faults or Faults()
    from_metadata = boxes is None and store.boxes is None
    slots = store.slots if from_metadata else None
    pages = read_pages(metadata, store.pages, file, text, faults, True, slots, leave_out)
    if boxes is not None:
        pages = _from_file(pages, os.fspath(boxes), store.slots, faults)
    elif store.boxes is not None:
        pages = _from_array(pages, store, faults)
    try:
        general = reading_direction or read_direction(store.attributes)
    except PageProblem as problem:
        raise ComicSeqDataError(f"{store.url}: the attribute {problem}") from None
    return _with_directions(pages, general)


def describe_boxes(path: str | os.PathLike) -> list[str]:
    """What tells a rewritten file or folder of boxes from the old one."""
    path = os.fspath(path)
    return list(list_files(path)) if os.path.isdir(path) else list(describe_file(path).values())


def _from_array(pages: Pages, store: Stage3Store, faults: Faults) -> Pages:
    """The pages with the boxes of the store's array."""
    rows, counts, array = pages.rows, np.minimum(pages.counts, store.slots), store.boxes
    assert array is not None
    step = -(-_BLOCK_ROWS // array.chunks[0]) * array.chunks[0]
    gone: set[int] = set()

    def fault(row: int, found: str, remedy: str) -> None:
        if row not in gone:
            gone.add(row)
            faults.add(store.url, pages.name(row), row, None, found, remedy)

    blocks = [np.zeros((0, 4), np.float32)]
    for start in (np.unique(rows // step) * step).tolist():
        inside = slice(*np.searchsorted(rows, (start, start + step)))
        values, failures = read_rows(array, start, min(store.pages, start + step))
        for failure in failures:
            for row in rows[inside][(rows[inside] >= failure.lo) & (rows[inside] < failure.hi)].tolist():
                fault(row, failure.found, "restore the store's file")
        owner = np.repeat(rows[inside], counts[inside])
        slot = np.arange(len(owner)) - np.repeat(np.cumsum(counts[inside]) - counts[inside], counts[inside])
        boxes = cut(values[owner - start, slot].astype(np.float32))
        for bad in np.flatnonzero(find_bad_boxes(boxes)).tolist():
            found = f"{BOX_ARRAY}, panel {slot[bad]}, {describe_bad_box(boxes[bad])}"
            fault(int(owner[bad]), found, "correct the box, or write zeros where none is known")
        blocks.append(boxes)
    bounds = np.concatenate(([0], np.cumsum(4 * counts))).astype(np.int32)
    pages = _with_column(pages, "panel_boxes", pa.ListArray.from_arrays(bounds, np.concatenate(blocks).reshape(-1)))
    return replace(pages, table=pages.table.filter(pa.array(~np.isin(rows, list(gone))))) if gone else pages


def _from_file(pages: Pages, path: str, slots: int, faults: Faults) -> Pages:
    """The pages with the boxes, and the directions, that a file of annotations tells of them."""
    counts, names = pages.counts, pages.strings("canonical_id")
    boxes: list[np.ndarray | None] = [None] * len(pages)
    directions = pages.strings("reading_direction")
    lost, gone = LostBoxes(path), []
    for place, entry, is_twice in entries_of_pages(pages, path, read_entries(path), "have no boxes"):
        if place in gone:
            continue
        try:
            if isinstance(entry, PageProblem):
                raise entry
            if is_twice:
                raise PageProblem("it stands twice", "keep one of the two")
            boxes[place] = slot_boxes(entry, int(counts[place]), slots, names[place], lost)
            directions[place] = read_direction(entry) or directions[place]
        except PageProblem as problem:
            faults.add(path, names[place], int(pages.rows[place]), None, problem.found, problem.remedy)
            gone.append(place)
    lost.tell()
    pages = _with_column(pages, "panel_boxes", pa.array(boxes, pa.list_(pa.float32())))
    pages = _with_column(pages, "reading_direction", pa.array(directions, pa.string()))
    return replace(pages, table=pages.table.filter(pa.array(~np.isin(np.arange(len(pages)), gone))))


def entries_of_pages(
    pages: Pages, path: str, entries: Iterable[tuple[str, Any]], lack: str
) -> Iterator[tuple[int, Any, bool]]:
    """Which page each entry of a file is about.

    Args:
        pages: The pages.
        path: The file, for messages.
        entries: Name and content of each entry, as `read_entries` yields them.
        lack: What is said in the end of pages that no entry is about.

    Yields:
        Place of the page, the entry, and whether another one was about this page.

    Raises:
        ComicSeqDataError: In the end, if none was about any page.
    """
    index, names = _page_index(pages), pages.strings("canonical_id")
    found, strangers = np.zeros(len(pages), bool), []
    for name, entry in entries:
        fitting = index.find_in_book(name, _book_of(entry))
        if len(fitting) != 1:
            strangers.append(name)
            continue
        (place,) = fitting
        yield place, entry, bool(found[place])
        found[place] = True
    if not found.any():
        raise ComicSeqDataError(
            f"{path} names no page of the metadata, but {', '.join(map(repr, strangers[:2]))}; there are pages such as"
            f" {names[0]!r}: pages are found by book_id and the name of the file"
        )
    if not found.all():
        first = names[int(found.argmin())]
        logger.warning(f"{path} names {found.sum():,} of {len(pages):,} pages: {first!r} and others {lack}")


def _page_index(pages: Pages) -> PageIndex:
    """The pages by their paths, and by their books and names."""
    index = PageIndex()
    columns = (pages.strings(name) for name in ("canonical_id", "book_id", "page_name"))
    for place, (path, book, name) in enumerate(zip(*columns, strict=True)):
        own = path_parts(book, name)
        index.add(place, path_parts(path), own, [*path_parts(book), own[-1]])
    return index


def _book_of(entry: Any) -> str | None:
    """The book that an entry names."""
    book = entry.get("book_id") if isinstance(entry, dict) else None
    return str(book) if isinstance(book, (str, int)) and not isinstance(book, bool) and str(book).strip() else None


def _with_directions(pages: Pages, general: str | None) -> Pages:
    """The pages with directions for those of whose book all others say the same, and the `general` one for the rest."""
    said = pages.strings("reading_direction")
    of_book: dict[str, set[str]] = defaultdict(set)
    books = pages.strings("book_id") if any(said) else []
    for book, direction in zip(books, said, strict=False):
        of_book[book] |= {direction} if direction else set()
    for place, book in enumerate(books):
        if said[place] is None and len(of_book[book]) == 1:
            (said[place],) = of_book[book]
    if general is None and not books:
        return pages
    directions = [direction or general for direction in said]
    return _with_column(pages, "reading_direction", pa.array(directions, pa.string()))


def _with_column(pages: Pages, name: str, values: pa.Array) -> Pages:
    table = pages.table
    return replace(pages, table=table.set_column(table.column_names.index(name), name, values))
