"""Stage 3 store to Arrow data set: ragged rows, split by book, made beside the output and put in place in one step."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo, Features, List, Value
from datasets.exceptions import DatasetGenerationError
from filelock import FileLock, Timeout
from rich.console import Console

from ..disk_faults import disk_faults
from ..errors import ComicSeqArgumentError, ComicSeqDataError, PageProblem
from ..files import put_in_place, write_json, write_text
from ..outputs import check_output
from ..pages.annotations import has_boxes, read_direction
from ..pages.json_list import iter_entries
from ..progress import dataset_bars
from ..stores.boxed_pages import describe_boxes, read_boxed_pages
from ..stores.findings import read_leave_out
from ..stores.metadata import describe_file
from ..stores.origin import meaning_of, read_origin
from ..stores.pages import Faults, Pages
from ..stores.placement import Placement, place_pages
from ..stores.provenance import PROVENANCE_FILE, build_provenance, read_provenance
from ..stores.splits import SPLITS, SplitRule, load_split_books
from ..stores.stage3 import BOX_ARRAY, PRESENT, Stage3Store
from ..stores.twins import HOW, has_twin, same_pages
from ..stores.windows import check_window
from ..urls import refuse_url
from .builder import FAULT, ConversionPlan, StoreBuilder
from .dataset_card import dataset_card
from .opening import NEEDED_COLUMNS
from .panels import PanelTable

__all__ = ["convert_store", "dataset_features"]

logger = logging.getLogger(__name__)

# Another number when the same input gives another data set: it is part of the fingerprint.
_FORMAT = 4
_MAX_SHARD_SIZE = "500MB"
_MOST_PROBED = 1000  # rows: what more of them would tell is not worth its time here


def convert_store(
    embeddings: str | os.PathLike,
    metadata: str | os.PathLike,
    output: str | os.PathLike,
    *,
    dtype: str = "float16",
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    split_books: str | os.PathLike | Mapping[str, Sequence[str]] | None = None,
    window: int = 16,
    stride: int | None = None,
    num_proc: int = 1,
    on_error: str = "stop",
    origin: Mapping[str, Any] | None = None,
    boxes: str | os.PathLike | None = None,
    reading_direction: str | None = None,
    leave_out: str | os.PathLike | None = None,
    overwrite: bool = False,
    progress: bool = True,
    check: Callable[[Mapping[str, int]], None] | None = None,
    probe: Callable[[PanelTable], Mapping[str, Any] | None] | None = None,
) -> None:
    """Converts a Stage 3 store to an Arrow data set, which `datasets.load_from_disk` opens.

    Its splits are train, validation and test; one row a page or window, in the store's order. The work is done beside
    `output` in a hidden folder and renamed in one step, so `output` is complete or absent; after an interrupt the same call
    starts again. With `output` complete it does nothing.

    Args:
        embeddings: Stage 3 Zarr store, a local path or an fsspec URL.
        metadata: Its metadata, a JSON list with one object a page; path or URL.
        output: Folder of the data set.
        dtype: "float16" or "float32" for all vectors.
        fractions: Shares of train, validation and test among the books, by a hash of `book_id`.
        split_books: Lists of books instead of fractions, see `load_split_books`.
        window: Most panels of a row; longer pages become overlapping windows.
        stride: Panels from one window's start to the next; half a window by default.
        num_proc: Processes.
        on_error: "stop" at the first fault, or "skip" faulty pages and list them in `skipped.json`.
        origin: Where the vectors come from, beyond what the store and its metadata say, see `read_origin`.
        boxes: A file of boxes beside the store, and
        reading_direction: the direction of pages of which nothing else tells it, see `read_boxed_pages`.
        leave_out: A list of findings of `comicseq inspect`, whose pages are left out and listed in `left_out.json`.
        overwrite: Replace an output that was made from other input or with other options.
        progress: Show a progress bar on the terminal.
        check: Is told how many books each split gets, before any vector is read, and raises what is wrong with that.
        probe: Is given a sample of the rows, and says whether a panel's place on the page can be read off its vector, for
            the provenance and the card: `places_for_card`.

    Raises:
        ComicSeqError: The input has a fault, an option is out of range, or `output` holds something else.
    """
    if dtype not in ("float16", "float32"):
        raise ComicSeqArgumentError(f"dtype {dtype!r} is not possible; give float16 or float32")
    if on_error not in ("stop", "skip"):
        raise ComicSeqArgumentError(f"on_error {on_error!r} is not possible; give stop or skip")
    if num_proc < 1:
        raise ComicSeqArgumentError(f"num_proc {num_proc} starts no process; give 1 or more")
    refuse_url(output)
    window, stride = check_window(window, stride)
    books = None if split_books is None else load_split_books(split_books)  # type: ignore[arg-type]
    rule = SplitRule(fractions, books, "split_books" if isinstance(split_books, Mapping) else str(split_books))
    target, metadata = Path(os.path.realpath(output)), os.fspath(metadata)  # a link may lead to another disk
    listed = split_books if isinstance(split_books, str | os.PathLike) else None
    check_output(output, [embeddings, metadata, listed, boxes, leave_out], overwrite=True, folder=True)
    store = Stage3Store.open(embeddings)
    options = {
        "dtype": dtype,
        "fractions": list(rule.fractions) if books is None else None,
        "split_books": books,
        "window": window,
        "stride": stride,
    }
    if origin:
        options["origin"] = dict(origin)
    options |= {} if boxes is None else {"boxes": os.fspath(boxes)}
    options |= {} if reading_direction is None else {"reading_direction": reading_direction}
    unwanted = None if leave_out is None else read_leave_out(leave_out, store.url, store.fingerprint())
    options |= {} if unwanted is None else {"leave_out": unwanted.digest}
    fingerprint = _fingerprint(store, metadata, options)
    console = Console(stderr=True, quiet=not progress, soft_wrap=True)
    if _is_done(target, fingerprint, on_error, overwrite):
        console.print(f"{target} is already complete for this input: nothing to do")
        if _work_name(target).is_dir():  # of a run that was killed after its output was in place
            with suppress(ComicSeqDataError), _work_folder(target):
                pass
        return
    with _work_folder(target) as folder:
        faults = Faults(on_error == "skip", ", or leave such pages out with --on-error skip")
        with console.status("Reading the metadata"):
            pages = read_boxed_pages(
                store, metadata, folder / "pages.arrow", "rest", faults, boxes, reading_direction, unwanted
            )
            rule.check(pc.unique(pages.table["book_id"]).to_pylist(), metadata)
            placement = place_pages(pages, rule, window, stride, faults, metadata)
        _check_usable(pages, placement, faults, metadata, 0 if unwanted is None else len(unwanted.left_out))
        if check is not None:
            check(placement.books)
        origin = read_origin(store, metadata, origin)
        if not meaning_of(origin):
            logger.warning(
                f"{store.url} does not say which encoders made its vectors: declare it with --origin, as in"
                " visual_encoder=NAME, and models of other vectors will tell"
            )
        for split, share in zip(SPLITS, rule.fractions, strict=True):
            if not placement.books[split] and (books is not None or share):
                total = sum(placement.books.values())
                logger.warning(
                    f"no book falls into {split}: {total} books are few for a split by hash; give it a"
                    " larger share with --fractions, or list its books with --split-books"
                )
        if placement.unlisted:
            logger.warning(
                f"{placement.unlisted} pages belong to books that split_books does not list and are left out"
            )
        features = dataset_features(
            store.widths, dtype, pages.has_characters, pages.has(BOX_ARRAY), pages.has("reading_direction")
        )
        with dataset_bars(progress and console.is_terminal):
            # Once more without the pages that turned out faulty: they would leave gaps in `book_order`.
            while True:
                plan = ConversionPlan(store.url, pages, placement, features, dtype, window, stride, folder, faults)
                reports = _build(plan, num_proc)
                skipped = [page for report in reports for page in report["skipped"]]
                if not skipped:
                    break
                faults.skipped += sorted(skipped, key=lambda page: page["sequence_index"])
                gone = [page["sequence_index"] for page in skipped]
                pages = replace(pages, table=pages.table.filter(pa.array(~np.isin(pages.rows, gone))))
                placement = place_pages(pages, rule, window, stride, faults, metadata)
                _check_usable(pages, placement, faults, store.url)
        _tell_twins(pages, placement, dict(pair for report in reports for pair in report["hashes"]))
        provenance = build_provenance(
            store, metadata, options, fingerprint, pages, placement, reports, len(faults.skipped), origin
        )
        if unwanted is not None:
            provenance["left_out"] = unwanted.summary()
        if probe is not None:
            provenance["place"] = probe(_sample_rows(folder))
        left_out = [] if unwanted is None else unwanted.left_out
        _write_dataset(folder, features, provenance, faults.skipped, left_out)
        put_in_place(folder / "dataset", target, folder / "replaced")


def dataset_features(
    widths: Mapping[str, int],
    dtype: str,
    has_characters: bool = False,
    has_boxes: bool = False,
    has_directions: bool = False,
) -> Features:
    """Columns of the data set for a store with these vector arrays, and with or without what else is known of panels.

    All panel columns are flat lists: the vectors of a row one after the other, and with text or caption vectors also
    `has_text` and `has_caption`, one bool a panel, false where the vector is all zero: a panel without text or caption.
    """
    columns: dict[str, Any] = {name: List(Value(dtype)) for name in widths}
    columns |= {column: List(Value("bool")) for column, name in PRESENT.items() if name in widths}
    columns |= {name: Value("int32") for name in ("num_panels", "page_index", "window_start")}
    columns |= {name: Value("int64") for name in ("sequence_index", "book_order")}
    columns |= {name: Value("string") for name in ("book_id", "page_name", "canonical_id", "metadata")}
    if has_characters:
        columns["character_ids"] = List(List(Value("string")))
    if has_boxes:
        columns["panel_boxes"] = List(Value("float32"))
    if has_directions:
        columns["reading_direction"] = Value("string")
    return Features(columns)


def _fingerprint(store: Stage3Store, metadata: str, options: Mapping[str, Any]) -> str:
    """Hash of the input's files and of the options that change the result."""
    version = list(describe_file(metadata).values())
    parts = [_FORMAT, store.url, store.fingerprint(), metadata, version, dict(options)]
    first = next(iter_entries(metadata))
    with suppress(PageProblem):  # which is told when all pages are read
        if has_boxes(first) or read_direction(first):  # earlier versions carried them along, without a column
            parts.append(BOX_ARRAY)
    if "boxes" in options:
        parts.append(describe_boxes(options["boxes"]))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_done(target: Path, fingerprint: str, on_error: str, overwrite: bool) -> bool:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    provenance = read_provenance(target) if (target / PROVENANCE_FILE).is_file() else None
    if provenance is None:
        raise ComicSeqDataError(f"{target} exists and is no converted data set; give another --output or remove it")
    conversion = provenance.get("conversion", {})
    left_out, why = conversion.get("skipped", 0), ""
    if conversion.get("fingerprint") != fingerprint:
        why = "was made from other input, by another version or with other options"
    elif left_out and on_error != "skip":
        why = f"was made with --on-error skip and leaves out {left_out} pages"
    if why and not overwrite:
        raise ComicSeqDataError(f"{target} {why}; give another --output, or --overwrite to replace it")
    return not why


