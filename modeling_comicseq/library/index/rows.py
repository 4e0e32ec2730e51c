"""Pages of a store as rows of the index's two tables: one of strips, one of panels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ...errors import ComicSeqDataError
from ...stores.names import normal_form, normal_path
from ...stores.pages import Pages, read_pages
from ...stores.placement import natural_order
from ...stores.stage3 import Stage3Store
from ...stores.vectors import VectorStore, mean_panels
from .engine import valid
from .page_parts import PagePart, PageParts, small_picture

__all__ = ["INNER", "Source", "open_source", "read_rows", "read_digests", "schemas"]

# Columns that are not shown: what copies of a page are found by, and what tells a changed page.
INNER = (
    "vector",
    "encoder_vector",
    "text_vector",
    "visual_vector",
    "page_key",
    "panels_hash",
    "digest",
    "words",
    "picture",
    "metadata",
)
_OWN = {"row", "slot", "page_id", "book_id", "page_name", "page_index", "num_panels", "reading_direction"}
_OWN |= {"texts", "text", "box", "panel_boxes", *INNER}
# The engine has names of its own that begin with a line, as `_score` and `_rowid`.
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MOST_COLUMNS = 64
# Fields of the metadata that have columns of their own here, under whatever name they come.
_ELSEWHERE = {"texts", "panel_boxes", "boxes", "panels", "reading_direction", "page_index", "origin"}
_TYPES: dict[type, pa.DataType] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


@dataclass(frozen=True)
class Source:
    """What an index is made from.

    Attributes:
        store: The store.
        pages: Its pages; `text` is JSON of what has no column.
        page_index: The place of each page in its book, from 0 on `(pages,)`.
        columns: Further columns: fields of the metadata that hold numbers, words or truths throughout.
        parts: What a data set of pages adds.
        embeddings: The Stage 3 store whose page means are kept beside the strips.
        parts_of_panels: The same store, read for its vectors of texts and of pictures alone, where it has them, by column.
        embedding_rows: The row of each page in it `(pages,)`.
        picture_size: Pixels of the longer side of small pictures, 0 for none.
        shared_ids: Those `canonical_id` that pages of several books have.
    """

    store: VectorStore
    pages: Pages
    page_index: np.ndarray
    columns: dict[str, pa.DataType]
    parts: PageParts | None
    embeddings: VectorStore | None
    parts_of_panels: dict[str, VectorStore]
    embedding_rows: np.ndarray
    picture_size: int
    shared_ids: frozenset[str]

    def page_id(self, page: Mapping[str, Any]) -> str:
        """The id of a page of the table: its `canonical_id`, with the book before it where several books have it."""
        name = page["canonical_id"]
        return f"{page['book_id']}/{name}" if name in self.shared_ids else name

    def spans(self) -> Iterator[tuple[int, int]]:
        """Pages that are read together: from where to where."""
        for lo, hi in self.store.blocks("panel"):
            first, last = (int(each) for each in np.searchsorted(self.pages.rows, (lo, hi)))
            if last > first:
                yield first, last


def open_source(
    store: VectorStore,
    metadata: str,
    parts: PageParts | None,
    embeddings: tuple[VectorStore, str] | None,
    picture_size: int,
) -> Source:
    """Reads the metadata of all pages.

    Raises:
        ComicSeqDataError: A file is faulty, or the Stage 3 store does not hold these pages.
    """
    read = read_pages(metadata, store.pages, text="rest", directions=True, slots=store.slots)
    if not len(read):
        raise ComicSeqDataError(f"{metadata} names no page of {store.url}: there is nothing to index")
    rows = np.zeros(0, int)
    if embeddings is not None:
        rows = _rows_of(read, *embeddings, store)
    return Source(
        store,
        read,
        _page_index(read),
        _columns(read),
        parts,
        None if embeddings is None else embeddings[0],
        {} if embeddings is None else _parts_of_panels(embeddings[0]),
        rows,
        picture_size,
        _shared_ids(read),
    )


def _shared_ids(read: Pages) -> frozenset[str]:
    books = read.table.select(["canonical_id", "book_id"]).group_by("canonical_id")
    counts = books.aggregate([("book_id", "count_distinct")])
    return frozenset(counts.filter(pc.field("book_id_count_distinct") > 1)["canonical_id"].to_pylist())


def _parts_of_panels(embeddings: VectorStore) -> dict[str, VectorStore]:
    """A Stage 3 store read for its vectors of texts and of pictures alone, by column; those of another width are not."""
    if embeddings.stage != 3:
        return {}
    arrays = Stage3Store.open(embeddings.url).arrays
    found = {f"{kind}_vector": arrays.get(f"{kind}_embeddings") for kind in ("text", "visual")}
    shape = embeddings.panels.shape
    return {
        name: replace(embeddings, panels=each)
        for name, each in found.items()
        if each is not None and each.shape == shape
    }


def _rows_of(read: Pages, embeddings: VectorStore, metadata: str, store: VectorStore) -> np.ndarray:
    """The row of each page in the Stage 3 store, found by book and path."""
    others = read_pages(metadata, embeddings.pages)
    known = {
        (normal_form(book), normal_path(path)): row
        for row, book, path in zip(
            others.rows.tolist(), others.strings("book_id"), others.strings("canonical_id"), strict=True
        )
    }
    found = [
        known.get((normal_form(book), normal_path(path)), -1)
        for book, path in zip(read.strings("book_id"), read.strings("canonical_id"), strict=True)
    ]
    if -1 in found:
        name = read.table["canonical_id"][found.index(-1)].as_py()
        raise ComicSeqDataError(
            f"{embeddings.url} does not hold the page {name!r} of {store.url}: give the Stage 3 store that it was made from"
        )
    return np.asarray(found)


def _page_index(read: Pages) -> np.ndarray:
    """Places of the pages in their books: what all entries of a book say, else the natural order of their names."""
    index = np.zeros(len(read), np.int32)
    places: dict[str, list[int]] = {}
    for place, book in enumerate(read.strings("book_id")):
        places.setdefault(book, []).append(place)
    names, texts = read.strings("page_name"), read.table["text"]
    for members in places.values():
        said: list[Any] = [_loads(texts[place].as_py()).get("page_index") for place in members]
        if all(type(each) is int and 0 <= each < 1 << 31 for each in said):
            index[members] = said
        else:
            for rank, at in enumerate(natural_order([names[place] for place in members])):
                index[members[at]] = rank
    return index


def _columns(read: Pages) -> dict[str, pa.DataType]:
    """Fields of the metadata that every entry has as one plain type, or not at all."""
    types: dict[str, type | None] = {}
    own = {name.casefold() for name in _OWN}
    for text in _texts_of(read):
        for name, value in _loads(text).items():
            if value is None:
                continue
            kind, before = type(value), types.get(name, type(value))
            if kind is not before:
                kind = float if {kind, before} == {int, float} else None  # type: ignore[assignment]
            if kind is int and not -(1 << 63) <= value < 1 << 63:
                kind = None  # type: ignore[assignment]
            types[name] = kind if kind in _TYPES else None
    fits = {
        name: _TYPES[kind]
        for name, kind in types.items()
        if kind in _TYPES and _COLUMN.fullmatch(name) and name.casefold() not in own and name not in _ELSEWHERE
    }
    once = {each.casefold(): each for each in reversed(fits)}  # of names that differ in case alone, the first
    once_only = {name: kind for name, kind in fits.items() if once[name.casefold()] == name}
    return dict(list(once_only.items())[:_MOST_COLUMNS])


def _loads(text: str) -> dict[str, Any]:
    """What a JSON object says; half a surrogate pair, of which there is no Unicode, is a question mark."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        read = json.loads(text, parse_constant=lambda _: None)
        return orjson.loads(valid(json.dumps(read, ensure_ascii=False)))


