"""Filters in SQL: read word by word before the engine sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...errors import ComicSeqArgumentError, did_you_mean

__all__ = ["compile_filter"]

_TOKEN = re.compile(
    r"\s+|(?P<text>'(?:[^']|'')*')|(?P<quoted>`[^`]+`|\"[^\"]+\")|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)|(?P<sign><>|!=|<=|>=|[=<>+\-*/%(),])"
)
_WORDS = {"and", "or", "not", "in", "is", "null", "like", "ilike", "between", "true", "false"}
# Such as ask about one value and take no more time or memory than it has.
_CALLS = {"lower", "upper", "length", "starts_with", "ends_with", "contains", "abs", "array_has", "array_length"}
_LONGEST, _DEEPEST, _MOST = 100_000, 40, 400


def compile_filter(where: str, columns: Iterable[str]) -> str:
    """The filter as the engine takes it, in brackets: names of columns quoted, nothing in it but conditions on a row.

    Args:
        where: Conditions in SQL, such as `book_id = 'one' and num_panels > 3`.
        columns: Names that it may use, in any case.

    Raises:
        ComicSeqArgumentError: It holds something else.
    """
    by_name = {name.casefold(): name for name in columns}
    compiled, depth, joined, place = [], 0, 0, 0
    if len(where) > _LONGEST:
        raise ComicSeqArgumentError(f"the filter has {len(where):,} characters: give at most {_LONGEST:,}")
    while place < len(where):
        match = _TOKEN.match(where, place)
        if match is None or match.end() == place:
            what = "a text that does not end" if where[place] in "'\"`" else repr(where[place])
            raise _refused(where, f"has {what} at character {place + 1}")
        token, kind, place = match[0], match.lastgroup, match.end()
        if kind == "sign" and where[place - 1 : place + 1] in ("--", "/*"):
            raise _refused(where, f"has a comment at character {place}")
        if kind == "word" and token.casefold() in _WORDS:
            joined += token.casefold() in ("and", "or", "not")
        elif kind == "word" and token.casefold() in _CALLS and where[place:].lstrip().startswith("("):
            token = token.casefold()
        elif kind in ("word", "quoted"):
            name = token.strip('`"')
            if name.casefold() not in by_name:
                near = did_you_mean(name, set(by_name.values())) or f": they are {', '.join(sorted(by_name.values()))}"
                raise _refused(where, f"names {name!r}, which is no column here{near}", remedy=None)
            token = f"`{by_name[name.casefold()]}`"
        elif token in ("(", ")"):
            depth += 1 if token == "(" else -1
            if depth < 0 or depth > _DEEPEST:
                raise _refused(where, "closes a bracket that is not open" if depth < 0 else "is nested too deep")
        compiled.append(token)
    if depth or not where.strip():
        raise _refused(where, "leaves a bracket open" if depth else "is empty")
    if joined > _MOST:
        raise _refused(where, f"joins {joined} conditions: use `in (…)` and at most {_MOST}")
    return f"({''.join(compiled)})"


def _refused(where: str, why: str, remedy: str | None = "write it like \"book_id = 'one' and num_panels > 3\""):
    shown = where if len(where) <= 120 else where[:120] + "…"
    return ComicSeqArgumentError(f"the filter {shown!r} {why}" + (f"; {remedy}" if remedy else ""))
