"""Makes an index of a store, and brings one up to date."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoints.provenance import compare_origins
from ...errors import ComicSeqArgumentError, ComicSeqDataError
from ...files import locked, put_in_place
from ...outputs import check_output
from ...progress import progress_bar
from ...stores.origin import read_origin
from ...stores.output import read_attributes
from ...stores.stage3 import Stage3Store, open_group
from ...stores.vectors import VectorStore, find_metadata, metadata_version
from ...urls import is_url
from .engine import PANELS, STRIPS, connect, kept_by_updates, read_about, write_about, writing_faults
from .page_parts import PageParts
from .rows import Source, open_source, read_digests, read_rows, schemas

__all__ = ["EXACT_ROWS", "PICTURE_SIZE", "build_index"]

_FORMAT = 1  # another number when the same input gives another index
# Up to so many vectors every one is compared.
EXACT_ROWS = 200_000
# Up to so many rows one is found fast enough without an index of its column.
LOOKED_THROUGH = 20_000
PICTURE_SIZE = 768  # pixels: balloons can still be read
_KEPT = timedelta(days=1)  # how long what an update has replaced stays, for those who have the index open
_LONGEST_OPTIMIZING = timedelta(hours=1)  # the engine reckons an age from when it has done the rest
_NEVER = timedelta(days=36500)


def build_index(
    store: str | os.PathLike,
    output: str | os.PathLike,
    *,
    metadata: str | os.PathLike | None = None,
    pages: str | os.PathLike | None = None,
    embeddings: str | os.PathLike | None = None,
    picture_size: int = PICTURE_SIZE,
    update: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Makes an index of the pages of a store that its metadata name: a LanceDB database of strips and panels.

    It appears complete or not at all; after an interrupt the same call goes on with the pages that are not in it yet. An
    update looks for pages that are new, were changed or are gone, and writes these alone; while it runs, and if it is
    killed, the index answers as before. Under a URL (`s3://bucket/name`, read and written by LanceDB with the credentials
    of the environment) an index is made in place, and is one when its last table, `about`, is there.

    Args:
        store: A Stage 5 store, or a Stage 3 store, whose strip vectors are the means of its panels.
        output: The index: a folder to create, or a URL that LanceDB takes.
        metadata: The store's metadata; by default the JSON beside it.
        pages: A data set of pages, which adds boxes, texts, reading directions and small pictures.
        embeddings: The Stage 3 store that `store` was made from: the means of its pages are kept beside the strips.
        picture_size: Pixels of the longer side of the small pictures; 0 leaves them out.
        update: Bring an index that is there up to date.
        overwrite: Make an index that is there anew.
        progress: Show progress on stderr.

    Returns:
        What the index says of itself: where its vectors come from, counts and columns.

    Raises:
        ComicSeqArgumentError: An option is not possible.
        ComicSeqDataError: The store or something that belongs to it cannot be used, or the output cannot be written.
    """
    target, inputs = os.fspath(output), [store, metadata, pages, embeddings]
    if picture_size < 0:
        raise ComicSeqArgumentError(f"picture_size is {picture_size}: give pixels, or 0 for no pictures")
    if update and overwrite:
        raise ComicSeqArgumentError("an index is brought up to date or made anew: leave out update or overwrite")
    if not is_url(target):
        check_output(target, inputs, overwrite=True, folder=True)
    opened = VectorStore.open(store)
    metadata = find_metadata(opened, None if metadata is None else os.fspath(metadata))
    third = None
    if embeddings is not None:
        other = VectorStore.open(embeddings)
        third = other, find_metadata(other, None)
        _check_embeddings(opened, metadata, *third)
    parts = None if pages is None else PageParts(pages)
    state = _state(opened, metadata, third, parts, picture_size)
    old = _existing(target)
    if old is not None and old["state"] == state:
        return old
    if old is not None and not update and not overwrite:
        raise ComicSeqDataError(
            f"{target} is an index of another state of {old['store']['url']} or has other options: bring it up to date"
            " with --update, or make it anew with --overwrite"
        )
    if old is None and update:
        raise ComicSeqDataError(f"{target} is no complete index that could be brought up to date: leave out --update")
    source = open_source(opened, metadata, parts, third, picture_size)
    about = _about(source, metadata, pages, state)
    if update and old is not None:
        _check_alike(target, old, about)
        return _update(target, source, about, progress)
    return _build(target, source, about, progress)


