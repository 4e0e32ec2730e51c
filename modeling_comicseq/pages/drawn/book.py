"""Books of drawn comics, and the folder that they are written to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ...layouts.drawn import Layout, draw_layout
from .page import ACROSS, Corners, Page, annotate_page, draw_page, inner, plan_page
from .story import tell
from .style import Style, draw_style
from .world import Character

LEAST_SIDE, MOST_PANELS = 90, 12  # units; panels of a single page


@dataclass(frozen=True)
class PlannedPage:
    """A page of a book, all but its picture: its entry of `panels.json`, and what is needed to draw it."""

    entry: dict[str, Any]
    page: Page
    cast: dict[str, Character]
    style: Style
    unit: float  # pixels a unit

    def draw(self) -> Image.Image:
        """The page's picture."""
        width, height = self.entry["size"]
        return draw_page(self.page, self.cast, self.style, (width, height), self.unit)


def plan_book(seed: int, book: int, pages: int, width: int) -> Iterator[PlannedPage]:
    """The pages of a book, before they are drawn.

    Args:
        seed: Seed of all books.
        book: The book's number.
        pages: How many pages it has.
        width: Width of a single page in pixels; spreads are twice as wide.
    """
    style = draw_style(random.Random(f"comicseq drawn style {seed} {book}"))
    layouts = [_layout(style, np.random.default_rng([seed, book, page])) for page in range(pages)]
    story = tell(seed, book, [len(layout.boxes) for layout in layouts])
    cast = {character.name: character for character in story.cast}
    unit = width / ACROSS
    for number, (moments, layout) in enumerate(zip(story.pages, layouts, strict=True)):
        rng = random.Random(f"comicseq drawn page {seed} {book} {number}")
        across = width * (2 if layout.kind == "spread" else 1)
        size = across, round(across * layout.size[1] / layout.size[0])
        page = plan_page(moments, _in_units(layout), cast, style, rng)
        entry = {
            "book_id": f"drawn-{seed}-{book:04d}",
            "page_index": number,
            "image": f"drawn-{seed}-{book:04d}/{number + 1:03d}.png",
            "size": list(size),
            "direction": style.reading_direction,
            "panels": annotate_page(page, cast, size, unit),
        }
        yield PlannedPage(entry, page, cast, style, unit)


def draw_book(seed: int, book: int, pages: int, width: int) -> Iterator[tuple[Image.Image, dict[str, Any]]]:
    """The pages of a book: each picture, and its entry of `panels.json`; the arguments are those of `plan_book`."""
    for planned in plan_book(seed, book, pages, width):
        yield planned.draw(), planned.entry


def _layout(style: Style, rng: np.random.Generator) -> Layout:
    """A layout whose panels are large enough to show something; after some tries, whatever is drawn."""
    for _ in range(30):
        layout = draw_layout(rng, style.layout)
        sides = [min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in map(inner, _in_units(layout))]
        if min(sides) >= LEAST_SIDE and len(sides) <= MOST_PANELS * (2 if layout.kind == "spread" else 1):
            break
    return layout


def _in_units(layout: Layout) -> list[Corners]:
    """The corners of each panel in units, rounded: what is behind the comma may differ between machines."""
    across = ACROSS * (2 if layout.kind == "spread" else 1)
    down = across * layout.size[1] / layout.size[0]
    return [[(round(x * across, 1), round(y * down, 1)) for x, y in panel] for panel in layout.quadrilaterals.tolist()]
