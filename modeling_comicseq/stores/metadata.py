"""The Stage 3 metadata file: a JSON list with one object a page, read as a stream.

A million pages with their texts do not fit comfortably in memory, so the file is decoded piece by piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

import fsspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ComicSeqDataError

__all__ = [
    "PageColumns",
    "PageEntry",
    "PageProblem",
    "dump_all",
    "iter_batches",
    "iter_entries",
    "parse_batch",
    "parse_entry",
]

_BLOCK = 1 << 20  # characters a read
_LONGEST_ENTRY = 1 << 26  # an entry that is not closed after so many characters is an error, not a long page
_SPACE = re.compile(r"[ \t\r\n]*")
_BORDER = re.compile(r'\s*,\s*{\s*"\w+"\s*:')  # between two entries, up to the first value of the second
_IDENTITY = ("sequence_index", "num_panels", "book_id", "page_name", "canonical_id")  # in the order of PageEntry
_ABSENT: tuple = ()  # no value that JSON has


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


class PageColumns(NamedTuple):
    """Some pages of the metadata, field by field as in `PageEntry`."""

    row: np.ndarray
    num_panels: np.ndarray
    book_id: pa.StringArray
    page_name: pa.StringArray
    canonical_id: pa.StringArray
    rest: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, pages: Sequence[PageEntry]) -> PageColumns:
        rows, num_panels, *texts, rests = zip(*pages, strict=True)
        books, names, paths = (pa.array(each, pa.string()) for each in texts)
        return cls(np.array(rows, np.int64), np.array(num_panels, np.int64), books, names, paths, rests)

    def entries(self) -> list[PageEntry]:
        columns = [column if isinstance(column, Sequence) else column.tolist() for column in self]
        return list(map(PageEntry, *columns))


class PageProblem(ValueError):
    """A reason why one page cannot be used: what was found, and what to do about it."""

    def __init__(self, found: str, remedy: str):
        super().__init__(f"{found}; {remedy}")
        self.found, self.remedy = found, remedy


def iter_entries(path: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON list; arguments and errors are those of `iter_batches`."""
    for entries in iter_batches(path):
        yield from entries


def iter_batches(path: str) -> Iterator[list[dict[str, Any]]]:
    """Yields the objects of a JSON list, some thousands at a time, without holding the file in memory.

    Args:
        path: Local path or fsspec URL; `.gz` and other compressions that fsspec knows are opened.

    Raises:
        ComicSeqDataError: The file is absent, empty, truncated, not JSON, or not a list of objects.
    """
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig", compression="infer") as stream:
            yield from _decode_list(stream, path)
    except UnicodeDecodeError as error:
        raise ComicSeqDataError(
            f"{path} is not JSON in UTF-8 ({error}); give the metadata file of the store"
        ) from error
    except (OSError, ImportError) as error:
        raise ComicSeqDataError(
            f"{path} cannot be read ({_describe(error)}); check the path of the metadata"
        ) from error


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _decode_list(stream: TextIO, path: str) -> Iterator[list[dict[str, Any]]]:
    decode = json.JSONDecoder().raw_decode
    buffer, position, count = stream.read(_BLOCK), 0, 0
    expected = "list"  # then "first" (an entry or the end), "comma" (a comma or the end), "entry"
    border, tried = "", False
    while True:
        position = _SPACE.match(buffer, position).end()  # type: ignore[union-attr]
        if position == len(buffer):
            buffer, position, tried = stream.read(_BLOCK), 0, False
            if buffer:
                continue
            if expected == "list":
                raise ComicSeqDataError(f"{path} is empty; give a JSON list with one object a page")
            raise ComicSeqDataError(f"{path} is truncated after entry {count - 1}; write the file again")
        sign = buffer[position]
        if expected == "list":
            if sign != "[":
                raise ComicSeqDataError(
                    f"{path} is not a JSON list (it begins with {buffer[position : position + 20]!r}); "
                    "give a list with one object a page"
                )
            position, expected = position + 1, "first"
        elif sign == "]" and expected in ("first", "comma"):
            rest = (buffer[position + 1 :] + stream.read(_BLOCK)).strip()
            if rest:
                raise ComicSeqDataError(
                    f"{path} is not JSON: {rest[:20]!r} follows the end of the list; write the file again"
                )
            if not count:
                raise ComicSeqDataError(f"{path} is an empty list; give a JSON list with one object a page")
            return
        elif expected == "comma":
            if sign != ",":
                raise ComicSeqDataError(f"{path} is not JSON: no comma after entry {count - 1}; write the file again")
            position, expected = position + 1, "entry"
        elif sign != "{":
            raise ComicSeqDataError(
                f"{path}: entry {count} begins with {buffer[position : position + 20]!r} and is no JSON object; "
                "give one object a page"
            )
        elif border and not tried:
            tried = True
            entries, position = _decode_many(buffer, position, border)
            if entries:
                yield entries
                count, expected = count + len(entries), "comma"
        else:
            try:
                entry, position = decode(buffer, position)
            except json.JSONDecodeError as error:
                more = stream.read(_BLOCK) if len(buffer) - position < _LONGEST_ENTRY else ""
                if more:
                    buffer, position, tried = buffer[position:] + more, 0, False
                    continue
                cut = error.pos >= len(buffer.rstrip()) - 1 or error.msg.startswith("Unterminated")
                found = f"is truncated inside entry {count}" if cut else f"is not JSON at entry {count} ({error.msg})"
                raise ComicSeqDataError(f"{path} {found}; write the file again") from None
            yield [entry]
            count, expected = count + 1, "comma"
            if not border and (match := _BORDER.match(buffer, position)):
                border = match[0]


