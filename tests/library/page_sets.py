"""Small data sets of pages for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from modeling_comicseq.pages.page_dataset import page_features

from ..pages.made_pages import content

SIZE = (40, 60)
COUNTS = (2, 3, 0, 1, 4, 2, 1, 3, 2, 2)


def picture(seed: int) -> Image.Image:
    """A page of coloured noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    return Image.fromarray(pixels)


def boxes_of(count: int) -> list[list[float]]:
    """Boxes of panels, one below the other, of whole pixels."""
    edges = np.linspace(0, SIZE[1], count + 1).astype(int) if count else [0]
    return [[0.1, top / SIZE[1], 0.9, bottom / SIZE[1]] for top, bottom in zip(edges[:-1], edges[1:], strict=True)]


def rows_of(counts: tuple[int, ...] = COUNTS, **changes: Any) -> list[dict[str, Any]]:
    """Rows of pages of two books; of every third panel no text is known, captions and characters of every second page."""
    rows = []
    for number, count in enumerate(counts):
        is_told = number % 2 == 0
        row: dict[str, Any] = dict.fromkeys(page_features())
        row |= {"book_id": f"Book {number % 2}", "page_name": f"{number}.png", "page_index": number // 2}
        row |= {"image": {"bytes": content(picture(number)), "path": f"{number}.png"}, "size": list(SIZE)}
        row |= {"reading_direction": "rtl" if number % 2 else None, "boxes": boxes_of(count)}
        row["texts"] = [[] if panel % 3 == 2 else [f"page {number}", f"panel {panel}"] for panel in range(count)]
        row["captions"] = [f"caption {number} {panel}" for panel in range(count)] if is_told else None
        row["character_ids"] = [[f"c{panel}"] for panel in range(count)] if is_told else None
        rows.append(row | changes)
    return rows


def write_pages(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows as `ingest` does, without the columns of which none of them says anything."""
    features = page_features()
    used = {name for row in rows for name, value in row.items() if value is not None} | {
        "book_id",
        "page_name",
        "image",
    }
    Dataset.from_list(rows, features=features).select_columns(
        [name for name in features if name in used]
    ).save_to_disk(folder)
    return folder
