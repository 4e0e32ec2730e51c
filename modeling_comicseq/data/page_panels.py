"""Panels whose vectors a model makes itself: tables of numbers of pictures and texts, and of what became of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ComicSeqDataError, PageProblem
from ..files import write_json, written_folder
from ..model.processing_comicpanel import ComicPanelProcessor
from ..pages.annotations import PanelAnnotation, form_of, read_annotation
from ..pages.json_list import iter_entries
from ..pages.page_set import PageSet
from ..stores.arrays import Part, create_arrays, finish_store, open_for_writing, write_part
from ..stores.metadata import describe_file, dump
from ..stores.page_metadata import page_entry, text_of
from ..stores.provenance import read_provenance
from ..stores.stage3 import BOX_ARRAY, PANEL_ARRAYS
from ..stores.stage3_layout import stage3_layout
from .contents import Contents
from .panels import PanelPool, PanelSubset, PanelTable

__all__ = [
    "CONTENT_METADATA",
    "CONTENT_STORE",
    "ContentTable",
    "number_pages",
    "open_pages",
    "provenance_of",
    "with_vectors",
    "within",
]

# Another number when the same pages give other numbers: it is part of the fingerprint.
_FORMAT = 1
FUSED, VISUAL, TEXT, CAPTION = PANEL_ARRAYS
CONTENT_STORE, CONTENT_METADATA = "numbers.zarr", "numbers_metadata.json"
_MOST = 2**24  # numbers that float32, in which stores hold what they hold, tells apart


class ContentTable(PanelTable):
    """The panels of a split by what they hold, in the place of vectors: `panel_embeddings` are the numbers of a panel's picture
    and text, the others each one number, 0 for nothing.

    Attributes:
        contents: What stands behind the numbers.
        widths: How wide the vectors of each column are that the encoder makes of them.
    """

    def __init__(self, dataset: Any, contents: Contents, widths: Mapping[str, int]):
        super().__init__(dataset)
        self.contents = contents
        self.widths = {name: widths[name] for name in self.columns}

    def __reduce__(self):
        _, (dataset,), read = super().__reduce__()
        return ContentTable, (dataset, self.contents, self.widths), read

    def _gather_panels(self, panels: np.ndarray, shown: np.ndarray) -> np.ndarray:
        return self._side_by_side(panels, shown)  # whatever the streams: the model makes one vector of the two, or two

    def numbers(self) -> np.ndarray:
        """The numbers of all contents of the split `(n,)`, ascending, without 0."""
        pieces = [piece.ravel() for pieces in self.columns.values() for piece in pieces]
        return np.unique(np.concatenate([np.zeros(1), *pieces]))[1:].astype(np.int64)


def provenance_of(table: PanelTable) -> dict[str, Any]:
    """Where a split comes from; the fingerprint of a `ContentTable` is that of what stands behind its numbers."""
    found = read_provenance(table.dataset)
    if not isinstance(table, ContentTable):
        return found
    return found | {"source": found.get("source", {}) | {"fingerprint": table.contents.fingerprint}}


def with_vectors(table: ContentTable, numbers: np.ndarray, vectors: np.ndarray) -> PanelTable:
    """The table with vectors in the place of numbers, in memory. Questions about it are those about the numbers.

    Args:
        table: The table.
        numbers: All numbers in it `(n,)`, ascending, without 0.
        vectors: Their vectors `(n, width)`.
    """
    vectors = np.concatenate((np.zeros_like(vectors[:1]), vectors))
    numbers = np.concatenate(([0], numbers))

    def read(piece: np.ndarray) -> np.ndarray:
        return vectors[np.searchsorted(numbers, piece)].sum(1)

    return _changed(table, columns={name: [*map(read, pieces)] for name, pieces in table.columns.items()})


def within(table: PanelTable, pages: np.ndarray) -> PanelTable:
    """The table with no wrong candidates but those that stand on `pages`, numbers of them."""
    assert table.twins is not None  # which the pool of all pages tells
    is_in = np.zeros(len(table.pool.page_sizes), bool)
    is_in[pages] = True

    def cut(pool: PanelPool) -> PanelPool:
        sizes = np.where(is_in, pool.page_sizes, 0)
        return PanelPool(pool.panels[np.repeat(is_in, pool.page_sizes)], np.concatenate(([0], np.cumsum(sizes))))

    subsets = {"with_text": table.with_text, "with_caption": table.with_caption}
    changes: dict[str, Any] = {
        name: None if subset is None else PanelSubset(cut(subset.pool), subset.members, subset.ranks)
        for name, subset in subsets.items()
    }
    return _changed(table, pool=cut(table.pool), **changes)


def _changed(table: PanelTable, **changes: Any) -> PanelTable:
    # Not by `copy`, for which a table is what its files hold.
    changed = object.__new__(PanelTable)
    changed.__dict__ |= table.__dict__ | changes
    return changed


def open_pages(source: str | os.PathLike) -> PageSet | str:
    """A data set of pages, opened; or the path of a JSON list of pages with texts, as the metadata of a store is.

    Raises:
        ComicSeqDataError: There is no such data set.
    """
    name = os.fspath(source)
    return name if ".json" in Path(name).suffixes else PageSet.open(name)


def number_pages(
    source: PageSet | str,
    folder: Path,
    processor: ComicPanelProcessor,
    *,
    sees: bool,
    origin: Mapping[str, Any],
    track: Callable[[Iterator[Any], int | None], Any] = lambda items, total: items,
) -> None:
    """Numbers the distinct pictures and texts of pages, for `Contents`, and writes which panel holds which.

    What is written is a Stage 3 store of numbers with its metadata, one row a page, so that `convert_store` makes of it what
    it makes of the vectors of the same pages. A folder that is there and was made of the same is left as it is.

    Args:
        source: The pages, as `open_pages` gives them.
        folder: What to write.
        processor: Of the panel encoder.
        sees: Whether that has a vision model, and the pages have pictures.
        origin: What is to be said of its vectors.
        track: Shows how far the reading is.

    Raises:
        ComicSeqDataError: A page has a fault, or there is nothing that the encoder could read.
    """
    reads = processor.tokenizer is not None
    fingerprint = _fingerprint(source, processor, sees)
    if (folder / "contents.json").is_file():
        known = json.loads((folder / "contents.json").read_text())
        if known == {"fingerprint": fingerprint, "origin": dict(origin)}:
            return
    numbering = _Numbering(processor if reads else None)
    counts: list[int] = []
    boxes: list[tuple[float, ...]] = []
    columns: dict[str, list[int]] = {VISUAL: [], TEXT: [], CAPTION: []}
    name = source if isinstance(source, str) else source.source
    with written_folder(folder, overwrite=True) as beside:
        with open(beside / CONTENT_METADATA, "wb") as file:
            for number, (entry, panels) in enumerate(
                track(_entries(source), None if isinstance(source, str) else len(source))
            ):
                file.write((b",\n" if number else b"[\n") + dump(entry))
                counts.append(len(panels))
                boxes += [panel.box or (0, 0, 0, 0) for panel in panels]
                if sees:
                    assert isinstance(source, PageSet)
                    columns[VISUAL] += numbering.pictures(source, number, panels)
                columns[TEXT] += numbering.texts([text_of(panel) for panel in panels])
                columns[CAPTION] += numbering.texts([panel.caption or "" for panel in panels])
                lacking = [] if sees else [slot for slot, text in enumerate(columns[TEXT][-len(panels) :]) if not text]
                if panels and lacking:
                    raise ComicSeqDataError(
                        f"{name}: page {entry['canonical_id']!r}: panel {lacking[0]} has no text, and the encoder is to read"
                        " nothing else: give pages with pictures and an encoder that sees them, or leave such panels out."
                    )
            file.write(b"\n]\n")
        if not sum(counts):
            raise ComicSeqDataError(f"{name} holds no panel on any of its pages: ingest them with --panels auto.")
        contents = numbering.contents()
        shift = len(contents["crops"])
        if shift + len(contents["starts"]) > _MOST:
            raise ComicSeqDataError(
                f"{name} has more than {_MOST:,} distinct pictures and texts: embed it, and train on the store."
            )
        numbers = {each: np.asarray(values, np.float32)[:, None] for each, values in columns.items() if any(values)}
        for each in numbers.keys() - {VISUAL}:
            numbers[each] = np.where(numbers[each] > 0, numbers[each] + shift, 0).astype(np.float32)
        nothing = np.zeros((sum(counts), 1), np.float32)
        numbers[FUSED] = np.concatenate([numbers.get(VISUAL, nothing), numbers.get(TEXT, nothing)], axis=1)
        _write_store(beside / CONTENT_STORE, counts, numbers, np.asarray(boxes, np.float32), origin)
        np.savez(beside / "contents.npz", **contents)  # type: ignore[arg-type]
        write_json(beside / "contents.json", {"fingerprint": fingerprint, "origin": dict(origin)})


class _Numbering:
    """Gives every distinct picture and text a number from 1 on, in the order of their first appearance."""

    def __init__(self, processor: ComicPanelProcessor | None):
        self.processor = processor
        self._pictures: dict[tuple, int] = {}
        self._places: list[tuple[int, tuple]] = []
        self._texts: dict[tuple[int, ...], int] = {}

    def pictures(self, data: PageSet, page: int, panels: Sequence[PanelAnnotation]) -> list[int]:
        boxes = data.boxes(page, panels)
        file = data.picture_hash(page) if boxes else 0
        numbers = []
        for box in boxes:
            numbers.append(self._pictures.setdefault((file, box), len(self._pictures) + 1))
            if numbers[-1] > len(self._places):
                self._places.append((page, box))
        return numbers

    def texts(self, texts: Sequence[str]) -> list[int]:
        """Those of texts, 0 for an empty one or where nothing reads them."""
        numbers = [0] * len(texts)
        asked = [place for place, text in enumerate(texts) if text.strip()]
        if self.processor is None or not asked:
            return numbers
        words = [texts[place] for place in asked]
        tokens = self.processor.tokenizer(words, truncation=True, max_length=self.processor.max_length)["input_ids"]
        for place, ids in zip(asked, tokens, strict=True):
            numbers[place] = self._texts.setdefault(tuple(ids), len(self._texts) + 1)
        return numbers

    def contents(self) -> dict[str, np.ndarray]:
        """The arrays that `Contents.open` reads."""
        lengths = [len(ids) for ids in self._texts]
        return {
            "crops": np.asarray([page for page, _ in self._places], np.int64),
            "boxes": np.asarray([box for _, box in self._places], np.float64).reshape(-1, 4),
            "tokens": np.fromiter((each for ids in self._texts for each in ids), np.int64, sum(lengths)),
            "starts": np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        }


def _entries(source: PageSet | str) -> Iterator[tuple[dict[str, Any], Sequence[PanelAnnotation]]]:
    """What the metadata are to say of each page, and its panels."""
    if isinstance(source, PageSet):
        for number in range(len(source)):
            page = source.page(number)
            yield page_entry(page, number), page.annotation.panels
        return
    for number, entry in enumerate(iter_entries(source)):
        name = entry.get("canonical_id") or f"{entry.get('book_id')}/{entry.get('page_name')}"
        try:
            if form_of(entry) not in ("", "panel_boxes") or not isinstance(entry.get("texts"), list):
                raise PageProblem(
                    "it has no list `texts`, one a panel",
                    "give the metadata of a store with texts, or ingest the pages",
                )
            count = entry.get("num_panels", len(entry["texts"]))
            if count != len(entry["texts"]):
                raise PageProblem(f"it has {len(entry['texts'])} texts for {count} panels", "give one a panel")
            boxes = entry.get("panel_boxes") or [None] * count
            panels = read_annotation({**entry, "panel_boxes": boxes}, lenient=True).panels
        except PageProblem as problem:
            raise ComicSeqDataError(f"{source}: page {name!r}: {problem}") from None
        yield {**entry, "canonical_id": name, "sequence_index": number, "num_panels": count}, panels


def _fingerprint(source: PageSet | str, processor: ComicPanelProcessor, sees: bool) -> str:
    version = source.fingerprint if isinstance(source, PageSet) else [source, describe_file(source)]
    words = None if processor.tokenizer is None else sorted(processor.tokenizer.get_vocab().items())
    parts = [_FORMAT, version, sees, words, processor.max_length]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write_store(
    path: Path,
    counts: Sequence[int],
    numbers: Mapping[str, np.ndarray],
    boxes: np.ndarray,
    origin: Mapping[str, Any],
) -> None:
    pages, slots = len(counts), max(counts)
    mask = np.arange(slots) < np.asarray(counts)[:, None]
    values = {**numbers, "panel_masks": mask}
    others = ["panel_masks"]
    if boxes.any():
        values[BOX_ARRAY], others = boxes, [*others, BOX_ARRAY]
    widths = {name: array.shape[1] for name, array in numbers.items()}
    create_arrays(str(path), stage3_layout(pages, slots, widths, others, "float32", 3))
    write_part(open_for_writing(str(path), values), Part(0, 0, pages), mask, values)
    finish_store(str(path), {"stage": 3, "origin": dict(origin)})
