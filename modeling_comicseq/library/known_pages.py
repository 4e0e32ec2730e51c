"""What is known of pages, from a data set of pages or from the metadata of a store: books, panels, texts, speakers."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import PageProblem
from ..pages.annotations import PanelAnnotation, form_of, read_annotation, read_direction
from ..pages.matching import PageIndex, path_parts
from ..pages.page_set import PageSet
from ..stores.names import normal_form
from ..stores.pages import Pages
from ..stores.placement import natural_order

__all__ = ["KnownPage", "KnownPages", "PagesOfMetadata", "PagesOfSet"]

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # as BCP 47 writes them


@dataclass(frozen=True)
class KnownPage:
    """A page.

    Attributes:
        page_id: Its `canonical_id`.
        book_id: Its book.
        page_name: Its name in the book.
        reading_direction: "ltr" or "rtl"; None where nobody tells.
        language: A language tag, as "en"; None where nobody tells.
        panels: What is known of its panels, in reading order.
    """

    page_id: str
    book_id: str
    page_name: str
    reading_direction: str | None
    language: str | None
    panels: Sequence[PanelAnnotation]


class KnownPages:
    """Pages that can be asked for by their place.

    Args:
        book_ids: The book of each.
        page_ids: The `canonical_id` of each.
        orders: Its place in the book, where that is told.
    """

    def __init__(self, book_ids: Sequence[str], page_ids: Sequence[str], orders: Sequence[int | None] | None = None):
        self.page_ids = page_ids
        of_book: dict[str, list[int]] = defaultdict(list)
        spelling: dict[str, str] = {}
        for place, book in enumerate(book_ids):
            of_book[spelling.setdefault(normal_form(book), book)].append(place)
        self.books: dict[str, list[int]] = {}
        for book, places in of_book.items():
            order = natural_order([page_ids[place] for place in places])
            self.books[book] = [places[each] for each in order]
            told = {} if orders is None else {place: orders[place] for place in places}
            known = {place: order for place, order in told.items() if order is not None}
            if len(known) == len(places):
                self.books[book].sort(key=known.__getitem__)

    def page(self, place: int) -> KnownPage:
        """The page at this place."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.page_ids)

    def indexes(self) -> np.ndarray:
        """The place of each page in its book, from 0 on `(pages,)`."""
        indexes = np.zeros(len(self), np.int64)
        for places in self.books.values():
            indexes[places] = np.arange(len(places))
        return indexes


class PagesOfMetadata(KnownPages):
    """The pages of a store's metadata.

    Args:
        pages: As `read_pages` gives them, `text` being the whole "entry".
    """

    def __init__(self, pages: Pages):
        orders = [_order(text) for chunk in pages.table["text"].chunks for text in chunk.to_pylist()]
        super().__init__(pages.strings("book_id"), pages.strings("canonical_id"), orders)
        self.table, self.counts = pages.table, pages.counts
        self.has_boxes, self.has_directions = pages.has("panel_boxes"), pages.has("reading_direction")

    def page(self, place: int) -> KnownPage:
        """The page at this place; of a list of panels that need not be the store's, nothing is taken."""
        row = self.table.slice(place, 1).to_pylist()[0]
        entry, count = json.loads(row["text"]), int(self.counts[place])
        boxes = row["panel_boxes"] if self.has_boxes else None
        return KnownPage(
            row["canonical_id"],
            row["book_id"],
            row["page_name"],
            row["reading_direction"] or _direction(entry),
            _language(entry),
            _panels(entry, count, boxes),
        )


class PagesOfSet(KnownPages):
    """The pages of a data set of pages."""

    def __init__(self, source: str):
        self.data = PageSet.open(source)
        columns = self.data.dataset.column_names
        wanted = [name for name in ("book_id", "page_name", "page_index") if name in columns]
        facts = self.data.dataset.select_columns(wanted).with_format("arrow")[:]
        books, names = ([str(each) for each in facts[name].to_pylist()] for name in wanted[:2])
        orders = facts["page_index"].to_pylist() if "page_index" in wanted else None
        super().__init__(books, [f"{book}/{name}" for book, name in zip(books, names, strict=True)], orders)
        self.index = PageIndex()
        for place, (book, name) in enumerate(zip(books, names, strict=True)):
            self.index.add(place, path_parts(book, name))

    def page(self, place: int) -> KnownPage:
        """The page at this place.

        Raises:
            ComicSeqDataError: It cannot be understood.
        """
        page = self.data.page(place)
        row, known = page.row, page.annotation
        return KnownPage(
            page.canonical_id,
            str(row["book_id"]),
            str(row["page_name"]),
            known.reading_direction,
            _language(row),
            known.panels,
        )

    def find(self, book_id: str, page_name: str) -> int | None:
        """The place of the page of this book and name; None where there is none."""
        places = self.index.find_in_book(page_name, book_id)
        return places[0] if len(places) == 1 else None


def _order(entry: str) -> int | None:
    """The place of a page in its book that its entry, in JSON, tells."""
    told = json.loads(entry).get("page_index")
    return told if type(told) is int and told >= 0 else None


def _panels(entry: Mapping[str, Any], count: int, boxes: Sequence[float] | None) -> list[PanelAnnotation]:
    form = form_of(entry)
    given = [None] * count if boxes is None else [list(boxes[at : at + 4]) for at in range(0, 4 * count, 4)]
    with suppress(PageProblem):
        if form in ("", "panel_boxes"):
            return list(read_annotation({**entry, "panel_boxes": given}).panels)
        annotation = read_annotation(entry)
        if len(annotation.panels) == count and annotation.in_slot_order:
            return list(annotation.panels)
    return [PanelAnnotation(None, [], [], None, None) for _ in range(count)]


def _direction(entry: Mapping[str, Any]) -> str | None:
    with suppress(PageProblem):
        return read_direction(entry)
    return None


def _language(entry: Mapping[str, Any]) -> str | None:
    """The language that a page tells, in a field of its own or among the rest of what came with it."""
    about = entry.get("metadata")
    if isinstance(about, str):
        with suppress(ValueError):
            about = json.loads(about)
    for content in (entry, about):
        for key in ("language", "lang"):
            said = content.get(key) if isinstance(content, Mapping) else None
            if isinstance(said, str) and _LANGUAGE.fullmatch(said):
                return said
    return None
