"""Which box of an annotation belongs to which slot of a store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import PageProblem
from ..pages.annotations import form_of, read_boxes
from .slots import taken_panels

__all__ = ["LostBoxes", "slot_boxes"]

logger = logging.getLogger(__name__)

_EXACT = ("panel_boxes", "box")  # forms that are written for these panels


@dataclass
class LostBoxes:
    """Pages that are left without boxes, since theirs cannot be told from one another.

    Attributes:
        source: The file that they stand in.
        count: How many pages.
        first: The first one and what was found.
    """

    source: str
    count: int = 0
    first: str = ""

    def add(self, page: str, found: str) -> None:
        """Counts a page."""
        self.count += 1
        self.first = self.first or f"{page!r}: {found}"

    def tell(self, what: str = "boxes") -> None:
        """Warns of them, which are left without `what`."""
        if self.count:
            logger.warning(f"{self.source}: {self.count:,} pages are left without {what}, the first {self.first}")


def slot_boxes(
    entry: Mapping[str, Any], num_panels: int, slots: int | None, page: str, lost: LostBoxes
) -> np.ndarray | None:
    """The boxes of an entry's panels, slot by slot, flat, as shares of the page; zeros where none is known.

    Lists that models and detectors write need not be those of the store's panels: where it is not certain which box is
    whose, the page has none.

    Args:
        entry: The entry, in any of the forms of `pages.annotations`.
        num_panels: Panels of the page.
        slots: Panel slots of the store; None without one.
        page: Its `canonical_id`.
        lost: Where it is counted if its boxes are lost.

    Raises:
        PageProblem: A form that is written for the store's panels has a fault.
    """
    form = form_of(entry)
    if not form:
        return None
    try:
        boxes, _, in_slot_order = read_boxes(entry)
        if len(boxes) != num_panels and form in _EXACT:
            raise PageProblem(f"it has {len(boxes)} boxes for {num_panels} panels", "give one a panel, or null")
        if len(boxes) > 1 and not in_slot_order:
            raise PageProblem("the list of its panels says nothing of their order", "give panel_boxes")
        taken = taken_panels(np.asarray(boxes.any(-1)), num_panels, slots)
        if taken is None:
            raise PageProblem(f"it has {len(boxes)} boxes for {num_panels} panels", "give panel_boxes")
    except PageProblem as problem:
        if form in _EXACT:
            raise
        lost.add(page, problem.found)
        return None
    return boxes[taken].reshape(-1)
