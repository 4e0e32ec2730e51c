"""What stands on a card: a page or a panel, by its picture where the index has one, else by its words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import ComicSeqError
from .collection import Collection

__all__ = ["Card", "card", "hit_cards"]

_MOST_LETTERS = 280  # of the words on a card


@dataclass(frozen=True)
class Card:
    """A page or a panel, as it is shown.

    Attributes:
        page_id: The page.
        panel: The number of the panel, from 1; None for a page.
        picture: A data URL; None where there is none.
        text: What is said on it.
        score: What is written below it; None for nothing.
    """

    page_id: str
    panel: int | None
    picture: str | None
    text: str
    score: str | None = None


def card(collection: Collection, page_id: str, slot: int | None = None, score: str | None = None) -> Card:
    """The card of a page, or of the panel in a slot of it."""
    page = collection.page(page_id)
    if slot is not None and slot >= page.num_panels:
        slot = None
    text = page.words if slot is None else page.texts[slot]
    if len(text) > _MOST_LETTERS:
        text = f"{text[: _MOST_LETTERS - 1]}…"
    size = (260, 340) if slot is None else (300, 260)
    number = None if slot is None else slot + 1
    return Card(page_id, number, collection.picture(page_id, slot, *size), text, score)


def hit_cards(collection: Collection, hits: Iterable[Any]) -> list[Card]:
    """The cards of what a search found; pages that the index no longer knows are left out."""
    cards = []
    for hit in hits:
        try:
            cards.append(card(collection, hit.page_id, hit.slot, f"{hit.score:.3f}"))
        except ComicSeqError:
            continue
    return cards
