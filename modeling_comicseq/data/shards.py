"""Converting one part of a store: a run of rows becomes one Arrow file a split.

This is what worker processes import, so it stays light: no datasets, no torch.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from .errors import ComicSeqDataError
from .page_index import TEXT_FIELDS, PageIndex, Skipped
from .splits import SPLITS
from .stage3 import NEVER_ZERO, PAGE_ARRAYS, PRESENT, Block, Stage3Store, find_bad_masks, find_bad_vectors
from .unbuffered import UnbufferedFile
from .windows import expand_windows

__all__ = ["ShardPlan", "convert_shard", "finished_shard", "shard_file"]

# Source bytes read at a time, all arrays together. Small, since three blocks are in work at once; not smaller, since each
# becomes a batch of every split, and whoever opens the data set reads the head of every batch.
_BLOCK_BYTES = 48 << 20


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


def convert_shard(plan: ShardPlan, number: int, lo: int, hi: int, advance: Callable[[int], None]) -> dict[str, Any]:
    """Converts rows lo to hi and writes their files, last of all the report that marks them as finished.

    Args:
        plan: What all shards share.
        number: Number of the shard.
        lo: First row, at the start of a chunk.
        hi: Row after the last.
        advance: Called with the source bytes of each block that was read.

    Returns:
        The report: `number`, `files` (bytes by split), `rows`, `pages`, `panels` (counts by split), `digest` (see
        `_digest`), `empty_vectors` (all-zero vectors by array), `skipped`.

    Raises:
        ComicSeqDataError: A page has a fault and `plan.skip` is false.
    """
    store = Stage3Store.open(plan.embeddings)
    index = PageIndex(plan.folder)
    shard = _Shard(plan, store, index, number)
    rows_per_block = _rows_per_block(store, plan)
    try:
        for block in _blocks(store, index, lo, hi, rows_per_block):
            shard.convert(block)
            advance((block.hi - block.lo) * store.bytes_per_page)
        report = shard.close()
    except BaseException:
        shard.discard()
        raise
    _write_json(_report_file(plan.folder, number), report)
    return report


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, path)


def _rows_per_block(store: Stage3Store, plan: ShardPlan) -> int:
    # Overlapping windows write a panel several times: such blocks are smaller by as much.
    copies = -(-plan.window // plan.stride) if store.slots > plan.window else 1
    chunks = max(1, _BLOCK_BYTES // (copies * store.bytes_per_page * store.chunk_rows))
    return chunks * store.chunk_rows


def _blocks(store: Stage3Store, index: PageIndex, lo: int, hi: int, rows: int) -> Iterator[Block]:
    """Reads the blocks that hold a page, one ahead of the one that is worked on."""
    starts = [start for start in range(lo, hi, rows) if len(index.between(start, min(hi, start + rows)))]
    buffers = itertools.cycle([store.new_buffers(min(rows, hi - lo)) for _ in range(min(2, len(starts)))])
    with ThreadPoolExecutor(1) as reader:
        # The block in work and the one being read hold a buffer each; a third read waits for the first to be done.
        ahead = [reader.submit(store.read, start, min(hi, start + rows), next(buffers)) for start in starts[:1]]
        for following in [*starts[1:], None]:
            block = ahead.pop().result()
            if following is not None:
                ahead.append(reader.submit(store.read, following, min(hi, following + rows), next(buffers)))
            yield block


class _Shard:
    """The open files and the counts of one shard."""

    def __init__(self, plan: ShardPlan, store: Stage3Store, index: PageIndex, number: int):
        self.plan, self.store, self.index, self.number = plan, store, index, number
        self.dtype = np.dtype(plan.dtype)
        self.writers: dict[str, tuple[Any, pa.ipc.RecordBatchStreamWriter]] = {}
        self.counts: dict[str, dict[str, int]] = {
            what: dict.fromkeys(SPLITS, 0) for what in ("rows", "pages", "panels")
        }
        self.empty_vectors: dict[str, int] = dict.fromkeys(store.arrays, 0)
        self.digest = 0
        self.skipped: list[Skipped] = []
        # Writing overlaps with the next block: it has a thread, and the vectors of two blocks have a place.
        self.writing = ThreadPoolExecutor(1)
        self.written: Future | None = None
        self.flat_buffers: list[dict[str, np.ndarray]] = [{}, {}]

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
        self._wait_for_write()
        self.written = self.writing.submit(self._write, pages, page_of_row, start, count, vectors, zero)
        self.flat_buffers.reverse()

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
        flat = self._flat_buffer(name, len(place), source)
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
        with np.errstate(over="ignore"):
            converted = flat.astype(self.dtype)
        too_large, vanished = find_bad_vectors(converted)
        for vector in np.flatnonzero(too_large | (vanished & ~zero)):
            what = _slot_name(name, None if whole_page else slot[vector])
            value = flat[vector][np.abs(flat[vector]).argmax()]
            problems.append(
                (int(owner[vector]), f"{what} holds {value}, outside float16", "convert with --dtype float32")
            )
        return converted, zero, problems

    def _flat_buffer(self, name: str, length: int, source: np.ndarray) -> np.ndarray:
        buffers = self.flat_buffers[0]
        buffer = buffers.get(name)
        if buffer is None or len(buffer) < length:
            buffer = buffers[name] = np.empty((length, source.shape[-1]), source.dtype)
        return buffer[:length]

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

    def _write(self, *rows: Any) -> None:
        for split, batch in self._batches(*rows).items():
            self._writer(split).write_batch(batch)

    def _wait_for_write(self) -> None:
        if self.written is not None:
            self.written.result()

    def _writer(self, split: str) -> pa.ipc.RecordBatchStreamWriter:
        if split not in self.writers:
            path = shard_file(self.plan.folder, split, self.number)
            path.parent.mkdir(parents=True, exist_ok=True)
            sink = UnbufferedFile(path.with_name(path.name + ".tmp"))
            self.writers[split] = sink, pa.ipc.new_stream(sink, self.plan.schema)
        return self.writers[split][1]

    def close(self) -> dict[str, Any]:
        """Puts the files in place and returns the report."""
        self._wait_for_write()
        self.writing.shutdown()
        files = {}
        for split, (sink, writer) in self.writers.items():
            writer.close()
            sink.close()
            path = shard_file(self.plan.folder, split, self.number)
            os.replace(sink.name, path)
            files[split] = path.stat().st_size
        return {
            "number": self.number,
            "files": files,
            **self.counts,
            "digest": f"{self.digest:032x}",
            "empty_vectors": self.empty_vectors,
            "skipped": self.skipped,
        }

    def discard(self) -> None:
        """Removes what was written."""
        self.writing.shutdown()
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
