"""A Stage 3 store in the form of the original pipeline, with faults of every kind planted in it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zarr

WIDTH, SLOTS, BOOKS, PAGES = 64, 8, 30, 12


class Planted(NamedTuple):
    """The store and what is wrong with it.

    Attributes:
        url: The store.
        metadata: Its metadata.
        faults: For each kind, the rows of the pages at fault, in order.
        kept: Rows that convert keeps when these are left out.
    """

    url: str
    metadata: str
    faults: dict[str, list[int]]
    kept: list[int]


def plant(folder: Path, places: bool = True, seed: int = 0) -> Planted:
    """Writes books of pages like "CalibreComics/Book 07/page_003.jpg" with garbage in the empty slots, and plants faults."""
    generator = np.random.default_rng(seed)
    books = np.repeat(np.arange(BOOKS), PAGES)
    counts = generator.integers(1, SLOTS + 1, len(books))
    noise = [generator.standard_normal((*shape, WIDTH)) for shape in ((BOOKS,), (len(books),), (len(books), SLOTS))]
    panels = 1 + 0.5 * noise[0][books][:, None] + 0.4 * noise[1][:, None] + 0.8 * noise[2]
    if places:  # the last two composition features of the original pipeline say where a panel stands
        panels[..., 0] += 12 * (np.arange(SLOTS) / np.maximum(counts - 1, 1)[:, None] - 0.5)
    paths = [f"CalibreComics/Book {book:02d}/page_{row % PAGES:03d}.jpg" for row, book in enumerate(books)]
    faults: dict[str, list[int]] = defaultdict(list)

    blank = generator.standard_normal(WIDTH)  # of a black picture, no text, no composition
    for row in (3, 5, 30, 77, 78, 160):
        counts[row], panels[row, 0] = 1, blank * (1 + 1e-4 * generator.standard_normal(WIDTH))
        faults["blank page"].append(row)
    for original, row in ((14, 20), (15, 100), (15, 101)):
        counts[row], panels[row] = counts[original], panels[original]
        faults["copy"].append(row)
    for original, row in ((25, 33), (40, 200), (200, 201)):
        counts[row] = counts[original]
        panels[row] = panels[original] + 0.1 * generator.standard_normal((SLOTS, WIDTH))
        faults["near copy"].append(row)
    for row in range(240, 245):  # another library has a book of the same name
        paths[row] = paths[row].replace("CalibreComics", "amazon")
        faults["merged book"].append(row)
    for row in range(258, 264):  # and so has a folder of the same path
        paths[row] = paths[row - 6]
        faults["merged book"].append(row)
    counts[271], panels[271] = counts[270], panels[270]
    paths[271] = paths[270]
    faults["listed twice"].append(271)
    panels[280, 0, 7] = np.nan
    panels[281, 0] = 0
    faults["unusable vectors"] += [280, 281]

    mask = np.arange(SLOTS) < counts[:, None]
    mask[290] = False
    counts[290] = 0
    faults["no panel"].append(290)
    entries = [
        {"sequence_index": row, "canonical_id": path, "num_panels": int(counts[row])} for row, path in enumerate(paths)
    ]
    entries[295]["num_panels"] += 1
    faults["wrong mask"].append(295)
    entries.append(dict(entries[300]))  # alike: one is enough
    entries.append(entries[301] | {"canonical_id": "CalibreComics/Book 25/other.jpg"})
    faults["listed twice"] += [300, 301, 301]
    unnamed = [310, 311, 320]
    entries = [entry for entry in entries if entry["sequence_index"] not in unnamed]

    folder.mkdir(parents=True, exist_ok=True)
    url = str(folder / "stage3_embeddings.zarr")
    group = zarr.open_group(url, mode="w", zarr_format=2)
    for name, values in {"panel_embeddings": panels.astype(np.float32), "panel_masks": mask}.items():
        chunks = (100, *values.shape[1:])
        group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks)[...] = values
    metadata = folder / "stage3_metadata.json"
    metadata.write_text(json.dumps(entries))
    gone = {row for rows in faults.values() for row in rows} - {300}
    kept = [row for row in range(len(books)) if row not in gone and row not in unnamed]
    return Planted(url, str(metadata), {kind: sorted(rows) for kind, rows in faults.items()}, kept)
