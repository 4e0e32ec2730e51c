"""The view of the map: pages as points in the two main directions of their strip vectors, coloured by book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import counted
from ..embedding_map import COLOURS, project
from .collection import Collection
from .render import render

__all__ = ["MapPoint", "draw", "place_points"]

MOST_POINTS = 1500
_WIDTH, _HEIGHT, _MARGIN = 1000.0, 640.0, 24.0
_SEED = 0
_OTHER = "#9a9a9a"


@dataclass(frozen=True)
class MapPoint:
    """A page on the map.

    Attributes:
        page_id: The page.
        x: Its place in the picture, from the left.
        y: Its place, from the top.
        colour: That of its book.
    """

    page_id: str
    x: float
    y: float
    colour: str


def draw(collection: Collection) -> str:
    """The map of a collection, as HTML; of a large one, of pages that were drawn from it."""
    page_ids, books, vectors = collection.sample(MOST_POINTS)
    if not len(page_ids):
        return render("say", sentence="The index has no page with a vector.", is_fault=False)
    points, explained = project(vectors)
    colours = book_colours(books)
    placed = place_points(points, page_ids, [colours.get(book, _OTHER) for book in books])
    of_all = f" of {collection.num_pages:,}" if collection.num_pages > len(page_ids) else ""
    heading = (
        f"{counted(len(page_ids), 'page')}{of_all} by their vectors: near points are pages that the model reads alike."
        f" The two directions hold {100 * explained[0]:.0f} % and {100 * explained[1]:.0f} % of the variance."
    )
    legend = [(book, colour) for book, colour in colours.items()]
    return render(
        "map",
        heading=heading,
        points=placed,
        legend=legend,
        others=_OTHER if set(books) - set(colours) else None,
        width=int(_WIDTH),
        height=int(_HEIGHT),
    )


def book_colours(books: Sequence[str]) -> dict[str, str]:
    """A colour for each of the books with most pages."""
    return {book: colour for (book, _), colour in zip(Counter(books).most_common(), COLOURS, strict=False)}


def place_points(points: np.ndarray, page_ids: Sequence[str], colours: Sequence[str]) -> list[MapPoint]:
    """Points `(N, 2)` on a picture of a fixed size, in one scale for both directions."""
    low, high = points.min(axis=0), points.max(axis=0)
    free = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
    scale = (free / np.maximum(high - low, 1e-12)).min() if (high > low).any() else 1.0
    shown = (points - (low + high) / 2) * scale + np.array([_WIDTH, _HEIGHT]) / 2
    shown[:, 1] = _HEIGHT - shown[:, 1]
    rows = zip(page_ids, shown.round(1).tolist(), colours, strict=True)
    return [MapPoint(page_id, x, y, colour) for page_id, (x, y), colour in rows]