def _origin(store: VectorStore, metadata: str) -> dict[str, Any]:
    """Where a store says that its panel vectors come from, or those that it was made from."""
    if store.stage == 3:
        return read_origin(Stage3Store.open(store.url), metadata)
    said = read_attributes(store.url, store.stage) or dict(open_group(store.url, "give a store").attrs)
    return said.get("source", {}).get("origin") or said.get("origin") or {}


def _check_embeddings(store: VectorStore, metadata: str, embeddings: VectorStore, of_embeddings: str) -> None:
    """Checks that a store can have been made from these embeddings.

    Raises:
        ComicSeqDataError: They are those of a model, or of another panel encoder.
    """
    remedy = f"give the Stage 3 store that {store.url} was made from"
    if embeddings.stage != 3:
        raise ComicSeqDataError(f"{embeddings.url} is a Stage 5 store, whose vectors are a model's: {remedy}")
    of_store, other = _origin(store, metadata), _origin(embeddings, of_embeddings)
    difference = compare_origins({"origin": other}, {"origin": of_store})
    if difference is not None:
        raise ComicSeqDataError(
            f"{embeddings.url} is of another origin than what {store.url} was made from ({difference}): {remedy}"
        )


def _state(
    store: VectorStore,
    metadata: str,
    embeddings: tuple[VectorStore, str] | None,
    parts: PageParts | None,
    picture_size: int,
) -> str:
    """Hash of everything that the index is made from."""
    made_of: list[Any] = [_FORMAT, EXACT_ROWS, store.url, store.fingerprint(), metadata_version(metadata)]
    if embeddings is not None:
        made_of += [embeddings[0].url, embeddings[0].fingerprint(), metadata_version(embeddings[1])]
    if parts is not None:
        made_of += [parts.source, parts.fingerprint(), picture_size]
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


def _existing(target: str) -> dict[str, Any] | None:
    """What a complete index says of itself; None where nothing is, or something that was begun.

    Raises:
        ComicSeqDataError: Something else is there.
    """
    if not is_url(target):
        path = Path(target)
        if not path.exists() or not any(path.iterdir()):
            return None
        if not any(path.glob("*.lance")):
            raise ComicSeqDataError(f"{target} exists and is no index: name another output, or remove it")
    about = read_about(connect(target))
    if about is None and not is_url(target):
        raise ComicSeqDataError(f"{target} exists and is no index: name another output, or remove it")
    return about if about is not None and about.get("complete") else None


def _about(source: Source, metadata: str, pages: str | os.PathLike | None, state: str) -> dict[str, Any]:
    """What the index says of itself; counts and versions of its tables are added when it is complete."""
    store = source.store
    attributes = read_attributes(store.url, store.stage) or {}
    panel_width = source.embeddings.width if source.embeddings is not None else None
    panel_width = store.width if store.stage == 3 else panel_width
    return {
        "format": _FORMAT,
        "complete": False,
        "state": state,
        "exact_rows": EXACT_ROWS,
        "store": {
            "url": store.url,
            "stage": store.stage,
            "width": store.width,
            "fingerprint": attributes.get("fingerprint"),
            "metadata": metadata,
        },
        "model": attributes.get("model"),
        "panel_width": panel_width,
        "origin": _origin(store, metadata),
        "pages": None if pages is None else os.fspath(pages),
        "picture_size": source.picture_size if pages is not None else 0,
        "embeddings": None
        if source.embeddings is None
        else {
            "url": source.embeddings.url,
            "width": source.embeddings.width,
            "columns": ["encoder_vector", *source.parts_of_panels],
        },
        "columns": {name: str(kind) for name, kind in source.columns.items()},
        "versions": {name: version(name) for name in ("comicseq", "lancedb")},
    }


