"""A page to be read, and the pages near it: of a data set of pages, or a picture among the others of its folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..errors import ComicSeqArgumentError, ComicSeqDataError, PageProblem, did_you_mean
from ..model.pictures_comicpage import LEAST_SIDE
from ..pages.comic_info import COMIC_INFO, ComicInfo, read_comic_info
from ..pages.page_order import in_page_order
from ..pages.page_rows import Reading, page_row
from ..pages.page_set import PageSet
from ..pages.pictures import Picture, crop, is_picture, read_picture
from ..pages.sources import SourcePage, read_pages

__all__ = ["SeenPage", "find_page"]


@dataclass(frozen=True)
class SeenPage:
    """A page with its picture.

    Attributes:
        page_id: `book_id/page_name`.
        image: The picture, RGB.
        boxes: Where its panels stand, in reading order, as shares of the page.
        texts: What is said in each.
        reading_direction: `"ltr"`, `"rtl"`, or None.
        origins: Where boxes, order and texts have come from.
    """

    page_id: str
    image: Image
    boxes: list[tuple[float, ...]]
    texts: list[list[str]]
    reading_direction: str | None
    origins: dict[str, str | None]

    def words(self, panel: int) -> str:
        """What is said in a panel, as encoders take it."""
        return " ".join(self.texts[panel])

    def is_seen(self, panel: int) -> bool:
        """Whether the picture of a panel is large enough to be read."""
        return min(self.crop(panel).size) >= LEAST_SIDE

    def crop(self, panel: int) -> Image:
        """The picture of a panel."""
        return crop(self.image, self.boxes[panel])


def find_page(
    page: str, pages: str | os.PathLike[str] | None, reading: Reading
) -> tuple[SeenPage, Iterator[SeenPage]]:
    """Finds a page.

    Args:
        page: `book_id/page_name` or the row of a page of the data set `pages`, or a file of a picture. One that is the
            picture of a page of the data set means that page, with all that is known of it, unless `reading` says how to
            read it.
        pages: A data set of pages.
        reading: How pictures without a data set are read.

    Returns:
        The page, and the others, which are read as they are asked for: the nearest ones of its book first, then those of
        other books. Those without panels are left out, and those that cannot be read. The book of a picture is its folder;
        beside a data set that does not have it, a picture is of no book.

    Raises:
        ComicSeqArgumentError: There is no such page.
        ComicSeqDataError: The data set or the picture has a fault.
    """
    if pages is None:
        return _in_folder(Path(page), reading)
    opened = PageSet.open(os.fspath(pages))
    names = [
        f"{book}/{name}" for book, name in zip(opened.dataset["book_id"], opened.dataset["page_name"], strict=True)
    ]
    if page in names:
        number = names.index(page)
    elif page.isdecimal() and int(page) < len(names):
        number = int(page)
    elif Path(page).is_file():
        own = _number_of_picture(opened, Path(page))
        if own is None or reading != Reading():
            others = [each for each in range(len(names)) if each != own]
            return _read_file(Path(page), reading), _usable(opened, others)
        number = own
    else:
        meant = (
            did_you_mean(page, set(names)) or f": there are pages such as {names[0]!r}, and rows to {len(names) - 1}"
        )
        raise ComicSeqArgumentError(f"{os.fspath(pages)} has no page {page!r}, nor is it a file of a picture{meant}.")
    books, places = opened.dataset["book_id"], _places(opened)
    others = [each for each in range(len(names)) if each != number]
    others.sort(key=lambda each: (books[each] != books[number], abs(places[each] - places[number])))
    return _of_dataset(opened, number), _usable(opened, others)


def _usable(opened: PageSet, numbers: Iterable[int]) -> Iterator[SeenPage]:
    """Pages of a data set, without those that have no panels, or a fault."""
    for number in numbers:
        try:
            yield _of_dataset(opened, number)
        except ComicSeqDataError:
            continue


def _number_of_picture(opened: PageSet, file: Path) -> int | None:
    """The page of a data set, of those with panels, whose picture a file is."""
    image = _open_file(file)[1].image.convert("RGB")
    sizes = opened.dataset["size"] if "size" in opened.dataset.column_names else repeat(image.size, len(opened))
    for number, size in enumerate(sizes):
        if size and tuple(size) == image.size and opened.counts[number] and _is_same(opened, number, image):
            return number
    return None


def _is_same(opened: PageSet, number: int, image: Image) -> bool:
    try:
        return opened.picture(number).tobytes() == image.tobytes()
    except ComicSeqDataError:  # a page that cannot be seen is not this one
        return False


def _places(opened: PageSet) -> Sequence[int]:
    """The place of each page in its book."""
    if "page_index" in opened.dataset.column_names:
        told = list(opened.dataset["page_index"])
        if None not in told:
            return told
    return range(len(opened))


def _of_dataset(opened: PageSet, number: int) -> SeenPage:
    page = opened.page(number)
    row, panels = page.row, page.annotation.panels
    if not panels or not all(panel.box for panel in panels):
        raise ComicSeqDataError(
            f"{opened.source}: page {page.canonical_id!r} has no panels, or some without a box: ingest it again."
        )
    return SeenPage(
        page_id=page.canonical_id,
        image=opened.picture(number),
        boxes=[tuple(panel.box or ()) for panel in panels],
        texts=[list(panel.texts) for panel in panels],
        reading_direction=page.annotation.reading_direction,
        origins=_origins(row),
    )


def _in_folder(file: Path, reading: Reading) -> tuple[SeenPage, Iterator[SeenPage]]:
    if not file.is_file():
        raise ComicSeqArgumentError(
            f"There is no file {str(file)!r}: name one of a picture, or a page of a data set with --pages."
        )
    names = in_page_order(each.name for each in file.absolute().parent.iterdir() if is_picture(each.name))
    own = names.index(file.name) if file.name in names else 0
    near = sorted((each for each in names if each != file.name), key=lambda name: abs(names.index(name) - own))
    return _read_file(file, reading), _readable(file.parent, near, reading)


def _readable(folder: Path, names: Sequence[str], reading: Reading) -> Iterator[SeenPage]:
    """The pages among the pictures of a folder, without those that cannot be read."""
    for name in names:
        try:
            yield _read_file(folder / name, reading)
        except ComicSeqDataError:
            continue


def _open_file(file: Path) -> tuple[SourcePage, Picture]:
    folder = file.absolute().parent
    try:
        info = ComicInfo()
        if (folder / COMIC_INFO).is_file():
            info = read_comic_info((folder / COMIC_INFO).read_bytes())
        source = SourcePage(folder.name, file.name, "folder", str(folder), file.name, info)
        ((content, _),) = read_pages([source])
        if isinstance(content, PageProblem):
            raise content
        return source, content if isinstance(content, Picture) else read_picture(content)
    except PageProblem as problem:
        raise ComicSeqDataError(f"{file}: {problem}.") from None


def _read_file(file: Path, reading: Reading) -> SeenPage:
    source, picture = _open_file(file)
    try:
        row = page_row(source, picture, None, None, reading)
    except PageProblem as problem:
        raise ComicSeqDataError(f"{file}: {problem}.") from None
    return SeenPage(
        page_id=f"{source.book_id}/{file.name}",
        image=picture.image.convert("RGB"),
        boxes=[tuple(box) for box in row["boxes"]],
        texts=row["texts"],
        reading_direction=row["reading_direction"],
        origins=_origins(row),
    )


def _origins(row: Any) -> dict[str, str | None]:
    return {name: row.get(f"{name}_origin") for name in ("boxes", "order", "texts", "reading_direction")}
