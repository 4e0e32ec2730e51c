"""Converting one part of a store: a run of rows becomes one Arrow file a split.

This is what worker processes import, so it stays light: no datasets, no torch.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from ..errors import ComicSeqDataError
from ..stores.page_index import TEXT_FIELDS, PageIndex, Skipped
from ..stores.splits import SPLITS
from ..stores.stage3 import NEVER_ZERO, PAGE_ARRAYS, PRESENT, Block, Stage3Store, find_bad_masks, find_bad_vectors
from ..stores.windows import expand_windows
from .blocks import BlockReader
from .unbuffered import UnbufferedFile

__all__ = ["ShardConverter", "ShardPlan", "finished_shard", "shard_file"]

Shard = tuple[int, int, int]
"""Number of a shard, its first row, at the start of a chunk, and the row after its last."""


@dataclass(frozen=True)
class ShardPlan:
    """What every shard of one conversion has in common.

    Attributes:
        embeddings: Path or URL of the store.
        folder: Working folder.
        schema: Arrow schema of the data set.
        dtype: "float16" or "float32".
        window: Most panels of a row.
        stride: Panels between the starts of two windows.
        skip: Leave out pages with a fault instead of stopping.
    """

    embeddings: str
    folder: Path
    schema: pa.Schema
    dtype: str
    window: int
    stride: int
    skip: bool


def shard_file(folder: Path, split: str, number: int) -> Path:
    """The Arrow file of a shard and split."""
    return folder / "dataset" / split / f"data-{number:05d}.arrow"


def _report_file(folder: Path, number: int) -> Path:
    return folder / "shards" / f"{number:05d}.json"


def finished_shard(folder: Path, number: int) -> dict[str, Any] | None:
    """The report of a shard that an earlier run finished, None where there is none or its files are gone."""
    try:
        report = json.loads(_report_file(folder, number).read_text(encoding="utf-8"))
        sizes = {split: shard_file(folder, split, number).stat().st_size for split in report["files"]}
    except (OSError, ValueError):
        return None
    return report if sizes == report["files"] else None


class ShardConverter:
    """Converts shards of one store, in memory that it keeps from one to the next.

    Args:
        plan: What all shards share.
        reader: Reads the store.
    """

    def __init__(self, plan: ShardPlan, reader: BlockReader):
        self.plan, self.reader = plan, reader
        self.index = PageIndex(plan.folder)
        self.flat_buffers: list[dict[str, np.ndarray]] = [{}, {}]

    def convert(self, shards: Sequence[Shard], advance: Callable[[int], None]) -> list[dict[str, Any]]:
        """Converts shards and writes the files of each, last of all the report that marks it as finished.

        Reading, checking and writing overlap, also from one shard to the next.

        Args:
            shards: Which.
            advance: Called with the source bytes of each block that was read.

        Returns:
            The reports: `number`, `files` (bytes by split), `rows`, `pages`, `panels` (counts by split), `digest` (see
            `_digest`), `empty_vectors` (all-zero vectors by array), `skipped`.

        Raises:
            ComicSeqDataError: A page has a fault and `plan.skip` is false.
        """
        store = self.reader.store
        bounds = {
            number: [block for block in self.reader.bounds(lo, hi) if self.index.has_pages(*block)]
            for number, lo, hi in shards
        }
        blocks = self.reader.read(list(itertools.chain.from_iterable(bounds.values())))
        reports: list[Future] = []
        with ThreadPoolExecutor(2) as threads:  # one closes a shard while the other writes the next
            writing = _Writing(threads, self.flat_buffers)
            for number, of_shard in bounds.items():
                for report in filter(Future.done, reports):
                    report.result()  # a shard that could not be closed ends the work now
                shard = _Shard(self.plan, store, self.index, number, writing)
                try:
                    for block in itertools.islice(blocks, len(of_shard)):
                        shard.convert(block)
                        advance((block.hi - block.lo) * store.bytes_per_page)
                except BaseException:
                    threads.shutdown()
                    shard.discard()
                    raise
                reports.append(threads.submit(shard.close))
        return [report.result() for report in reports]


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, path)


class _Writing:
    """The vectors of two blocks have a place: one is written while the next is checked.

    Args:
        threads: Where the writing is done.
        buffers: The two places, arrays by name.
    """

    def __init__(self, threads: ThreadPoolExecutor, buffers: list[dict[str, np.ndarray]]):
        self.threads, self.buffers = threads, buffers
        self.last: Future | None = None

    def room(self, name: str, length: int, width: int, dtype: np.dtype) -> np.ndarray:
        """Memory of shape (length, width), the caller's until after the next `submit`."""
        place = self.buffers[0]
        if name not in place or len(place[name]) < length:
            # More than asked for, of which the untouched part costs nothing: blocks hold a few panels more or less.
            place[name] = np.empty((2 * length, width), dtype)
        return place[name][:length]

    def submit(self, write: Callable[..., None], *arguments: Any) -> Future:
        """Starts a write as soon as the one before is done, whose place is free from then on."""
        if self.last is not None:
            self.last.result()
        self.last = self.threads.submit(write, *arguments)
        self.buffers.reverse()
        return self.last


