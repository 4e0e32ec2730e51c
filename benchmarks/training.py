"""Pages a second of a whole training step, against a padded `torch.nn.TransformerEncoder`, and how its cost grows.

The peer is the same model with the same heads, losses, views, optimiser and number of threads; only its encoder is
PyTorch's own, over padded rows with a mask. It runs all views in one padded pass, or each view in a pass of its own,
whichever is faster, and both sides at their own best batch size. They take turns; medians count.

    python -m benchmarks.training --dataset DIR
    python -m benchmarks.training --dataset DIR --growth

`--dataset` is a folder that `comicseq convert` wrote. On a GPU, both run in bfloat16 autocast, and the memory, the share
of a step that waits for data, and the time of 30 epochs over 100,000 pages are printed, too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np
import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.model.packing_comicseq import pad_and_concatenate
from modeling_comicseq.resources import find_resource
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.dataset import PretrainingDataset

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BASE = str(find_resource("model", "comicseq-base"))


class PaddedPeer(ComicSeqForPreTraining):
    """The model with `nn.TransformerEncoder` in the place of its own layers."""

    one_pass = True

    def __init__(self, config: ComicSeqConfig):
        super().__init__(config)
        layer = nn.TransformerEncoderLayer(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            config.hidden_dropout_prob,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(config.hidden_size)
        self.peer = nn.TransformerEncoder(layer, config.num_hidden_layers, norm, enable_nested_tensor=False)
        self.num_heads = config.num_attention_heads
        self.comicseq.layers, self.comicseq.layernorm = nn.ModuleList(), nn.Identity()

    def encode_views(self, views, **kwargs):
        groups = [views] if self.one_pass else [[view] for view in views]
        encoded = []
        for group in groups:
            tokens = pad_and_concatenate([view.tokens for view in group])
            visible = pad_and_concatenate([view.visible for view in group])
            itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
            hidden = ~(visible[:, None] | itself)
            hidden_states = tokens
            if len(tokens):  # no task of the batch has an example in this view
                hidden_states = self.peer(tokens, mask=hidden.repeat_interleave(self.num_heads, dim=0))
            encoded += hidden_states.split([view.tokens.shape[0] for view in group])
        return encoded, None


class Steps:
    """Whole training steps of one model: make a batch, forward, backward, clip, update."""

    def __init__(self, model: ComicSeqForPreTraining, dataset: PretrainingDataset, batch_size: int):
        self.model, self.dataset, self.batch_size = model.to(DEVICE).train(), dataset, batch_size
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        self.rng = np.random.default_rng(0)
        self.waited = 0.0

    def __call__(self) -> float:
        """Takes a step; returns its seconds."""
        started = time.perf_counter()
        rows = self.rng.choice(len(self.dataset), self.batch_size, replace=self.batch_size > len(self.dataset))
        batch = to_device(self.dataset.__getitems__(rows.tolist())[0])
        self.waited += time.perf_counter() - started
        self.optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):
            loss = self.model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def to_device(batch):
    if isinstance(batch, dict):
        return {name: to_device(value) for name, value in batch.items()}
    return batch.to(DEVICE) if isinstance(batch, torch.Tensor) else batch


def training_set(table: PanelTable, config: ComicSeqConfig) -> PretrainingDataset:
    rows = np.arange(len(table))
    config.task_weights = {
        name: task.spec.sampling_weight * float(task.servable(table, rows).any()) for name, task in TASKS.items()
    }
    return PretrainingDataset(table, config)


def matmul_peak(seconds: float = 2.0) -> float:
    """Floating-point operations a second of the best of a few matrix products of the model's sizes."""
    dtype = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
    best = 0.0
    for m, k, n in ((1024, 512, 2048), (2048, 2048, 512), (2048, 2048, 2048)) + (
        ((16384, 4096, 4096),) if DEVICE.type == "cuda" else ()
    ):
        left, right = torch.randn(m, k, device=DEVICE, dtype=dtype), torch.randn(k, n, device=DEVICE, dtype=dtype)
        end = time.perf_counter() + seconds / 3
        while time.perf_counter() < end:
            started = time.perf_counter()
            for _ in range(4):
                left @ right
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 8 * m * k * n / (time.perf_counter() - started))
    return best


