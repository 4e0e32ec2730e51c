"""What is told of the pages of a store, panel by panel as they stand in its slots: from comics, page JSON or its metadata."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ..errors import ComicSeqDataError, PageProblem
from ..pages.annotations import PageAnnotation, PanelAnnotation, read_annotation, read_direction, read_entries
from ..pages.json_list import iter_entries
from ..pages.page_set import PageSet
from ..pages.picture_datasets import is_picture_dataset
from ..stores.boxed_pages import describe_boxes, entries_of_pages
from ..stores.boxes import LostBoxes
from ..stores.metadata import describe_file, dump
from ..stores.pages import Pages
from ..stores.slots import UnknownOrder, panels_in_slots
from ..urls import is_url

__all__ = ["Facts", "PageFacts", "open_source"]

_LISTS = ("panel_boxes", "texts", "captions", "character_ids")


@dataclass(frozen=True)
class PageFacts:
    """What is told of a page.

    Attributes:
        panels: The panels in its slots; empty where nothing is told of them.
        is_blank: Whether it is a page without panels that is stored as a blank one.
        reading_direction: "ltr", "rtl" or None.
        number: Its number in a data set of pages, which has its picture; None for another source.
    """

    panels: list[PanelAnnotation]
    is_blank: bool
    reading_direction: str | None
    number: int | None


class Facts:
    """What is told of the pages of a store, kept in a file: texts may not fit comfortably in memory.

    Args:
        source: Data set of pages, page JSON, or the store's metadata.
        pages: The pages of the store.
        slots: Its panel slots.
        file: Where they are kept.

    Attributes:
        counts: How many panels have `texts`, `captions`, `boxes`, `character_ids`; how many pages a `reading_direction`;
            `blank`, how many are stored as a blank panel.

    Raises:
        ComicSeqDataError: A page cannot be understood, or its panels are not those of the store.
    """

    def __init__(self, source: PageSet | str, pages: Pages, slots: int, file: Path, metadata: str):
        self.counts = dict.fromkeys(("texts", "captions", "boxes", "character_ids", "reading_direction", "blank"), 0)
        self._spans = np.zeros((len(pages), 2), np.int64)
        name = source.source if isinstance(source, PageSet) else source
        names, rows, counts = pages.strings("canonical_id"), pages.rows, pages.counts
        lost = LostBoxes(name)
        with open(file, "wb") as out:
            for place, number, entry, is_twice in _entries(source, pages, metadata):
                try:
                    if is_twice:
                        raise PageProblem("it stands twice", "keep one of the two")
                    facts = _read(entry, int(counts[place]), slots, number)
                except UnknownOrder as problem:
                    lost.add(names[place], problem.found)
                    continue
                except PageProblem as problem:
                    where = f"page {names[place]!r} (sequence_index {rows[place]})"
                    raise ComicSeqDataError(f"{name}: {where}: {problem}") from None
                if facts is not None:
                    self._count(facts)
                    text = dump(asdict(facts))
                    self._spans[place] = out.tell(), len(text)
                    out.write(text)
        lost.tell("texts, captions and characters")
        self._file = open(file, "rb")  # noqa: SIM115
        self._text = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if os.path.getsize(file) else b""

    def close(self) -> None:
        """Lets the file go."""
        if not isinstance(self._text, bytes):
            self._text.close()
        self._file.close()

    def get(self, place: int) -> PageFacts | None:
        """What is told of the page at this place; None where nothing is."""
        start, length = self._spans[place].tolist()
        if not length:
            return None
        said = orjson.loads(self._text[start : start + length])
        return PageFacts(**said | {"panels": [PanelAnnotation(**panel) for panel in said["panels"]]})

    def is_told(self) -> np.ndarray:
        """Of which pages something is told `(pages,)`."""
        return self._spans[:, 1] > 0

    def _count(self, facts: PageFacts) -> None:
        told: dict[str, list] = {
            "texts": [panel.texts for panel in facts.panels],
            "captions": [panel.caption for panel in facts.panels],
            "boxes": [panel.box for panel in facts.panels],
            "character_ids": [panel.character_ids is not None for panel in facts.panels],
        }
        for name, values in told.items():
            self.counts[name] += sum(map(bool, values))
        self.counts["reading_direction"] += facts.reading_direction is not None
        self.counts["blank"] += facts.is_blank


def open_source(pages: str, metadata: str) -> tuple[PageSet | str, Any]:
    """The source of a name, opened if it is a data set of pages, and what tells it from another version of it."""
    path = Path(pages)
    is_json = is_url(pages) or ".json" in path.suffixes or (path.is_dir() and not is_picture_dataset(path))
    if pages == metadata:
        return pages, describe_file(metadata)
    if is_json or (path.is_file() and not is_picture_dataset(path)):
        return pages, describe_boxes(pages)
    data = PageSet.open(pages)
    return data, data.fingerprint


def _entries(
    source: PageSet | str, pages: Pages, metadata: str
) -> Iterator[tuple[int, int | None, Mapping[str, Any] | PageProblem | PageAnnotation, bool]]:
    """Place of the page, its number in a data set of pages, what is given of it, and whether it was given before."""
    if source == metadata:
        rows = pages.rows
        for entry in iter_entries(metadata):
            yield int(np.searchsorted(rows, entry["sequence_index"])), None, entry, False
        return
    lack = "get nothing"
    if isinstance(source, PageSet):
        numbered = ((source.page(number), number) for number in range(len(source)))
        given: Iterable = (
            (page.row["page_name"], {"book_id": page.row["book_id"], "about": page.annotation, "number": number})
            for page, number in numbered
        )
        for place, row, is_twice in entries_of_pages(pages, source.source, given, lack):
            yield place, row["number"], row["about"], is_twice
        return
    for place, entry, is_twice in entries_of_pages(pages, source, read_entries(source), lack):
        yield place, None, entry, is_twice


def _read(given: Any, num_panels: int, slots: int, number: int | None) -> PageFacts | None:
    """What is told of a page with so many panels; None for nothing.

    Raises:
        PageProblem: It cannot be understood, or its panels are not those of the store.
    """
    if isinstance(given, PageProblem):
        raise given
    if isinstance(given, PageAnnotation):
        entry, annotation = {}, given
    else:
        # Where the panels are objects, these say more than a list of boxes that was added.
        entry = {key: value for key, value in given.items() if key != "panel_boxes" or not given.get("panels")}
        if "panels" not in entry:
            lengths = {name: len(entry[name]) for name in _LISTS if isinstance(entry.get(name), list)}
            if not lengths:
                direction = read_direction(entry)
                return None if direction is None else PageFacts([], False, direction, number)
            if len({*lengths.values()}) > 1:
                found = " but ".join(f"{length} {name}" for name, length in lengths.items())
                raise PageProblem(f"it has {found}", "give one of each a panel")
        annotation = read_annotation(entry, lenient=True)
    panels = panels_in_slots(entry, annotation, num_panels, slots)
    return PageFacts(panels, not panels and num_panels == 1, annotation.reading_direction, number)
