"""The view of search: words, a picture or a page in, cards out."""

from __future__ import annotations

from typing import Any

from ...errors import ComicSeqArgumentError, counted
from ..index.engine import quote
from ..index.searching import LEVELS
from .cards import hit_cards
from .collection import Collection
from .pictures import read_upload
from .render import render

__all__ = ["WAYS", "find", "like_name", "parse_like"]

WAYS = ("both", "lettering")  # what words are compared with
_MOST = 60  # results
_LONGEST = 2000  # letters of a query


def find(
    collection: Collection,
    words: Any = "",
    picture: Any = None,
    like: Any = "",
    level: Any = "strip",
    way: Any = "both",
    book: Any = "",
    other_books: Any = False,
    k: Any = 12,
) -> str:
    """Finds pages or panels; several queries together are one.

    Args:
        collection: Where.
        words: What is searched, in words.
        picture: A picture as a data URL.
        like: A page, or a panel of it, as `like_name` names it.
        level: `strip`, `panel` or `book`.
        way: `both`, what pages mean and what is written on them, or `lettering` alone.
        book: A book to search in; empty for all.
        other_books: Whether pages of the query's own book are left out.
        k: How many.

    Returns:
        The cards, as HTML.

    Raises:
        ComicSeqArgumentError: The query is not possible.
    """
    words, like, book = (each.strip() if isinstance(each, str) else "" for each in (words, like, book))
    if len(words) > _LONGEST:
        raise ComicSeqArgumentError(f"The query has {len(words):,} letters: search with at most {_LONGEST:,}.")
    if level not in LEVELS or way not in WAYS:
        raise ComicSeqArgumentError(f"Find one of {', '.join(LEVELS)}, by one of {', '.join(WAYS)}.")
    try:
        k = min(max(int(k), 1), _MOST)
    except (TypeError, ValueError, OverflowError):
        raise ComicSeqArgumentError(f"The number of results must be a whole number from 1 to {_MOST}.") from None
    query: dict[str, Any] = {}
    if words:
        query["words" if way == "lettering" else "text"] = words
    image = read_upload(picture)
    if image is not None:
        query["image"] = image
    if like:
        page_id, slot = parse_like(collection, like)
        query |= {"page": page_id} if slot is None else {"panel": (page_id, slot)}
    if not query:
        raise ComicSeqArgumentError("Say what to search: some words, a picture, or a page.")
    if book:
        if book not in collection.books:
            raise ComicSeqArgumentError(f"There is no book {book[:100]!r} in the index: choose one of its books.")
        query["where"] = f"book_id = {quote(book)}"
    hits = collection.search(**query, level=level, k=k, other_books=bool(other_books and like))
    cards = hit_cards(collection, hits)
    noun = {"strip": "page", "panel": "panel", "book": "page"}[level]
    said = " and ".join(_said(name, value) for name, value in query.items() if name != "where")
    heading = f"{counted(len(cards), noun)} nearest to {said}" if cards else f"Nothing was found for {said}."
    if level == "book" and cards:
        heading += ", the best of each book"
    return render("results", heading=heading, cards=cards)


def like_name(page_id: str, panel: int | None) -> str:
    """What people see of a query by example."""
    return page_id if panel is None else f"{page_id} panel {panel}"


def parse_like(collection: Collection, like: str) -> tuple[str, int | None]:
    """The page, and the slot of the panel, that `like_name` named.

    Raises:
        ComicSeqArgumentError: The index has no such page, or the page no such panel.
    """
    page_id, found, number = like.rpartition(" panel ")
    if found and number.isdecimal():
        page = collection.page(page_id)
        return page_id, collection.slot(page, number)
    collection.page(like)
    return like, None


def _said(name: str, value: Any) -> str:
    if name in ("text", "words"):
        return f"“{value}”"
    if name == "image":
        return "your picture"
    return like_name(value, None) if name == "page" else like_name(value[0], value[1] + 1)
