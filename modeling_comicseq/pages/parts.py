"""Pages are read in parts, each written as one file when it is done: so a run that broke off goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ComicSeqDataError, PageProblem
from ..progress import progress_bar
from .matching import Given
from .page_dataset import read_skipped, write_part
from .page_rows import Reading, page_row
from .picture_datasets import fingerprint_of
from .processes import in_processes
from .sources import SourcePage, read_pages

__all__ = ["Part", "cut", "read_parts"]

# Another number when the same pages give other rows: it is part of the fingerprint.
_FORMAT = 1
_LENGTH = 16  # pages that are read again after an interrupt


@dataclass(frozen=True)
class Part:
    """Pages of one book, which are read by one process and written as one file.

    Attributes:
        pages: The pages.
        book_id: Their book: that of the annotation, if it names one, else that of the source.
        first: Place of the first in the book.
        given: What is given of each.
        fingerprint: Hash of the pages' files and of how they are read.
    """

    pages: Sequence[SourcePage]
    book_id: str
    first: int
    given: Sequence[Given | None]
    fingerprint: str


def cut(pages: Sequence[SourcePage], given: Sequence[Given | None], reading: Reading) -> list[Part]:
    """Cuts the pages into parts, book by book.

    Where annotations name the books of pages, these are sorted into those, and in them by `page_index`, if all have one.
    """
    books: dict[str, list[int]] = {}
    for number, page in enumerate(pages):
        books.setdefault(_told(given[number], "book_id", str) or page.book_id, []).append(number)
    parts = []
    for book_id, numbers in books.items():
        index = {number: _told(given[number], "page_index", int) for number in numbers}
        if None not in index.values():
            numbers = sorted(numbers, key=index.__getitem__)
        for first in range(0, len(numbers), _LENGTH):
            some = numbers[first : first + _LENGTH]
            chosen, about = [pages[number] for number in some], [given[number] for number in some]
            parts.append(Part(chosen, book_id, first, about, _fingerprint(chosen, book_id, first, about, reading)))
    return parts


def _told(given: Given | None, name: str, kind: type) -> Any:
    value = given[0].get(name) if given else None
    if type(value) is not kind:
        return None
    return value.encode(errors="replace").decode().strip() if isinstance(value, str) else value


def _fingerprint(
    pages: Sequence[SourcePage], book_id: str, first: int, given: Sequence[Given | None], reading: Reading
) -> str:
    versions = [_version(page.kind, page.place, page.key if page.kind == "folder" else "") for page in pages]
    about = [each and (each[0], str(each[1]) if isinstance(each[1], PageProblem) else "") for each in given]
    parts = [_FORMAT, asdict(reading), book_id, first, [astuple(page) for page in pages], versions, about]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _version(kind: str, place: str, file: str) -> Any:
    """What tells the file of a page from another version of it."""
    if kind == "dataset":
        return fingerprint_of(place)
    try:
        stat = os.stat(os.path.join(place, file) if file else place)
    except OSError:  # which reading tells of
        return None
    return stat.st_size, stat.st_mtime_ns


def read_parts(
    parts: Sequence[Part], work: Path, reading: Reading, skip: bool, num_proc: int, progress: bool
) -> list[Path]:
    """Reads all parts that are not in the folder `work` yet, and returns their files; others are removed from it.

    Args:
        parts: The parts.
        work: The folder, which is created.
        reading: How pages are read.
        skip: Whether pages with a fault are left out and listed.
        num_proc: Processes that read.
        progress: Whether to show a progress bar.

    Raises:
        ComicSeqDataError: A page has a fault and none is to be skipped, or a process was ended.
    """
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"{part.fingerprint}.arrow" for part in parts]
    for each in set(work.iterdir()) - set(files):
        if each.is_file():
            each.unlink()
    left = [
        (part, file)
        for part, file in zip(parts, files, strict=True)
        if not file.is_file() or (not skip and read_skipped(file))
    ]
    with progress_bar("Reading pages", sum(len(part.pages) for part in parts), progress) as advance:
        advance(sum(len(part.pages) for part in parts) - sum(len(part.pages) for part, _ in left))
        for (part, _), _ in in_processes(partial(_read_item, reading, skip), left, num_proc):
            advance(len(part.pages))
    return files


def _read_item(reading: Reading, skip: bool, part_and_file: tuple[Part, Path]) -> None:
    read_part(*part_and_file, reading, skip)


def read_part(part: Part, file: Path, reading: Reading, skip: bool) -> None:
    """Reads the pages of a part and writes their rows.

    Raises:
        ComicSeqDataError: A page has a fault and none is to be skipped.
    """
    rows: list[Mapping[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    contents = read_pages(part.pages)
    for number, (page, given, (content, entry)) in enumerate(zip(part.pages, part.given, contents, strict=True)):
        try:
            rows.append(
                page_row(page, content, entry, given, reading)
                | {"page_index": part.first + number, "book_id": part.book_id}
            )
        except PageProblem as problem:
            if not skip:
                raise ComicSeqDataError(f"{page.place}: page {page.key!r}: {problem}.") from None
            skipped.append({"place": page.place, "page": page.key, "reason": str(problem)})
    write_part(file, rows, skipped)