def _texts_of(read: Pages) -> Iterator[str]:
    for chunk in read.table["text"].chunks:
        yield from chunk.to_pylist()


def schemas(source: Source) -> tuple[pa.Schema, pa.Schema]:
    """The columns of the table of strips and of that of panels."""
    # As the store has them; the means of Stage 3 are float32.
    of_strips, of_panels = (
        pa.list_(pa.float16() if array is not None and array.dtype.itemsize == 2 else pa.float32(), source.store.width)
        for array in (source.store.strips, source.store.panels)
    )
    text = pa.string()
    of_pages = [("page_id", text), ("book_id", text), ("page_name", text), ("page_index", pa.int32())]
    of_pages += [("num_panels", pa.int32()), ("reading_direction", text), *source.columns.items()]
    inner = [("page_key", text), ("panels_hash", pa.int64())]
    strips = [("row", pa.int64()), *of_pages, ("texts", pa.list_(pa.list_(text)))]
    strips += [("panel_boxes", pa.list_(pa.float32())), ("metadata", text), ("words", text), ("picture", pa.binary())]
    strips += [*inner, ("digest", pa.int64()), ("vector", of_strips)]
    panels = [("row", pa.int64()), ("slot", pa.int32()), *of_pages, ("text", text), ("box", pa.list_(pa.float32()))]
    panels += [("words", text), *inner, ("vector", of_panels)]
    if source.embeddings is not None:
        strips.append(("encoder_vector", pa.list_(pa.float32(), source.embeddings.width)))
        kind = pa.float16() if source.embeddings.panels.dtype.itemsize == 2 else pa.float32()
        panels.append(("encoder_vector", pa.list_(kind, source.embeddings.width)))
        for name in source.parts_of_panels:
            strips.append((name, strips[-1][1]))
            panels.append((name, panels[-1][1]))
    return pa.schema(strips), pa.schema(panels)


