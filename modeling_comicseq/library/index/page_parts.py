"""What a data set of pages adds to an index: panels' boxes and texts, reading direction, small pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from ...errors import ComicSeqDataError, PageProblem
from ...pages.picture_datasets import fingerprint_of, is_picture_dataset, list_rows, read_rows
from ...pages.pictures import EXTENSIONS, read_picture
from ...stores.names import normal_form

__all__ = ["PagePart", "PageParts", "small_picture"]

QUALITY = 85  # of small pictures, as JPEG


class PagePart(NamedTuple):
    """What is known of one page.

    Attributes:
        boxes: Of its panels as shares of the page `(panels, 4)`, None where none is known.
        texts: The texts of each panel.
        direction: "ltr", "rtl" or None.
        picture: The file of its picture.
        digest: Hash of all of it.
    """

    boxes: np.ndarray | None
    texts: list[list[str]] | None
    direction: str | None
    picture: bytes | None
    digest: int


class PageParts:
    """The pages of a data set by book and name.

    Args:
        source: Folder of a data set of pages.

    Raises:
        ComicSeqDataError: It is none.
    """

    def __init__(self, source: str | os.PathLike):
        self.source = os.fspath(source)
        if not is_picture_dataset(Path(self.source)):
            raise ComicSeqDataError(
                f"{self.source} is no data set of pages: give the folder that `comicseq ingest` made"
            )
        self.rows: dict[tuple[str, str], int] = {}
        for book, name, row in list_rows(self.source):
            for form in (normal_form(name), _stem(name)):
                self.rows.setdefault((normal_form(book), form), row)

    def fingerprint(self) -> str:
        """Changes when the data set does."""
        return str(fingerprint_of(self.source))

    def find(self, book: str, name: str) -> int | None:
        """The row of a page, None where it is not among them; endings of pictures do not count."""
        book = normal_form(book)
        return self.rows.get((book, normal_form(name)), self.rows.get((book, _stem(name))))

    def read(self, rows: Sequence[int]) -> list[PagePart]:
        """What is known of the pages in these rows."""
        return [_part(picture, row) for picture, row in read_rows(self.source, map(str, rows))]


def _part(picture: bytes | PageProblem, row: dict[str, Any]) -> PagePart:
    digest = xxhash.xxh3_64(b"" if isinstance(picture, PageProblem) else picture)
    boxes = np.asarray(row.get("boxes") or [], np.float32).reshape(-1, 4)
    texts = row.get("texts")
    direction = row.get("reading_direction")
    digest.update(repr((boxes.tolist(), texts, direction)).encode("utf-8", "surrogatepass"))
    return PagePart(
        boxes if boxes.any() else None,
        texts if texts is not None and any(texts) else None,
        direction,
        None if isinstance(picture, PageProblem) else picture,
        digest.intdigest(),
    )


def small_picture(file: bytes, longest: int) -> bytes | None:
    """A JPEG of a picture whose longer side has at most so many pixels; None where the file is no picture."""
    from PIL import Image

    try:
        image = read_picture(file, lossy=True).image.convert("RGB")
    except PageProblem:
        return None
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def _stem(name: str) -> str:
    stem, _, ending = normal_form(name).rpartition(".")
    return stem if stem and ending.casefold() in EXTENSIONS else normal_form(name)
