"""Stage 3 store to Arrow files: a builder of `datasets` that reads, checks and cuts a store block by block."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import xxhash

from ..errors import ComicSeqDataError
from ..files import write_text
from ..stores.pages import Faults, Pages
from ..stores.placement import Placement
from ..stores.splits import SPLITS
from ..stores.stage3 import (
    BOX_ARRAY,
    NEVER_ZERO,
    PAGE_ARRAYS,
    PRESENT,
    Block,
    Stage3Store,
    describe_bad_vector,
    find_bad_pages,
    find_bad_vectors,
    work_ahead,
)
from ..stores.twins import hash_spans
from ..stores.windows import expand_windows, window_counts

__all__ = ["ConversionPlan", "StoreBuilder"]

_BLOCK_BYTES = 32 << 20  # of the store that are read at a time
FAULT = "fault.txt"  # among the reports: the sentence that ends the conversion, whichever process has found it


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
        folder: Where the Arrow files and the counts are written.
        faults: What is done about pages with a fault.
    """

    embeddings: str
    pages: Pages
    placement: Placement
    features: datasets.Features
    dtype: str
    window: int
    stride: int
    folder: Path
    faults: Faults


class StoreBuilder(datasets.ArrowBasedBuilder):
    """Writes one row a page or window, in the store's order, and a split only where it has a page.

    Args:
        plan: What is converted.
    """

    def __init__(self, plan: ConversionPlan):
        self.plan, self.main_process = plan, os.getpid()
        super().__init__(cache_dir=str(plan.folder / "cache"), dataset_name="pages", hash="0")

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=self.plan.features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        plan, generators = self.plan, []
        placed = plan.placement.pages
        rows, counts = plan.pages.rows[placed.entry], plan.pages.counts[placed.entry]
        store = Stage3Store.open(plan.embeddings)
        # Whole chunks. Overlapping windows write a panel several times.
        copies = -(-plan.window // plan.stride) if store.slots > plan.window else 1
        most = max(1, _BLOCK_BYTES // (copies * store.bytes_per_page * store.chunk_rows))
        for number, split in enumerate(SPLITS):
            mine = placed.split == number
            windows = int(window_counts(counts[mine], plan.window, plan.stride).sum())
            if windows:
                bounds = block_bounds(rows[mine], store, most)
                generator = datasets.SplitGenerator(split, {"split": number, "bounds": bounds})
                generator.split_info.num_examples = windows  # for the progress bar
                generators.append(generator)
        return generators

    def _generate_tables(self, split: int, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.Table]]:
        plan, store = self.plan, Stage3Store.open(self.plan.embeddings)
        placed = plan.placement.pages
        converter = BlockConverter(plan, store, SPLITS[split], placed[placed.split == split])
        blocks = work_ahead(lambda place: store.read(*place), bounds)
        try:
            for number, table in enumerate(work_ahead(converter.convert, blocks, threads=1)):
                if os.getpid() != self.main_process and os.getppid() != self.main_process:
                    os._exit(1)  # a killed parent cannot end its processes
                if len(table):
                    yield number, table
        except ComicSeqDataError as error:
            write_text(plan.folder / "reports" / FAULT, str(error))
            raise
        report = json.dumps(converter.report)  # a number for every page: indented, it takes twenty times as long
        write_text(plan.folder / "reports" / f"{SPLITS[split]}-{bounds[0][0]:012d}.json", report)


def block_bounds(rows: np.ndarray, store: Stage3Store, most: int) -> list[tuple[int, int]]:
    """The blocks that hold `rows`, ascending: runs of up to `most` chunks of the store, none without one of the rows."""
    chunks = np.unique(rows // store.chunk_rows)
    runs = np.split(chunks, np.flatnonzero(np.diff(chunks) != 1) + 1)
    parts = [part for run in runs for part in np.array_split(run, -(-len(run) // most))]
    size = store.chunk_rows
    return [(int(part[0]) * size, min(store.pages, (int(part[-1]) + 1) * size)) for part in parts]


class BlockConverter:
    """Checks the pages of one split, block by block, and makes rows of those that are sound.

    Args:
        plan: What is converted.
        store: The store.
        split: The split.
        placed: Where its pages go, as `Placement` says.
    """

    def __init__(self, plan: ConversionPlan, store: Stage3Store, split: str, placed: np.recarray):
        self.plan, self.store, self.placed = plan, store, placed
        self.rows, self.num_panels = plan.pages.rows[placed.entry], plan.pages.counts[placed.entry]
        self.empty_vectors: dict[str, int] = dict.fromkeys(store.arrays, 0)
        self.faults = replace(plan.faults, skipped=[])
        self.report: dict[str, Any] = {"split": split, "empty_vectors": self.empty_vectors}
        self.report |= dict.fromkeys(("pages", "panels", "rows", "digest"), 0) | {"skipped": self.faults.skipped}
        self.report["hashes"] = []  # the row of each page, and the hash of its panel vectors

    def convert(self, block: Block) -> pa.Table:
        """The rows of the block's pages. Where some turn out faulty, they are listed and all must be converted again.

        Raises:
            ComicSeqDataError: A page has a fault and none is to be skipped.
        """
        first, last = np.searchsorted(self.rows, (block.lo, block.hi))
        num_panels, local = self.num_panels[first:last], self.rows[first:last] - block.lo
        good = np.ones(last - first, bool)

        def fault(page: int, found: str, remedy: str) -> None:
            if good[page]:
                good[page] = False
                row = int(self.rows[first + page])
                name = self.plan.pages.name(row)
                self.faults.add(self.plan.embeddings, name, row, None, found, remedy)

        for page, found, remedy in find_bad_pages(block, self.rows[first:last], num_panels):
            fault(page, found, remedy)
        chosen = np.flatnonzero(good & (num_panels > 0))
        owner, start, count = expand_windows(num_panels[chosen], self.plan.window, self.plan.stride)
        pages = chosen[owner]
        vectors, zero = {}, {}
        for name in self.store.arrays:
            vectors[name], zero[name], problems = self._gather(name, block, local[pages], start, count)
            for window, found, remedy in problems:
                fault(pages[window], found, remedy)
            self.empty_vectors[name] += int(zero[name].sum())
        boxes = self.plan.pages.boxes(self.placed.entry[first + chosen])
        if boxes is not None:
            before = np.cumsum(num_panels[chosen]) - num_panels[chosen]  # panels of the pages before
            shift = before[owner] + start - (np.cumsum(count) - count)
            vectors[BOX_ARRAY] = boxes[np.arange(count.sum()) + np.repeat(shift, count)]
        bounds = np.concatenate(([0], np.cumsum(count)))[np.searchsorted(owner, np.arange(len(chosen) + 1))]
        hashes = hash_spans(vectors["panel_embeddings"], bounds).tolist()
        self.report["hashes"] += zip(self.rows[first + chosen].tolist(), hashes, strict=True)
        self.report["pages"] += len(chosen)
        self.report["panels"] += int(num_panels[chosen].sum())
        self.report["rows"] += len(count)
        self.report["digest"] += _digest(block, self.store, local[chosen], num_panels[chosen])
        return self._table(first + pages, start, count, vectors, zero)

    def _gather(
        self, name: str, block: Block, row: np.ndarray, start: np.ndarray, count: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str, str]]]:
        """Vectors of the windows, shape (sum(count), width).

        Also returns which of them are all zero, and (window, found, remedy) of those with a fault.
        """
        source, owner, slot = block.arrays[name], np.arange(len(row)), None
        if name in PAGE_ARRAYS:
            flat = source[row]
        else:
            owner = np.repeat(owner, count)
            slot = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + start[owner]
            flat = source[row[owner], slot]
        not_finite, zero = find_bad_vectors(flat)
        with np.errstate(over="ignore"):
            vectors = flat.astype(self.plan.dtype, copy=False)
        bad = not_finite | zero if name in NEVER_ZERO else not_finite
        if vectors is not flat:
            too_large, vanished = find_bad_vectors(vectors)
            bad = bad | too_large | (vanished & ~zero)
        problems = []
        for vector in np.flatnonzero(bad):
            what, values = name if slot is None else f"{name}, panel {slot[vector]},", flat[vector]
            if not_finite[vector] or zero[vector]:
                found, remedy = describe_bad_vector(values)
            else:
                found = f"holds {values[np.abs(values).argmax()]}, outside float16"
                remedy = "convert with --dtype float32"
            problems.append((int(owner[vector]), f"{what} {found}", remedy))
        return vectors, zero, problems

    def _table(
        self,
        pages: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        vectors: dict[str, np.ndarray],
        zero: dict[str, np.ndarray],
    ) -> pa.Table:
        """The rows of windows of `pages`, which refer to the vectors without a copy."""
        strings = self.plan.pages.take(self.placed.entry[pages])
        columns: dict[str, Any] = {
            "num_panels": count,
            "sequence_index": self.rows[pages],
            "page_index": self.placed.page_index[pages],
            # The n-th window of a page; the last one is moved back to end with the page.
            "book_order": self.placed.order[pages] + -(-start // self.plan.stride),
            "window_start": start,
        }
        schema = self.plan.features.arrow_schema
        columns = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
        columns |= {name: strings[name] for name in ("book_id", "page_name", "canonical_id")}
        columns["metadata"] = strings["text"]
        if "reading_direction" in schema.names:
            columns["reading_direction"] = strings["reading_direction"]
        if "character_ids" in schema.names:
            ids = _character_ids(strings["text"], start, count)
            columns["character_ids"] = pa.array(ids, schema.field("character_ids").type)
        bounds = np.concatenate(([0], np.cumsum(count)))
        for name, values in vectors.items():
            columns[name] = _list_array(values, np.arange(len(count) + 1) if name in PAGE_ARRAYS else bounds)
        columns |= {new: _list_array(~zero[name][:, None], bounds) for new, name in PRESENT.items() if name in zero}
        return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


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
        for place, count in zip(local.tolist(), num_panels.tolist(), strict=True):
            vectors = array[place, :count] if array.ndim == 3 else array[place]
            total += xxhash.xxh3_128_intdigest(vectors.data, seed=(block.lo + place) * 8 + number)
    return total
