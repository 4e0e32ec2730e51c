"""A store as two tables for analysis: one row a page and one a panel, as Parquet and CSV."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ..checkpoints.opening import open_checkpoint, read_config
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..files import written_folder
from ..layouts.boxes import mirror
from ..layouts.predictor import PageOrder, load_predictor, order_pages
from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqForReadingOrder
from ..outputs import check_output
from ..progress import progress_bar
from ..stores.boxed_pages import read_boxed_pages
from ..stores.origin import read_origin
from ..stores.pages import Pages, read_pages
from ..stores.splits import split_of
from ..stores.stage3 import Stage3Store
from ..stores.vectors import VectorStore, find_metadata
from ..vectors import unit
from .clusters import Clusters, check_analysis, nearest
from .doctor import Doubles
from .embedding_map import Plane
from .inspect import Report, inspect_store
from .known_pages import KnownPage, PagesOfMetadata, PagesOfSet
from .order import ready_to_order
from .transcripts import write_transcripts

__all__ = ["Tables", "export_table", "export_transcripts", "page_schema", "panel_schema"]

FILES = ("pages.parquet", "panels.parquet")
CSV_FILES = ("pages.csv", "panels.csv")
_SAMPLED = 50_000  # vectors that clusters and maps are fitted to
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Tables:
    """What was written.

    Attributes:
        folder: Where.
        pages: Rows of the table of pages.
        panels: Rows of the table of panels.
        files: Names of the files.
        findings: How many pages have which finding.
        ordered: Pages with a confidence of their order.
        unknown: Pages that the data set of pages does not have.
    """

    folder: Path
    pages: int
    panels: int
    files: Sequence[str]
    findings: Mapping[str, int]
    ordered: int
    unknown: int


def page_schema(scales: Sequence[int]) -> pa.Schema:
    """Columns of the table of pages; docs/export_table.md says what they hold."""
    text, number, whole = pa.string(), pa.float32(), pa.int32()
    return pa.schema(
        [("page_id", text), ("book_id", text), ("page_name", text), ("page_index", whole), ("row", pa.int64())]
        + [("split", text), ("reading_direction", text), ("num_panels", whole), ("text", text)]
        + [(f"cluster_{scale}", whole) for scale in scales]
        + [("map_x", number), ("map_y", number)]
        + [("nearest_pages", pa.list_(text)), ("nearest_cosines", pa.list_(number))]
        + [("order_confidence", number), ("given_order_confidence", number), ("order_agreement", number)]
        + [("finding", text), ("copy_of", text)]
    )


def panel_schema(scales: Sequence[int]) -> pa.Schema:
    """Columns of the table of panels."""
    text, number, whole = pa.string(), pa.float32(), pa.int32()
    return pa.schema(
        [("panel_id", text), ("page_id", text), ("book_id", text), ("page_index", whole), ("row", pa.int64())]
        + [("panel", whole), ("text", text), ("texts", pa.list_(text)), ("speakers", pa.list_(text))]
        + [("caption", text), ("character_ids", pa.list_(text))]
        + [(side, number) for side in ("x0", "y0", "x1", "y1")]
        + [(f"cluster_{scale}", whole) for scale in scales]
        + [("map_x", number), ("map_y", number), ("finding", text)]
    )


def export_table(
    store: str,
    output: Path,
    *,
    metadata: str | None = None,
    pages: str | None = None,
    model: str | None = None,
    scales: Sequence[int] = (8, 32, 128),
    neighbours: int = 10,
    csv: bool = False,
    other_origin: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Tables:
    """Writes a store as `pages.parquet` and `panels.parquet`.

    Memory does not grow with panels and texts; of a page, some hundred bytes are held. Strip vectors lie in a file meanwhile.

    Args:
        store: Stage 5 or Stage 3 store.
        output: Folder to make; it appears complete or not at all.
        metadata: Its metadata, by default the file beside it.
        pages: A data set of pages, to take texts, speakers and boxes from; pages are found by book and name.
        model: Checkpoint with a reading-order head, for a Stage 3 store; without it, the packaged predictor judges the
            order of pages with boxes.
        scales: Numbers of clusters, one column each.
        neighbours: Nearest pages of each page.
        csv: Write CSV beside Parquet, lists as JSON.
        other_origin: Whether vectors of another origin than the model's training are meant.
        overwrite: Replace an output that is there.
        progress: Show progress on stderr.

    Raises:
        ComicSeqError: The store, its metadata, the pages or the model cannot be used, or the output cannot be written.
    """
    if any(scale < 2 for scale in scales) or len(set(scales)) < len(scales):
        raise ComicSeqArgumentError(f"clusters {list(scales)} are not different numbers from 2 on")
    if neighbours < 0:
        raise ComicSeqArgumentError(f"neighbours {neighbours} is negative; give 0 for none")
    check_analysis()
    check_output(output, [store, metadata, pages, model], overwrite, folder=True)
    opened = VectorStore.open(store)
    metadata = find_metadata(opened, metadata)
    judge = _Judge(opened, metadata, model, other_origin)
    told = None if pages is None else PagesOfSet(pages)
    with ExitStack() as stack:
        folder = stack.enter_context(written_folder(output, overwrite))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".work-", dir=folder.parent)))
        report, _ = inspect_store(opened, metadata, progress=progress)
        named = _read_pages(opened, metadata, work / "pages.arrow")
        known = PagesOfMetadata(named)
        made = _Vectors.read(opened, named, scales, work, progress)
        table = _Table(named, known, told, made, report, scales, neighbours)
        ordered = table.write(opened, judge, folder, progress)
        if csv:
            for source, target in zip(FILES, CSV_FILES, strict=True):
                _write_csv(folder / source, folder / target)
    found = Counter(table.findings.get(row) for row in named.rows.tolist())  # rows listed twice are in no table
    counts = {kind: found[kind] for kind in report.counts if found[kind]}
    files = [*FILES, *(CSV_FILES if csv else ())]
    return Tables(output, len(named), table.panels, files, counts, ordered, table.unknown)


def export_transcripts(
    folder: Path,
    *,
    store: str | None = None,
    metadata: str | None = None,
    pages: str | None = None,
    language: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> int:
    """Writes the transcripts of all books of a data set of pages, or else of a store's metadata, see `write_transcripts`.

    Returns:
        The number of books.

    Raises:
        ComicSeqError: Neither is given, or what is cannot be used.
    """
    check_output(folder, [store, metadata, pages], overwrite, folder=True)
    if pages is not None:
        return write_transcripts(PagesOfSet(pages), folder, language, overwrite, progress)
    if store is None:
        raise ComicSeqArgumentError("Transcripts need texts: give a data set of pages, or a store with its metadata.")
    opened = VectorStore.open(store)
    with tempfile.TemporaryDirectory(prefix="comicseq-") as work:
        named = _read_pages(opened, find_metadata(opened, metadata), Path(work, "pages.arrow"))
        return write_transcripts(PagesOfMetadata(named), folder, language, overwrite, progress)


def _read_pages(store: VectorStore, metadata: str, file: Path) -> Pages:
    """The pages that the metadata name, but for rows that they list twice, with boxes where they are known."""
    if store.stage == 3:
        return read_boxed_pages(Stage3Store.open(store.url), metadata, file, "entry", Doubles())
    return read_pages(metadata, store.pages, file, "entry", Doubles(), True, store.slots)


class _Judge:
    """Says how sure a model is of the order of pages.

    Attributes:
        reads_vectors: Whether it does so by panel vectors; else by boxes alone.
    """

    def __init__(self, store: VectorStore, metadata: str, model: str | None, other_origin: bool):
        self.reads_vectors = model is not None
        self.model: ComicSeqForPreTraining | ComicSeqForReadingOrder = load_predictor()
        if model is None:
            return
        if store.stage != 3:
            raise ComicSeqDataError(
                f"{store.url} is a Stage 5 store, whose vectors know their order; --model judges it by those of the Stage 3"
                " store"
            )
        stage3 = Stage3Store.open(store.url).with_streams(read_config(model).streams)
        origin = read_origin(stage3, metadata)
        self.model = ready_to_order(
            open_checkpoint(model, stage3, store.url, origin=origin, other_origin=other_origin)
        )

    def orders(self, vectors: Sequence[np.ndarray], boxes: Sequence[np.ndarray | None]) -> list[PageOrder | None]:
        """The orders of some pages, of which panel vectors (n, P) and boxes as they are read (n, 4) are given."""
        inputs: list[dict[str, Any]] = []
        for own, places in zip(vectors, boxes, strict=True):
            page: dict[str, Any] = {"panel_embeddings": own.astype(np.float32)} if self.reads_vectors else {}
            if places is not None and self.model.config.box_embedding and (self.reads_vectors or places.any(1).all()):
                page["panel_boxes"] = places
            inputs.append(page)
        asked = [page for page in inputs if page and len(next(iter(page.values())))]
        found = iter(order_pages(self.model, asked))
        return [next(found) if page and len(next(iter(page.values()))) else None for page in inputs]


@dataclass(frozen=True)
class _Vectors:
    """What was made of the vectors of a store.

    Attributes:
        units: Unit strip vectors `(pages, D)`, mapped from a file; zeros where there is none.
        pages: Clusters of strips by scale.
        panels: Clusters of panels by scale.
        page_plane: The map of strips.
        panel_plane: The map of panels.
    """

    units: np.ndarray
    pages: dict[int, Clusters]
    panels: dict[int, Clusters]
    page_plane: Plane
    panel_plane: Plane

    @classmethod
    def read(cls, store: VectorStore, named: Pages, scales: Sequence[int], work: Path, progress: bool) -> _Vectors:
        units = np.memmap(work / "strips.npy", np.float32, "w+", shape=(max(len(named), 1), store.width))
        sample: list[np.ndarray] = []
        step = max(1, int(named.counts.sum()) // _SAMPLED)
        with progress_bar("Reading vectors", len(named), progress) as advance:
            for places, _, panels, strips in _blocks(store, named.rows):
                units[places] = _finite_units(strips)
                some = _finite_units(panels[::step])
                sample.append(some[some.any(axis=1)])
                advance(len(places))
        strips = np.asarray(units[:: max(1, len(units) // _SAMPLED)])
        strips, found = strips[strips.any(axis=1)], np.concatenate(sample) if sample else np.zeros((0, store.width))
        return cls(
            units[: len(named)],
            {scale: Clusters.fit(strips, scale) for scale in scales},
            {scale: Clusters.fit(found, scale) for scale in scales},
            Plane.fit(strips),
            Plane.fit(found),
        )


def _finite_units(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return unit(np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0))


def _blocks(store: VectorStore, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Places of the pages of a block, how many panels each has, all panels (n, D) and the strips (pages, D)."""
    for places, panels, real, strips in store.read_chosen(rows):
        yield np.arange(places.start, places.stop), real.sum(axis=1), panels[real], strips


