"""The view of a page: its picture with boxes and numbers, its texts, and the nearest relatives of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .asking import in_one_sentence
from .cards import hit_cards
from .collection import Collection
from .render import render

__all__ = ["PanelMark", "marks", "show"]

_RELATIVES = 6
_WIDTH, _HEIGHT = 1000, 1400  # most pixels of the picture


@dataclass(frozen=True)
class PanelMark:
    """A panel as it stands on the picture.

    Attributes:
        number: Its place in the reading order, from 1.
        style: Where it stands, in CSS; empty where nobody knows.
        text: What is said in it.
    """

    number: int
    style: str
    text: str


def show(collection: Collection, page_id: Any, panel: Any = None) -> str:
    """The page, and the relatives of one of its panels, the first by default.

    Args:
        collection: Where.
        page_id: The page.
        panel: The number of the chosen panel, from 1.

    Raises:
        ComicSeqArgumentError: There is no such page or panel.
    """
    page = collection.page(page_id)
    slot = None
    if page.num_panels:
        slot = 0 if panel in (None, "") else collection.slot(page, panel)
    relatives, fault = [], ""
    if slot is not None:
        found, fault = in_one_sentence(
            lambda: collection.search(panel=(page.page_id, slot), level="panel", k=_RELATIVES + page.num_panels)
        )
        elsewhere = [hit for hit in found or [] if hit.page_id != page.page_id]
        relatives = hit_cards(collection, elsewhere[:_RELATIVES])
    pages = collection.book_pages(page.book_id)
    return render(
        "page",
        page=page,
        picture=collection.picture(page.page_id, None, _WIDTH, _HEIGHT),
        panels=marks(page.boxes, page.texts),
        has_boxes=bool(page.boxes),
        aspect="0.7",
        chosen=None if slot is None else slot + 1,
        relatives=relatives,
        fault=fault,
        place=pages.index(page.page_id) + 1 if page.page_id in pages else page.page_index + 1,
        count=max(len(pages), 1),
    )


def marks(boxes: Sequence[Sequence[float]], texts: Sequence[str]) -> list[PanelMark]:
    """The panels of a page in reading order; boxes are shares of the page, (n, 4) or none at all."""
    styles = [""] * len(texts)
    for slot, box in enumerate(boxes[: len(texts)]):
        x0, y0, x1, y1 = (100 * min(max(float(edge), 0.0), 1.0) for edge in box)
        if x1 > x0 and y1 > y0:
            styles[slot] = f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"
    return [PanelMark(number, *each) for number, each in enumerate(zip(styles, texts, strict=True), 1)]
