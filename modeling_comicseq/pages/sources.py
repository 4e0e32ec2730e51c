"""Where pages come from: folders of pictures, archives, PDF files, and data sets of `datasets`."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import ComicSeqDataError, PageProblem, did_you_mean, in_words
from ..hub import check_not_mistyped
from .archives import ARCHIVES, list_archive, read_archive
from .comic_info import COMIC_INFO, ComicInfo, read_comic_info
from .page_order import in_page_order, natural_key
from .pdf import list_pdf, read_pdf
from .picture_datasets import is_picture_dataset, list_rows, read_rows
from .pictures import MOST_BYTES, Picture, is_picture

_WHAT = "a folder, an archive, a PDF file, or a data set as owner/name on the Hub"

__all__ = ["Fault", "SourcePage", "find_pages", "read_pages"]

Content = bytes | Picture | PageProblem
Fault = Callable[[str, str | None, PageProblem], None]


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A page that has been found, and not been read.

    Attributes:
        book_id: The book's id: its path below the source without an ending, or the source's own name.
        name: Its name in the book.
        kind: "folder", "archive", "pdf" or "dataset".
        place: The folder or file, or the name of the data set.
        key: What it is called there.
        info: What the book's `ComicInfo.xml` tells.
    """

    book_id: str
    name: str
    kind: str
    place: str
    key: str
    info: ComicInfo = ComicInfo()


def find_pages(source: str, fault: Fault) -> list[SourcePage]:
    """All pages of a source, book by book, each in its order.

    Args:
        source: A folder of pictures or of books, an archive, a PDF file, or a data set: a folder, file or name on the Hub.
        fault: Is told of a book, or of a page, what is wrong with it; it raises where that is not to be left out.

    Raises:
        ComicSeqDataError: There is no such source, or it is of no known kind.
    """
    path = Path(source)
    if not _is_text(source, source, fault):
        return []
    if not os.path.exists(path) or is_picture_dataset(path):
        if not os.path.exists(path) and "/" not in source:  # data sets on the Hub have an owner
            beside = {each.name for each in Path().iterdir()}
            raise ComicSeqDataError(f"There is no {source}: name {_WHAT}{did_you_mean(source, beside)}.")
        check_not_mistyped(source, _WHAT)
        rows = list_rows(source)
        return [SourcePage(book, name, "dataset", source, str(key)) for book, name, key in rows]
    if path.is_dir():
        return _in_folder(path, fault)
    found = _in_file(path, path.stem, fault)
    if found is None:
        raise ComicSeqDataError(f"{source} is no archive, PDF file or data set: name one, or a folder of pictures.")
    return found


def read_pages(pages: Iterable[SourcePage]) -> Iterator[tuple[Content, dict[str, Any] | None]]:
    """The content of pages, and for those of a data set what else it says of them; what is wrong instead of the content."""
    for (kind, place), group in groupby(pages, key=lambda page: (page.kind, page.place)):
        keys = [page.key for page in group]
        done = 0
        try:
            for content in _READERS[kind](Path(place), keys) if kind != "dataset" else read_rows(place, keys):
                done += 1
                yield content if isinstance(content, tuple) else (content, None)
        except PageProblem as problem:  # with the file as a whole
            yield from [(problem, None)] * (len(keys) - done)