class _Table:
    """The rows of both tables, block by block."""

    def __init__(
        self,
        named: Pages,
        known: PagesOfMetadata,
        told: PagesOfSet | None,
        made: _Vectors,
        report: Report,
        scales: Sequence[int],
        neighbours: int,
    ):
        self.named, self.known, self.told, self.made, self.scales = named, known, told, made, scales
        self.indexes, self.neighbours = known.indexes(), neighbours
        self.findings: dict[int, str] = {}
        self.copy_of: dict[int, int] = {}
        places = {int(row): place for place, row in enumerate(named.rows)}
        for finding in report.findings:
            for page in finding.pages:
                self.findings[page.row] = finding.kind
                if finding.of is not None and finding.of.row in places and page.row in places:
                    self.copy_of[places[page.row]] = places[finding.of.row]
        allowed = ~np.isin(named.rows, list(self.findings))
        unlike = np.arange(len(named))
        unlike[list(self.copy_of)] = list(self.copy_of.values())
        self.nearest, self.cosines = nearest(made.units, neighbours, allowed & made.units.any(axis=1), unlike)
        self.ids = known.page_ids
        self.panels = self.unknown = 0

    def write(self, store: VectorStore, judge: _Judge, folder: Path, progress: bool) -> int:
        """Writes both files; how many pages have a confidence of their order."""
        ordered = 0
        schemas = page_schema(self.scales), panel_schema(self.scales)
        with ExitStack() as stack:
            pages, panels = (
                stack.enter_context(pa.parquet.ParquetWriter(folder / name, schema, compression="zstd"))
                for name, schema in zip(FILES, schemas, strict=True)
            )
            advance = stack.enter_context(progress_bar("Writing tables", len(self.named), progress))
            for places, counts, vectors, _ in _blocks(store, self.named.rows):
                facts = [
                    self._facts(place, count) for place, count in zip(places.tolist(), counts.tolist(), strict=True)
                ]
                boxes = [_read_boxes(page) for page in facts]
                orders = judge.orders(np.split(vectors, np.cumsum(counts)[:-1]), boxes)
                ordered += sum(order is not None and order.confidence is not None for order in orders)
                pages.write_table(pa.table(self._pages(places, facts, counts, orders), schema=schemas[0]))
                panels.write_table(pa.table(self._panels(places, facts, counts, vectors), schema=schemas[1]))
                self.panels += len(vectors)
                advance(len(places))
        return ordered

    def _facts(self, place: int, count: int) -> KnownPage:
        """What is known of a page, in the data set of pages first; of other numbers of panels nothing is taken."""
        page = self.known.page(place)
        if self.told is None:
            return page
        other = self.told.find(page.book_id, page.page_name)
        found = None if other is None else self.told.page(other)
        if found is None or len(found.panels) != count:
            self.unknown += 1
            return page
        return found

    def _pages(
        self, places: np.ndarray, facts: Sequence[KnownPage], counts: np.ndarray, orders: Sequence[PageOrder | None]
    ) -> dict[str, Any]:
        units = np.asarray(self.made.units[places])
        rows = self.named.rows[places].tolist()
        columns = self._identity(places, rows)
        columns["page_name"] = self.named.table["page_name"].take(places).to_pylist()
        columns["split"] = [split_of(book) for book in columns["book_id"]]
        columns["reading_direction"] = [page.reading_direction for page in facts]
        columns["num_panels"] = counts
        columns["text"] = ["\n".join(filter(None, (" ".join(panel.texts) for panel in page.panels))) for page in facts]
        columns |= _clusters(self.made.pages, units) | _points(self.made.page_plane, units)
        near = [own[own >= 0].tolist() for own in self.nearest[places]]
        columns["nearest_pages"] = [[self.ids[each] for each in own] for own in near]
        columns["nearest_cosines"] = [
            own[: len(found)].tolist() for own, found in zip(self.cosines[places], near, strict=True)
        ]
        for name, field in (
            ("order_confidence", "confidence"),
            ("given_order_confidence", "given_confidence"),
            ("order_agreement", "agreement"),
        ):
            columns[name] = [None if order is None else getattr(order, field) for order in orders]
        columns["finding"] = [self.findings.get(row) for row in rows]
        copies = [self.copy_of.get(place) for place in places.tolist()]
        columns["copy_of"] = [None if place is None else self.ids[place] for place in copies]
        return columns

    def _panels(
        self, places: np.ndarray, facts: Sequence[KnownPage], counts: np.ndarray, vectors: np.ndarray
    ) -> dict[str, Any]:
        owner = np.repeat(np.arange(len(places)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        units = _finite_units(vectors)
        rows = self.named.rows[places].tolist()
        of_page = self._identity(places, rows) | {"finding": [self.findings.get(row) for row in rows]}
        columns: dict[str, Any] = {key: [values[page] for page in owner] for key, values in of_page.items()}
        columns["panel"] = number + 1
        columns["panel_id"] = [
            f"{page}#{panel}" for page, panel in zip(columns["page_id"], columns["panel"].tolist(), strict=True)
        ]
        # A page whose mask marks other panels than it says has no texts: which are whose cannot be told.
        known = [
            facts[page].panels[panel] if len(facts[page].panels) == counts[page] else None
            for page, panel in zip(owner.tolist(), number.tolist(), strict=True)
        ]
        columns["text"] = [None if panel is None else " ".join(panel.texts) for panel in known]
        for name in ("texts", "speakers", "caption", "character_ids"):
            columns[name] = [None if panel is None else getattr(panel, name) for panel in known]
        columns["speakers"] = [names if names and any(names) else None for names in columns["speakers"]]
        boxes = [(None,) * 4 if panel is None or panel.box is None else panel.box for panel in known]
        columns |= {side: [box[place] for box in boxes] for place, side in enumerate(("x0", "y0", "x1", "y1"))}
        return columns | _clusters(self.made.panels, units) | _points(self.made.panel_plane, units)

    def _identity(self, places: np.ndarray, rows: Sequence[int]) -> dict[str, Any]:
        ids, books = (self.named.table[name].take(places).to_pylist() for name in ("canonical_id", "book_id"))
        return {"page_id": ids, "book_id": books, "page_index": self.indexes[places], "row": rows}


def _read_boxes(page: KnownPage) -> np.ndarray | None:
    """The boxes of a page as they are read from left to right, zeros where none is known; None where none is at all."""
    boxes = np.asarray([panel.box or (0, 0, 0, 0) for panel in page.panels], np.float32).reshape(-1, 4)
    if not boxes.any():
        return None
    return mirror(boxes) if page.reading_direction == "rtl" else boxes


def _clusters(by_scale: Mapping[int, Clusters], units: np.ndarray) -> dict[str, Any]:
    """The cluster of each at each scale; null for what has no direction."""
    has_direction = units.any(axis=1)
    columns = {}
    for scale, clusters in by_scale.items():
        labels = clusters.label(units)
        columns[f"cluster_{scale}"] = pa.array(labels, pa.int32(), mask=~has_direction | (labels < 0))
    return columns


def _points(plane: Plane, units: np.ndarray) -> dict[str, Any]:
    points = plane.points(units).astype(np.float32)
    missing = ~units.any(axis=1)
    return {f"map_{axis}": pa.array(points[:, place], mask=missing) for place, axis in enumerate("xy")}


def _write_csv(source: Path, target: Path) -> None:
    """The same table as CSV: lists as JSON, and no text that a spreadsheet takes for a formula."""
    with pa.parquet.ParquetFile(source) as file:
        schema = pa.schema(
            [(each.name, pa.string() if pa.types.is_list(each.type) else each.type) for each in file.schema_arrow]
        )
        with pa.csv.CSVWriter(target, schema) as writer:
            for batch in file.iter_batches():
                columns = []
                for name, column in zip(schema.names, batch.columns, strict=True):
                    if pa.types.is_list(column.type):
                        lists = column.to_pylist()
                        column = pa.array(
                            [None if each is None else json.dumps(each, ensure_ascii=False) for each in lists]
                        )
                    elif pa.types.is_string(column.type):
                        texts = column.to_pylist()
                        column = pa.array(
                            [f"'{each}" if each and each.startswith(_FORMULA) else each for each in texts], pa.string()
                        )
                    columns.append(column.cast(schema.field(name).type))
                writer.write_batch(pa.record_batch(columns, schema))
