"""The pages that the metadata names: which rows of the store they are, and their entries for the output's metadata."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

import numpy as np

from ..errors import ComicSeqDataError
from .metadata import PageProblem, dump_all, iter_entries, parse_entry

__all__ = ["PageList", "page_name"]

_BATCH = 4096  # entries that are read and written at a time


class PageList:
    """The pages of a metadata file in the order of the store's rows, whatever order the file has.

    Args:
        metadata: JSON list with one object a page; path or URL. It may name some of the store's rows only.
        store_pages: Rows of the store.
        keep_entries: Keep the entries for `write_metadata`, in a temporary file: they may not fit in memory.

    Attributes:
        rows: Row of the store of each page, ascending `(pages,)`.
        counts: Panels of each page `(pages,)`.

    Raises:
        ComicSeqDataError: The file is faulty, or an entry is, or two have the same row.
    """

    def __init__(self, metadata: str, store_pages: int, keep_entries: bool = True):
        self._entries: IO[bytes] | None = tempfile.TemporaryFile() if keep_entries else None
        numbers, lengths = [], [np.zeros(1, np.int64)]
        entries = iter_entries(metadata)
        seen = np.zeros(store_pages, bool)
        at = 0
        while batch := list(islice(entries, _BATCH)):
            numbers.append(np.array([_check(metadata, at + n, entry, seen) for n, entry in enumerate(batch)]))
            if self._entries is not None:
                texts = dump_all(map(_without_row, batch))
                lengths.append(np.array(list(map(len, texts))))
                self._entries.write(b"".join(texts))
            at += len(batch)
        rows, counts = np.concatenate(numbers).T
        self._order = np.argsort(rows)
        self._bounds = np.cumsum(np.concatenate(lengths))
        self.rows, self.counts = rows[self._order], counts[self._order]

    def __len__(self) -> int:
        return len(self.rows)

    def write_metadata(self, file: IO[bytes]) -> None:
        """Writes the entries as a JSON list in the order of the pages, `sequence_index` counting from 0."""
        for number, text in enumerate(self._texts()):
            # All other fields are as they came; there is at least `num_panels`.
            file.write(b'%s{"sequence_index": %d, %s' % (b",\n" if number else b"[\n", number, text[1:]))
        file.write(b"\n]\n")

    def _texts(self) -> Iterator[bytes]:
        assert self._entries is not None
        breaks = np.flatnonzero(np.diff(self._order) != 1) + 1
        for run in np.split(self._order, breaks):  # entries that follow each other in the file are read in one go
            for piece in np.array_split(run, -(-len(run) // _BATCH)):
                bounds = self._bounds[piece[0] : piece[-1] + 2]
                self._entries.seek(bounds[0])
                text = self._entries.read(int(bounds[-1] - bounds[0]))
                ends = (bounds - bounds[0]).tolist()
                yield from (text[lo:hi] for lo, hi in zip(ends[:-1], ends[1:], strict=True))


def _check(metadata: str, number: int, entry: dict[str, Any], seen: np.ndarray) -> tuple[int, int]:
    """Row and number of panels of an entry."""
    try:
        page = parse_entry(dict(entry))  # which takes its argument apart
    except PageProblem as problem:
        name = entry.get("canonical_id") or entry.get("page_name") or f"entry {number}"
        raise ComicSeqDataError(f"{metadata}: page {name!r}: {problem}") from None
    place = f"{metadata}: page {page.canonical_id!r}: sequence_index {page.row}"
    if page.row >= len(seen):
        raise ComicSeqDataError(f"{place} is out of range; the store has rows 0 to {len(seen) - 1}: correct it")
    if seen[page.row]:
        raise ComicSeqDataError(f"{place} stands twice; give each page its own row")
    seen[page.row] = True
    return page.row, page.num_panels


def _without_row(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "sequence_index"}


def page_name(metadata: str, row: int) -> str:
    """`canonical_id` of the page in this row of the store, for a message."""
    for entry in iter_entries(metadata):
        if entry.get("sequence_index") == row:
            return parse_entry(entry).canonical_id
    return f"row {row}"
