"""How fast the views of a training batch are made, against a plain numpy gather of the same vectors.

Builds batches of `PretrainingDataset` (all tasks that the data can serve, default weights, the two half-page views)
from a synthetic corpus with all four kinds of vectors and, where COMICSEQ_DATA names a folder with
`stage3/comics_text`, from that store. The plain gather reads the same vectors from the same mapped arrays, in one indexing
operation a column, the panels' numbers known beforehand. Both take turns, each on a batch that the other has not just read
into the processor's cache; the medians count.

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
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from modeling_comicseq import ComicSeqConfig
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.synthetic.world import synthesize
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.dataset import PretrainingDataset


def open_training_set(store: Path, folder: Path) -> PretrainingDataset:
    """Converts a store and opens its training split with all tasks that it can serve."""
    output = folder / store.name
    convert_store(store / "stage3_embeddings.zarr", store / "stage3_metadata.json", output, progress=False)
    table = open_split(str(output), "train")
    rows = np.arange(len(table))
    weights = {
        name: task.spec.sampling_weight * float(task.servable(table, rows).any()) for name, task in TASKS.items()
    }
    return PretrainingDataset(table, ComicSeqConfig(task_weights=weights))


def recorded_panels(dataset: PretrainingDataset, batch: list[int]) -> dict[str, np.ndarray]:
    """Numbers of the panels that a batch reads of each column, padding left out."""
    table = dataset.table
    read, gather = {}, table.gather

    def record(column: str, panels: np.ndarray) -> np.ndarray:
        read[column] = panels[panels >= 0]
        return gather(column, panels)

    table.gather = record  # type: ignore[method-assign]
    try:
        dataset.__getitems__(batch)
    finally:
        del table.gather  # type: ignore[method-assign]
    return read


def measure(dataset: PretrainingDataset, batch_size: int, batches: int) -> list[str]:
    """One row of the table: vectors a second of views and gather, and their ratio."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(len(dataset), min(batch_size, len(dataset)), replace=False).tolist() for _ in range(batches)]
    reads = [recorded_panels(dataset, batch) for batch in drawn]
    vectors = np.median([sum(map(len, read.values())) for read in reads])
    reads = reads[batches // 2 :] + reads[: batches // 2]
    columns = {
        name: pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        for name, pieces in dataset.table.columns.items()
    }
    seconds = np.zeros((batches, 2))
    for number, (batch, read) in enumerate(zip(drawn, reads, strict=True)):
        times = [time.perf_counter()]
        made = dataset.__getitems__(batch)
        times.append(time.perf_counter())
        made = [columns[name][panels] for name, panels in read.items()]
        times.append(time.perf_counter())
        del made
        seconds[number] = np.diff(times)
    views, gather = np.median(seconds, axis=0)
    cells = [f"{len(dataset):,}", str(len(columns)), f"{vectors:,.0f}"]
    cells += [f"{1e3 * each:.2f} ms, {vectors / each / 1e6:.1f} M/s" for each in (views, gather)]
    return [*cells, f"{100 * gather / views:.0f} %"]


def main() -> None:
    """Parses the arguments, builds the data in a temporary folder, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=int, default=240, help="books of the synthetic corpus")
    parser.add_argument("--batch-size", type=int, default=256, help="pages of a batch")
    parser.add_argument("--batches", type=int, default=100, help="batches that are timed")
    parser.add_argument("--profile", action="store_true", help="print where the time of the views goes")
    options = parser.parse_args()
    columns = ("data", "pages", "kinds", "vectors a batch", "views", "gather", "gather to views")
    output = Table(*columns, title=f"batches of {options.batch_size} pages")
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
