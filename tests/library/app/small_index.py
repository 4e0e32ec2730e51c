"""An index in memory with what the app asks of one, for the tests of views that need no engine."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from modeling_comicseq.errors import ComicSeqDataError

BOXES = [[0.05, 0.05, 0.95, 0.48], [0.05, 0.52, 0.48, 0.95], [0.52, 0.52, 0.95, 0.95]]


class Hit(NamedTuple):
    rank: int
    page_id: str
    book_id: str
    row: int
    slot: int | None
    score: float
    fields: dict[str, Any]


def drawn_page(shade: int, size: tuple[int, int] = (240, 340)) -> bytes:
    """A PNG of a page with three panels."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, (x0, y0, x1, y1) in enumerate(BOXES):
        box = (x0 * size[0], y0 * size[1], x1 * size[0], y1 * size[1])
        draw.rectangle(box, fill=(shade, 60 * number, 200 - shade // 2), outline="black", width=3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class SmallIndex:
    """Pages with random vectors; `search` ranks by cosine and knows `where` by book alone."""

    def __init__(
        self, books: int = 3, pages: int = 4, pictures: bool = True, boxes: bool = True, texts: list[str] | None = None
    ):
        random = np.random.default_rng(0)
        self.asked: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        for book in range(books):
            for page in range(pages):
                name = f"book {book}/page_{page:02d}.png"
                row = {
                    "row": len(self.rows),
                    "page_id": name,
                    "book_id": f"book {book}",
                    "page_index": page,
                    "num_panels": 3,
                }
                row["panel_boxes"] = BOXES if boxes else None
                row["texts"] = texts or [[f"says {book}.{page}.{slot}", "and more"] for slot in range(3)]
                row["reading_direction"] = "rtl" if book == 1 else "ltr"
                row["picture"] = drawn_page(40 * page + 20 * book) if pictures else None
                self.rows.append(row)
        self.strips = random.normal(size=(len(self.rows), 8)).astype(np.float32)
        self.panels = random.normal(size=(len(self.rows), 3, 8)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, most: int) -> tuple[list[dict[str, Any]], np.ndarray]:
        return self.rows[:most], self.strips[:most]

    def vectors(self, level: str, where: str) -> tuple[np.ndarray, list[dict[str, Any]]]:
        row = int(where.removeprefix("row = "))
        return self.panels[row], [{"row": row, "slot": slot} for slot in range(3)]

    def page(self, page_id: str) -> dict[str, Any]:
        for row in self.rows:
            if row["page_id"] == page_id:
                return row
        raise ComicSeqDataError(f"There is no page {page_id!r} in the index.")

    def pages(self, book_id: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.rows if book_id in (None, row["book_id"])]

    def books(self) -> list[str]:
        return list(dict.fromkeys(row["book_id"] for row in self.rows))

    def search(
        self,
        text=None,
        image=None,
        page=None,
        panel=None,
        vector=None,
        words=None,
        where=None,
        level="strip",
        k=10,
        other_books=False,
    ) -> list[Hit]:
        query = {"text": text, "image": image, "page": page, "panel": panel, "words": words, "where": where}
        self.asked.append(
            {name: value for name, value in query.items() if value is not None} | {"level": level, "k": k}
        )
        asked = page if panel is None else panel[0]
        found = []
        for number, row in enumerate(self.rows):
            if row["page_id"] == asked or (where and where != f"book_id = '{row['book_id']}'"):
                continue
            for slot in range(3) if level == "panel" else (None,):
                found.append((row, number, slot, float(self.strips[number, 0])))
        found.sort(key=lambda each: -each[3])
        return [
            Hit(rank, row["page_id"], row["book_id"], number, slot, score, row)
            for rank, (row, number, slot, score) in enumerate(found[:k], 1)
        ]
