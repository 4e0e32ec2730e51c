"""Layouts for the pages of a synthetic book, as many panels each as the page has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..layouts.drawn import Layout, draw_layout, draw_style

__all__ = ["book_layouts"]

_MOST_DRAWN = 10  # pages of one style, of which none has so many panels, before another is tried


def book_layouts(rng: np.random.Generator, sizes: Iterable[int]) -> list[Layout]:
    """A layout for each page of a book, of one style where that has pages of so many panels, and of one direction."""
    style, layouts = draw_style(rng), []
    for panels in sizes:
        layout, drawn = draw_layout(rng, style), 1
        while len(layout.boxes) != panels:
            other = style if drawn < _MOST_DRAWN else draw_style(rng, style.reading_direction)
            layout, drawn = draw_layout(rng, other), drawn + 1
        layouts.append(layout)
    return layouts