class _Shard:
    """The open files and the counts of one shard."""

    def __init__(self, plan: ShardPlan, store: Stage3Store, index: PageIndex, number: int, writing: _Writing):
        self.plan, self.store, self.index, self.number, self.writing = plan, store, index, number, writing
        self.dtype = np.dtype(plan.dtype)
        self.writers: dict[str, tuple[Any, pa.ipc.RecordBatchStreamWriter]] = {}
        self.counts: dict[str, dict[str, int]] = {
            what: dict.fromkeys(SPLITS, 0) for what in ("rows", "pages", "panels")
        }
        self.empty_vectors: dict[str, int] = dict.fromkeys(store.arrays, 0)
        self.digest = 0
        self.skipped: list[Skipped] = []
        self.written: Future | None = None

    def convert(self, block: Block) -> None:
        """Checks the pages of a block and writes those that are sound."""
        pages = self.index.between(block.lo, block.hi)
        local = pages["row"] - block.lo
        good = np.ones(len(pages), bool)

        def fault(page: int, found: str, remedy: str) -> None:
            if good[page]:
                name = self.index.texts("canonical_id", pages[page : page + 1])[0].as_py()
                self._fault(name, int(pages["row"][page]), found, remedy)
                good[page] = False

        for failure in block.failures:
            lost = (
                (pages["row"] >= failure.lo) & (pages["row"] < failure.hi) & (pages["num_panels"] > failure.first_slot)
            )
            for page in np.flatnonzero(lost):
                fault(int(page), failure.found, "restore the store's file")
        for place, found, remedy in find_bad_masks(block.arrays["mask"][local], pages["num_panels"]):
            fault(place, found, remedy)
        while True:
            # Windows of the sound pages, ordered by split: each split's rows are then one slice of everything.
            chosen = np.flatnonzero(good & (pages["num_panels"] > 0))
            chosen = chosen[np.argsort(pages["split"][chosen], kind="stable")]
            owner, start, count = expand_windows(pages["num_panels"][chosen], self.plan.window, self.plan.stride)
            page_of_row = chosen[owner]
            vectors, zero, bad = {}, {}, []
            for name in self.store.arrays:
                vectors[name], zero[name], problems = self._gather(
                    name, block.arrays[name], local[page_of_row], start, count
                )
                bad += problems
            if not bad:
                break
            for row, found, remedy in bad:
                fault(int(page_of_row[row]), found, remedy)
        self.digest = (self.digest + _digest(block, self.store, pages[chosen], local[chosen])) % 2**128
        for name in zero:
            self.empty_vectors[name] += int(zero[name].sum())
        for number, split in enumerate(SPLITS):
            mine = chosen[pages["split"][chosen] == number]
            self.counts["pages"][split] += len(mine)
            self.counts["panels"][split] += int(pages["num_panels"][mine].sum())
            self.counts["rows"][split] += int((pages["split"][page_of_row] == number).sum())
        batches = self._batches(pages, page_of_row, start, count, vectors, zero)
        self.written = self.writing.submit(self._write, batches)

    def _fault(self, page: str, row: int, found: str, remedy: str) -> None:
        if not self.plan.skip:
            raise ComicSeqDataError(
                f"{self.plan.embeddings}: page {page!r} (sequence_index {row}): {found}; {remedy}, "
                "or leave such pages out with --on-error skip"
            )
        self.skipped.append({"page": page, "sequence_index": row, "entry": None, "reason": found})

    def _gather(
        self, name: str, source: np.ndarray, row: np.ndarray, start: np.ndarray, count: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str, str]]]:
        """Vectors of the windows, shape (sum(count), width).

        Also returns which of them are all zero, and (window, found, remedy) of those with a fault.
        """
        whole_page = name in PAGE_ARRAYS
        if whole_page:
            place, flat_source = row, source
            owner = np.arange(len(row))
        else:
            owner = np.repeat(np.arange(len(count)), count)
            slot = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + start[owner]
            place, flat_source = row[owner] * source.shape[1] + slot, source.reshape(-1, source.shape[2])
        flat = self.writing.room(name, len(place), source.shape[-1], source.dtype)
        # mode="clip" lets NumPy write to `out` directly; all places are in range.
        np.take(flat_source, place, axis=0, out=flat, mode="clip")
        not_finite, zero = find_bad_vectors(flat)
        problems = []
        for vector in np.flatnonzero(not_finite):
            what = _slot_name(name, None if whole_page else slot[vector])
            value = flat[vector][~np.isfinite(flat[vector])][0]
            problems.append((int(owner[vector]), f"{what} holds {value}", "compute this vector again"))
        if name in NEVER_ZERO:
            for vector in np.flatnonzero(zero):
                what = _slot_name(name, slot[vector])
                problems.append(
                    (int(owner[vector]), f"{what} is all zero", "compute this vector again or correct the mask")
                )
        if problems or flat.dtype == self.dtype:
            return flat, zero, problems
        converted = self.writing.room(f"converted {name}", len(flat), flat.shape[1], self.dtype)
        with np.errstate(over="ignore"):
            np.copyto(converted, flat, casting="same_kind")
        too_large, vanished = find_bad_vectors(converted)
        for vector in np.flatnonzero(too_large | (vanished & ~zero)):
            what = _slot_name(name, None if whole_page else slot[vector])
            value = flat[vector][np.abs(flat[vector]).argmax()]
            problems.append(
                (int(owner[vector]), f"{what} holds {value}, outside float16", "convert with --dtype float32")
            )
        return converted, zero, problems

    def _batches(
        self,
        pages: np.ndarray,
        page_of_row: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        vectors: dict[str, np.ndarray],
        zero: dict[str, np.ndarray],
    ) -> dict[str, pa.RecordBatch]:
        """The rows of each split as a batch that refers to the vectors without a copy."""
        first_panel = np.concatenate(([0], np.cumsum(count)))
        records = pages[page_of_row]
        # The n-th window of a page; the last one is moved back to end with the page.
        window = -(-start // self.plan.stride)
        columns: dict[str, np.ndarray] = {
            "num_panels": count.astype(np.int32),
            "sequence_index": records["row"],
            "page_index": records["page_index"],
            "book_order": records["order"] + window,
            "window_start": start.astype(np.int32),
        }
        strings = {field: self.index.texts(field, pages) for field in TEXT_FIELDS}
        batches = {}
        bounds = np.searchsorted(records["split"], range(len(SPLITS) + 1))
        for split, lo, hi in zip(SPLITS, bounds[:-1], bounds[1:], strict=True):
            if lo == hi:
                continue
            taken = pa.array(page_of_row[lo:hi])
            arrays = []
            for field in self.plan.schema:
                if field.name in strings:
                    arrays.append(strings[field.name].take(taken))
                elif field.name == "character_ids":
                    ids = _character_ids(strings["metadata"].take(taken), start[lo:hi], count[lo:hi])
                    arrays.append(pa.array(ids, field.type))
                elif field.name in columns:
                    arrays.append(pa.array(np.ascontiguousarray(columns[field.name][lo:hi])))
                elif field.name in PRESENT:
                    arrays.append(_list_array(~zero[PRESENT[field.name]][:, None], first_panel[lo : hi + 1]))
                else:
                    bounds_of = np.arange(lo, hi + 1) if field.name in PAGE_ARRAYS else first_panel[lo : hi + 1]
                    arrays.append(_list_array(vectors[field.name], bounds_of))
            batches[split] = pa.RecordBatch.from_arrays(arrays, schema=self.plan.schema)
        return batches

    def _write(self, batches: dict[str, pa.RecordBatch]) -> None:
        for split, batch in batches.items():
            self._writer(split).write_batch(batch)

    def _writer(self, split: str) -> pa.ipc.RecordBatchStreamWriter:
        if split not in self.writers:
            path = shard_file(self.plan.folder, split, self.number)
            path.parent.mkdir(parents=True, exist_ok=True)
            sink = UnbufferedFile(path.with_name(path.name + ".tmp"))
            self.writers[split] = sink, pa.ipc.new_stream(sink, self.plan.schema)
        return self.writers[split][1]

    def close(self) -> dict[str, Any]:
        """Waits for the last write, puts the files in place and writes the report, which it returns."""
        try:
            if self.written is not None:
                self.written.result()
            files = {}
            for split, (sink, writer) in self.writers.items():
                writer.close()
                sink.close()
                path = shard_file(self.plan.folder, split, self.number)
                os.replace(sink.name, path)
                files[split] = path.stat().st_size
        except BaseException:
            self.discard()
            raise
        report = {
            "number": self.number,
            "files": files,
            **self.counts,
            "digest": f"{self.digest:032x}",
            "empty_vectors": self.empty_vectors,
            "skipped": self.skipped,
        }
        _write_json(_report_file(self.plan.folder, self.number), report)
        return report

    def discard(self) -> None:
        """Removes what was written."""
        for sink, _ in self.writers.values():
            with suppress(OSError):  # a full disk, say, which has been reported
                sink.close()
            Path(sink.name).unlink(missing_ok=True)


def _slot_name(name: str, slot: int | None) -> str:
    return name if slot is None else f"{name}, panel {slot},"


def _character_ids(metadata: pa.StringArray, starts: np.ndarray, counts: np.ndarray) -> list:
    """The characters of each window's panels as lists of strings, None for a page whose metadata do not tell."""
    windows: list[list[list[str]] | None] = []
    for text, start, count in zip(metadata.to_pylist(), starts.tolist(), counts.tolist(), strict=True):
        panels = json.loads(text).get("character_ids")
        windows.append(panels and [[str(each) for each in ids] for ids in panels[start : start + count]])
    return windows


def _list_array(vectors: np.ndarray, bounds: np.ndarray) -> pa.ListArray:
    """Rows of `vectors` as flat lists without a copy: list i holds the vectors from bounds[i] to bounds[i + 1]."""
    values = vectors[bounds[0] : bounds[-1]].reshape(-1)
    offsets = (bounds - bounds[0]) * vectors.shape[1]
    # 32-bit offsets hold 2**31 values: 4 GiB of float16, far above one block.
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def _digest(block: Block, store: Stage3Store, pages: np.ndarray, local: np.ndarray) -> int:
    """Sum of the hashes of the pages' real panels: the same for any chunking, order and number of processes."""
    total = 0
    for number, name in enumerate(store.arrays):
        array = block.arrays[name]
        view = memoryview(array.view(np.uint8)).cast("B")  # type: ignore[arg-type]
        size = array.strides[0]
        lengths = array.strides[1] * pages["num_panels"] if array.ndim == 3 else np.full(len(pages), size)
        starts = (local * size).tolist()
        for at, length, row in zip(starts, lengths.tolist(), pages["row"].tolist(), strict=True):
            total += xxhash.xxh3_128_intdigest(view[at : at + length], seed=row * 8 + number)
    return total
