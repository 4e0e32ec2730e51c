"""The metadata file of a store: a JSON list with one object a page, read as a stream.

A million pages with their texts do not fit comfortably in memory, so the file is decoded piece by piece.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import fsspec
import orjson

from ..errors import ComicSeqDataError, ComicSeqError, PageProblem, in_words
from ..files import file_system

__all__ = ["PageEntry", "describe_file", "dump", "iter_entries", "parse_entry"]

_BLOCK = 1 << 20  # characters a read
_LONGEST_ENTRY = 1 << 26  # an entry that is not closed after so many characters is an error, not a long page
_SPACE = re.compile(r"[ \t\r\n]*")
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
        raise ComicSeqDataError(
            f"{path} cannot be read ({in_words(error)}); check the path of the metadata"
        ) from error
    keys = ("size", "mtime", "ETag", "etag", "LastModified", "created")
    return {key: str(info[key]) for key in keys if key in info}


def iter_entries(path: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON list without holding the file in memory.

    Args:
        path: Local path or fsspec URL; `.gz` and other compressions that fsspec knows are opened.

    Raises:
        ComicSeqDataError: The file is absent, empty, truncated, not JSON, or not a list of objects.
    """
    file_system(path)
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig", compression="infer") as stream:
            yield from _decode_list(stream, path)
    except ComicSeqError:
        raise
    except UnicodeDecodeError as error:
        raise ComicSeqDataError(
            f"{path} is not JSON in UTF-8 ({error}); give the metadata file of the store"
        ) from error
    except Exception as error:  # decompressors and fsspec's back ends each have exceptions of their own
        raise ComicSeqDataError(
            f"{path} cannot be read ({in_words(error)}); check the path of the metadata"
        ) from error


def _decode_list(stream: TextIO, path: str) -> Iterator[dict[str, Any]]:
    decode, buffer, position, count = json.JSONDecoder(object_pairs_hook=_object).raw_decode, "", 0, 0

    def peek() -> str:
        """The next character that is no space, which stands at `position`; nothing at the end."""
        nonlocal buffer, position
        while True:
            position = _SPACE.match(buffer, position).end()  # type: ignore[union-attr]
            if position < len(buffer):
                return buffer[position]
            buffer, position = stream.read(_BLOCK), 0
            if not buffer:
                return ""

    sign = peek()
    if not sign:
        raise ComicSeqDataError(f"{path} is empty; give a JSON list with one object a page")
    if sign != "[":
        raise ComicSeqDataError(
            f"{path} is not a JSON list (it begins with {buffer[position : position + 20]!r}); "
            "give a list with one object a page"
        )
    position += 1
    while (sign := peek()) != "]":
        if count and sign == ",":
            position += 1
            sign = peek()
        elif count and sign:
            raise ComicSeqDataError(f"{path} is not JSON: no comma after entry {count - 1}; write the file again")
        if not sign:
            raise ComicSeqDataError(f"{path} is truncated after entry {count - 1}; write the file again")
        if sign != "{":
            raise ComicSeqDataError(
                f"{path}: entry {count} begins with {buffer[position : position + 20]!r} and is no JSON object; "
                "give one object a page"
            )
        while True:
            try:
                entry, position = decode(buffer, position)
                break
            except json.JSONDecodeError as error:
                more = stream.read(_BLOCK) if len(buffer) - position < _LONGEST_ENTRY else ""
                if not more:
                    cut = error.pos >= len(buffer.rstrip()) - 1 or error.msg.startswith("Unterminated")
                    found = f"truncated inside entry {count}" if cut else f"not JSON at entry {count} ({error.msg})"
                    raise ComicSeqDataError(f"{path} is {found}; write the file again") from None
                buffer, position = buffer[position:] + more, 0
            except (ValueError, RecursionError) as error:
                found = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
                if "digits" in found:  # which Python words for programmers
                    found = "it holds a number of thousands of digits"
                raise ComicSeqDataError(f"{path}: entry {count}: {found}; write the file again") from None
        yield entry
        count += 1
    rest = (buffer[position + 1 :] + stream.read(_BLOCK)).strip()
    if rest:
        raise ComicSeqDataError(f"{path} is not JSON: {rest[:20]!r} follows the end of the list; write the file again")
    if not count:
        raise ComicSeqDataError(f"{path} is an empty list; give a JSON list with one object a page")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; a key that stands twice would lose a value without a word."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in an object")
    return entry


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
