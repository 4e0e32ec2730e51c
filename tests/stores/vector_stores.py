"""Small Stage 5 stores for the tests, written with plain zarr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zarr


class Made(NamedTuple):
    """A store and what was written to it."""

    url: str
    metadata: str
    panels: np.ndarray
    strips: np.ndarray
    mask: np.ndarray
    ids: list[str]
    books: list[str]


def write_store(
    folder: Path,
    panels: np.ndarray,
    mask: np.ndarray,
    books: np.ndarray,
    strips: np.ndarray | None = None,
    stage: int = 5,
    chunk_rows: int = 16,
) -> Made:
    """Writes panel vectors (pages, slots, D) of pages of these books; strips are the means where not given."""
    folder.mkdir(parents=True, exist_ok=True)
    if strips is None:
        strips = np.where(mask[..., None], panels, 0).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)[:, None]
    arrays = {"panel_masks": mask}
    if stage == 5:
        arrays |= {"contextualized_panels": panels, "strip_embeddings": strips}
    else:
        arrays |= {"panel_embeddings": panels}
    url = str(folder / f"stage{stage}.zarr")
    group = zarr.open_group(url, mode="w")
    for name, values in arrays.items():
        chunks = (min(chunk_rows, len(values)), *values.shape[1:])
        group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks)[...] = values
    names = [f"book {book}" for book in books]
    ids = [f"library/{name}/page {row}.jpg" for row, name in enumerate(names)]
    entries = [
        {"sequence_index": row, "num_panels": int(count), "canonical_id": page}
        for row, (count, page) in enumerate(zip(mask.sum(axis=1), ids, strict=True))
    ]
    metadata = folder / f"stage{stage}_metadata.json"
    metadata.write_text(json.dumps(entries), encoding="utf-8")
    return Made(url, str(metadata), panels, strips, mask, ids, names)


def random_store(folder: Path, pages: int = 50, slots: int = 5, width: int = 8, seed: int = 0, **options) -> Made:
    """Random panels and strips that have nothing to do with each other; empty slots hold garbage."""
    generator = np.random.default_rng(seed)
    mask = np.arange(slots) < generator.integers(1, slots + 1, pages)[:, None]
    panels = generator.standard_normal((pages, slots, width), dtype=np.float32)
    panels[~mask] = np.nan
    strips = generator.standard_normal((pages, width), dtype=np.float32)
    return write_store(folder, panels, mask, np.arange(pages) // 5, strips, **options)