def _decode_many(buffer: str, start: int, border: str) -> tuple[list[dict[str, Any]], int]:
    """Decodes the entries up to the last border in one go, which takes half the time.

    Returns:
        The entries and where they end; none, and `start`, where only one by one shows what is wrong, if anything.
    """
    end = buffer.rfind(border, start)
    try:
        # A border inside an entry leaves brackets open, which is no JSON.
        entries = json.loads(f"[{buffer[start:end]}]") if end > 0 else []
    except json.JSONDecodeError:
        entries = []
    return (entries, end) if entries and set(map(type, entries)) == {dict} else ([], start)


def parse_entry(entry: dict[str, Any]) -> PageEntry:
    """Reads one entry, and takes it apart; book and page name come from their own fields or from `canonical_id`.

    Raises:
        PageProblem: A field is absent or is not what it should be.
    """
    row = entry.get("sequence_index")
    num_panels = entry.get("num_panels")
    # The checks proper are functions apart: a million pages rarely need them.
    if type(row) is not int or row < 0:
        row = _whole_number(entry, "sequence_index")
    if type(num_panels) is not int or num_panels < 0:
        num_panels = _whole_number(entry, "num_panels")
    book, name, canonical = entry.get("book_id"), entry.get("page_name"), entry.get("canonical_id")
    for text in (book, name, canonical):
        if text is not None and not (type(text) is str and text.isascii()):
            book, name, canonical = (_text(entry, field) for field in ("book_id", "page_name", "canonical_id"))
            break
    if canonical and not (book and name):
        folder, _, file_name = canonical.replace("\\", "/").rpartition("/")
        book = book or folder.rpartition("/")[2]
        name = name or file_name
    if not book or not name:
        field = "book_id" if not book else "page_name"
        raise PageProblem(
            f"field {field!r} is missing and canonical_id {canonical!r} does not tell it",
            "give canonical_id as '…/book/page', or book_id and page_name",
        )
    if entry.get("character_ids") is not None:
        _check_characters(entry["character_ids"], num_panels)
    for field in _IDENTITY:
        entry.pop(field, None)
    return PageEntry(row, num_panels, book, name, canonical or f"{book}/{name}", entry)


