"""Nearest pages and panels of a store by cosine, with an index that is built once and kept.

The index is a FAISS inner-product index of unit vectors beside an Arrow data set that says which page and slot each of
them is; `datasets` loads and asks both (`Dataset.load_faiss_index`, `Dataset.search`), so they open without this package
too. A folder holds one subfolder an index, named by a hash of everything it was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from filelock import FileLock

from ..disk_faults import disk_faults
from ..errors import ComicSeqArgumentError, ComicSeqDataError, in_words
from ..evaluation.retrieval import SAME
from ..files import write_json, written_folder
from ..outputs import check_output
from ..progress import progress_bar
from ..stores.names import normal_path
from ..stores.pages import Pages, read_pages
from ..stores.vectors import VectorStore, find_metadata, folder_beside, metadata_version
from ..vectors import unit

__all__ = ["Hit", "SearchIndex", "choose_factory", "open_index", "search"]

Level = Literal["strip", "panel"]
_FORMAT = 1  # another number when the same input gives another index
_NAME = "vectors"  # of the index within its data set
# Up to here all vectors are kept as they are and every one is compared: a query over 1 GiB takes some tenths of a second,
# of which reading the file is the greater part. Beyond, the vectors are clustered and kept as bytes (a quarter).
EXACT_BYTES = 1 << 30
# FAISS asks for at least 39 training vectors a cluster.
TRAINING_PER_CLUSTER = 40
# Share of the clusters that a query visits. Of the exact ten nearest it finds 92 to 94 % among MiniLM vectors of speech
# balloons and their pages, 98 % among an encoder's panels and over 99 % in the synthetic corpus; 1/16 finds 66 to 87 %.
VISITED_SHARE = 1 / 4
_SCHEMA = pa.schema(
    [("row", pa.int64()), ("slot", pa.int32()), ("page_id", pa.large_string()), ("book_id", pa.large_string())]
)


@dataclass
class Hit:
    """A page or panel that was found.

    Attributes:
        rank: From 1 on.
        page_id: The page's `canonical_id`.
        book_id: Its book.
        row: Its row of the store.
        slot: The panel's slot; None where whole pages were compared.
        score: Cosine with the query.
    """

    rank: int
    page_id: str
    book_id: str
    row: int
    slot: int | None
    score: float


@dataclass
class SearchIndex:
    """An opened index.

    Attributes:
        store: The store it was made from.
        level: Whether its vectors are strips or panels.
        labels: `row`, `slot`, `page_id` and `book_id` of every vector, with the FAISS index attached.
        description: FAISS' string factory, and what else the manifest says.
    """

    store: VectorStore
    level: Level
    labels: Dataset
    description: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def find_row(self, page: str) -> int:
        """The row of the page with this id in any spelling, or else with this number of a row.

        Raises:
            ComicSeqDataError: There is none, with the nearest id where one is similar.
        """
        column = self.labels.data.table["page_id"]
        place = pc.index(column, page).as_py()
        if place < 0:
            form, chunks = normal_path(page), (chunk.to_pylist() for chunk in column.chunks)
            places = (at for at, each in enumerate(chain.from_iterable(chunks)) if normal_path(each) == form)
            place = next(places, -1)
        if place >= 0:
            return self.labels.data.table["row"][place].as_py()
        page = page.strip()
        if page.isascii() and page.isdecimal():
            if int(page) >= self.store.pages:
                raise ComicSeqDataError(
                    f"{self.store.url} has no row {page}: its rows are 0 to {self.store.pages - 1}"
                )
            self._places_of(int(page))
            return int(page)
        # Comparing with a million ids takes minutes: only those of the same folder or the same name are compared.
        folder, _, name = page.rpartition("/")
        nearby = pc.or_(pc.starts_with(column, f"{folder}/"), pc.ends_with(column, f"/{name}"))
        ids = pc.unique(column.filter(nearby)).to_pylist()[:2000] or column[:2000].to_pylist()
        match = get_close_matches(page, ids, n=1)
        hint = f"did you mean {match[0]!r}?" if match else f"its ids look like {column[0].as_py()!r}"
        raise ComicSeqDataError(f"{self.store.url} has no page {page!r} with panels; {hint}")

    def _places_of(self, row: int, slot: int | None = None) -> np.ndarray:
        """Where the vectors of a row stand in the index, in the order of their slots."""
        table = self.labels.data.table
        chosen = pc.equal(table["row"], row)
        if slot is not None:
            chosen = pc.and_(chosen, pc.equal(table["slot"], slot))
        places = np.flatnonzero(chosen.to_numpy())
        if not len(places):
            what = "no panel with a usable vector" if slot is None else f"no panel with a usable vector in slot {slot}"
            raise ComicSeqDataError(f"{self.store.url}: row {row} has {what}; ask for another page or panel")
        return places


def search(
    store: str | os.PathLike,
    metadata: str | None = None,
    *,
    page: str | int | None = None,
    panel: tuple[int, int] | None = None,
    vector: np.ndarray | None = None,
    level: Level | None = None,
    k: int = 10,
    index: Path | None = None,
    factory: str = "auto",
    progress: bool = False,
) -> tuple[list[Hit], SearchIndex]:
    """Finds the pages or panels nearest to a page, a panel or a vector of one's own.

    Panels and strip vectors of a Stage 5 store lie in different spaces and are never compared with each other: panels
    near a *page* are those near one of its panels, and pages near a *panel* are ranked by their nearest panel. What is
    asked for is not among the results: the page itself with all its panels, or the one panel, also where the page stands
    twice in the store.

    Args:
        store: Stage 5 store, or a Stage 3 store, whose strip vectors are the means of its panels.
        metadata: Its metadata; by default the JSON beside it.
        page: Query: id of a page, or its row.
        panel: Query: row and slot of a panel.
        vector: Query: a vector `(D,)` or `(1, D)`.
        level: What to find; by default panels for a panel, else strips.
        k: How many.
        index: Folder of the indexes, by default beside the store.
        factory: FAISS' string factory, or "auto" for `choose_factory`.
        progress: Show progress of building the index on stderr.

    Returns:
        The hits, nearest first, and the index they came from. Fewer than `k` where there are no more, or from an
        approximate index.

    Raises:
        ComicSeqArgumentError: The query is not possible.
        ComicSeqDataError: The store or its metadata cannot be used, or it does not have what is asked for.
    """
    if sum(query is not None for query in (page, panel, vector)) != 1:
        raise ComicSeqArgumentError("name one query: a page, a panel or a vector")
    if k < 1:
        raise ComicSeqArgumentError(f"k is {k} but must be at least 1")
    level = level or ("panel" if panel is not None else "strip")
    opened = VectorStore.open(store)
    if vector is not None:
        vector = check_vector(vector, opened)
    if panel is not None:
        row, slot = panel
        if not (0 <= row < opened.pages and 0 <= slot < opened.slots):
            raise ComicSeqDataError(
                f"{opened.url} has no panel {row}:{slot}: its rows are 0 to {opened.pages - 1}, its slots 0 to"
                f" {opened.slots - 1}"
            )
    # Pages by their nearest panel are found among the panels.
    by_page = panel is not None and level == "strip"
    found_in = open_index(
        opened, find_metadata(opened, metadata), "panel" if by_page else level, index, factory, progress
    )
    if vector is not None:
        queries, excluded = vector[None], np.zeros(0, int)
    elif panel is not None:
        excluded = found_in._places_of(row, slot)
        queries = unit(opened.read_panels(row, row + 1)[0][0, slot][None])
        if by_page:
            excluded = found_in._places_of(row)
    else:
        row = found_in.find_row(str(page))
        excluded = found_in._places_of(row)
        if level == "strip":
            queries = unit(opened.read_strips(row, row + 1))
        else:
            slots = found_in.labels.data.table["slot"].to_numpy()[excluded]
            queries = unit(opened.read_panels(row, row + 1)[0][0, slots])
    itself = None if vector is not None else (row, slot if panel is not None and not by_page else None)
    return _nearest(found_in, queries, excluded, k, by_page, itself), found_in


def check_vector(vector: np.ndarray, store: VectorStore) -> np.ndarray:
    """The query vector as float32 of length 1 `(D,)`.

    Raises:
        ComicSeqArgumentError: It is no vector of finite numbers, or is all zero.
        ComicSeqDataError: It has another width than the store's.
    """
    vector = np.asarray(vector)
    if vector.dtype.kind not in "fiu":
        raise ComicSeqArgumentError(f"the query vector has dtype {vector.dtype}: give floating-point numbers")
    if vector.shape not in ((store.width,), (1, store.width)):
        raise ComicSeqDataError(
            f"the query vector has shape {vector.shape} but the vectors of {store.url} are {store.width} wide: give one"
            " vector of that width, from the same model"
        )
    if not np.isfinite(vector).all():
        raise ComicSeqArgumentError("the query vector holds NaN or infinity: give finite numbers")
    if not vector.any():
        raise ComicSeqArgumentError("the query vector is all zero, which has no direction: give another")
    return unit(vector.reshape(1, -1))[0]


def _nearest(
    index: SearchIndex,
    queries: np.ndarray,
    excluded: np.ndarray,
    k: int,
    by_page: bool,
    itself: tuple[int, int | None] | None,
) -> list[Hit]:
    """The k nearest that are not `itself`, a row and, where one panel is meant, a slot, under another row either."""
    table = index.labels.data.table
    others = len(index) - len(excluded)
    if by_page:
        others = pc.count_distinct(table["row"]).as_py() - 1
    if not others:
        what = "page" if by_page or index.level == "strip" else "panel"
        raise ComicSeqDataError(f"{index.store.url} has no other {what}: search a store of several")
    k = min(k, others)
    # Enough that k remain without the query's own vectors, and k pages where each of them fills all its slots.
    depth = (k + 1) * index.store.slots if by_page else k + len(excluded)
    own = set(excluded.tolist())
    twins = _Twins(index, itself)
    while True:
        scores, places = map(np.ravel, index.labels.search_batch(_NAME, queries, min(depth, len(index))))
        # A copy of the query is as near as the query itself, of whose panels each may be asked.
        same = min((float(s) for s, place in zip(scores, places, strict=True) if place in own), default=1.0) - SAME
        hits: list[Hit] = []
        seen: set[int] = set()
        for each in np.lexsort((places, -scores)).tolist():
            place, score = int(places[each]), float(scores[each])
            if place == -1 or place in own:  # an approximate index fills up with -1
                continue
            label = {name: table[name][place].as_py() for name in _SCHEMA.names}
            found = label["row"] if by_page else place
            if found in seen or twins.is_itself(label, score >= same):
                continue
            seen.add(found)
            hits.append(Hit(rank=len(hits) + 1, score=score, **label))
            if len(hits) == k:
                return hits
        if not twins.found or depth >= len(index):
            return hits
        depth *= 2  # copies have taken the places of others


class _Twins:
    """Which hits are the query itself under another row: by their page's `canonical_id`, or by all its vectors.

    Args:
        index: The index.
        itself: Row of the query and its slot, which is None for the whole page; None for a vector of one's own.
    """

    def __init__(self, index: SearchIndex, itself: tuple[int, int | None] | None):
        self.store, self.itself, self.found = index.store, itself, False
        self.known: dict[tuple[int, bool], bool] = {}
        if itself is not None:
            labels = index.labels.data.table
            place = pc.index(labels["row"], itself[0]).as_py()
            self.name = self._name({name: labels[name][place].as_py() for name in ("book_id", "page_id")})
            self.vectors = self._vectors(itself[0])

    def is_itself(self, label: dict[str, Any], is_as_near: bool) -> bool:
        """Whether the hit with this label is; of one that is not as near as the query itself, no vectors are read."""
        if self.itself is None or self.itself[1] not in (None, label["slot"]):
            return False
        key = label["row"], is_as_near
        if key not in self.known:
            same = self._name(label) == self.name
            self.known[key] = same or (is_as_near and np.array_equal(self._vectors(label["row"]), self.vectors))
        self.found |= self.known[key]
        return self.known[key]

    @staticmethod
    def _name(label: dict[str, Any]) -> tuple[str, str]:
        return label["book_id"], normal_path(label["page_id"])

    def _vectors(self, row: int) -> np.ndarray:
        panels, real = self.store.read_panels(row, row + 1)
        return panels[real]


def choose_factory(vectors: int, width: int) -> str:
    """FAISS' string factory for a number of vectors: exact up to `EXACT_BYTES`, then clusters of vectors as bytes."""
    if 4 * vectors * width <= EXACT_BYTES:
        return "Flat"
    return f"IVF{int(2 * np.sqrt(vectors))},SQ8"


