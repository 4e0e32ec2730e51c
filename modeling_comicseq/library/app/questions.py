"""Questions about a page of the index: what comes next, which panel is missing; the wrong answers are of the same book."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ComicSeqArgumentError
from .collection import Collection, Page

__all__ = ["KINDS", "NUM_CANDIDATES", "Question", "draw_question"]

KINDS = ("next", "missing")
NUM_CANDIDATES = 5


@dataclass(frozen=True)
class Question:
    """A question about a panel that was taken out of its page.

    Attributes:
        kind: `next`, whose context is the panels before, or `missing`, whose context is all others.
        page: The page.
        slot: The panel.
        candidates: Page and slot of each candidate, in the order they are shown.
        right: Place of the right one.
    """

    kind: str
    page: Page
    slot: int
    candidates: tuple[tuple[str, int], ...]
    right: int

    @property
    def context(self) -> list[int]:
        """The slots of the panels that are shown."""
        return [
            slot
            for slot in range(self.page.num_panels)
            if slot < self.slot or (self.kind != "next" and slot != self.slot)
        ]


def draw_question(collection: Collection, kind: Any, page_id: Any, panel: Any = None) -> Question:
    """Draws the wrong answers, the same ones for the same panel.

    They are drawn as the evaluation's `same_book`: one panel from each of the nearest other pages of the book, a second one
    where pages are too few. Where the book has too few panels there are fewer; none says the same as the right one.

    Args:
        collection: Where.
        kind: One of `KINDS`.
        page_id: The page.
        panel: The number of the asked panel, from 1; by default the last one.

    Raises:
        ComicSeqArgumentError: There is no such question.
    """
    if kind not in KINDS:
        raise ComicSeqArgumentError(f"The question is {str(kind)[:20]!r} but must be one of {', '.join(KINDS)}.")
    page = collection.page(page_id)
    if page.num_panels < 2:
        raise ComicSeqArgumentError(f"Page {page.page_id!r} has no second panel to ask for: choose another page.")
    slot = page.num_panels - 1 if panel in (None, "") else collection.slot(page, panel)
    if kind == "next" and slot == 0:
        raise ComicSeqArgumentError("Nothing comes before panel 1: ask for a later one.")
    draws = np.random.default_rng(zlib.crc32(f"{page.page_id} {slot}".encode()))
    wrong = _wrong(collection, page, slot, draws)
    candidates = [(page.page_id, slot), *wrong]
    order = draws.permutation(len(candidates)).tolist()
    shuffled = tuple(candidates[place] for place in order)
    return Question(kind, page, slot, shuffled, order.index(0))


def _wrong(collection: Collection, page: Page, slot: int, draws: np.random.Generator) -> list[tuple[str, int]]:
    pages = collection.book_pages(page.book_id)
    own = pages.index(page.page_id) if page.page_id in pages else 0
    sides = draws.random(len(pages)) < 0.5  # which of two pages of equal distance is nearer is a coin toss
    near = sorted(
        range(len(pages)), key=lambda place: (abs(place - own), (place > own) == bool(sides[abs(place - own)]))
    )
    asked = page.texts[slot]
    found: list[list[tuple[str, int]]] = []
    for place in near[: 8 * NUM_CANDIDATES]:
        other = collection.page(pages[place])
        if other.page_id == page.page_id:
            continue
        slots = [
            each for each in draws.permutation(other.num_panels).tolist() if not asked or other.texts[each] != asked
        ]
        found.append([(other.page_id, each) for each in slots])
        if len(found) >= NUM_CANDIDATES - 1 and sum(map(len, found)) >= NUM_CANDIDATES - 1:
            break
    rounds = max(map(len, found), default=0)
    in_turn = [panels[number] for number in range(rounds) for panels in found if number < len(panels)]
    return in_turn[: NUM_CANDIDATES - 1]