def parse_batch(entries: list[dict[str, Any]]) -> PageColumns | None:
    """As `parse_entry` for many entries at once, if all are of the usual form and without `character_ids`.

    Returns:
        The pages; None, with the entries as they were, where only one by one shows what is wrong with them, if anything.
    """
    columns: list[list[Any]] = [[entry.pop(field, _ABSENT) for entry in entries] for field in _IDENTITY]
    pages = _usual_pages(entries, *columns)
    if pages is None:
        for field, column in zip(_IDENTITY, columns, strict=True):
            for entry, value in zip(entries, column, strict=True):
                if value is not _ABSENT:
                    entry[field] = value
    return pages


def _usual_pages(
    rests: list[dict[str, Any]],
    rows: list[Any],
    counts: list[Any],
    books: list[Any],
    names: list[Any],
    paths: list[Any],
) -> PageColumns | None:
    if set(map(type, rows)) != {int} or set(map(type, counts)) != {int} or min(*rows, *counts, 0) < 0:
        return None
    if "character_ids" in set().union(*rests):
        return None
    book_ids, page_names, canonical_ids = _texts(books), _texts(names), _texts(paths)
    if canonical_ids is None or (book_ids is None and any(books)) or (page_names is None and any(names)):
        return None
    if book_ids is None or page_names is None:
        parts = pc.split_pattern(canonical_ids, "/", max_splits=2, reverse=True)
        if pc.min(parts.value_lengths()).as_py() < 2:
            return None
        last = parts.offsets.to_numpy()[1:] - 1
        book_ids = book_ids or parts.values.take(last - 1)
        page_names = page_names or parts.values.take(last)
        if pc.any(pc.or_(pc.equal(book_ids, ""), pc.equal(page_names, ""))).as_py():
            return None
    return PageColumns(
        np.array(rows, np.int64), np.array(counts, np.int64), book_ids, page_names, canonical_ids, rests
    )


def _texts(values: list[Any]) -> pa.StringArray | None:
    """The strings, if that is what all are, none empty, none with a backslash."""
    if set(map(type, values)) != {str} or not all(values) or "\\" in "".join(values):
        return None
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return None


def dump_all(values: Iterable[dict[str, Any]]) -> list[bytes]:
    """JSON in UTF-8 of each of many dicts; NaN and infinities, which JSON does not have, become null."""
    texts = []
    for value in values:
        try:
            texts.append(orjson.dumps(value))
        except TypeError:  # numbers beyond 64 bits, and half a surrogate pair, as text recognition sometimes leaves
            texts.append(json.dumps(value).encode())
    return texts


def _whole_number(entry: dict[str, Any], field: str) -> int:
    value = entry.get(field)
    if type(value) is int:
        if value < 0:
            raise PageProblem(f"{field} is {value}", "give a number from 0 on")
        return value
    if value is None:
        raise PageProblem(f"field {field!r} is missing", "add it to the entry")
    if isinstance(value, float) and value.is_integer() and value >= 0:
        return int(value)
    raise PageProblem(f"{field} is {value!r}", "give a whole number from 0 on")


def _check_characters(characters: Any, num_panels: int) -> None:
    remedy = "give one list of strings or whole numbers a panel"
    if not isinstance(characters, list) or len(characters) != num_panels:
        found = f"{len(characters)} lists" if isinstance(characters, list) else repr(characters)
        raise PageProblem(f"character_ids is {found} for {num_panels} panels", remedy)
    for panel, ids in enumerate(characters):
        if not isinstance(ids, list) or not all(type(each) in (str, int) for each in ids):
            raise PageProblem(f"character_ids of panel {panel} is {ids!r}", remedy)


def _text(entry: dict[str, Any], field: str) -> str:
    value = entry.get(field)
    if type(value) is str and value.isascii():
        return value
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise PageProblem(f"{field} is {value!r}", "give a string")
    text = str(value)
    if not _is_unicode(text):
        raise PageProblem(f"{field} {text!r} is not valid Unicode", "write it in UTF-8")
    return text


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
