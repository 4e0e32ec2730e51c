"""Small data sets whose vectors say which panel they are, so that tests can see what a view shows."""

from __future__ import annotations

import numpy as np
from datasets import Dataset, Features, List, Value

from modeling_comicseq.data.panels import PanelTable

COLUMNS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")
WIDTH = 4


def vector(column: str, book: int, page: int, panel: int) -> np.ndarray:
    """A vector `(4,)` that no other panel or column has."""
    return np.asarray([1 + COLUMNS.index(column), 1 + book, 1 + page, 1 + panel], dtype=np.float32)


def box(book: int, page: int, panel: int) -> np.ndarray:
    """Where a panel stands `(4,)`, as no other panel does; its mirror image is exact. Every seventh is not known."""
    if (book + page + panel) % 7 == 6:
        return np.zeros(4, dtype=np.float32)
    left, top = (1 + panel) / 32, (1 + page) / 32
    return np.asarray([left, top, left + 1 / 64, top + (1 + book) / 64], dtype=np.float32)


def made_dataset(
    books: list[list[int]],
    columns: tuple[str, ...] = COLUMNS,
    order: np.ndarray | None = None,
    window: int | None = None,
    characters: list[list[list[list[str]] | None]] | None = None,
    boxes: bool = False,
) -> Dataset:
    """One row a page of each of `books` (panels of each page), or a row a window of `window` panels, one overlapping.

    `characters` gives each page of each book one list of ids a panel, or None. With `boxes`, every second book is read
    from right to left.
    """
    rows = []
    for book, pages in enumerate(books):
        for page, count in enumerate(pages):
            starts = (
                [0] if window is None or count <= window else [*range(0, count - window, window - 1), count - window]
            )
            for start in starts:
                end = count if window is None else min(count, start + window)
                row = {
                    "num_panels": end - start,
                    "book_id": f"book-{book:03d}",
                    "page_index": page,
                    "window_start": start,
                    "sequence_index": len(rows),
                }
                for column in columns:
                    vectors = [vector(column, book, page, panel) for panel in range(start, end)]
                    row[column] = np.concatenate(vectors).tolist()
                if boxes:
                    row["panel_boxes"] = np.concatenate(
                        [box(book, page, panel) for panel in range(start, end)]
                    ).tolist()
                    row["reading_direction"] = "rtl" if book % 2 else "ltr" if book % 4 else None
                if characters is not None:
                    ids = characters[book][page]
                    row["character_ids"] = ids if ids is None else ids[start:end]
                rows.append(row)
    features = {name: Value("int32") for name in ("num_panels", "page_index", "window_start")}
    features |= {"sequence_index": Value("int64"), "book_id": Value("string")}
    features |= {column: List(Value("float32")) for column in columns}
    if characters is not None:
        features["character_ids"] = List(List(Value("string")))
    if boxes:
        features |= {"panel_boxes": List(Value("float32")), "reading_direction": Value("string")}
    if order is not None:
        rows = [rows[i] for i in order]
    return Dataset.from_list(rows, features=Features(features))


def made_table(books: list[list[int]], **kwargs) -> PanelTable:
    return PanelTable(made_dataset(books, **kwargs))


def identities(vectors: np.ndarray) -> list:
    """(book, page, panel) of every vector `(..., 4)` as nested tuples, None for padding."""
    if vectors.ndim > 1:
        return [identities(part) for part in vectors]
    return None if not vectors.any() else tuple(int(x) - 1 for x in vectors[1:])
