"""The Stage 5 store: what it holds."""

from __future__ import annotations

import numpy as np

from .arrays import ArraySpec, Layout

__all__ = ["ARRAYS", "stage5_layout"]

ARRAYS = ("contextualized_panels", "strip_embeddings", "panel_masks")
_CHUNK_ROWS = 256  # rows that are read at least
_PART_BYTES = 64 << 20  # uncompressed panel vectors that are written at a time: what an interrupt can cost


def stage5_layout(pages: int, slots: int, width: int, dtype: str, zarr_format: int) -> Layout:
    """The arrays of a Stage 5 store of so many pages with so many panel slots, of vectors of this width and dtype."""
    chunk_rows = min(_CHUNK_ROWS, pages)
    row_bytes = slots * width * np.dtype(dtype).itemsize
    chunks = min(_PART_BYTES // (row_bytes * chunk_rows), -(-pages // chunk_rows))
    arrays = {
        "contextualized_panels": ArraySpec((pages, slots, width), dtype, ("page", "slot", "dimension")),
        "strip_embeddings": ArraySpec((pages, width), dtype, ("page", "dimension")),
        "panel_masks": ArraySpec((pages, slots), "bool", ("page", "slot")),
    }
    return Layout(arrays, zarr_format, chunk_rows, chunk_rows * max(1, chunks))
