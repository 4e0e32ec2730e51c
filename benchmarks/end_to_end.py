"""What a training step through the panel encoder costs, by panels in the batch and by what of it is trained.

python -m benchmarks.end_to_end --pages DIR --output FILE.json [--encoder NAME] [--model NAME] [--sizes 4 8 16]
    [--tune none projections last_2 all] [--checkpointing]

DIR is a data set of pages that `comicseq ingest` wrote. Seconds are those of the processor in one thread (`process_time`), the
least of three steps, forward and backward; memory is what a process of its own needs at most beyond the loaded model. Pictures
and texts are timed alone, and the rest of the step is the sequence model's. Reading pictures from the disk is not in it: it is
done by other processes (`dataloader_num_workers`), and its seconds stand in a column of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from modeling_comicseq import ComicPageForPreTraining
from modeling_comicseq.files import write_json
from modeling_comicseq.training.arguments import parse_arguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.run import build_model, configuration, open_encoder
from modeling_comicseq.training.sampling import SharedBatches
from modeling_comicseq.training.stores import open_data
from modeling_comicseq.training.tuning import freeze
from modeling_comicseq.training.wanted import WantedTasks

STEPS = 3


def seconds(compute: Callable[[], object]) -> float:
    """Least processor time of some calls."""
    found = []
    for _ in range(STEPS):
        start = time.process_time()
        compute()
        found.append(time.process_time() - start)
    return min(found)


def backward(model: ComicPageForPreTraining, made: torch.Tensor) -> None:
    if made.requires_grad:
        made.sum().backward()
    model.zero_grad()


def measure(folder: str, given: argparse.Namespace, tuned: str, size: int) -> dict[str, Any]:
    """Of one process, so that the most memory is that of these steps."""
    torch.set_num_threads(1)
    words = ["--pages", given.pages, "--model", given.model, "--tasks", "available", "--fractions", "0.8", "0.2", "0"]
    words += ["--output_dir", f"{folder}/run", "--tune_encoders", tuned, "--use_cpu", "true", "--disable_tqdm", "true"]
    arguments = parse_arguments(words + (["--encoder", given.encoder] if given.encoder else []))
    encoder, wanted = open_encoder(arguments), WantedTasks(arguments, configuration(arguments))
    table, _ = open_data(arguments, wanted, encoder)
    sequence = build_model(arguments, table, wanted, encoder)
    freeze(encoder.model, arguments.tuning)
    model = ComicPageForPreTraining.from_parts(encoder.model, sequence).train()
    if given.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    dataset = PretrainingDataset(table, sequence.config)
    pages = next(iter(SharedBatches(dataset, size, 0, together=arguments.pages_together)))
    loading = seconds(lambda: dataset.__getitems__(pages))
    (batch,) = dataset.__getitems__(pages)
    contents = batch["contents"]
    pictures = {name: each for name, each in contents.items() if name in ("pixel_values", "image_features")}
    texts = {name: each for name, each in contents.items() if name in ("texts", "text_features")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = seconds(lambda: (model(**batch).loss.backward(), model.zero_grad()))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = {
        "pictures": seconds(lambda: backward(model, model.encode_contents(**pictures))),
        "texts": seconds(lambda: backward(model, model.encode_contents(**texts))),
    }
    counts = {
        "pictures": sum(map(len, pictures.get("pixel_values", [pictures.get("image_features", [])]))),
        "texts": sum(len(each["input_ids"]) for each in texts["texts"])
        if "texts" in texts
        else len(next(iter(texts.values()), [])),
    }
    panels = int(table.num_panels[dataset.rows[list(pages)]].sum())
    return {
        "tuned": tuned,
        "pages": size,
        "panels": panels,
        "distinct": counts,
        "seconds": whole,
        "loading": loading,
        "share": {name: value / whole for name, value in parts.items()},
        "gib": (after - before) / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", required=True)
    parser.add_argument("--output", required=True, help="JSON file of the results")
    parser.add_argument("--encoder", help="panel encoder; by default that of `comicseq pretrain --pages`")
    parser.add_argument("--model", default="comicseq-small")
    parser.add_argument("--sizes", nargs="+", type=int, default=[4, 8, 16], help="pages in the batch")
    parser.add_argument("--tune", nargs="+", default=["none", "projections", "last_2", "all"])
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    arguments = parser.parse_args()
    table = Table(title="A step: forward and backward, one thread")
    for column in (
        "trained",
        "pages",
        "panels",
        "pictures",
        "texts",
        "s",
        "pictures %",
        "texts %",
        "sequence %",
        "memory, GiB",
        "loading, s",
    ):
        table.add_column(column, justify="right")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for tuned in arguments.tune:
            for size in arguments.sizes:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    row = pool.apply(measure, (folder, arguments, tuned, size))
                results.append(row)
                shares = [100 * row["share"][name] for name in ("pictures", "texts")]
                cells = [row["pages"], row["panels"], *row["distinct"].values(), f"{row['seconds']:.2f}"]
                cells += [*(f"{each:.0f}" for each in shares), f"{100 - sum(shares):.0f}"]
                table.add_row(tuned, *map(str, cells), f"{row['gib']:.2f}", f"{row['loading']:.2f}")
    Console().print(table)
    write_json(Path(arguments.output), results)


if __name__ == "__main__":
    main()
