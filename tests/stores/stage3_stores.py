"""Small Stage 3 stores for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

WIDTHS = {"panel_embeddings": 8, "visual_embeddings": 6, "text_embeddings": 4, "caption_embeddings": 4}


class Source(NamedTuple):
    """A store, its metadata and what was written to it."""

    embeddings: str
    metadata: str
    entries: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]
    mask: np.ndarray

    def write_metadata(self, entries: list[dict[str, Any]]) -> None:
        Path(self.metadata).write_text(json.dumps(entries), encoding="utf-8")

    def array(self, name: str) -> zarr.Array:
        """The array of the store, to write faults into."""
        return zarr.open_group(self.embeddings, mode="r+")[name]


def make_arrays(pages: int, slots: int, dtype: str, counts: np.ndarray, names=tuple(WIDTHS)) -> dict[str, np.ndarray]:
    """Random vectors; the padded slots hold garbage."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((pages, slots, WIDTHS[name])).astype(dtype) for name in names}
    arrays["page_caption_embeddings"] = rng.standard_normal((pages, 4)).astype(dtype)
    for name in names:
        arrays[name][np.arange(slots) >= counts[:, None]] = np.nan
    return arrays


def make_source(
    folder: Path,
    *,
    pages: int = 24,
    slots: int = 6,
    dtype: str = "float16",
    zarr_format: int = 3,
    chunk_rows: int = 4,
    shard_rows: int | None = None,
    mask_name: str = "panel_masks",
    names=tuple(WIDTHS),
    pages_per_book: int = 4,
) -> Source:
    """Writes a store of books of a few pages, 1 to `slots` panels each, and its metadata in the store's order."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = 1 + np.arange(pages) * 7 % slots
    arrays = make_arrays(pages, slots, dtype, counts, names)
    mask = np.arange(slots) < counts[:, None]
    embeddings = str(folder / "stage3_embeddings.zarr")
    group = zarr.open_group(embeddings, mode="w", zarr_format=zarr_format)
    for name, values in {**arrays, mask_name: mask}.items():
        more = {"shards": (shard_rows, *values.shape[1:])} if shard_rows else {}
        chunks = (chunk_rows, *values.shape[1:])
        group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks, **more)[:] = values
    group.attrs["encoders"] = {"visual": "some-encoder"}
    entries = [
        {
            "sequence_index": row,
            "num_panels": int(counts[row]),
            "canonical_id": f"library/Book {row // pages_per_book:02d}/page {row % pages_per_book + 8}.jpg",
            "texts": [f"text {row} „ü“"] * int(counts[row]),
        }
        for row in range(pages)
    ]
    source = Source(embeddings, str(folder / "stage3_metadata.json"), entries, arrays, mask)
    source.write_metadata(entries)
    return source


def vectors_of(row: dict[str, Any], name: str, dtype: str = "float16") -> np.ndarray:
    """A row's vectors, shape (num_panels, width)."""
    return np.array(row[name], dtype=dtype).reshape(row["num_panels"], -1)
