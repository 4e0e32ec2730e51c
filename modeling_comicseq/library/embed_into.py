"""Adds to a Stage 3 store what it lacks: vectors of texts, captions and pictures, boxes, and what is known of its pages."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import zarr
from PIL.Image import Image

from ..encoders.panel_encoder import OFFLINE_ENCODER, PanelEncoder, load_panel_encoder
from ..errors import ComicSeqDataError
from ..outputs import check_output
from ..pages.annotations import PanelAnnotation, has_boxes, read_direction
from ..pages.json_list import iter_entries
from ..pages.page_set import PageSet
from ..stores.addition import Addition
from ..stores.arrays import Part, write_part
from ..stores.metadata import dump
from ..stores.page_metadata import text_of
from ..stores.pages import Pages, read_pages
from ..stores.stage3 import BOX_ARRAY, Block, Stage3Store, find_bad_pages, read_rows, work_ahead
from ..stores.stage3_layout import stage3_layout
from ..stores.vectors import VectorStore, find_metadata, metadata_version
from .embed import CAPTION, FUSED, TEXT, VISUAL, arrays_of, check_vector_options, check_vectors, encode_panels
from .making import Processes
from .page_facts import Facts, PageFacts, open_source

__all__ = ["embed_into"]

# Another number when the same input gives other arrays: it is part of the fingerprint.
_FORMAT = 1
_MASK_ROWS = 1 << 16  # rows of the mask that are read at a time
_NOTHING = PanelAnnotation(None, [], [], None, None)
_WHOLE = PanelAnnotation((0.0, 0.0, 1.0, 1.0), [], [], None, None)


def embed_into(
    store: str | os.PathLike,
    pages: str | os.PathLike | None = None,
    *,
    metadata: str | os.PathLike | None = None,
    encoder: str | PanelEncoder = OFFLINE_ENCODER,
    dtype: str | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Adds to a Stage 3 store what it lacks and the pages tell.

    Arrays: `text_embeddings`, `caption_embeddings`, `panel_boxes` and, from a data set of pages, `visual_embeddings`; an array
    says in its own attributes which encoder its vectors are of. Its `panel_embeddings` are never touched. Fields of the
    metadata: `texts`, `captions`, `character_ids`, `reading_direction`. What is there stays, unless `overwrite` says to replace
    it.

    Pages are found by book and name, see `PageIndex`. The panels of a page are those in the store's slots: all that are
    described, or if these are more, as the original pipeline takes them, no more than there are slots and none without a
    usable box. A page without panels, which that pipeline stores as a blank one, gets nothing but a picture vector, that of
    the page. Where counts do not agree, nothing is added to the store.

    The store can be read at any moment, see `Addition`; after an interrupt the same call goes on from the parts that are
    finished. Started by `accelerate launch`, every process makes a run of parts of its own.

    Args:
        store: The store, a local path or an fsspec URL.
        pages: A data set of pages; or page JSON: a file or folder that `read_entries` reads. Without, what the store's own
            metadata say of texts, captions and boxes.
        metadata: The store's metadata; by default what stands beside it, see `metadata_beside`.
        encoder: A panel encoder, or what `load_panel_encoder` loads one by.
        dtype: "float32" or "float16" for the vectors; by default that of `panel_embeddings`.
        batch_size: Pictures that are encoded together.
        overwrite: Replace what is there already.
        progress: Show a progress bar on the terminal.

    Returns:
        `arrays`, the names of those that were added, and `kept`, of those that were there; `counts` of what is told, see
        `Facts`; `fields`, how many pages' metadata got which.

    Raises:
        ComicSeqArgumentError: An option is not possible.
        ComicSeqDataError: The store, its metadata or a page has a fault, or nothing is told that could be added.
    """
    target = os.fspath(store)
    opened = Stage3Store.open(target)
    described = find_metadata(VectorStore.open(target), None if metadata is None else os.fspath(metadata))
    given = described if pages is None else os.fspath(pages)
    dtype = dtype or f"float{8 * opened.arrays[FUSED].dtype.itemsize}"
    check_vector_options(dtype, 3, batch_size)
    check_output(described, [None if given == described else given], overwrite=True, remote=True)
    processes = Processes(progress)
    with tempfile.TemporaryDirectory() as folder:
        with processes.console.status("Reading the pages"):
            source, source_version = open_source(given, described)
            known = read_pages(described, opened.pages, Path(folder, "pages.arrow"))
            _check_counts(known, opened, described)
            facts = Facts(source, known, opened.slots, Path(folder, "facts"), described)
        try:
            return _add(
                opened, known, facts, source, described, [given, source_version], encoder, dtype, batch_size, overwrite,
                processes,
            )  # fmt: skip
        finally:
            facts.close()