def _in_folder(root: Path, fault: Fault) -> list[SourcePage]:
    """The books below a folder: each folder that holds pictures, each archive and each PDF file."""
    books: dict[str, list[SourcePage]] = {}
    seen: set[str] = set()

    def barred(error: OSError) -> None:
        fault(error.filename, None, PageProblem(f"cannot be read ({in_words(error)})", "check its permissions"))

    for folder, below, files in os.walk(root, onerror=barred, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads in a circle
            below.clear()
            continue
        seen.add(real)
        below[:] = [each for each in below if not each.startswith(".") and each != "__MACOSX"]
        below[:] = [each for each in below if _is_text(each, folder, fault)]
        path = Path(folder)
        inside = path.relative_to(root).as_posix()
        book_id = _book_id(inside if inside != "." else Path(os.path.abspath(root)).name)
        pictures = []
        for file in files:
            if is_picture(file):
                pictures += [file] if _is_text(file, folder, fault) else []
            elif not file.startswith("."):
                name = Path(inside, file).with_suffix("").as_posix()
                if found := _in_file(path / file, name, fault):
                    _add(books, found, path / file)
        if pictures:
            info = _info(path / COMIC_INFO, folder, fault) if COMIC_INFO in files else ComicInfo()
            listed = in_page_order(pictures)
            _add(books, [SourcePage(book_id, each, "folder", folder, each, info) for each in listed], path)
    if not books:
        fault(str(root), None, PageProblem("holds no pictures, archives or PDF files", "name another folder"))
    return [page for book_id in sorted(books, key=natural_key) for page in books[book_id]]


def _in_file(path: Path, name: str, fault: Fault) -> list[SourcePage] | None:
    """The pages of an archive or PDF file; None for a file of another kind."""
    ending, place = path.suffix[1:].lower(), str(path)
    if ending not in (*ARCHIVES, "pdf") or not _is_text(name, place, fault):
        return None
    book_id = _book_id(name)
    try:
        if ending == "pdf":
            return [SourcePage(book_id, each, "pdf", place, each) for each in list_pdf(path)]
        names, content = list_archive(path)
    except PageProblem as problem:
        fault(place, None, problem)
        return []
    info = ComicInfo() if content is None else _parse_info(content, place, fault)
    return [SourcePage(book_id, each, "archive", place, each, info) for each in in_page_order(dict.fromkeys(names))]


def _add(books: dict[str, list[SourcePage]], pages: list[SourcePage], place: Path) -> None:
    """Adds a book.

    Raises:
        ComicSeqDataError: There is another with its id.
    """
    earlier = books.setdefault(pages[0].book_id, pages)
    if earlier is not pages:
        raise ComicSeqDataError(
            f"{earlier[0].place} and {place} are both called {pages[0].book_id!r}: rename one, or ingest them apart."
        )


def _book_id(name: str) -> str:
    return "/".join(unicodedata.normalize("NFC", each.strip()) for each in name.split("/"))


def _is_text(name: str, place: str, fault: Fault) -> bool:
    """Whether a name is valid Unicode, which those of old file systems need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="surrogateescape").decode(errors="replace")
        fault(
            place.encode(errors="replace").decode(), shown, PageProblem("has a name that is no Unicode", "rename it")
        )
        return False
    return True


def _info(path: Path, place: str, fault: Fault) -> ComicInfo:
    try:
        with path.open("rb") as file:
            return _parse_info(file.read(MOST_BYTES), place, fault)
    except OSError as error:
        fault(place, None, PageProblem(f"{COMIC_INFO} cannot be read ({in_words(error)})", "mend or remove it"))
        return ComicInfo()


def _parse_info(content: bytes, place: str, fault: Fault) -> ComicInfo:
    try:
        return read_comic_info(content)
    except PageProblem as problem:
        fault(place, None, problem)
        return ComicInfo()


def _read_files(folder: Path, names: Iterable[str]) -> Iterator[bytes | PageProblem]:
    for name in names:
        try:
            size = (folder / name).stat().st_size
            if size > MOST_BYTES:
                raise PageProblem(f"has {size:,} bytes", f"make it smaller than {MOST_BYTES:,}")
            yield (folder / name).read_bytes()
        except OSError as error:
            yield PageProblem(f"cannot be read ({in_words(error)})", "check the file and its permissions")
        except PageProblem as problem:
            yield problem


_READERS: dict[str, Callable[[Path, list[str]], Iterator[Content]]] = {
    "folder": _read_files,
    "archive": read_archive,
    "pdf": read_pdf,
}
