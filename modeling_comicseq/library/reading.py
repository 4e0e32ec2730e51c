"""Reads the pages of a Stage 3 store in order and checks them, ahead of the encoder."""

from __future__ import annotations

import numpy as np
import xxhash

from ..stores.pages import Faults, Pages
from ..stores.stage3 import Block, Stage3Store, describe_bad_vector, find_bad_pages, find_bad_vectors

__all__ = ["hash_panels", "read_panels"]

_PIECE_BYTES = 16 << 20  # bytes of the store that are read at a time


def read_panels(store: Stage3Store, pages: Pages, lo: int, hi: int) -> np.ndarray:
    """Panel vectors `(panels, P)` of pages lo to hi, one page after the other.

    Args:
        store: The store, with the array `panel_embeddings` alone.
        pages: Its pages.
        lo: First page.
        hi: Page after the last.

    Raises:
        ComicSeqDataError: A page has a fault.
    """
    step = store.chunk_rows * max(1, _PIECE_BYTES // (store.bytes_per_page * store.chunk_rows))
    rows, counts = pages.rows[lo:hi], pages.counts[lo:hi]
    pieces = []
    for start in (np.unique(rows // step) * step).tolist():
        inside = slice(*np.searchsorted(rows, (start, start + step)))
        block = store.read(start, min(store.pages, start + step))
        pieces.append(_take_pages(store, pages, block, rows[inside], counts[inside]))
    return np.concatenate(pieces)


def _take_pages(store: Stage3Store, pages: Pages, block: Block, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Panel vectors `(panels, P)` of the pages in these rows of a block, which have these numbers of panels."""

    faults = Faults(remedy=", or leave the page out of the metadata")

    def fault(row: int, found: str, remedy: str) -> None:
        faults.add(store.url, pages.name(row), row, None, found, remedy)

    for page, found, remedy in find_bad_pages(block, rows, counts):
        fault(int(rows[page]), found, remedy)
    owner, slot = np.nonzero(block.arrays["mask"][rows - block.lo])
    vectors = block.arrays["panel_embeddings"][rows[owner] - block.lo, slot]
    vectors = vectors.astype(vectors.dtype.newbyteorder("="), copy=False)
    not_finite, zero = find_bad_vectors(vectors)
    for bad in np.flatnonzero(not_finite | zero):
        found, remedy = describe_bad_vector(vectors[bad])
        fault(int(rows[owner[bad]]), f"panel_embeddings, panel {slot[bad]}, {found}", remedy)
    return vectors


def hash_panels(vectors: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> int:
    """Sum of the hashes of the pages' panels: the same for any chunking, batch size and number of processes."""
    data = memoryview(vectors.view(np.uint8)).cast("B") if len(vectors) else memoryview(b"")  # type: ignore[arg-type]
    bounds = np.concatenate(([0], np.cumsum(counts))) * vectors.strides[0]
    spans = zip(bounds[:-1].tolist(), bounds[1:].tolist(), rows.tolist(), strict=True)
    return sum(xxhash.xxh3_128_intdigest(data[lo:hi], seed=row) for lo, hi, row in spans) % 2**128
