"""Stage 3 store to Arrow data set: ragged rows, split by book, written part by part and put in place in one step."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from datasets import DatasetInfo, Features, List, Value
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..errors import ComicSeqDataError
from ..stores.page_index import PageIndex, build_page_index
from ..stores.provenance import PROVENANCE_FILE, build_provenance, read_provenance
from ..stores.splits import SPLITS, SplitRule, load_split_books
from ..stores.stage3 import PRESENT, Stage3Store
from ..stores.windows import check_window, window_counts
from .blocks import BlockReader
from .dataset_card import dataset_card
from .shards import Shard, ShardConverter, ShardPlan, finished_shard, shard_file

__all__ = ["convert_store", "dataset_features"]

logger = logging.getLogger(__name__)

# Another number when the same input gives another data set: it is part of the fingerprint.
_FORMAT = 3
_SHARD_BYTES = 512 << 20  # source bytes of a shard: what an interrupt can cost
_MOST_SHARDS = 100  # larger stores get larger shards, not more files


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
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Converts a Stage 3 store to an Arrow data set, which `datasets.load_from_disk` opens.

    Its splits are train, validation and test; one row a page or window, in the store's order. The work is done beside
    `output` in a hidden folder and renamed in one step, so `output` is complete or absent. After an interrupt the same call
    goes on where the last one ended; with `output` complete it does nothing.

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
        overwrite: Replace an output that was made from other input or with other options.
        progress: Show a progress bar on the terminal.

    Raises:
        ComicSeqDataError: The input has a fault, an option is out of range, or `output` holds something else.
    """
    if dtype not in ("float16", "float32"):
        raise ComicSeqDataError(f"dtype {dtype!r} is not possible; give float16 or float32")
    if on_error not in ("stop", "skip"):
        raise ComicSeqDataError(f"on_error {on_error!r} is not possible; give stop or skip")
    if num_proc < 1:
        raise ComicSeqDataError(f"num_proc {num_proc} starts no process; give 1 or more")
    if "://" in os.fspath(output):
        raise ComicSeqDataError(f"output {output} is a URL; convert to a local folder and upload that")
    window, stride = check_window(window, stride)
    books = None if split_books is None else load_split_books(split_books)  # type: ignore[arg-type]
    rule = SplitRule(fractions, books)
    target = Path(output).absolute()
    _keep_freed_memory()
    store = Stage3Store.open(embeddings)
    metadata = os.fspath(metadata)
    options = {
        "dtype": dtype,
        "fractions": list(rule.fractions) if books is None else None,
        "split_books": books,
        "window": window,
        "stride": stride,
    }
    fingerprint = _fingerprint(store, metadata, options)
    console = Console(stderr=True, quiet=not progress)
    if _is_done(target, fingerprint, on_error, overwrite):
        console.print(f"{target} is already complete for this input: nothing to do")
        _remove_leftover(target)
        return

    with _work_folder(target, fingerprint) as folder:
        skip = on_error == "skip"
        reader = BlockReader(store, window, stride)
        if num_proc == 1 and not _has_index(folder):
            _, lo, hi = _plan_shards(store)[0]
            reader.start(reader.bounds(lo, hi))  # most likely, they hold pages; the metadata will tell
        index = _index(folder, metadata, store, rule, window, stride, skip, console)
        features = dataset_features(store.widths, dtype, index.has_characters)
        plan = ShardPlan(store.url, folder, features.arrow_schema, dtype, window, stride, skip)
        reports = _convert_shards(plan, reader, index, num_proc, progress, console)
        skipped = index.skipped + [page for report in reports for page in report["skipped"]]
        if not any(sum(report["rows"].values()) for report in reports):
            shutil.rmtree(folder / "shards")  # nothing worth going on with
            raise ComicSeqDataError(
                f"{store.url} leaves no usable page ({len(skipped)} left out, the first for: {skipped[0]['reason']}); "
                "check the store"
            )
        _finish(plan, store, metadata, options, fingerprint, features, index, reports, skipped)
        _put_in_place(folder, target)


def _keep_freed_memory() -> None:
    """Makes the GNU C library keep the memory of decoded chunks for the next ones.

    It gives freed memory back to the system, which clears every page before it lends it again, until it has seen a large
    block freed.
    """
    bytes(31 << 20)


