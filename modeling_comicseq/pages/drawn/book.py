"""Books of drawn comics, and the folder that they are written to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from PIL import Image

from .page import HIGH, draw_page
from .story import tell
from .style import Style, draw_style


def draw_book(seed: int, book: int, pages: int, height: int) -> Iterator[tuple[Image.Image, dict[str, Any]]]:
    """The pages of a book: each picture, and its entry of `panels.json`.

    Args:
        seed: Seed of all books.
        book: The book's number.
        pages: How many pages it has.
        height: Height of a page in pixels.
    """
    style = draw_style(random.Random(f"comicseq drawn style {seed} {book}"))
    width = round(style.aspect * height)
    layouts = [_grid(random.Random(f"comicseq drawn layout {seed} {book} {page}"), style) for page in range(pages)]
    story = tell(seed, book, [len(layout) for layout in layouts])
    cast = {character.name: character for character in story.cast}
    for page, (moments, layout) in enumerate(zip(story.pages, layouts, strict=True)):
        rng = random.Random(f"comicseq drawn page {seed} {book} {page}")
        image, panels = draw_page(moments, layout, cast, style, (width, height), rng)
        yield (
            image,
            {
                "book_id": f"drawn-{seed}-{book:04d}",
                "page_index": page,
                "image": f"drawn-{seed}-{book:04d}/{page + 1:03d}.png",
                "size": [width, height],
                "direction": style.reading_direction,
                "panels": panels,
            },
        )


def _grid(rng: random.Random, style: Style) -> list[list[tuple[float, float]]]:
    """Rows of panels: the corners of each in units, in reading order."""
    wide, margin, gutter = HIGH * style.aspect, 26, 12
    rows = rng.choice((2, 3, 3, 4))
    heights = [rng.uniform(0.8, 1.3) for _ in range(rows)]
    panels, y = [], float(margin)
    for share in heights:
        high = (HIGH - 2 * margin - (rows - 1) * gutter) * share / sum(heights)
        columns = rng.choice((1, 2, 2, 3))
        widths = [rng.uniform(0.8, 1.3) for _ in range(columns)]
        x, row = float(margin), []
        for part in widths:
            across = (wide - 2 * margin - (columns - 1) * gutter) * part / sum(widths)
            row.append([(x, y), (x + across, y), (x + across, y + high), (x, y + high)])
            x += across + gutter
        panels += row[::-1] if style.reading_direction == "rtl" else row
        y += high + gutter
    return panels