def _add(
    store: Stage3Store,
    pages: Pages,
    facts: Facts,
    source: PageSet | str,
    metadata: str,
    version: list[Any],
    encoder: str | PanelEncoder,
    dtype: str,
    batch_size: int | None,
    overwrite: bool,
    processes: Processes,
) -> dict[str, Any]:
    """Makes and places what is lacking."""
    group = zarr.open_group(store.url, mode="r", use_consolidated=False)
    there = [name for name in (VISUAL, TEXT, CAPTION, BOX_ARRAY) if name in group]
    is_wanted = {
        VISUAL: isinstance(source, PageSet),
        TEXT: facts.counts["texts"] > 0,
        CAPTION: facts.counts["captions"] > 0,
        BOX_ARRAY: facts.counts["boxes"] > 0 and (overwrite or not _tell_boxes(metadata)),
    }
    lacking = [name for name, wanted in is_wanted.items() if wanted and (overwrite or name not in there)]
    loaded = None
    if any(name != BOX_ARRAY for name in lacking):
        with processes.console.status("Loading the encoder"):
            loaded = _load(encoder, store, processes, batch_size)
        can = arrays_of(loaded, TEXT in lacking, CAPTION in lacking)
        lacking = [name for name in lacking if name in (*can, BOX_ARRAY)]
    made_of = [_FORMAT, store.url, metadata, metadata_version(metadata), *version, overwrite, dtype]
    made_of += [loaded and loaded.fingerprint, loaded and loaded.width]
    place = Addition(store.url, hashlib.sha256(json.dumps(made_of, default=str).encode()).hexdigest())
    # Put in place by a run of this very work that was interrupted before its end.
    done = [name for name in lacking if name in there and group[name].attrs.get("fingerprint") == place.fingerprint]
    names = [name for name in lacking if name not in done]
    fields = _new_fields(metadata, pages, facts, overwrite) if source != metadata else {}
    kept = [name for name in there if is_wanted[name] and name not in lacking]
    result = {"arrays": lacking, "kept": kept, "counts": dict(facts.counts), "fields": fields, "metadata": metadata}
    processes.wait()  # nobody changes the store before all have seen it
    if not lacking and not fields:
        if not kept:
            by = f" and {loaded.name} can encode" if loaded else ""
            raise ComicSeqDataError(f"{version[0]} tells nothing of the panels of {store.url} that it lacks{by}")
        if processes.is_main and place.has_leftover():
            with place.locked():
                place.remove_leftover()
        return result
    if VISUAL in names:
        _check_pictures(pages, facts, store.url, version[0])
    with processes.at_work(place):
        layout = None
        if names:
            widths = {name: loaded.width for name in names if name != BOX_ARRAY and loaded}
            others = [name for name in names if name == BOX_ARRAY]
            layout = stage3_layout(store.pages, store.slots, widths, others, dtype, group.metadata.zarr_format)
            work = _Work(store, pages, facts, source, loaded, names, dtype)
            processes.write_parts(place, layout, "Adding to pages", work)
        if processes.is_main:
            said = {name: _said_of(name, loaded, version[0]) for name in names}
            write = partial(_write_metadata, metadata, pages, facts, overwrite) if fields else None
            place.complete(layout, said, metadata, write)
        processes.wait()
    return result


