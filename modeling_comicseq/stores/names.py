"""Names of books, pages and characters: when two of them are one, and whether the data know them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ..errors import ComicSeqDataError, did_you_mean

__all__ = ["check_known", "normal_form", "normal_path", "respelled"]

_MOST_NAMED = 3  # unknown names that an error spells out


def normal_form(name: str) -> str:
    """What a name is hashed, grouped and looked up by: without outer blanks, in Unicode's NFC; upper case stays.

    "Café" can be written with four or five code points, and file systems, archives and spreadsheets disagree which. Names
    are shown as they came.
    """
    return unicodedata.normalize("NFC", name.strip())


def normal_path(path: str) -> str:
    """The same for the path of a page, folder by folder; both slashes part folders."""
    return "/".join(map(normal_form, path.replace("\\", "/").split("/")))


def respelled(names: Iterable[str]) -> dict[str, str]:
    """The names that differ from an earlier one in their spelling alone, and that one."""
    first: dict[str, str] = {}
    pairs = ((name, first.setdefault(normal_form(name), name)) for name in names)
    return {name: earlier for name, earlier in pairs if name != earlier}


def check_known(names: Iterable[str], known: Iterable[str], what: str, source: str, data: str) -> None:
    """Checks that the data know what a list names.

    Args:
        names: The names.
        known: All that there are.
        what: What they are names of, in the singular.
        source: The file or argument that names them.
        data: The file or data set that should know them.

    Raises:
        ComicSeqDataError: It does not know some, whatever their spelling.
    """
    there = {normal_form(name): name for name in known}
    unknown = [name for name in dict.fromkeys(names) if normal_form(name) not in there]
    if not unknown:
        return
    found = [f"no {what} {name!r}{did_you_mean(name, set(there.values()))}" for name in unknown[:_MOST_NAMED]]
    if len(unknown) > _MOST_NAMED:
        found.append(f"nor {len(unknown) - _MOST_NAMED:,} more")
    raise ComicSeqDataError(f"{source}: {data} holds {', '.join(found)}; correct the names or take them out")
