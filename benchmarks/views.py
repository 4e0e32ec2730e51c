"""How fast the views of a training batch are made, against a plain numpy gather of the same vectors.

Builds batches of `PretrainingDataset` (all tasks that the data can serve, default weights, the two half-page views)
from a synthetic corpus with all four kinds of vectors and, where COMICSEQ_DATA names a folder with
`stage3/comics_text`, from that store. The plain gather reads the same vectors, as many times, from the same mapped
arrays, in one indexing operation a column, their places worked out beforehand: as the views do, vector by vector, each one
item of raw bytes, and in the usual way, from an array of numbers, which NumPy reads more slowly. All take turns, each on a
batch that the others have not just read into the processor's cache, and keep their last four results, as a data loader
does; the medians count.

    python -m benchmarks.views
    COMICSEQ_DATA=/path/to/data python -m benchmarks.views --profile
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
from datasets import load_from_disk
from numpy.lib.stride_tricks import as_strided
from rich.console import Console
from rich.table import Table

from modeling_comicseq import ComicSeqConfig
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.panels import PanelTable, VectorColumn
from modeling_comicseq.data.views import servable
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.synthetic.world import synthesize
from modeling_comicseq.training.dataset import PretrainingDataset


def open_training_set(store: Path, folder: Path) -> PretrainingDataset:
    """Converts a store and opens its training split with all tasks that it can serve."""
    convert_store(
        store / "stage3_embeddings.zarr", store / "stage3_metadata.json", folder / store.name, progress=False
    )
    table = PanelTable(load_from_disk(str(folder / store.name))["train"])
    rows = np.arange(len(table))
    weights = {
        task: weight * float(servable(table, task, rows).any()) for task, weight in DEFAULT_TASK_WEIGHTS.items()
    }
    return PretrainingDataset(table, ComicSeqConfig(task_weights=weights), num_candidates=5)


def recorded_panels(dataset: PretrainingDataset, batch: list[int]) -> list[tuple[str, np.ndarray]]:
    """Column and panel numbers of all vectors that a batch reads, padding left out."""
    calls, gather = [], dataset.table.gather

    def record(column: str, panels: np.ndarray) -> np.ndarray:
        calls.append((column, panels[panels >= 0]))
        return gather(column, panels)

    dataset.table.gather = record  # type: ignore[method-assign]
    try:
        dataset.__getitems__(batch)
    finally:
        del dataset.table.gather  # type: ignore[method-assign]
    return calls


def places(table: PanelTable, calls: list[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Where each column has the vectors of these reads."""
    names = {column for column, _ in calls}
    return {
        name: table.columns[name].places(np.concatenate([panels for column, panels in calls if column == name]))
        for name in names
    }


def as_numbers(column: VectorColumn) -> np.ndarray:
    """The `runs` of a column as an array of numbers `(n, width)`."""
    first, step = column.runs[:1].view(column.dtype), column.dtype.itemsize
    return as_strided(first, (len(column.runs), column.width), (step, step), writeable=False)


def measure(dataset: PretrainingDataset, batch_size: int, batches: int) -> list[str]:
    """One row of the table: vectors a second of the three ways and the ratios of the views to the two gathers."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(len(dataset), min(batch_size, len(dataset)), replace=False).tolist() for _ in range(batches)]
    reads = [recorded_panels(dataset, batch) for batch in drawn]
    plans = [places(dataset.table, calls) for calls in reads]
    third = batches // 3
    plans, others = plans[third:] + plans[:third], plans[2 * third :] + plans[: 2 * third]
    vectors = np.median([sum(len(panels) for _, panels in calls) for calls in reads])
    items = {name: column.runs for name, column in dataset.table.columns.items()}
    numbers = {name: as_numbers(column) for name, column in dataset.table.columns.items()}
    seconds = np.zeros((batches, 3))
    kept: deque = deque(maxlen=4)
    for number, (batch, plan, other) in enumerate(zip(drawn, plans, others, strict=True)):
        times = [time.perf_counter()]
        made = [dataset.__getitems__(batch)]
        times.append(time.perf_counter())
        made.append([items[name][rows] for name, rows in plan.items()])
        times.append(time.perf_counter())
        made.append([numbers[name][rows] for name, rows in other.items()])
        times.append(time.perf_counter())
        seconds[number] = np.diff(times)
        kept.append(made)
    medians = np.median(seconds, axis=0)
    pieces = len(dataset.table.columns["panel_embeddings"].pieces) - 1
    cells = [f"{len(dataset):,}", str(len(dataset.table.widths)), str(pieces), f"{vectors:,.0f}"]
    cells += [f"{1e3 * each:.2f} ms, {vectors / each / 1e6:.1f} M/s" for each in medians]
    return [*cells, *(f"{100 * each / medians[0]:.0f} %" for each in medians[1:])]


def main() -> None:
    """Parses the arguments, builds the data in a temporary folder, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=int, default=240, help="books of the synthetic corpus")
    parser.add_argument("--batch-size", type=int, default=256, help="pages of a batch")
    parser.add_argument("--batches", type=int, default=100, help="batches that are timed")
    parser.add_argument("--profile", action="store_true", help="print where the time of the views goes")
    options = parser.parse_args()
    columns = ("data", "pages", "kinds", "pieces", "vectors a batch", "views", "gather of items", "gather of numbers")
    output = Table(*columns, "to items", "to numbers", title=f"batches of {options.batch_size} pages")
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "synthetic", num_books=options.books, progress=False)
        stores = [Path(folder) / "synthetic"]
        if "COMICSEQ_DATA" in os.environ:
            stores.append(Path(os.environ["COMICSEQ_DATA"]) / "stage3" / "comics_text")
        for store in stores:
            dataset = open_training_set(store, Path(folder) / "arrow")
            measure(dataset, options.batch_size, 5)  # maps the file and warms the caches
            output.add_row(store.name, *measure(dataset, options.batch_size, options.batches))
            if options.profile:
                batch = list(range(min(options.batch_size, len(dataset))))
                with cProfile.Profile() as profile:
                    for _ in range(50):
                        dataset.__getitems__(batch)
                pstats.Stats(profile).sort_stats("tottime").print_stats(18)
    if len(stores) == 1:
        Console().print("COMICSEQ_DATA is not set: the real store is left out")
    Console(width=160).print(output)


if __name__ == "__main__":
    main()