class _Work:
    """Makes parts of the arrays, see `making.Work`."""

    def __init__(
        self,
        store: Stage3Store,
        pages: Pages,
        facts: Facts,
        source: PageSet | str,
        encoder: PanelEncoder | None,
        names: Sequence[str],
        dtype: str,
    ):
        self.store, self.pages, self.facts, self.source = store, pages, facts, source
        self.encoder, self.names, self.dtype = encoder, names, dtype
        self._rows, self._counts, self._ids = pages.rows, pages.counts, pages.strings("canonical_id")

    def __call__(
        self, todo: Sequence[Part], arrays: Mapping[str, zarr.Array], advance: Callable[[int], None]
    ) -> Iterator[tuple[Part, Callable[[], dict[str, Any]]]]:
        """Yields each part with what writes it."""
        for part in todo:
            places = range(*np.searchsorted(self._rows, (part.lo, part.hi)))
            told = [self.facts.get(place) for place in places]
            panels = [panel for place, facts in zip(places, told, strict=True) for panel in self._panels(place, facts)]
            vectors: dict[str, np.ndarray] = {}
            if self.encoder is not None:
                names = [name for name in self.names if name != BOX_ARRAY]
                vectors = encode_panels(self.encoder, names, panels, self._crops(told))
            advance(part.hi - part.lo)
            yield part, partial(self._write, arrays, part, places, panels, vectors)

    def _panels(self, place: int, facts: PageFacts | None) -> list[PanelAnnotation]:
        """A panel for each slot of a page."""
        return facts.panels if facts is not None and facts.panels else [_NOTHING] * int(self._counts[place])

    def _crops(self, told: Sequence[PageFacts | None]) -> Iterator[Image]:
        """The pictures of all panels; of a page that is stored as a blank panel, its own."""
        source = self.source
        assert isinstance(source, PageSet)

        def crops(facts: PageFacts) -> list[Image]:
            assert facts.number is not None
            return source.crops(facts.number, facts.panels or [_WHOLE] * facts.is_blank)

        for of_page in work_ahead(crops, (facts for facts in told if facts is not None)):
            yield from of_page

    def _write(
        self,
        arrays: Mapping[str, zarr.Array],
        part: Part,
        places: range,
        panels: Sequence[PanelAnnotation],
        vectors: Mapping[str, np.ndarray],
    ) -> dict[str, Any]:
        counts = np.zeros(part.hi - part.lo, np.int64)
        counts[self._rows[places.start : places.stop] - part.lo] = self._counts[places.start : places.stop]
        mask = np.arange(self.store.slots) < counts[:, None]
        owners = [(self._ids[place], slot) for place in places for slot in range(int(self._counts[place]))]
        if self.encoder is not None:
            check_vectors(vectors, self.dtype, owners, self.store.url, self.encoder.name)
        values = dict(vectors)
        if BOX_ARRAY in self.names:
            boxes = [panel.box or (0, 0, 0, 0) for panel in panels]
            values[BOX_ARRAY] = np.array(boxes, np.float32).reshape(-1, 4)
        write_part(arrays, part, mask, values)
        return {"texts": sum(bool(text_of(panel)) for panel in panels)}


def _load(
    encoder: str | PanelEncoder, store: Stage3Store, processes: Processes, batch_size: int | None
) -> PanelEncoder:
    if not isinstance(encoder, str):
        return encoder
    is_of_two = "+" in encoder and not os.path.isdir(encoder)  # a checkpoint has a width of its own
    width = store.widths[FUSED] if is_of_two else None
    return load_panel_encoder(encoder, device=processes.device, width=width, batch_size=batch_size)


def _said_of(name: str, encoder: PanelEncoder | None, source: str) -> dict[str, Any]:
    """What an array says of itself: where its vectors and their pages come from."""
    if name == BOX_ARRAY or encoder is None:
        return {"pages": source}
    other = "text_encoder" if name == VISUAL else "visual_encoder"
    return {
        "origin": {key: value for key, value in encoder.origin.items() if key not in (other, "fusion")},
        "pages": source,
    }