def _work_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """An empty hidden folder beside the output, which nobody else uses and which goes in the end."""
    folder = _work_name(target)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / "lock", timeout=0).acquire()
    except Timeout:
        raise ComicSeqDataError(
            f"another process is converting to {target}; wait for it or give another --output"
        ) from None
    with lock:
        for entry in folder.iterdir():  # of a run that was killed
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
        try:
            with disk_faults(target):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check_usable(pages: Pages, placement: Placement, faults: Faults, source: str, unwanted: int = 0) -> None:
    """Raises a `ComicSeqDataError` that blames `source` where no page with a panel is left."""
    if pages.counts[placement.pages.entry].any():
        return
    left_out = f"{len(faults.skipped) + unwanted} left out"
    left_out += f", {unwanted} of them as --leave-out says" if unwanted else ""
    if faults.skipped:
        left_out += f", the first for: {faults.skipped[0]['reason']}"
    raise ComicSeqDataError(f"{source} leaves no usable page ({left_out}); check the store and its metadata")


def _tell_twins(pages: Pages, placement: Placement, hashes: Mapping[int, int]) -> None:
    """Warns of pages that stand twice, and of those that do so on two sides of the split."""
    placed = placement.pages[pages.counts[placement.pages.entry] > 0]
    found = pages.table.take(pa.array(placed.entry))
    rows, books, paths = (found[name].to_pylist() for name in ("row", "book_id", "canonical_id"))
    first = same_pages(np.asarray([hashes[row] for row in rows], np.uint64), books, paths)
    twice = np.flatnonzero(has_twin(first))
    if not len(twice):
        return
    copy = np.flatnonzero(first != np.arange(len(first)))[0]
    apart = len({each for each in first[twice][placed.split[twice] != placed.split[first[twice]]].tolist()})
    logger.warning(
        f"{len(twice):,} pages stand twice ({HOW}), as {paths[first[copy]]!r} (sequence_index {rows[first[copy]]}) and"
        f" {paths[copy]!r} (sequence_index {rows[copy]}): none is a wrong candidate for a question about the other"
        + (
            f"; copies in another split (of {apart:,} pages) tell the model: give both books one book_id"
            if apart
            else ""
        )
    )