def _check_alike(target: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """An update keeps the space and the columns, and takes away no boxes, texts and pictures."""
    if old["pages"] is not None and new["pages"] is None:
        raise ComicSeqDataError(
            f"{target} has boxes and texts of the data set of pages {old['pages']}, which is not given: name it, or the one"
            " that has taken its place, with --pages, or make the index anew with --overwrite"
        )
    one, another = kept_by_updates(old), kept_by_updates(new)
    other = [name for name in one if one[name] != another[name]]
    if other:
        raise ComicSeqDataError(
            f"{target} cannot be brought up to date, as its {other[0]} is another than that of {new['store']['url']}: make"
            " it anew with --overwrite, or name another output"
        )


@contextmanager
def _working_folder(target: str) -> Iterator[str]:
    """Where an index is made: in place under a URL, else beside its place, to be put there by `_put`."""
    if is_url(target):
        with writing_faults(target, "the same command goes on with the pages that are not in it"):
            yield target
        return
    beside = _beside(target)
    with locked(target), writing_faults(target, "the same command goes on with the pages that are not in it"):
        root = str(beside / Path(target).resolve().name)
        try:
            yield root
        except BaseException as error:
            # Nothing to go on with, or with nothing that would become an index.
            if not (beside / "begun").exists() or isinstance(error, ComicSeqDataError):
                shutil.rmtree(beside, ignore_errors=True)
            raise


def _beside(target: str) -> Path:
    path = Path(os.path.realpath(target))
    return path.with_name(f".{path.name}.partial")


def _build(target: str, source: Source, about: dict[str, Any], progress: bool) -> dict[str, Any]:
    with _working_folder(target) as root:
        database = connect(root)
        begun = read_about(database)
        if not is_url(target) and begun is not None and begun["state"] == about["state"] and begun.get("complete"):
            _put(target, root)
            return begun
        if begun is None or begun["state"] != about["state"] or begun.get("complete"):
            write_about(database, about)
            for name, schema in zip((STRIPS, PANELS), schemas(source), strict=True):
                database.create_table(name, schema=schema, mode="overwrite")
        strips, panels = database.open_table(STRIPS), database.open_table(PANELS)
        done = strips.count_rows()
        if done < len(source.pages):
            # Panels are written before the strips of the same pages.
            panels.delete(f"row >= {int(source.pages.rows[done])}")
        with progress_bar("Indexing pages", len(source.pages), progress) as advance:
            advance(done)
            for first, last in source.spans():
                first = max(first, done)
                if first >= last:
                    continue
                of_strips, of_panels = read_rows(source, first, last)
                panels.add(of_panels, on_bad_vectors="null")
                strips.add(of_strips, on_bad_vectors="null")
                if not is_url(target):
                    (_beside(target) / "begun").touch()
                advance(last - first)
        if not strips.count_rows("vector is not null"):
            raise ComicSeqDataError(
                f"{source.store.url} holds no strip vector but zeros and NaN: encode the corpus again"
            )
        about["since"] = time.time()
        _make_indexes(strips, panels, progress)
        about = _complete(database, about)
        if not is_url(target):
            _put(target, root)
        return about


def _put(target: str, root: str) -> None:
    """Puts a finished index in its place."""
    place, replaced = Path(os.path.realpath(target)), _beside(target) / "replaced"
    if place.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # by an earlier call, which was killed just before its end
    put_in_place(Path(root), place, replaced)
    shutil.rmtree(_beside(target), ignore_errors=True)


def _complete(database: Any, about: dict[str, Any]) -> dict[str, Any]:
    """Says that the tables as they are now are the index."""
    strips, panels = (database.open_table(name) for name in (STRIPS, PANELS))
    about = about | {
        "complete": True,
        "tables": {STRIPS: strips.version, PANELS: panels.version},
        "counts": {
            "pages": strips.count_rows(),
            "panels": panels.count_rows(),
            "pages_without_vector": strips.count_rows("vector is null"),
            "pages_with_words": strips.count_rows("words is not null"),
            "pages_with_picture": strips.count_rows("picture is not null"),
        },
    }
    write_about(database, about)
    return about


def _make_indexes(strips: Any, panels: Any, progress: bool) -> None:
    """Indexes of words, of the columns that are looked up by, and of vectors, where there are many."""
    from lancedb.index import FTS

    with progress_bar("Making indexes", 2, progress) as advance:
        for table in (strips, panels):
            # Stop words are words in lettering: "who are you?".
            table.create_index("words", config=FTS(base_tokenizer="icu", remove_stop_words=False))
            _index_columns(table)
            advance(1)


def _index_columns(table: Any) -> None:
    """Makes the indexes that a table of so many rows is to have, and does not have yet."""
    from lancedb.index import BTree, IvfSq

    there = {column for each in table.list_indices() for column in each.columns}
    for column in ("row", "page_id", "page_key", "book_id", "panels_hash"):
        if column not in there and table.count_rows() > LOOKED_THROUGH:
            table.create_index(column, config=BTree())
    for column in ("vector", "encoder_vector", "text_vector", "visual_vector"):
        if column in table.schema.names and column not in there and table.count_rows() > EXACT_ROWS:
            table.create_index(column, config=IvfSq(distance_type="cosine"))


def _update(target: str, source: Source, about: dict[str, Any], progress: bool) -> dict[str, Any]:
    remains = "it answers as before, and the same command begins again"
    with _locked(target), writing_faults(target, remains):
        begun = time.time()
        database = connect(target)
        old = read_about(database)
        if old is None or not old.get("complete"):
            raise ComicSeqDataError(f"{target} is no complete index any more: make it again")
        strips, panels = (database.open_table(name) for name in (STRIPS, PANELS))
        for name, table in ((STRIPS, strips), (PANELS, panels)):
            if table.version != old["tables"][name]:  # an update was killed
                table.checkout(old["tables"][name])
                table.restore()
        known = strips.search().select(["row", "digest"]).to_arrow()
        rows, digests = known["row"].to_numpy(), known["digest"].to_numpy()
        order = np.argsort(rows)
        rows, digests = rows[order], digests[order]
        gone = np.setdiff1d(rows, source.pages.rows)
        counts = {"new": 0, "changed": 0, "removed": len(gone)}
        _delete(strips, panels, gone)
        with progress_bar("Comparing pages", len(source.pages), progress) as advance:
            for first, last in source.spans():
                here, wanted = read_digests(source, first, last)
                places = np.clip(np.searchsorted(rows, here), 0, max(len(rows) - 1, 0))
                is_known = rows[places] == here if len(rows) else np.zeros(len(here), bool)
                differs = is_known & (digests[places] != wanted) if len(rows) else is_known
                counts["new"] += int((~is_known).sum())
                counts["changed"] += int(differs.sum())
                chosen = ~is_known | differs
                if chosen.any():
                    of_strips, of_panels = read_rows(source, first, last, chosen)
                    _delete(strips, panels, here[differs])
                    panels.add(of_panels, on_bad_vectors="null")
                    strips.add(of_strips, on_bad_vectors="null")
                advance(last - first)
        for table in (strips, panels):
            # What is new is added to the indexes; nothing of the old is removed before it is replaced.
            table.optimize(cleanup_older_than=_NEVER)
            _index_columns(table)
        is_new = all(table.version != old["tables"][name] for name, table in ((STRIPS, strips), (PANELS, panels)))
        about |= {"since": begun if is_new else old.get("since", 0.0), "replaced": _replaced(old)}
        about = _complete(database, about | {"updated": counts})
        since = min(each for each, _ in about["replaced"])
        for table in (strips, panels):
            table.optimize(cleanup_older_than=timedelta(seconds=time.time() - since) + _LONGEST_OPTIMIZING)
        # The engine joins what the indexes have taken up with what they had before: not to be done again by each update.
        return _complete(database, about)


def _replaced(old: dict[str, Any]) -> list[list[float]]:
    """Of each state that somebody may still have open: since when its tables are as they are, and when it was replaced."""
    now = time.time()
    before = [each for each in old.get("replaced", []) if now - each[1] < _KEPT.total_seconds()]
    return [*before, [old.get("since", 0.0), now]]


@contextmanager
def _locked(target: str) -> Iterator[None]:
    if is_url(target):
        yield
    else:
        with locked(target):
            yield


def _delete(strips: Any, panels: Any, rows: np.ndarray) -> None:
    for lo in range(0, len(rows), 1000):
        where = f"row in ({', '.join(map(str, rows[lo : lo + 1000].tolist()))})"
        strips.delete(where)
        panels.delete(where)
