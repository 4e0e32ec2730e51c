"""A data set of pages as it is read: what is known of each page, and the pictures of its panels, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from PIL.Image import Image

from ..errors import ComicSeqDataError, PageProblem, in_words
from ..hub import check_not_mistyped
from ..model.pictures_comicpage import PictureProblem, crop, load_picture
from ..progress import dataset_bars
from .annotations import PageAnnotation, PanelAnnotation, read_annotation
from .picture_datasets import open_pictures

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Page", "PageSet"]

_NEEDED = ("book_id", "page_name", "boxes")
_OF_PANELS = ("texts", "captions", "speakers", "character_ids")
_BATCH = 4096  # pages whose numbers of panels are read at a time


@dataclass(frozen=True)
class Page:
    """A page without its picture.

    Attributes:
        row: Its row of the data set, as it came.
        annotation: What that says of its panels, which stand in reading order.
    """

    row: Mapping[str, Any]
    annotation: PageAnnotation

    @property
    def canonical_id(self) -> str:
        """`book_id/page_name`."""
        return f"{self.row['book_id']}/{self.row['page_name']}"


@dataclass(frozen=True)
class PageSet:
    """An opened data set of pages, see `page_dataset.py`.

    Attributes:
        source: What it was opened from: a folder, or a name on the Hub.
        dataset: All of its splits, pictures as files.
        image: Name of the column of pictures.
    """

    source: str
    dataset: Dataset
    image: str

    @classmethod
    def open(cls, source: str) -> PageSet:
        """Opens what `comicseq ingest` wrote, or any data set with its columns.

        Raises:
            ComicSeqDataError: There is none, it lacks a column or holds no page.
        """
        check_not_mistyped(source, "the data set of pages that `comicseq ingest` wrote, or one on the Hub")
        with dataset_bars(False):
            dataset, image = open_pictures(source)
        lacking = [name for name in _NEEDED if name not in dataset.column_names]
        if lacking:
            raise ComicSeqDataError(
                f"{source} is no data set of pages: it has no column {lacking[0]!r} but {', '.join(dataset.column_names)};"
                " give what `comicseq ingest` wrote"
            )
        if not len(dataset):
            raise ComicSeqDataError(f"{source} holds no page; ingest some")
        return cls(source, dataset, image)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def fingerprint(self) -> str:
        """What tells the data set from another version of it."""
        return self.dataset._fingerprint

    @cached_property
    def counts(self) -> np.ndarray:
        """Panels of each page `(pages,)`."""
        lengths = [pc.fill_null(pc.list_value_length(each), 0).to_numpy() for each in self._column("boxes")]
        return np.concatenate(lengths).astype(np.int64)

    def tells(self, column: str) -> bool:
        """Whether a column says something of one of the panels: a word, a name."""
        return column in self.dataset.column_names and any(_has_words(each) for each in self._column(column))

    def page(self, number: int) -> Page:
        """A page without its picture.

        Raises:
            ComicSeqDataError: It cannot be understood.
        """
        row = self._facts[number]
        try:
            for name in ("book_id", "page_name"):
                if not isinstance(row[name], (str, int)) or not str(row[name]).strip():
                    raise PageProblem(f"its {name} is {row[name]!r}", "give a name")
            boxes = row["boxes"] if row["boxes"] is not None else []
            for name in _OF_PANELS:
                if row.get(name) is not None and len(row[name]) != len(boxes):
                    found = f"it has {len(row[name])} {name} for {len(boxes)} boxes"
                    raise PageProblem(found, "give one a panel, or null for the page")
            return Page(row, read_annotation({**row, "panel_boxes": boxes}, row.get("size")))
        except PageProblem as problem:
            raise self._fault(number, problem) from None

    def picture(self, number: int) -> Image:
        """The picture of a page, RGB.

        Raises:
            ComicSeqDataError: It is missing or damaged.
        """
        try:
            value = self._pictures[number][self.image]
            if value is None:
                raise PictureProblem("has no picture", "leave the row out")
            return load_picture(value)
        except PictureProblem as problem:
            raise self._fault(number, PageProblem(problem.found, problem.remedy)) from None

    def crops(self, number: int, panels: Sequence[PanelAnnotation]) -> list[Image]:
        """The pictures of panels of a page; its own is decoded once.

        Raises:
            ComicSeqDataError: It is missing or damaged, or it is not known where one of the panels stands.
        """
        boxes = self.boxes(number, panels)
        if not boxes:
            return []
        image = self.picture(number)
        return [crop(image, box) for box in boxes]

    def boxes(self, number: int, panels: Sequence[PanelAnnotation]) -> list[tuple[float, float, float, float]]:
        """Where panels of a page stand.

        Raises:
            ComicSeqDataError: It is not known of one of them.
        """
        boxes = [panel.box for panel in panels if panel.box is not None]
        if len(boxes) < len(panels):
            place = next(place for place, panel in enumerate(panels) if panel.box is None)
            problem = PageProblem(f"nothing tells where panel {place} stands", "give its box, or leave the page out")
            raise self._fault(number, problem)
        return boxes

    def picture_hash(self, number: int) -> int:
        """Hash of the file of a page's picture: equal files have equal ones.

        Raises:
            ComicSeqDataError: It is missing.
        """
        value = self._pictures[number][self.image] or {}
        try:
            content = value.get("bytes") or Path(value.get("path") or "").read_bytes()
        except OSError as error:
            raise self._fault(
                number, PageProblem(f"its picture cannot be read ({in_words(error)})", "restore it")
            ) from None
        return xxhash.xxh3_128_intdigest(content)

    @cached_property
    def _facts(self) -> Dataset:
        return self.dataset.remove_columns([self.image])

    @cached_property
    def _pictures(self) -> Dataset:
        return self.dataset.select_columns([self.image])

    def _column(self, name: str) -> Iterator[pa.Array]:
        """A column, some thousand pages at a time."""
        batches = self.dataset.select_columns([name]).with_format("arrow")
        for lo in range(0, len(self), _BATCH):
            yield batches[lo : lo + _BATCH][name].combine_chunks()

    def _fault(self, number: int, problem: PageProblem) -> ComicSeqDataError:
        row = self._facts[number]
        return ComicSeqDataError(f"{self.source}: page '{row['book_id']}/{row['page_name']}': {problem}")


def _has_words(values: pa.Array) -> bool:
    """Whether a column of lists, in whatever depth, holds a word."""
    if isinstance(values, pa.ChunkedArray):
        return any(map(_has_words, values.chunks))
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        return len(values) > values.null_count
    return bool(pc.any(pc.not_equal(pc.utf8_trim_whitespace(values), "")).as_py())
