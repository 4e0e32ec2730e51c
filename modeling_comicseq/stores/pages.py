"""The pages that a metadata file names, by their row of the store: one reader for all who need them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from ..errors import ComicSeqDataError, PageProblem
from ..layouts.boxes import mirror
from ..pages.annotations import read_boxes, read_direction
from ..pages.json_list import iter_entries
from .boxes import LostBoxes, slot_boxes
from .findings import LeaveOut
from .metadata import dump, parse_entry
from .names import normal_form

__all__ = ["Faults", "Pages", "read_pages"]

_BATCH = 8192  # pages whose texts are Python objects at a time
_SCHEMA = pa.schema(
    [("row", pa.int64()), ("num_panels", pa.int64())]
    + [(name, pa.string()) for name in ("book_id", "page_name", "canonical_id", "text", "reading_direction")]
    + [("panel_boxes", pa.list_(pa.float32()))]
)


@dataclass
class Faults:
    """Pages that cannot be used.

    Attributes:
        skip: Whether they are left out and listed; else the first one is an error.
        remedy: What else can be done about such a page, for the error.
        skipped: The list: for each its canonical_id, its row, the number of its entry, and the reason.
    """

    skip: bool = False
    remedy: str = ""
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def add(self, source: str, page: str | None, row: int | None, entry: int | None, found: str, remedy: str) -> None:
        """Lists what was found on a page of the file or store `source`.

        Raises:
            ComicSeqDataError: Pages are not to be left out.
        """
        if self.skip:
            self.skipped.append({"page": page, "sequence_index": row, "entry": entry, "reason": found})
            return
        place = f"entry {entry}" if page is None else f"page {page!r}"
        place += "" if row is None else f" (sequence_index {row})"
        raise ComicSeqDataError(f"{source}: {place}: {found}; {remedy}{self.remedy}")


@dataclass(frozen=True)
class Pages:
    """Pages in the order of the store's rows.

    Attributes:
        table: `row`, `num_panels`, `book_id` (one spelling of each book, the first in the file), `page_name`,
            `canonical_id`, `text`, JSON of what was asked for, and if they were asked for, `reading_direction` and
            `panel_boxes`, four shares of the page a panel, as they stand on the page; null where they are not known.
        has_characters: Whether one of them tells its `character_ids`.
    """

    table: pa.Table
    has_characters: bool

    @property
    def rows(self) -> np.ndarray:
        """Row of the store of each page `(pages,)`."""
        return self.table["row"].to_numpy()

    @property
    def counts(self) -> np.ndarray:
        """Panels of each page `(pages,)`."""
        return self.table["num_panels"].to_numpy()

    def __len__(self) -> int:
        return len(self.table)

    def strings(self, column: str) -> list[str]:
        """A column of all pages."""
        return self.table[column].to_pylist()

    def has(self, column: str) -> bool:
        """Whether one of the pages has something in this column."""
        return self.table[column].null_count < len(self)

    def take(self, places: np.ndarray) -> pa.Table:
        """The part of the table of the pages at `places`, near one another: what lies between is copied."""
        lowest, highest = (int(places.min()), int(places.max())) if len(places) else (0, -1)
        part = self.table.slice(lowest, highest - lowest + 1).combine_chunks()
        return part.take(pa.array(places - lowest, pa.int64()))

    def boxes(self, places: np.ndarray, as_read: bool = False) -> np.ndarray | None:
        """The boxes of the panels of the pages at `places`, ascending, zeros where none is known, (panels, 4).

        As they stand on the page, or `as_read` from left to right: mirrored, where it is read from right to left. None where
        the data say nothing of boxes.
        """
        if not self.has("panel_boxes"):
            return None
        part, counts = self.take(places), self.counts[places]
        column = part["panel_boxes"].combine_chunks()
        boxes = np.zeros((int(counts.sum()), 4), np.float32)
        known = np.repeat(column.is_valid().to_numpy(zero_copy_only=False), counts)
        boxes[known] = column.flatten().to_numpy().reshape(-1, 4)
        if as_read:
            is_rtl = [direction == "rtl" for direction in part["reading_direction"].to_pylist()]
            boxes = np.where(np.repeat(is_rtl, counts)[:, None], mirror(boxes), boxes)
        return boxes

    def name(self, row: int) -> str:
        """`canonical_id` of the page in this row of the store, for a message."""
        place = int(np.searchsorted(self.rows, row))
        found = place < len(self) and self.rows[place] == row
        return self.table["canonical_id"][place].as_py() if found else f"row {row}"

    def write_metadata(self, file: IO[bytes]) -> None:
        """Writes the entries as a JSON list in the order of the pages, `sequence_index` counting from 0.

        What is known of boxes and reading directions from elsewhere than the metadata is added, or takes their place.
        """
        number = 0
        for batch in self.table.select(["text", "panel_boxes", "reading_direction"]).to_batches(_BATCH):
            for text, boxes, direction in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if boxes is not None or direction is not None:
                    text = _with_places(text, boxes, direction)
                # All other fields are as they came; there is at least `num_panels`.
                file.write(b'%s{"sequence_index": %d, %s' % (b",\n" if number else b"[\n", number, text[1:].encode()))
                number += 1
        file.write(b"\n]\n")


def _with_places(text: str, boxes: list[float] | None, direction: str | None) -> str:
    """An entry with its boxes and its reading direction, where it does not say these itself."""
    entry = json.loads(text)
    if boxes is not None and not _tells(entry, boxes):
        entry["panel_boxes"] = [[round(each, 6) for each in boxes[at : at + 4]] for at in range(0, len(boxes), 4)]
    if direction is not None and read_direction(entry) != direction:
        entry["reading_direction"] = direction
    return dump(entry).decode()


def _tells(entry: dict[str, Any], boxes: list[float]) -> bool:
    with suppress(PageProblem):
        return np.array_equal(read_boxes(entry).boxes.reshape(-1), np.asarray(boxes, np.float32))
    return False


def read_pages(
    metadata: str,
    store_pages: int,
    file: Path | None = None,
    text: str | None = None,
    faults: Faults | None = None,
    directions: bool = False,
    slots: int | None = None,
    leave_out: LeaveOut | None = None,
) -> Pages:
    """Reads the metadata once.

    Args:
        metadata: Path or URL of the metadata, a JSON list with one object a page, in any order. It may name some of the
            store's rows only.
        store_pages: Rows of the store.
        file: Where the table is written, to be mapped from there: texts may not fit comfortably in memory.
        text: What `text` holds: "rest", what is not a column of its own; "entry", the entry but for its row; None.
        faults: Where entries that cannot be used are listed; without it, the first one is an error.
        directions: Whether reading directions are wanted.
        slots: Panel slots of a row of the store, if boxes are wanted.
        leave_out: Pages that are not wanted, whatever else is wrong with them.

    Raises:
        ComicSeqDataError: The file is faulty, or an entry is and is not to be left out, or `leave_out` is of other metadata.
    """

    faults, lost = faults or Faults(), LostBoxes(metadata)
    seen, twice, has_characters = np.zeros(store_pages, bool), set(), False
    spelling: dict[str, str] = {}

    def usable() -> Iterator[tuple]:
        nonlocal has_characters
        for number, entry in enumerate(iter_entries(metadata)):
            try:
                page = parse_entry(entry)
                if leave_out is not None and leave_out.takes(page.row, number, page.canonical_id):
                    continue
                kept = page.rest
                if text == "entry":
                    kept = {key: value for key, value in entry.items() if key != "sequence_index"}
                written = dump(kept).decode() if text else None
                direction = read_direction(entry) if directions else None
                boxes = None
                if slots is not None:
                    boxes = slot_boxes(entry, page.num_panels, slots, page.canonical_id, lost)
            except PageProblem as problem:
                name, row = entry.get("canonical_id") or entry.get("page_name"), entry.get("sequence_index")
                known = (
                    name if isinstance(name, str) else None,
                    row if type(row) is int and abs(row) < store_pages else None,
                )
                faults.add(metadata, *known, number, problem.found, problem.remedy)
                continue
            if page.row >= store_pages:
                found = f"sequence_index {page.row} is out of range"
                cure = f"the store has rows 0 to {store_pages - 1}: correct it"
                faults.add(metadata, page.canonical_id, page.row, number, found, cure)
                continue
            if seen[page.row]:
                twice.add(page.row)
                found = f"sequence_index {page.row} stands twice"
                faults.add(metadata, page.canonical_id, page.row, number, found, "give each page its own row")
                continue
            seen[page.row] = True
            has_characters |= entry.get("character_ids") is not None
            book = spelling.setdefault(normal_form(page.book_id), page.book_id)
            yield page.row, page.num_panels, book, *page[3:5], written, direction, boxes

    sink = pa.BufferOutputStream() if file is None else pa.OSFile(str(file), "wb")
    with sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        pages = usable()
        while batch := list(islice(pages, _BATCH)):
            columns = (
                pa.array(each, field.type) for each, field in zip(zip(*batch, strict=True), _SCHEMA, strict=True)
            )
            writer.write_batch(pa.record_batch(list(columns), _SCHEMA))
    source = pa.BufferReader(sink.getvalue()) if file is None else pa.memory_map(str(file))
    table = pa.ipc.open_stream(source).read_all()
    if (np.diff(table["row"].to_numpy()) < 0).any():
        table = table.sort_by("row")
    for row in sorted(twice):
        # Which of the entries is right cannot be known: the first, already among the pages, goes too.
        place = int(np.searchsorted(table["row"].to_numpy(), row))
        name = table["canonical_id"][place].as_py()
        faults.add(metadata, name, row, None, f"sequence_index {row} stands twice", "give each page its own row")
    if twice:
        table = table.filter(pa.array(~np.isin(table["row"].to_numpy(), list(twice))))
    lost.tell()
    if leave_out is not None:
        leave_out.check_all_met(metadata)
    return Pages(table, has_characters)
