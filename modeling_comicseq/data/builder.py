"""Stage 3 store to Arrow files: a builder of `datasets` that reads, checks and cuts a store block by block."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import xxhash

from ..errors import ComicSeqDataError
from ..files import write_json, write_text
from ..stores.pages import Pages
from ..stores.placement import Placement
from ..stores.splits import SPLITS
from ..stores.stage3 import (
    NEVER_ZERO,
    PAGE_ARRAYS,
    PRESENT,
    Block,
    Stage3Store,
    find_bad_masks,
    find_bad_vectors,
)
from ..stores.windows import expand_windows, window_counts

__all__ = ["ConversionPlan", "StoreBuilder"]

_BLOCK_BYTES = 32 << 20  # of the store that are read at a time
FAULT = "fault.txt"  # among the reports: the sentence that ends the conversion, whichever process has found it
_AHEAD = 2  # blocks that are read while one is worked on


@dataclass(frozen=True)
class ConversionPlan:
    """What is converted and how.

    Attributes:
        embeddings: Path or URL of the store.
        pages: The pages.
        placement: Where they go.
        features: Columns of the data set.
        dtype: "float16" or "float32".
        window: Most panels of a row.
        stride: Panels between the starts of two windows.
        skip: Leave out pages with a fault instead of stopping.
        reports: Folder for what each process counts.
    """

    embeddings: str
    pages: Pages
    placement: Placement
    features: datasets.Features
    dtype: str
    window: int
    stride: int
    skip: bool
    reports: Path


class StoreBuilder(datasets.ArrowBasedBuilder):
    """Writes one row a page or window, in the store's order, and a split only where it has a page.

    Args:
        plan: What is converted.
        cache_dir: Where the Arrow files are written.
    """

    def __init__(self, plan: ConversionPlan, cache_dir: Path):
        self.plan, self.main_process = plan, os.getpid()
        super().__init__(cache_dir=str(cache_dir), dataset_name="pages", hash="0")

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=self.plan.features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        plan, generators = self.plan, []
        rows, counts = plan.pages.rows[plan.placement.entry], plan.pages.counts[plan.placement.entry]
        step = block_rows(Stage3Store.open(plan.embeddings), plan)
        for number, split in enumerate(SPLITS):
            mine = plan.placement.split == number
            windows = int(window_counts(counts[mine], plan.window, plan.stride).sum())
            if windows:
                starts = (np.unique(rows[mine] // step) * step).tolist()
                generator = datasets.SplitGenerator(split, {"split": number, "starts": starts})
                generator.split_info.num_examples = windows  # for the progress bar
                generators.append(generator)
        return generators

    def _generate_tables(self, split: int, starts: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
        plan, store = self.plan, Stage3Store.open(self.plan.embeddings)
        step = block_rows(store, plan)
        converter = BlockConverter(plan, store, SPLITS[split], plan.placement.of_split(split))
        for number, block in enumerate(read_ahead(store, [(lo, min(store.pages, lo + step)) for lo in starts])):
            if os.getpid() != self.main_process and os.getppid() != self.main_process:
                os._exit(1)  # a killed parent cannot end its processes
            table = converter.convert(block)
            if len(table):
                yield number, table
        write_json(plan.reports / f"{SPLITS[split]}-{starts[0]:012d}.json", converter.report())


def block_rows(store: Stage3Store, plan: ConversionPlan) -> int:
    """Rows of the store that are read at a time: whole chunks. Overlapping windows write a panel several times."""
    copies = -(-plan.window // plan.stride) if store.slots > plan.window else 1
    return store.chunk_rows * max(1, _BLOCK_BYTES // (copies * store.bytes_per_page * store.chunk_rows))


def read_ahead(store: Stage3Store, bounds: Sequence[tuple[int, int]]) -> Iterator[Block]:
    """Reads these blocks, some before they are asked for."""
    waiting: deque[Future[Block]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for lo, hi in bounds:
            waiting.append(thread.submit(store.read, lo, hi))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class BlockConverter:
    """Checks the pages of one split, block by block, and makes rows of those that are sound.

    Args:
        plan: What is converted.
        store: The store.
        split: The split.
        placement: Its pages.
    """

    def __init__(self, plan: ConversionPlan, store: Stage3Store, split: str, placement: Placement):
        self.plan, self.store, self.split, self.placement = plan, store, split, placement
        self.rows, self.num_panels = plan.pages.rows[placement.entry], plan.pages.counts[placement.entry]
        self.pages = self.panels = self.windows = self.digest = 0
        self.empty_vectors: dict[str, int] = dict.fromkeys(store.arrays, 0)
        self.skipped: list[dict[str, Any]] = []

    def report(self) -> dict[str, Any]:
        """Counts, the digest of the vectors, all-zero vectors by array, and the pages that were left out."""
        return {
            "split": self.split,
            "pages": self.pages,
            "panels": self.panels,
            "rows": self.windows,
            "digest": f"{self.digest:032x}",
            "empty_vectors": self.empty_vectors,
            "skipped": self.skipped,
        }

    def convert(self, block: Block) -> pa.Table:
        """The rows of the block's sound pages.

        Raises:
            ComicSeqDataError: A page has a fault and `plan.skip` is false.
        """
        first, last = np.searchsorted(self.rows, (block.lo, block.hi))
        num_panels, local = self.num_panels[first:last], self.rows[first:last] - block.lo
        good = np.ones(last - first, bool)

        def fault(page: int, found: str, remedy: str) -> None:
            if good[page]:
                self._fault(int(self.rows[first + page]), found, remedy)
                good[page] = False

        for failure in block.failures:
            lost = (local + block.lo >= failure.lo) & (local + block.lo < failure.hi)
            for page in np.flatnonzero(lost & (num_panels > failure.first_slot)):
                fault(int(page), failure.found, "restore the store's file")
        for place, found, remedy in find_bad_masks(block.arrays["mask"][local], num_panels):
            fault(place, found, remedy)
        while True:
            chosen = np.flatnonzero(good & (num_panels > 0))
            owner, start, count = expand_windows(num_panels[chosen], self.plan.window, self.plan.stride)
            page_of_row = chosen[owner]
            vectors, zero, bad = {}, {}, []
            for name in self.store.arrays:
                array = block.arrays[name]
                vectors[name], zero[name], problems = self._gather(name, array, local[page_of_row], start, count)
                bad += problems
            if not bad:
                break
            for row, found, remedy in bad:
                fault(int(page_of_row[row]), found, remedy)
        self.digest = (self.digest + _digest(block, self.store, local[chosen], num_panels[chosen])) % 2**128
        for name in zero:
            self.empty_vectors[name] += int(zero[name].sum())
        self.pages += len(chosen)
        self.panels += int(num_panels[chosen].sum())
        self.windows += len(count)
        return self._table(first + page_of_row, start, count, vectors, zero)

    def _fault(self, row: int, found: str, remedy: str) -> None:
        page = self.plan.pages.name(row)
        if not self.plan.skip:
            message = (
                f"{self.plan.embeddings}: page {page!r} (sequence_index {row}): {found}; {remedy}, "
                "or leave such pages out with --on-error skip"
            )
            write_text(self.plan.reports / FAULT, message)
            raise ComicSeqDataError(message)
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
        flat = flat_source[place]
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
        if problems or flat.dtype == np.dtype(self.plan.dtype):
            return flat, zero, problems
        with np.errstate(over="ignore"):
            converted = flat.astype(self.plan.dtype)
        too_large, vanished = find_bad_vectors(converted)
        for vector in np.flatnonzero(too_large | (vanished & ~zero)):
            what = _slot_name(name, None if whole_page else slot[vector])
            value = flat[vector][np.abs(flat[vector]).argmax()]
            problems.append(
                (int(owner[vector]), f"{what} holds {value}, outside float16", "convert with --dtype float32")
            )
        return converted, zero, problems

    def _table(
        self,
        pages: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        vectors: dict[str, np.ndarray],
        zero: dict[str, np.ndarray],
    ) -> pa.Table:
        """The rows of windows of `pages`, which refer to the vectors without a copy."""
        entry = self.placement.entry[pages]
        lowest = int(entry.min(initial=0))
        strings = self.plan.pages.table.slice(lowest, int(entry.max(initial=-1)) - lowest + 1)
        strings = strings.combine_chunks().take(pa.array(entry - lowest)).rename_columns({"text": "metadata"})
        columns: dict[str, np.ndarray] = {
            "num_panels": count.astype(np.int32),
            "sequence_index": self.rows[pages],
            "page_index": self.placement.page_index[pages].astype(np.int32),
            # The n-th window of a page; the last one is moved back to end with the page.
            "book_order": self.placement.order[pages] + -(-start // self.plan.stride),
            "window_start": start.astype(np.int32),
        }
        bounds = np.concatenate(([0], np.cumsum(count)))
        schema, arrays = self.plan.features.arrow_schema, []
        for field in schema:
            if field.name in columns:
                arrays.append(pa.array(columns[field.name]))
            elif field.name in strings.column_names:
                arrays.append(strings[field.name].combine_chunks())
            elif field.name == "character_ids":
                arrays.append(pa.array(_character_ids(strings["metadata"], start, count), field.type))
            elif field.name in PRESENT:
                arrays.append(_list_array(~zero[PRESENT[field.name]][:, None], bounds))
            else:
                of_page = field.name in PAGE_ARRAYS
                arrays.append(_list_array(vectors[field.name], np.arange(len(count) + 1) if of_page else bounds))
        return pa.Table.from_arrays(arrays, schema=schema)


def _slot_name(name: str, slot: int | None) -> str:
    return name if slot is None else f"{name}, panel {slot},"


def _character_ids(metadata: pa.ChunkedArray, starts: np.ndarray, counts: np.ndarray) -> list:
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


def _digest(block: Block, store: Stage3Store, local: np.ndarray, num_panels: np.ndarray) -> int:
    """Sum of the hashes of the pages' real panels: the same for any chunking, order and number of processes."""
    total = 0
    for number, name in enumerate(store.arrays):
        array = block.arrays[name]
        view = memoryview(array.view(np.uint8)).cast("B")  # type: ignore[arg-type]
        size = array.strides[0]
        lengths = array.strides[1] * num_panels if array.ndim == 3 else np.full(len(local), size)
        starts = (local * size).tolist()
        for at, length, row in zip(starts, lengths.tolist(), (block.lo + local).tolist(), strict=True):
            total += xxhash.xxh3_128_intdigest(view[at : at + length], seed=row * 8 + number)
    return total
