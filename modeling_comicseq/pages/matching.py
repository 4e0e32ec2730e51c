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

__all__ = ["Given", "match"]

# An object about a page, and what it says or why that cannot be understood.
Given = tuple[Mapping[str, Any], PageAnnotation | PageProblem]


def match(
    pages: Sequence[SourcePage], annotations: Iterable[tuple[str, Mapping[str, Any], PageAnnotation | PageProblem]]
) -> tuple[list[Given | None], int]:
    """Finds the annotation of each page: that which shares the most of its path, counted from the file's name.

    Upper case, endings of pictures and outer blanks do not count; a page of a PDF is called as its number.

    Args:
        pages: The pages.
        annotations: Name, object and content of each, as `read_annotations` yields them.

    Returns:
        What is given of each page, None where nothing is; and the number of annotations that belong to no page. A page that
        several fit, or that shares one with others, gets a `PageProblem`.
    """
    listed = list(annotations)
    by_file: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for number, page in enumerate(pages):
        path = _parts(page.book_id, page.name) if page.kind == "dataset" else _parts(page.place, page.key)
        by_file[path[-1]].append((number, path))
    # Of each page, the annotations that fit no page better: how much of the path they share, and with how many pages.
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    unused = 0
    for number, (name, entry, _) in enumerate(listed):
        path = _parts(str(entry.get("book_id") or ""), name)
        lengths = {place: _common(path, other) for place, other in by_file.get(path[-1], ())}
        fitting = [place for place, length in lengths.items() if length == max(lengths.values())]
        unused += not fitting
        for place in fitting:
            found[place].append((lengths[place], len(fitting), number))
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


def _parts(*paths: str) -> list[str]:
    """The folders and the file of a path, in one spelling, without the ending of a picture, an archive or JSON."""
    parts = [part for path in paths for part in path.replace("\\", "/").split("/") if part.strip()]
    return [_plain(part) for part in parts] or [""]


def _plain(part: str) -> str:
    part = unicodedata.normalize("NFC", part.strip()).casefold()
    stem, _, ending = part.rpartition(".")
    return stem if stem and ending in (*EXTENSIONS, "json", "cbz", "zip", "pdf") else part


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two paths share, from the last on."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