def dataset_features(widths: Mapping[str, int], dtype: str, has_characters: bool = False) -> Features:
    """Columns of the data set for a store with these vector arrays, and with or without `character_ids`.

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
    return Features(columns)


def _fingerprint(store: Stage3Store, metadata: str, options: Mapping[str, Any]) -> str:
    """Hash of the input's files and of the options that change the result."""
    try:
        system, path = fsspec.core.url_to_fs(metadata)
        info = system.info(path)
    except (OSError, ImportError, ValueError) as error:
        raise ComicSeqDataError(
            f"{metadata} cannot be read ({type(error).__name__}: {error}); check the path of the metadata"
        ) from error
    version = [
        str(info.get(key)) for key in ("size", "mtime", "ETag", "etag", "LastModified", "created") if key in info
    ]
    parts = [_FORMAT, store.url, store.fingerprint(), metadata, version, dict(options)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_done(target: Path, fingerprint: str, on_error: str, overwrite: bool) -> bool:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    provenance = read_provenance(target) if (target / PROVENANCE_FILE).is_file() else None
    if provenance is None:
        raise ComicSeqDataError(f"{target} exists and is no converted data set; give another --output or remove it")
    conversion = provenance.get("conversion", {})
    left_out = conversion.get("skipped", 0)
    if conversion.get("fingerprint") == fingerprint and (on_error == "skip" or not left_out):
        return True
    if overwrite:
        return False
    why = "was made from other input, by another version or with other options"
    if conversion.get("fingerprint") == fingerprint:
        why = f"was made with --on-error skip and leaves out {left_out} pages"
    raise ComicSeqDataError(f"{target} {why}; give another --output, or --overwrite to replace it")


def _work_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def _remove_leftover(target: Path) -> None:
    """Removes the working folder of a run that was killed after its output was in place."""
    folder = _work_name(target)
    if folder.is_dir():
        with suppress(Timeout), FileLock(folder / "lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _work_folder(target: Path, fingerprint: str) -> Iterator[Path]:
    """The hidden folder beside the output, emptied where it belongs to other input, locked while it is in use."""
    folder = _work_name(target)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / "lock", timeout=0).acquire()
    except Timeout:
        raise ComicSeqDataError(
            f"another process is converting to {target}; wait for it or give another --output"
        ) from None
    with lock:
        key = folder / "fingerprint"
        if not key.is_file() or key.read_text() != fingerprint:
            for entry in folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()
            key.write_text(fingerprint)
        (folder / "shards").mkdir(exist_ok=True)
        try:
            yield folder
        except BaseException as error:
            if not any((folder / "shards").glob("*.json")):
                shutil.rmtree(folder, ignore_errors=True)  # nothing worth going on with
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ComicSeqDataError(
                    f"{target}: {os.strerror(error.errno)}; free some, or give another --output, and run the same command"
                    " again: it goes on from the parts that are finished"
                ) from error
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _has_index(folder: Path) -> bool:
    return (folder / "index.json").is_file()


def _index(
    folder: Path,
    metadata: str,
    store: Stage3Store,
    rule: SplitRule,
    window: int,
    stride: int,
    skip: bool,
    console: Console,
) -> PageIndex:
    if _has_index(folder):
        index = PageIndex(folder)
        if skip or not index.skipped:
            return index
        shutil.rmtree(folder / "shards")
        (folder / "shards").mkdir()
    with console.status("Reading the metadata"):
        build_page_index(metadata, folder, store.pages, rule, window, stride, skip)
    index = PageIndex(folder)
    for split, share in zip(SPLITS, rule.fractions, strict=True):
        if not index.books[split] and (rule.side is not None or share):
            logger.warning(
                f"no book falls into {split}: {sum(index.books.values())} books are few for a split by hash"
            )
    if index.unlisted:
        logger.warning(f"{index.unlisted} pages belong to books that split_books does not list and are left out")
    return index


def _convert_shards(
    plan: ShardPlan, reader: BlockReader, index: PageIndex, num_proc: int, progress: bool, console: Console
) -> list[dict[str, Any]]:
    """Converts all shards that hold a page and are not finished yet; returns the reports in the store's order."""
    shards = [(number, lo, hi) for number, lo, hi in _plan_shards(reader.store) if index.has_pages(lo, hi)]
    reports: dict[int, dict[str, Any]] = {}
    for number, _, _ in shards:
        report = finished_shard(plan.folder, number)
        if report is not None and (plan.skip or not report["skipped"]):
            reports[number] = report
    todo = [shard for shard in shards if shard[0] not in reports]
    if reports:
        console.print(f"{len(reports)} of {len(shards)} parts are finished from an earlier run")
    bar = Progress(
        TextColumn("Converting"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not progress,
    )
    with bar:
        task = bar.add_task("", total=sum(hi - lo for _, lo, hi in todo) * reader.store.bytes_per_page)
        if num_proc == 1 or len(todo) <= 1:
            converted = ShardConverter(plan, reader).convert(todo, lambda done: bar.advance(task, done))
        else:
            converted = _convert_in_processes(plan, todo, num_proc, lambda done: bar.update(task, completed=done))
        reports |= {report["number"]: report for report in converted}
        bar.update(task, completed=bar.tasks[0].total)
    return [reports[number] for number, _, _ in shards]


def _plan_shards(store: Stage3Store) -> list[Shard]:
    """All shards of the store, the same for any number of processes."""
    size = max(_SHARD_BYTES, store.pages * store.bytes_per_page // _MOST_SHARDS)
    unit = store.file_rows
    rows = unit * max(1, size // (unit * store.bytes_per_page))
    return [(number, lo, min(store.pages, lo + rows)) for number, lo in enumerate(range(0, store.pages, rows))]


def _convert_in_processes(
    plan: ShardPlan, shards: list[Shard], num_proc: int, show: Callable[[int], None]
) -> list[dict[str, Any]]:
    # Never plain fork: zarr reads in threads. The fork server imports this package once for all workers.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([__name__])
    counter = context.Value("q", 0)
    pool = ProcessPoolExecutor(min(num_proc, len(shards)), context, _start_worker, (counter,))
    reports: list[dict[str, Any]] = []
    try:
        open_futures = {pool.submit(_convert_in_worker, plan, shard) for shard in shards}
        while open_futures:
            done, open_futures = wait(open_futures, timeout=0.2, return_when=FIRST_COMPLETED)
            reports += [future.result() for future in done]
            show(counter.value)
    except BrokenProcessPool:
        raise ComicSeqDataError(
            "a worker process was ended from outside, perhaps for lack of memory; run the same command with a smaller "
            "--num-proc, it goes on from the parts that are finished"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return reports


_counter: Any = None
_converter: ShardConverter | None = None  # of a worker, which has one plan


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        # A killed parent cannot stop its workers, and they would write beside those of the next run.
        wait_for_end([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _convert_in_worker(plan: ShardPlan, shard: Shard) -> dict[str, Any]:
    global _converter
    if _converter is None:
        store = Stage3Store.open(plan.embeddings)
        _converter = ShardConverter(plan, BlockReader(store, plan.window, plan.stride))

    def advance(done: int) -> None:
        with _counter.get_lock():
            _counter.value += done

    (report,) = _converter.convert([shard], advance)
    return report


def _finish(
    plan: ShardPlan,
    store: Stage3Store,
    metadata: str,
    options: Mapping[str, Any],
    fingerprint: str,
    features: Features,
    index: PageIndex,
    reports: list[dict[str, Any]],
    skipped: list[dict[str, Any]],
) -> None:
    """Writes everything beside the Arrow files, so that the working folder's `dataset` is complete."""
    root = plan.folder / "dataset"
    provenance = build_provenance(store, metadata, options, fingerprint, index, reports, skipped)
    description = json.dumps(provenance, ensure_ascii=False)
    if any(report["skipped"] for report in reports):
        _close_gaps(plan, index, reports)
    for split in SPLITS:
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        files = [shard_file(plan.folder, split, report["number"]) for report in reports if split in report["files"]]
        for stray in set(folder.iterdir()) - set(files):
            stray.unlink()
        if not files:  # load_from_disk needs a file even for a split without rows
            files = [shard_file(plan.folder, split, 0)]
            with pa.OSFile(str(files[0]), "wb") as sink, pa.ipc.new_stream(sink, plan.schema):
                pass
        DatasetInfo(description=description, features=features).write_to_directory(str(folder))
        state: dict[str, Any] = {
            "_data_files": [{"filename": file.name} for file in files],
            "_fingerprint": hashlib.sha256(f"{fingerprint} {split}".encode()).hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(SPLITS)}), encoding="utf-8")
    if skipped:
        (root / "skipped.json").write_text(json.dumps(skipped, indent=1), encoding="utf-8")
    (root / "README.md").write_text(dataset_card(provenance), encoding="utf-8")
    (root / PROVENANCE_FILE).write_text(json.dumps(provenance, ensure_ascii=False, indent=2), encoding="utf-8")


def _close_gaps(plan: ShardPlan, index: PageIndex, reports: list[dict[str, Any]]) -> None:
    """Renumbers `book_order` where pages were left out after it was given, so that it counts 0 to rows - 1."""
    pages = np.array(index.pages)
    gone = [page["sequence_index"] for report in reports for page in report["skipped"]]
    pages = pages[~np.isin(pages["row"], gone)]
    order = np.empty(len(pages), np.int64)
    windows = window_counts(pages["num_panels"], plan.window, plan.stride)
    for split in range(len(SPLITS)):
        mine = np.flatnonzero(pages["split"] == split)
        mine = mine[np.argsort(pages["order"][mine], kind="stable")]
        order[mine] = np.cumsum(windows[mine]) - windows[mine]
    for file in sorted((plan.folder / "dataset").glob("*/data-*.arrow")):
        temporary = file.with_name(file.name + ".tmp")
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, plan.schema) as writer:
            with pa.OSFile(str(file)) as source:
                for batch in pa.ipc.open_stream(source):
                    page = np.searchsorted(pages["row"], batch.column("sequence_index").to_numpy())
                    window = -(-batch.column("window_start").to_numpy() // plan.stride)
                    place = batch.schema.get_field_index("book_order")
                    batch = batch.set_column(place, batch.schema.field(place), pa.array(order[page] + window))
                    writer.write_batch(batch.cast(plan.schema) if batch.schema != plan.schema else batch)
        os.replace(temporary, file)


def _put_in_place(folder: Path, target: Path) -> None:
    if target.exists():
        if any(target.iterdir()):
            replaced = folder / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(target, replaced)
        else:
            target.rmdir()
    os.rename(folder / "dataset", target)
