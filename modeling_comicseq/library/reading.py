"""Reads the pages of a Stage 3 store in order, checks them and packs them, ahead of the encoder."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, NoReturn, TypeVar

import numpy as np
import xxhash

from ..errors import ComicSeqDataError
from ..stores.pages import Pages
from ..stores.stage3 import Block, Stage3Store, find_bad_masks, find_bad_vectors
from .packing import PackedPages, pack_pages

__all__ = ["PageBatch", "PageReader", "read_ahead"]

_PIECE_BYTES = 16 << 20  # bytes of the store that are read at a time
_Item = TypeVar("_Item")


class PageBatch(NamedTuple):
    """Pages that are encoded together.

    Attributes:
        lo: First page.
        hi: Page after the last.
        packed: Their panels.
        digest: Sum of the hashes of their panels.
    """

    lo: int
    hi: int
    packed: PackedPages
    digest: int


class PageReader:
    """Reads runs of pages.

    Args:
        store: The store, with the array `panel_embeddings` alone.
        pages: The pages to encode.
        window: Most panels that the model takes.
        stride: Panels between the starts of two windows of a longer page.
    """

    def __init__(self, store: Stage3Store, pages: Pages, window: int, stride: int):
        self.store, self.pages = store, pages
        self.window, self.stride = window, stride
        self._step = store.chunk_rows * max(1, _PIECE_BYTES // (store.bytes_per_page * store.chunk_rows))
        self._block: Block | None = None

    def batches(self, lo: int, hi: int, batch_size: int) -> Iterator[PageBatch]:
        """Pages lo to hi in batches, which depend on nothing but these numbers.

        Raises:
            ComicSeqDataError: A page has a fault.
        """
        vectors = np.concatenate([self._gather(start, stop) for start, stop in self._pieces(lo, hi)])
        bounds = np.concatenate(([0], np.cumsum(self.pages.counts[lo:hi])))
        for start in range(lo, hi, batch_size):
            stop = min(hi, start + batch_size)
            panels = vectors[bounds[start - lo] : bounds[stop - lo]]
            counts = self.pages.counts[start:stop]
            packed = pack_pages(panels, counts, self.window, self.stride)
            yield PageBatch(start, stop, packed, _digest(panels, counts, self.pages.rows[start:stop]))

    def _pieces(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """Splits pages lo to hi by the piece of the store they are in."""
        piece = self.pages.rows[lo:hi] // self._step
        bounds = lo + np.concatenate(([0], np.flatnonzero(np.diff(piece)) + 1, [hi - lo]))
        return zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)

    def _gather(self, lo: int, hi: int) -> np.ndarray:
        """Panel vectors `(panels, P)` of pages lo to hi, which are in one piece of the store."""
        start = int(self.pages.rows[lo]) // self._step * self._step
        if self._block is None or self._block.lo != start:
            self._block = self.store.read(start, min(self.store.pages, start + self._step))
        rows, counts = self.pages.rows[lo:hi], self.pages.counts[lo:hi]
        for failure in self._block.failures:
            lost = (rows >= failure.lo) & (rows < failure.hi) & (counts > failure.first_slot)
            for row in rows[lost]:
                self._fault(row, failure.found, "restore the store's file")
        local = rows - start
        mask = self._block.arrays["mask"][local]
        for page, found, remedy in find_bad_masks(mask, counts):
            self._fault(rows[page], found, remedy)
        slots = mask.shape[1]
        owner, slot = np.nonzero(mask)
        panels = self._block.arrays["panel_embeddings"]
        vectors = panels.reshape(-1, panels.shape[2])[local[owner] * slots + slot]
        vectors = vectors.astype(vectors.dtype.newbyteorder("="), copy=False)
        not_finite, zero = find_bad_vectors(vectors)
        for bad in np.flatnonzero(not_finite | zero):
            value = vectors[bad][~np.isfinite(vectors[bad])]
            found = f"holds {value[0]}" if len(value) else "is all zero"
            remedy = "compute this vector again" if len(value) else "compute this vector again or correct the mask"
            self._fault(rows[owner[bad]], f"panel_embeddings, panel {slot[bad]}, {found}", remedy)
        return vectors

    def _fault(self, row: int, found: str, remedy: str) -> NoReturn:
        raise ComicSeqDataError(
            f"{self.store.url}: page {self.pages.name(int(row))!r} (sequence_index {row}): {found}; {remedy},"
            " or leave the page out of the metadata"
        )


def _digest(vectors: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> int:
    """Sum of the hashes of the pages' panels: the same for any chunking, batch size and number of processes."""
    data = memoryview(vectors.view(np.uint8)).cast("B") if len(vectors) else memoryview(b"")  # type: ignore[arg-type]
    bounds = np.concatenate(([0], np.cumsum(counts))) * vectors.strides[0]
    spans = zip(bounds[:-1].tolist(), bounds[1:].tolist(), rows.tolist(), strict=True)
    return sum(xxhash.xxh3_128_intdigest(data[lo:hi], seed=row) for lo, hi, row in spans) % 2**128


def read_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Makes each item in a thread of its own while the one before is used; what it raises is raised here."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