def _check_counts(pages: Pages, store: Stage3Store, metadata: str) -> None:
    """Raises a `ComicSeqDataError` if a page has more panels than there are slots, or others than the store's mask marks."""
    too_many = np.flatnonzero(pages.counts > store.slots)
    if len(too_many):
        row, count = int(pages.rows[too_many[0]]), int(pages.counts[too_many[0]])
        raise ComicSeqDataError(
            f"{metadata}: page {pages.name(row)!r} (sequence_index {row}): num_panels is {count} but {store.url} has"
            f" {store.slots} slots; correct it"
        )
    for lo in range(0, store.pages, _MASK_ROWS):
        hi = min(store.pages, lo + _MASK_ROWS)
        mask, failures = read_rows(store.mask, lo, hi)
        places = slice(*np.searchsorted(pages.rows, (lo, hi)))
        rows = pages.rows[places]
        block = Block(lo, hi, {"mask": mask}, failures)
        for place, found, remedy in find_bad_pages(block, rows, pages.counts[places]):
            name = pages.name(int(rows[place]))
            raise ComicSeqDataError(f"{store.url}: page {name!r} (sequence_index {rows[place]}): {found}; {remedy}")


def _check_pictures(pages: Pages, facts: Facts, store: str, source: str) -> None:
    """Raises a `ComicSeqDataError` if a page of the store has no picture: each panel must have a picture vector."""
    lacking = np.flatnonzero(~facts.is_told() & (pages.counts > 0))
    if len(lacking):
        raise ComicSeqDataError(
            f"{source} has no picture of {len(lacking):,} of the {len(pages):,} pages of {store}, the first"
            f" {pages.name(int(pages.rows[lacking[0]]))!r}: ingest these, too, leave them out of the metadata, or name an"
            " encoder of texts alone with --encoder +TEXT"
        )


def _tell_boxes(metadata: str) -> bool:
    return any(map(has_boxes, iter_entries(metadata)))


def _added(entry: Mapping[str, Any], facts: PageFacts | None, has_texts: bool, overwrite: bool) -> dict[str, Any]:
    """The fields that an entry of the metadata gets; no texts where none are told of any page."""
    if facts is None:
        return {}
    told: dict[str, Any] = {"reading_direction": facts.reading_direction}
    if facts.panels:
        if has_texts:
            told["texts"] = [panel.texts for panel in facts.panels]
        if any(panel.caption for panel in facts.panels):
            told["captions"] = [panel.caption for panel in facts.panels]
        if any(panel.character_ids is not None for panel in facts.panels):
            told["character_ids"] = [panel.character_ids or [] for panel in facts.panels]
    there = {name for name in told if entry.get(name) is not None}
    if read_direction(entry) is not None:
        there.add("reading_direction")
    return {
        name: value
        for name, value in told.items()
        if value is not None and entry.get(name) != value and (overwrite or name not in there)
    }


def _changes(metadata: str, pages: Pages, facts: Facts, overwrite: bool) -> Iterator[tuple[dict, dict]]:
    """Each entry of the metadata and what it gets."""
    rows = pages.rows
    for entry in iter_entries(metadata):
        place = int(np.searchsorted(rows, entry["sequence_index"]))
        yield entry, _added(entry, facts.get(place), facts.counts["texts"] > 0, overwrite)


def _new_fields(metadata: str, pages: Pages, facts: Facts, overwrite: bool) -> dict[str, int]:
    """How many pages' metadata get which field."""
    fields: dict[str, int] = {}
    for _, added in _changes(metadata, pages, facts, overwrite):
        for name in added:
            fields[name] = fields.get(name, 0) + 1
    return fields


def _write_metadata(metadata: str, pages: Pages, facts: Facts, overwrite: bool, file: IO[bytes]) -> None:
    for number, (entry, added) in enumerate(_changes(metadata, pages, facts, overwrite)):
        file.write((b",\n" if number else b"[\n") + dump({**entry, **added}))
    file.write(b"\n]\n")
