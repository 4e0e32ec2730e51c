"""Which annotation belongs to which page."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import PageProblem
from .annotations import PageAnnotation
from .pictures import EXTENSIONS
from .sources import SourcePage

__all__ = ["Given", "PageIndex", "match", "path_parts"]

# An object about a page, and what it says or why that cannot be understood.
Given = tuple[Mapping[str, Any], PageAnnotation | PageProblem]


class PageIndex:
    """Pages by their paths: what is said of a page belongs to that which shares the most of its path, counted from the file's
    name. Upper case, endings of pictures and outer blanks do not count.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], int | list[int]] = {}

    def add(self, place: int, *paths: Sequence[str]) -> None:
        """Adds a page that is known by one or more paths, see `path_parts`."""
        for key in {tuple(path[-length:]) for path in paths for length in range(1, len(path) + 1)}:
            there = self._places.setdefault(key, place)
            if isinstance(there, list):
                there.append(place)
            elif there != place:
                self._places[key] = [there, place]

    def find(self, path: Sequence[str]) -> tuple[int, list[int]]:
        """The pages that share the most of a path, and how many of its parts; none where they do not even share the name."""
        for length in range(len(path), 0, -1):
            found = self._places.get(tuple(path[-length:]))
            if found is not None:
                return length, found if isinstance(found, list) else [found]
        return 0, []

    def find_in_book(self, name: str, book: str | None) -> list[int]:
        """The pages that an annotation can be of: where it names a `book`, those of this book alone."""
        if book is None:
            return self.find(path_parts(name))[1]
        path = path_parts(book, name)
        within = [*path_parts(book), path[-1]]  # folders beside the book's, as for scans
        for each in (path, within):
            length, places = self.find(each)
            if length == len(each):
                return places
        return []


def match(
    pages: Sequence[SourcePage], annotations: Iterable[tuple[str, Mapping[str, Any], PageAnnotation | PageProblem]]
) -> tuple[list[Given | None], int]:
    """Finds the annotation of each page: that which shares the most of its path, see `PageIndex`.

    A page of a PDF is called as its number.

    Args:
        pages: The pages.
        annotations: Name, object and content of each, as `read_annotations` yields them.

    Returns:
        What is given of each page, None where nothing is; and the number of annotations that belong to no page. A page that
        several fit, or that shares one with others, gets a `PageProblem`.
    """
    listed, index = list(annotations), PageIndex()
    for place, page in enumerate(pages):
        is_row = page.kind == "dataset"
        index.add(place, path_parts(page.book_id, page.name) if is_row else path_parts(page.place, page.key))
    # Of each page, the annotations that fit no page better: how much of the path they share, and with how many pages.
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    unused = 0
    for number, (name, entry, _) in enumerate(listed):
        length, fitting = index.find(path_parts(str(entry.get("book_id") or ""), name))
        unused += not fitting
        for place in fitting:
            found[place].append((length, len(fitting), number))
    return [_choose(found[page], listed) if page in found else None for page in range(len(pages))], unused


def _choose(found: Sequence[tuple[int, int, int]], listed: Sequence[tuple]) -> Given:
    """The one of the annotations that shares the most of the page's path."""
    best = [each for each in found if each[0] == max(found)[0]]
    _, sharing, number = best[0]
    name, *given = listed[number]
    if len(best) == 1 and sharing == 1:
        return given[0], given[1]
    what = "fits several annotations, as" if len(best) > 1 else "shares with other pages the annotation"
    return {}, PageProblem(f"{what} {name!r}", "name the book's folder there, too, as in book/page")


def path_parts(*paths: str) -> list[str]:
    """The folders and the file of a path, in one spelling, without the ending of a picture, an archive or JSON."""
    parts = [part for path in paths for part in path.replace("\\", "/").split("/") if part.strip()]
    return [_plain(part) for part in parts] or [""]


def _plain(part: str) -> str:
    part = unicodedata.normalize("NFC", part.strip()).casefold()
    stem, _, ending = part.rpartition(".")
    return stem if stem and ending in (*EXTENSIONS, "jxl", "json", "cbz", "zip", "pdf") else part