def _build(plan: ConversionPlan, num_proc: int) -> list[dict[str, Any]]:
    """Builds the Arrow files and returns what each process counted.

    Raises:
        ComicSeqDataError: A page has a fault and none is to be skipped, or a process was ended.
    """
    reports = plan.folder / "reports"
    for made in (reports, plan.folder / "cache"):
        shutil.rmtree(made, ignore_errors=True)
    reports.mkdir()
    try:
        StoreBuilder(plan).download_and_prepare(num_proc=num_proc, max_shard_size=_MAX_SHARD_SIZE)
    except DatasetGenerationError as error:
        fault = reports / FAULT
        if fault.is_file():
            raise ComicSeqDataError(fault.read_text(encoding="utf-8")) from None
        raise error.__cause__ or error from None
    except RuntimeError as error:
        if "abruptly died" not in str(error):
            raise
        raise ComicSeqDataError(
            "a worker process was ended from outside, perhaps for lack of memory; run the same command with a smaller "
            "--num-proc"
        ) from None
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(reports.iterdir())]


def _sample_rows(folder: Path) -> PanelTable:
    """Rows from all over the Arrow files of a work folder, with what tells vectors and places."""
    files = [datasets.Dataset.from_file(str(path)) for path in sorted((folder / "cache").rglob("*.arrow"))]
    table = pa.concat_tables([file.data.table.select(NEEDED_COLUMNS) for file in files])
    rows = np.linspace(0, len(table) - 1, min(len(table), _MOST_PROBED)).astype(int)
    # Slice by slice, to read no more than these.
    return PanelTable(Dataset(pa.concat_tables([table.slice(row, 1) for row in rows.tolist()]).combine_chunks()))


