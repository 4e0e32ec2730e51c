"""Which of the panels that are described of a page stand in which slots of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import PageProblem
from ..pages.annotations import PageAnnotation, PanelAnnotation, has_place_for_boxes

__all__ = ["UnknownOrder", "panels_in_slots", "taken_panels"]


class UnknownOrder(PageProblem):
    """The panels of a page are told, but not which is which."""


def taken_panels(known: Sequence[bool] | np.ndarray, num_panels: int, slots: int | None) -> np.ndarray | None:
    """The numbers of the panels that stand in the slots of a page, in their order.

    All, if there are as many; else as the original pipeline takes them: no more than there are slots, and of these no panel
    without a usable box.

    Args:
        known: Of each panel whether it has a box.
        num_panels: Panels of the page.
        slots: Panel slots of the store; None without one.

    Returns:
        The numbers; None where neither gives `num_panels`.
    """
    every = np.arange(len(known))
    taken = every[:slots]
    boxed = taken[np.asarray(known, bool)[:slots]]
    return next((each for each in (every, taken, boxed) if len(each) == num_panels), None)


def panels_in_slots(
    entry: Mapping[str, Any], annotation: PageAnnotation, num_panels: int, slots: int
) -> list[PanelAnnotation]:
    """The panels of a page slot by slot; none for a page without panels, which the original pipeline stores as a blank one.

    Args:
        entry: What is given of the page.
        annotation: The same, understood.
        num_panels: Panels of the page by the store's metadata.
        slots: Panel slots of the store.

    Raises:
        PageProblem: It cannot be told which panels these are.
    """
    panels = annotation.panels
    known = [panel.box is not None for panel in panels]
    if num_panels == 1 and not any(known) and (not panels or has_place_for_boxes(entry)):
        return []
    taken = taken_panels(known, num_panels, slots)
    if taken is None:
        with_box = "" if all(known) or not any(known) else f", {sum(known)} of them with a box,"
        found = f"{len(panels)} panels are described{with_box} but the store has {num_panels}"
        raise PageProblem(found, "describe the panels that were encoded, or leave the page out of both")
    if len(panels) > 1 and not annotation.in_slot_order:
        raise UnknownOrder("the list of its panels says nothing of their order", "give them in reading order")
    return [panels[number] for number in taken]