def open_index(
    store: VectorStore,
    metadata: str,
    level: Level,
    folder: Path | None = None,
    factory: str = "auto",
    progress: bool = False,
) -> SearchIndex:
    """Opens the index of a store, built first where there is none of this store as it is now.

    The index appears complete or not at all. Those of an earlier state of the store are removed. While it is built,
    memory holds the index itself (4 bytes a number where exact, else 1; up to twice that as it grows), the names of all
    pages and one block of the store.

    Args:
        store: The store.
        metadata: Its metadata.
        level: "strip" or "panel".
        folder: Folder of the indexes, by default beside the store.
        factory: FAISS' string factory, or "auto" for `choose_factory`.
        progress: Show progress on stderr.

    Raises:
        ComicSeqDataError: FAISS is not installed, or store or metadata cannot be used.
    """
    if find_spec("faiss") is None:
        raise ComicSeqDataError("search needs FAISS: install it with `pip install 'comicseq[search]'`")
    folder = folder or folder_beside(store, ".index", "--index")
    state = hashlib.sha256(f"{store.fingerprint()} {metadata_version(metadata)}".encode()).hexdigest()
    key = hashlib.sha256(f"{_FORMAT} {factory} {EXACT_BYTES} {state}".encode()).hexdigest()[:16]
    target = folder / f"{level}-{key}"
    if not target.is_dir():
        check_output(target, [store.url, metadata], folder=True)
        with disk_faults(target, "no index was made"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(folder / ".lock"):
                    if not target.is_dir():
                        for path in _outdated(folder, store, level, state):
                            shutil.rmtree(path, ignore_errors=True)
                        _build(store, metadata, level, factory, state, target, progress)
            except BaseException:
                if [path.name for path in folder.iterdir()] == [".lock"]:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
    try:
        labels = Dataset.from_file(str(target / "labels.arrow"))
        labels.load_faiss_index(_NAME, str(target / "index.faiss"))
        description = json.loads((target / "manifest.json").read_text())
    except (OSError, ValueError, RuntimeError, pa.ArrowInvalid) as error:
        why = "FAISS cannot read it" if isinstance(error, RuntimeError) else " ".join(str(error).split())
        raise ComicSeqDataError(f"{target} is damaged ({why}): remove it, it will be built again") from None
    return SearchIndex(store, level, labels, description)


def _outdated(folder: Path, store: VectorStore, level: Level, state: str) -> Iterator[Path]:
    """What killed builds left, and indexes of another state of the store; nothing else that lies in the folder."""
    hash_ = "[0-9a-f]" * 16
    yield from folder.glob(f".{level}-{hash_}-*")
    for path in folder.glob(f"{level}-{hash_}/manifest.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["store"] == store.url and manifest["state"] != state:
                yield path.parent


def _build(
    store: VectorStore, metadata: str, level: Level, factory: str, state: str, target: Path, progress: bool
) -> None:
    import faiss
    from datasets.search import FaissIndex

    pages = read_pages(metadata, store.pages)
    total = sum(len(_listed(store, pages, level, lo, hi)[0]) for lo, hi in store.blocks(level))
    if not total:
        raise ComicSeqDataError(f"{store.url} holds no {level} that {metadata} names: there is nothing to search")
    chosen = choose_factory(total, store.width) if factory == "auto" else factory
    try:
        index = faiss.index_factory(store.width, chosen, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError:
        raise ComicSeqDataError(
            f"{factory!r} is no index that FAISS knows for {store.width} numbers: give a string factory such as Flat,"
            " HNSW32 or IVF1024,SQ8"
        ) from None
    _train(index, store, pages, level, total)
    with written_folder(target, overwrite=False) as folder:
        with (
            pa.OSFile(str(folder / "labels.arrow"), "wb") as file,
            pa.ipc.new_stream(file, _SCHEMA) as labels,
            progress_bar(f"Indexing pages by {level}", store.pages, progress) as advance,
        ):
            for lo, hi in store.blocks(level):
                vectors, rows, slots = _usable(store, pages, level, lo, hi)
                index.add(vectors)
                named = pages.table.take(np.searchsorted(pages.rows, rows))
                ids = [named[name].combine_chunks().cast(pa.large_string()) for name in ("canonical_id", "book_id")]
                panels = pa.array(slots, pa.int32()) if level == "panel" else pa.nulls(len(rows), pa.int32())
                labels.write_batch(pa.record_batch([rows, panels, *ids], schema=_SCHEMA))
                advance(hi - lo)
        if not index.ntotal:
            raise ComicSeqDataError(f"{store.url} holds no {level} vector but zeros and NaN: encode the corpus again")
        FaissIndex(custom_index=index).save(str(folder / "index.faiss"))
        manifest = {
            "store": store.url,
            "metadata": metadata,
            "level": level,
            "factory": chosen,
            "vectors": index.ntotal,
            "left_out": total - index.ntotal,
            "state": state,
        }
        write_json(folder / "manifest.json", manifest)


def _listed(store: VectorStore, pages: Pages, level: Level, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and slots of a block that belong into the index by metadata and mask; all slots are 0 with strips."""
    named = pages.rows[slice(*np.searchsorted(pages.rows, (lo, hi)))]
    mask = store.read_mask(lo, hi)[named - lo]
    page, slots = np.nonzero(mask.any(axis=1, keepdims=True) if level == "strip" else mask)
    return named[page], slots


def _usable(
    store: VectorStore, pages: Pages, level: Level, lo: int, hi: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of a block, their rows and slots; zeros and NaN have no direction and are left out."""
    rows, slots = _listed(store, pages, level, lo, hi)
    if level == "strip":
        vectors = store.read_strips(lo, hi)[rows - lo]
    else:
        vectors = store.read_panels(lo, hi)[0][rows - lo, slots].astype(np.float32)
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    return unit(vectors[usable]), rows[usable], slots[usable]


def _train(index: Any, store: VectorStore, pages: Pages, level: Level, total: int) -> None:
    """Trains a clustered index on vectors that are spread evenly over the store."""
    import faiss

    if index.is_trained:
        return
    wanted = 100_000
    try:
        clusters = faiss.extract_index_ivf(index)
        clusters.cp.min_points_per_centroid = 1  # FAISS writes its warning past Python
        clusters.nprobe = max(8, int(clusters.nlist * VISITED_SHARE))
        wanted = TRAINING_PER_CLUSTER * clusters.nlist
    except RuntimeError:  # trained, but without clusters
        pass
    step = max(1, total // wanted)
    sample = np.concatenate([_usable(store, pages, level, lo, hi)[0][::step] for lo, hi in store.blocks(level)])
    try:
        index.train(sample)
    except RuntimeError:
        raise ComicSeqDataError(
            f"FAISS cannot train this index on {len(sample)} vectors, which are too few for it: use --factory Flat"
        ) from None


def parse_panel(text: str) -> tuple[int, int]:
    """Row and slot of a panel from `ROW:SLOT`."""
    row, _, slot = text.partition(":")
    if not (row.isdecimal() and slot.isdecimal()):
        raise ComicSeqArgumentError(
            f"{text!r} names no panel: write ROW:SLOT, such as 12:0 for the first panel of row 12"
        )
    return int(row), int(slot)


def read_vector(path: Path) -> np.ndarray:
    """The array of an .npy file."""
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ComicSeqDataError(
            f"{path} cannot be read ({in_words(error)}): give a file that `numpy.save` wrote"
        ) from None
    if not isinstance(vector, np.ndarray):
        raise ComicSeqDataError(f"{path} holds several arrays: give a file that `numpy.save` wrote")
    return vector


def write_hits(hits: list[Hit], index: SearchIndex, query: dict[str, Any], path: Path) -> None:
    """Writes the hits as JSON, beside the target first and then in its place."""
    content = {
        "store": index.store.url,
        "query": query,
        "index": {key: index.description[key] for key in ("level", "factory", "vectors", "left_out")},
        "results": [asdict(hit) for hit in hits],
    }
    write_json(path, content)