def _write_dataset(
    folder: Path,
    features: Features,
    provenance: Mapping[str, Any],
    skipped: Sequence[Mapping[str, Any]],
    left_out: Sequence[Mapping[str, Any]],
) -> None:
    """Puts the Arrow files of a work folder into the folders of their splits and writes everything beside them."""
    root, fingerprint = folder / "dataset", provenance["conversion"]["fingerprint"]
    info = DatasetInfo(description=json.dumps(provenance, ensure_ascii=False), features=features)
    built = sorted((folder / "cache").rglob("*.arrow"))
    for split in SPLITS:
        (root / split).mkdir(parents=True)
        files = [path for path in built if path.name.startswith(f"pages-{split}")]
        names = [f"data-{number:05d}.arrow" for number in range(max(len(files), 1))]
        for path, name in zip(files, names, strict=False):
            os.rename(path, root / split / name)
        if not files:  # the builder makes no split without rows, and `load_from_disk` needs a file even for one
            with pa.OSFile(str(root / split / names[0]), "wb") as sink:
                pa.ipc.new_stream(sink, features.arrow_schema).close()
        info.write_to_directory(str(root / split))
        # What `save_to_disk` writes, which would copy every vector once more.
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": hashlib.sha256(f"{fingerprint} {split}".encode()).hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        write_json(root / split / "state.json", state)
    write_json(root / "dataset_dict.json", {"splits": list(SPLITS)})
    for name, pages in (("skipped.json", skipped), ("left_out.json", left_out)):
        if pages:
            # In ASCII: a name may be no valid Unicode, which is then the reason.
            write_text(root / name, json.dumps(pages, indent=1))
    write_text(root / "README.md", dataset_card(provenance))
    write_json(root / PROVENANCE_FILE, provenance)
