"""JSON lists with one object a page, read as a stream.

A million pages with their texts do not fit comfortably in memory, so the file is decoded piece by piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

import fsspec

from ..errors import ComicSeqDataError, ComicSeqError, in_words
from ..urls import file_system

__all__ = ["iter_entries"]

_BLOCK = 1 << 20  # characters a read
_LONGEST_ENTRY = 1 << 26  # an entry that is not closed after so many characters is an error, not a long page
_SPACE = re.compile(r"[ \t\r\n]*")


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
        raise ComicSeqDataError(f"{path} cannot be read ({in_words(error)}); check the path") from error


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
