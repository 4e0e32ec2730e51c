"""Writes drawn layouts: as a list of pages with boxes, or as a data set for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..files import written_file, written_folder
from ..layouts.drawn import draw_layout, draw_style
from ..outputs import check_output, has_words
from ..progress import dataset_bars, progress_bar
from ..stores.splits import split_of

__all__ = ["drawn_pages", "write_layouts"]

_BOOK = 16  # pages whose layouts are of one style
_PART = 10_000  # pages that become a table at a time


def drawn_pages(
    pages: int, seed: int, reading_direction: str | None = None, jitter: float = 0.0, missed: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Draws pages, sixteen of a style each.

    Yields:
        `book_id`, `page_index`, `size` in pixels, `reading_direction`, `kind`, and `panel_boxes` as shares of the page, in
        reading order.
    """
    for page in range(pages):
        book, place = divmod(page, _BOOK)
        style = draw_style(np.random.default_rng((seed, book)), reading_direction)
        layout = draw_layout(np.random.default_rng((seed, book, place)), style, jitter=jitter, missed=missed)
        yield {
            "book_id": f"layouts-{seed}-{book:05d}",
            "page_index": place,
            "size": list(layout.size),
            "reading_direction": layout.reading_direction,
            "kind": layout.kind,
            "panel_boxes": layout.boxes,
        }


def write_layouts(
    output: Path,
    pages: int,
    seed: int = 0,
    reading_direction: str | None = None,
    jitter: float = 0.0,
    missed: float = 0.0,
    progress: bool = True,
    overwrite: bool = False,
) -> int:
    """Draws layouts and writes them to a JSON file or to a folder.

    Args:
        output: A file whose name ends in `.json`: a list in the form of a `panels.json`, boxes in pixels. Else a folder: a
            data set with the splits `train`, `validation` and `test` by book, boxes as shares in a flat list a page.
        pages: Number of pages.
        seed: The same seed draws the same pages.
        reading_direction: `ltr` or `rtl`; by default each book has one.
        jitter: Standard deviation of what each edge is off, in sides of its box.
        missed: Probability that a panel is missing.
        progress: Whether to show a progress bar.
        overwrite: Whether to replace an output that holds something else.

    Returns:
        The number of panels.

    Raises:
        ComicSeqDataError: `output` cannot be written.
    """
    drawn, panels = drawn_pages(pages, seed, reading_direction, jitter, missed), 0
    is_file = output.suffix == ".json"
    is_own = has_words('"panels": ', '"kind": ') if is_file else None
    check_output(output, overwrite=overwrite, folder=not is_file, is_own=is_own)
    with progress_bar("Drawing layouts", pages, progress) as advance:
        if is_file:
            with written_file(output) as beside, beside.open("w", encoding="utf-8") as file:
                for number, page in enumerate(drawn):
                    boxes = (page.pop("panel_boxes") * np.tile(page["size"], 2)).round(1)
                    panels += len(boxes)
                    page |= {"panels": [{"box": box} for box in boxes.tolist()]}
                    file.write(("[\n" if number == 0 else ",\n") + json.dumps(page))
                    advance(1)
                file.write("\n]\n")
        else:
            with written_folder(output, overwrite) as folder:
                panels = _write_dataset(folder, drawn, advance)
    return panels


def _write_dataset(folder: Path, drawn: Iterator[dict[str, Any]], advance: Any) -> int:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    schema = pa.schema(
        [
            ("book_id", pa.string()),
            ("page_index", pa.int32()),
            ("size", pa.list_(pa.int32(), 2)),
            ("reading_direction", pa.string()),
            ("kind", pa.string()),
            ("panel_boxes", pa.list_(pa.float32())),
        ]
    )
    rows: dict[str, list] = {"train": [], "validation": [], "test": []}
    tables: dict[str, list[pa.Table]] = {split: [schema.empty_table()] for split in rows}
    panels = 0
    for page in drawn:
        panels += len(page["panel_boxes"])
        split = split_of(page["book_id"])
        rows[split].append({**page, "panel_boxes": page["panel_boxes"].ravel()})
        if len(rows[split]) == _PART:
            tables[split].append(pa.Table.from_pylist(rows.pop(split), schema))
            rows[split] = []
        advance(1)
    for split, left in rows.items():
        tables[split].append(pa.Table.from_pylist(left, schema))
    # A split without a page could be written, but not be loaded again.
    whole = {split: pa.concat_tables(parts) for split, parts in tables.items()}
    with dataset_bars(False):  # it takes a moment
        DatasetDict({split: Dataset(table) for split, table in whole.items() if len(table)}).save_to_disk(folder)
    return panels