@dataclass
class _Block:
    """Vectors and what is said of the pages from `first` to `last`."""

    first: int
    last: int
    panels: np.ndarray
    real: np.ndarray
    strips: np.ndarray
    encoded: dict[str, tuple[np.ndarray, np.ndarray]]
    table: pa.Table
    parts: list[PagePart | None]
    hashes: np.ndarray
    digests: np.ndarray


def _read(source: Source, first: int, last: int) -> _Block:
    """Reads the vectors of some pages and hashes all that the index will hold of them."""
    rows = source.pages.rows[first:last]
    lo, hi = int(rows[0]), int(rows[-1]) + 1
    panels, real = (each[rows - lo] for each in source.store.read_panels(lo, hi))
    strips = source.store.read_strips(lo, hi)[rows - lo]
    encoded = {}
    for name, store in (("encoder_vector", source.embeddings), *source.parts_of_panels.items()):
        if store is not None:
            encoded[name] = _read_encoded(store, source.embedding_rows[first:last], real)
    table = source.pages.table.slice(first, last - first)
    parts: list[PagePart | None] = [None] * (last - first)
    if source.parts is not None:
        names = zip(table["book_id"].to_pylist(), table["page_name"].to_pylist(), strict=True)
        found = [source.parts.find(book, name) for book, name in names]
        places = [place for place, row in enumerate(found) if row is not None]
        there = [row for row in found if row is not None]
        for place, known in zip(places, source.parts.read(there), strict=True):
            parts[place] = known
    hashes, digests = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    said = table.select(
        ["book_id", "page_name", "canonical_id", "num_panels", "text", "reading_direction", "panel_boxes"]
    )
    for place, about in enumerate(said.to_pylist()):
        vectors = np.ascontiguousarray(panels[place][real[place]]).tobytes()
        hashes[place] = xxhash.xxh3_64_intdigest(vectors) - (1 << 63)
        digest = xxhash.xxh3_64(vectors + strips[place].tobytes() + np.packbits(real[place]).tobytes())
        digest.update(orjson.dumps([*about.values(), source.page_id(about), int(source.page_index[first + place])]))
        for of_panels, means in encoded.values():
            digest.update(of_panels[place][real[place]].tobytes() + means[place].tobytes())
        if (part := parts[place]) is not None:
            digest.update(str(part.digest).encode())
        digests[place] = digest.intdigest() - (1 << 63)
    return _Block(first, last, panels, real, strips, encoded, table, parts, hashes, digests)