def compare(options: argparse.Namespace, console: Console) -> None:
    config = ComicSeqConfig.from_json_file(BASE)
    dataset = training_set(open_split(options.dataset, "train"), config)
    torch.manual_seed(0)
    ours, peer = ComicSeqForPreTraining(config), PaddedPeer(config)
    sides: dict[tuple[str, int], Steps] = {}
    for batch_size in options.batch_sizes:
        sides["packed (ours)", batch_size] = Steps(ours, dataset, batch_size)
        for name, one_pass in (("padded, one pass", True), ("padded, a pass a view", False)):
            sides[name, batch_size] = Steps(peer, dataset, batch_size)
            sides[name, batch_size].one_pass = one_pass  # type: ignore[attr-defined]

    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in sides}
    for turn in range(options.rounds + 1):
        for key, steps in sides.items():
            peer.one_pass = getattr(steps, "one_pass", True)
            took = steps()
            if turn:  # the first warms up
                seconds[key].append(took)
    speed = {key: key[1] / float(np.median(values)) for key, values in seconds.items()}
    best = {name: max((value, size) for (n, size), value in speed.items() if n == name) for name, _ in sides}

    table = Table(
        title=f"a training step at base size, {torch.get_num_threads()} threads, {DEVICE.type}: pages a second"
    )
    table.add_column("encoder")
    for batch_size in options.batch_sizes:
        table.add_column(f"batch {batch_size}", justify="right")
    for name in best:
        table.add_row(name, *(f"{speed[name, size]:.1f}" for size in options.batch_sizes))
    console.print(table)
    fastest_peer = max(value for name, (value, _) in best.items() if name != "packed (ours)")
    pages, batch_size = best["packed (ours)"]
    console.print(f"ours over the faster peer, each at its best batch size: {pages / fastest_peer:.2f}")

    steps = sides["packed (ours)", batch_size]
    peak = matmul_peak()
    with FlopCounterMode(display=False) as counter:
        steps()
    flops = counter.get_total_flops() * pages / batch_size
    console.print(f"{flops / 1e9:,.1f} GFLOP/s of a matmul peak of {peak / 1e9:,.1f}: {100 * flops / peak:.0f} %")
    total = sum(seconds["packed (ours)", batch_size])
    console.print(
        f"data wait: {100 * steps.waited / (len(seconds['packed (ours)', batch_size]) + 2) / (total / options.rounds):.1f} % of a step"
    )
    console.print(f"30 epochs over 100,000 such pages: {30 * 100_000 / pages / 60:,.0f} minutes")
    if DEVICE.type == "cuda":
        console.print(f"peak memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def grow(options: argparse.Namespace, console: Console) -> None:
    """Step time and memory over batch size and page length, each in a process of its own."""
    table = Table(title="ours at base size: how a training step grows with the batch and the page")
    columns = ("pages a batch", "panels a page", "GFLOP a step", "seconds a step", "core seconds", "pages a second")
    for column in (*columns, "peak memory, GiB"):
        table.add_column(column, justify="right")
    context = multiprocessing.get_context("spawn")
    for batch_size, length in [(16, 6), (32, 6), (64, 6), (128, 6), (64, 3), (64, 12), (64, 24)]:
        with context.Pool(1) as pool:
            cost = pool.apply(grown, (batch_size, length, options.rounds, torch.get_num_threads()))
        table.add_row(
            str(batch_size),
            str(length),
            f"{cost['flops'] / 1e9:,.0f}",
            f"{cost['seconds']:.2f}",
            f"{cost['core_seconds']:.2f}",
            f"{batch_size / cost['seconds']:.1f}",
            f"{cost['memory'] / 2**30:.2f}",
        )
    console.print(table)


def grown(batch_size: int, length: int, rounds: int, threads: int) -> dict[str, float]:
    """Median cost of steps on random pages of one length; core seconds are not lengthened by what else runs."""
    torch.set_num_threads(threads)
    rng, pages = np.random.default_rng(0), 256
    vectors = [rng.standard_normal(512 * length, dtype=np.float32).tolist() for _ in range(pages)]
    columns = {name: vectors for name in ("panel_embeddings", "text_embeddings")}
    fields = {"num_panels": [length] * pages, "book_id": [f"book-{page // 8}" for page in range(pages)]}
    fields |= {"page_index": [page % 8 for page in range(pages)], "window_start": [0] * pages}
    config = ComicSeqConfig.from_json_file(BASE)
    table = PanelTable(Dataset.from_dict(fields | columns | {"sequence_index": list(range(pages))}))
    steps = Steps(ComicSeqForPreTraining(config), training_set(table, config), batch_size)
    with FlopCounterMode(display=False) as counter:  # and warms up
        steps()
    seconds, core_seconds = [], []
    for _ in range(rounds):
        started = time.process_time()
        seconds.append(steps())
        core_seconds.append(time.process_time() - started)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "flops": counter.get_total_flops(),
        "seconds": float(np.median(seconds)),
        "core_seconds": float(np.median(core_seconds)),
        "memory": torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else memory,
    }


def main() -> None:
    """Parses the arguments and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="data set whose training pages are stepped through")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[16, 64, 128])
    parser.add_argument("--rounds", type=int, default=3, help="steps that are timed, each side at each batch size")
    parser.add_argument("--growth", action="store_true", help="print how the cost grows instead")
    options = parser.parse_args()
    console = Console(width=120)
    if options.growth:
        grow(options, console)
    elif options.dataset is None:
        parser.error("--dataset is needed: name a folder that `comicseq convert` wrote")
    else:
        compare(options, console)


if __name__ == "__main__":
    main()
