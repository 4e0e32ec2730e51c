"""The pages that a metadata file names, by their row of the store: one reader for all who need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from ..errors import ComicSeqDataError
from .metadata import PageProblem, dump, iter_entries, parse_entry

__all__ = ["Fault", "Pages", "read_pages"]

_BATCH = 8192  # pages whose texts are Python objects at a time
_SCHEMA = pa.schema(
    [("row", pa.int64()), ("num_panels", pa.int64())]
    + [(name, pa.string()) for name in ("book_id", "page_name", "canonical_id", "text")]
)

Fault = Callable[[str | None, int | None, int | None, str, str], None]
"""Is told of a page that cannot be used: its canonical_id, its row, the number of its entry, what was found, and the remedy."""


@dataclass(frozen=True)
class Pages:
    """Pages in the order of the store's rows.

    Attributes:
        table: `row`, `num_panels`, `book_id`, `page_name`, `canonical_id`, and `text`, JSON of what was asked for.
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

    def strings(self, column: str, lo: int = 0, hi: int | None = None) -> list[str]:
        """A column of pages lo to hi."""
        return self.table[column].slice(lo, None if hi is None else hi - lo).to_pylist()

    def name(self, row: int) -> str:
        """`canonical_id` of the page in this row of the store, for a message."""
        place = int(np.searchsorted(self.rows, row))
        found = place < len(self) and self.rows[place] == row
        return self.table["canonical_id"][place].as_py() if found else f"row {row}"

    def write_metadata(self, file: IO[bytes]) -> None:
        """Writes the entries as a JSON list in the order of the pages, `sequence_index` counting from 0."""
        for number, text in enumerate(text for chunk in self.table["text"].chunks for text in chunk.to_pylist()):
            # All other fields are as they came; there is at least `num_panels`.
            file.write(b'%s{"sequence_index": %d, %s' % (b",\n" if number else b"[\n", number, text[1:].encode()))
        file.write(b"\n]\n")


def read_pages(
    metadata: str,
    store_pages: int,
    file: Path | None = None,
    text: str | None = None,
    fault: Fault | None = None,
    remedy: str = "",
) -> Pages:
    """Reads the metadata once.

    Args:
        metadata: Path or URL of the metadata, a JSON list with one object a page, in any order. It may name some of the
            store's rows only.
        store_pages: Rows of the store.
        file: Where the table is written, to be mapped from there: texts may not fit comfortably in memory.
        text: What `text` holds: "rest", what is not a column of its own; "entry", the entry but for its row; None.
        fault: Is told of every entry that cannot be used and is left out; without it, the first one is an error.
        remedy: What else can be done about such an entry, for that error.

    Raises:
        ComicSeqDataError: The file is faulty, or an entry is and nobody is to be told.
    """

    def stop(page: str | None, row: int | None, entry: int | None, found: str, cure: str) -> None:
        place = f"entry {entry}" if page is None else f"page {page!r}"
        place += "" if row is None else f" (sequence_index {row})"
        raise ComicSeqDataError(f"{metadata}: {place}: {found}; {cure}{remedy}")

    fault = fault or stop
    seen, twice, has_characters = np.zeros(store_pages, bool), set(), False
    sink = pa.BufferOutputStream() if file is None else pa.OSFile(str(file), "wb")
    with sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        batch: list[tuple] = []
        for number, entry in zip(count(), iter_entries(metadata), strict=False):
            try:
                page = parse_entry(entry)
            except PageProblem as problem:
                name, row = entry.get("canonical_id") or entry.get("page_name"), entry.get("sequence_index")
                known = name if isinstance(name, str) else None, row if type(row) is int else None
                fault(*known, number, problem.found, problem.remedy)
                continue
            if page.row >= store_pages:
                cure = f"the store has rows 0 to {store_pages - 1}: correct it"
                fault(page.canonical_id, page.row, number, f"sequence_index {page.row} is out of range", cure)
                continue
            if seen[page.row]:
                twice.add(page.row)
                found = f"sequence_index {page.row} stands twice"
                fault(page.canonical_id, page.row, number, found, "give each page its own row")
                continue
            seen[page.row] = True
            has_characters |= entry.get("character_ids") is not None
            kept: dict[str, Any] | None = page.rest if text == "rest" else None
            if text == "entry":
                kept = {key: value for key, value in entry.items() if key != "sequence_index"}
            batch.append((*page[:5], None if kept is None else dump(kept).decode()))
            if len(batch) == _BATCH:
                writer.write_batch(_record_batch(batch))
                batch = []
        if batch:
            writer.write_batch(_record_batch(batch))
    source = pa.BufferReader(sink.getvalue()) if file is None else pa.memory_map(str(file))
    table = pa.ipc.open_stream(source).read_all()
    if (np.diff(table["row"].to_numpy()) < 0).any():
        table = table.sort_by("row")
    for row in sorted(twice):
        # Which of the entries is right cannot be known: the first, already among the pages, goes too.
        place = int(np.searchsorted(table["row"].to_numpy(), row))
        name = table["canonical_id"][place].as_py()
        fault(name, row, None, f"sequence_index {row} stands twice", "give each page its own row")
    if twice:
        table = table.filter(pa.array(~np.isin(table["row"].to_numpy(), list(twice))))
    return Pages(table, has_characters)


def _record_batch(pages: list[tuple]) -> pa.RecordBatch:
    columns = zip(*pages, strict=True)
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], _SCHEMA
    )