def _read_encoded(store: VectorStore, rows: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of a Stage 3 store's rows in the slots of the panels `(pages, slots, P)`, and their means `(pages, P)`.

    Zeros, as texts have that are empty, do not count for a mean.
    """
    order = np.argsort(rows)
    encoded = np.zeros((*real.shape, store.width), store.panels.dtype)
    means = np.zeros((len(rows), store.width), np.float32)
    for run in np.array_split(order, max(1, len(order) // 512)):
        if not len(run):
            continue
        lo, hi = int(rows[run].min()), int(rows[run].max()) + 1
        if hi - lo > 4 * len(run):  # far from one another: one by one
            parts = [store.read_panels(int(row), int(row) + 1) for row in rows[run]]
            vectors, shown = (np.concatenate(each) for each in zip(*parts, strict=True))
        else:
            vectors, shown = (each[rows[run] - lo] for each in store.read_panels(lo, hi))
        means[run] = mean_panels(vectors, shown & vectors.any(axis=2))
        for place, page, there in zip(run.tolist(), vectors, shown, strict=True):
            slots = np.flatnonzero(real[place])
            own = page[there][: len(slots)]
            encoded[place, slots[: len(own)]] = own
    return encoded, means


def read_digests(source: Source, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some pages and hashes of all that the index holds of each `(pages,)`."""
    return source.pages.rows[first:last], _read(source, first, last).digests


def read_rows(
    source: Source, first: int, last: int, chosen: np.ndarray | None = None
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The rows of some pages, of the table of strips and of that of panels.

    Args:
        source: What the index is made from.
        first: The first page.
        last: The page after the last.
        chosen: Which of them are wanted `(pages,)`; all by default.
    """
    block = _read(source, first, last)
    strips, panels = schemas(source)
    rows = source.pages.rows[first:last]
    columns: dict[str, Any] = {name: [] for name in strips.names}
    of_panels: dict[str, Any] = {name: [] for name in panels.names}
    places, slots = [], []
    about = block.table.to_pylist()
    usable = np.isfinite(block.panels).all(axis=2) & block.panels.any(axis=2) & block.real
    for place in range(last - first) if chosen is None else np.flatnonzero(chosen).tolist():
        page, part, rest = about[place], block.parts[place], _loads(about[place]["text"])
        page_id = source.page_id(page)
        texts, boxes = _texts(rest, page["num_panels"]), page["panel_boxes"]
        direction = page["reading_direction"]
        picture = None
        if part is not None:
            count = page["num_panels"]
            boxes = part.boxes.ravel().tolist() if part.boxes is not None and len(part.boxes) == count else boxes
            texts = part.texts if part.texts is not None and len(part.texts) == count else texts
            direction = part.direction or direction
            picture = part.picture and source.picture_size and small_picture(part.picture, source.picture_size)
        values: dict[str, Any] = {"page_id": page_id, "book_id": page["book_id"]}
        values |= {"page_name": page["page_name"], "page_index": int(source.page_index[first + place])}
        values |= {"num_panels": page["num_panels"], "reading_direction": direction}
        values |= {name: rest.pop(name, None) for name in source.columns}
        values |= {"page_key": normal_path(page_id), "panels_hash": int(block.hashes[place])}
        words = "\n".join(text for said in texts or _loose(rest) for text in said)
        for name in ("texts", "panel_boxes"):
            rest.pop(name, None)
        own = {"row": int(rows[place]), "texts": texts, "panel_boxes": boxes, "words": words or None}
        own |= {"metadata": orjson.dumps(rest).decode() if rest else None, "picture": picture or None}
        own |= {"digest": int(block.digests[place])}
        for name, value in (values | own).items():
            columns[name].append(value)
        places.append(place)
        real = np.flatnonzero(block.real[place]).tolist()
        for number, slot in enumerate(real):
            if not usable[place, slot]:
                continue
            said = texts[number] if texts and number < len(texts) else []
            box = boxes[4 * number : 4 * number + 4] if boxes else []
            # Its place among the page's panels, as texts and boxes have it, also where the store leaves slots between them.
            line = {"row": own["row"], "slot": number, "text": " ".join(said) or None, "words": " ".join(said) or None}
            line["box"] = box if any(box) else None
            for name, value in (values | line).items():
                of_panels[name].append(value)
            slots.append((place, slot))
    columns["vector"] = block.strips[places] if len(places) else np.zeros((0, source.store.width))
    for name, (_, means) in block.encoded.items():
        columns[name] = means[places]
    at = np.asarray(slots, int).reshape(-1, 2)
    of_panels["vector"] = block.panels[at[:, 0], at[:, 1]]
    for name, (encoded, _) in block.encoded.items():
        of_panels[name] = encoded[at[:, 0], at[:, 1]]
    return _batch(columns, strips), _batch(of_panels, panels)


def _batch(columns: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        values = columns[field.name]
        if not pa.types.is_fixed_size_list(field.type):
            arrays.append(pa.array(values, field.type))
            continue
        # Zeros and NaN have no direction: such a page is in the table, and no search finds it.
        unusable = ~(np.isfinite(values).all(axis=1) & values.any(axis=1))
        kind = field.type.value_type.to_pandas_dtype()
        flat = pa.array(np.where(unusable[:, None], 0, values).astype(kind).ravel(), field.type.value_type)
        mask = pa.array(unusable) if unusable.any() else None
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size, mask=mask))
    return pa.record_batch(arrays, schema=schema)


def _texts(rest: dict[str, Any], num_panels: int) -> list[list[str]] | None:
    """The texts of each panel, as an entry's `texts` has them; None where it has none, or not one list a panel."""
    texts = rest.get("texts")
    if not isinstance(texts, list) or len(texts) != num_panels:
        return None
    listed = [each if isinstance(each, list) else [each] for each in texts]
    return [[text for text in panel if isinstance(text, str) and text.strip()] for panel in listed]


def _loose(rest: dict[str, Any]) -> list[list[str]]:
    """Texts that are no list of a text a panel: still words of the page."""
    texts = rest.get("texts")
    listed = texts if isinstance(texts, list) else [texts]
    flat = [each for text in listed for each in (text if isinstance(text, list) else [text])]
    return [[text for text in flat if isinstance(text, str) and text.strip()]]
