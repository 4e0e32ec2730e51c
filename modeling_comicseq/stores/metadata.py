"""The metadata file of a store: a JSON list with one object a page."""

from __future__ import annotations

import json
import reprlib
from typing import Any, NamedTuple

import orjson

from ..errors import ComicSeqDataError, PageProblem, in_words
from ..urls import file_system

__all__ = ["PageEntry", "describe_file", "dump", "parse_entry"]

_TOO_LARGE = 2**31  # for a row or a number of panels
_short = reprlib.repr  # a value for a message
_IDENTITY = ("sequence_index", "num_panels", "book_id", "page_name", "canonical_id")


class PageEntry(NamedTuple):
    """One page of the metadata.

    Attributes:
        row: Row of the store (`sequence_index`).
        num_panels: Panels of the page.
        book_id: The book's id.
        page_name: The page's name in its book.
        canonical_id: Path of the page, `…/book/page`.
        rest: Everything else that the entry carried.
    """

    row: int
    num_panels: int
    book_id: str
    page_name: str
    canonical_id: str
    rest: dict[str, Any]


def describe_file(path: str) -> dict[str, str]:
    """What tells a rewritten file from the old one: its size and time, as its storage states them.

    Raises:
        ComicSeqDataError: The file cannot be read.
    """
    system, inside = file_system(path)
    try:
        info = system.info(inside)
    except Exception as error:  # fsspec's back ends each have exceptions of their own
        raise ComicSeqDataError(f"{path} cannot be read ({in_words(error)}); check the path") from error
    keys = ("size", "mtime", "ETag", "etag", "LastModified", "created")
    return {key: str(info[key]) for key in keys if key in info}


def parse_entry(entry: dict[str, Any]) -> PageEntry:
    """Reads one entry; book and page name come from their own fields or from `canonical_id`.

    Raises:
        PageProblem: A field is absent or is not what it should be.
    """
    row, num_panels = _whole_number(entry, "sequence_index"), _whole_number(entry, "num_panels")
    book, name, canonical = _text(entry, "book_id"), _text(entry, "page_name"), _text(entry, "canonical_id")
    if canonical and not (book and name):
        folder, _, file_name = canonical.replace("\\", "/").rpartition("/")
        book = book or folder.rpartition("/")[2]
        name = name or file_name
    if not book.strip() or not name.strip():
        field = "page_name" if book.strip() else "book_id"
        raise PageProblem(
            f"field {field!r} is missing and canonical_id {canonical or None!r} does not tell it",
            "give canonical_id as '…/book/page', or book_id and page_name",
        )
    if entry.get("character_ids") is not None:
        _check_characters(entry["character_ids"], num_panels)
    rest = {key: value for key, value in entry.items() if key not in _IDENTITY}
    return PageEntry(row, num_panels, book, name, canonical or f"{book}/{name}", rest)


def dump(value: dict[str, Any]) -> bytes:
    """A dict as JSON in UTF-8; NaN and infinities, which JSON does not have, become null.

    Raises:
        PageProblem: It is nested more than 254 deep, beyond which readers of JSON differ.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if "Recursion" in str(error):
            raise PageProblem("the entry is nested too deep", "leave out what no page needs") from None
        # Numbers beyond 64 bits, and half a surrogate pair, as text recognition sometimes leaves.
        return json.dumps(value).encode()


def _whole_number(entry: dict[str, Any], field: str) -> int:
    value = entry.get(field)
    if type(value) is int and 0 <= value < _TOO_LARGE:  # of a million pages, nearly all
        return value
    if value is None:
        raise PageProblem(f"field {field!r} is missing", "add it to the entry")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < _TOO_LARGE or value % 1:
        raise PageProblem(f"{field} is {_short(value)}", f"give a whole number from 0 on, below {_TOO_LARGE}")
    return int(value)


def _check_characters(characters: Any, num_panels: int) -> None:
    remedy = "give one list of strings or whole numbers a panel"
    if not isinstance(characters, list) or len(characters) != num_panels:
        found = f"{len(characters)} lists" if isinstance(characters, list) else _short(characters)
        raise PageProblem(f"character_ids is {found} for {num_panels} panels", remedy)
    for panel, ids in enumerate(characters):
        if not isinstance(ids, list) or not all(type(each) in (str, int) for each in ids):
            raise PageProblem(f"character_ids of panel {panel} is {_short(ids)}", remedy)


def _text(entry: dict[str, Any], field: str) -> str:
    value = entry.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):  # blanks alone are no name
        return ""
    if type(value) is str and value.isascii():
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise PageProblem(f"{field} is {_short(value)}", "give a string")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PageProblem(f"{field} {text!r} is not valid Unicode", "write it in UTF-8") from None
    return text
