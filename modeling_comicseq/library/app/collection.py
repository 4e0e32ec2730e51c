"""What the views know of an index: pages, their neighbours and their pictures. Nothing else on the disk is ever read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from ...errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError, PageProblem
from ...model.pictures_comicpage import crop
from ...pages.pictures import read_picture
from .pictures import as_url

__all__ = ["Collection", "Page", "joined"]

_LARGEST = 1600  # pixels of the longer side of a page that is kept decoded
_LONGEST_ID = 1000  # letters of an id in a request


@dataclass(frozen=True)
class Page:
    """A page of the index.

    Attributes:
        page_id: `book_id/page_name`.
        book_id: Its book.
        page_index: Its place in the book.
        boxes: `x0 y0 x1 y1` of each panel as shares of the page, in reading order; empty where nobody knows.
        texts: Each panel's texts, joined by a blank.
        num_panels: Number of panels.
        reading_direction: `ltr` or `rtl`.
    """

    page_id: str
    book_id: str
    page_index: int
    boxes: list[list[float]]
    texts: list[str]
    num_panels: int
    reading_direction: str

    @property
    def words(self) -> str:
        """All that is said on the page."""
        return joined(self.texts)


def joined(texts: Any) -> str:
    """Texts, or lists of them, joined by a blank."""
    if texts is None:
        return ""
    if isinstance(texts, str):
        return texts.strip()
    return " ".join(filter(None, (joined(each) for each in texts)))


class Collection:
    """An index as the views ask it; every request's ids are looked up in it, and none is taken for a path.

    Args:
        index: An open index.
        pages: The parts of a data set of pages (`library.index.page_parts`), whose pictures are shown in place of the small
            ones of the index.
    """

    def __init__(self, index: Any, pages: Any = None):
        self.index = index
        self._pages = pages
        self._lock = Lock()
        # Each is bounded, and safe to be asked by several threads.
        self.page = lru_cache(4096)(self._page)
        self.image = lru_cache(24)(self._image)
        self.picture = lru_cache(512)(self._picture)
        self.book_pages = lru_cache(64)(self._book_pages)

    @property
    def books(self) -> list[str]:
        """The ids of all books, sorted as the index has them."""
        if not hasattr(self, "_books"):
            self._books = [_book_id(book) for book in self._asked(lambda: self.index.books())]
        return self._books

    @property
    def num_pages(self) -> int:
        """Number of pages."""
        return len(self.index)

    def sample(self, most: int) -> tuple[list[str], list[str], np.ndarray]:
        """Pages that were drawn from all, at most so many: their ids, their books, and their strip vectors (n, D)."""
        rows, vectors = self._asked(lambda: self.index.sample(most))
        return [str(row["page_id"]) for row in rows], [str(row["book_id"]) for row in rows], vectors

    def _page(self, page_id: str) -> Page:
        found = self._lookup(page_id)
        raw_boxes = found.get("panel_boxes")
        boxes = [] if raw_boxes is None else np.clip(np.asarray(raw_boxes, float).reshape(-1, 4), 0, 1).tolist()
        texts = [joined(each) for each in (found.get("texts") or [])]
        number = int(found.get("num_panels") or max(len(boxes), len(texts)))
        if not any(map(any, boxes)):
            boxes = []
        return Page(
            page_id=str(found["page_id"]),
            book_id=str(found.get("book_id") or ""),
            page_index=int(found.get("page_index") or 0),
            boxes=boxes[:number],
            texts=(texts + [""] * number)[:number],
            num_panels=number,
            reading_direction=found.get("reading_direction") or "ltr",
        )

    def search(self, **query: Any) -> Sequence[Any]:
        """As the index's own search.

        Raises:
            ComicSeqError: The query cannot be answered; the sentence does not tell where the index is.
        """
        return self._asked(lambda: self.index.search(**query))

    def panel_vectors(self, page_id: str) -> np.ndarray:
        """The vectors of a page's panels `(panels, D)`."""
        row = int(self._lookup(page_id)["row"])
        vectors, names = self._asked(lambda: self.index.vectors("panel", f"row = {row}"))
        page = self.page(page_id)
        if len(vectors) != page.num_panels:
            raise ComicSeqDataError(
                f"The index has no vectors of some panels of page {page.page_id!r}: ask about another."
            )
        return vectors[np.argsort([name["slot"] for name in names])]

    def _lookup(self, page_id: str) -> Mapping[str, Any]:
        if not isinstance(page_id, str) or not page_id.strip() or len(page_id) > _LONGEST_ID:
            raise ComicSeqArgumentError("There is no such page in the index: choose one of its pages.")
        return self._asked(lambda: self.index.page(page_id))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """An answer of the index, whose sentences name its place on the disk, which is nobody's business in a browser.

        An index that cannot be read as it was is asked as it is now, after it was brought up to date.
        """
        try:
            asked = self.index
            try:
                return ask()
            except ComicSeqDataError as error:
                if error.__cause__ is None or not self._renew(asked):  # nothing of the engine, or no newer index
                    raise
                return ask()
        except ComicSeqError as error:
            said = str(error).replace(str(getattr(self.index, "url", "the index")), "the index")
            raise type(error)(said[0].upper() + said[1:]) from None

    def _renew(self, asked: Any) -> bool:
        """Opens the index as it is now; whether it is another than the one that was asked."""
        with self._lock:
            if self.index is not asked:  # by another thread
                return True
            if (newer := self.index.renewed()) is None:
                return False
            self.index = newer
            for kept in (self.page, self.image, self.picture, self.book_pages):
                kept.cache_clear()
            self.__dict__.pop("_books", None)
            return True

    def _image(self, page_id: str) -> Image.Image | None:
        found = self._lookup(page_id)
        content = self._large_picture(found) or found.get("picture")
        if content is None:
            return None
        try:
            image = read_picture(bytes(content)).image
        except PageProblem:
            return None  # the page is shown by its texts, as one that has no picture
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS, reducing_gap=3)
        return image

    def _large_picture(self, found: Mapping[str, Any]) -> bytes | None:
        """The file of the picture of a page in the data set of pages."""
        if self._pages is None:
            return None
        row = self._pages.find(str(found["book_id"]), str(found["page_name"]))
        return None if row is None else self._pages.read([row])[0].picture

    def _picture(self, page_id: str, slot: int | None = None, width: int = 260, height: int = 340) -> str | None:
        """A data URL with the picture of a page, or of one of its panels; None where there is none.

        Args:
            page_id: The page.
            slot: Number of the panel, from 0.
            width: Most pixels.
            height: Most pixels.
        """
        image = self.image(page_id)
        if image is None:
            return None
        if slot is not None:
            box = next(iter(self.page(page_id).boxes[slot : slot + 1]), (0, 0, 0, 0))
            if not (box[2] > box[0] and box[3] > box[1]):
                return None
            image = crop(image, box)
        return as_url(image, width, height)

    def _book_pages(self, book_id: str) -> list[str]:
        """The ids of a book's pages in their order.

        Raises:
            ComicSeqDataError: There is no such book.
        """
        if not isinstance(book_id, str) or not book_id or len(book_id) > _LONGEST_ID:
            return []
        pages = self._asked(lambda: self.index.pages(book_id))
        return [str(page["page_id"]) for page in sorted(pages, key=lambda page: int(page.get("page_index") or 0))]

    def step(self, page_id: str, by: int) -> str:
        """The page that stands `by` pages further in the same book; the first or the last one where the book ends."""
        pages = self.book_pages(self.page(page_id).book_id)
        if page_id not in pages:
            return page_id
        return pages[min(max(pages.index(page_id) + by, 0), len(pages) - 1)]

    def slot(self, page: Page, number: Any) -> int:
        """The slot of the panel that people call `number`, from 1.

        Raises:
            ComicSeqArgumentError: The page has no such panel.
        """
        try:
            slot = int(number) - 1
        except (TypeError, ValueError, OverflowError):
            slot = -1
        if not 0 <= slot < page.num_panels:
            raise ComicSeqArgumentError(
                f"Page {page.page_id!r} has no panel {str(number)[:20]!r}: its panels are 1 to {page.num_panels}."
            )
        return slot


def _book_id(book: Any) -> str:
    return str(book["book_id"]) if isinstance(book, Mapping) else str(book)
