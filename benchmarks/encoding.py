"""How fast `comicseq encode` is, against its own forward, a padded transformer and its own reading and writing.

Writes a Stage 3 store of random vectors whose pages are as long as those of COMICS (4,048 pages of 1 to 9 panels in 16
slots, 4.7 panels on average) and measures pages a second of

- the whole command with a random base-size model: checks, reading, encoding, writing, the metadata, and putting it in
  place; its start (loading the model, opening the store) is also told apart, since a library is larger than this store;
- the bare packed forward: `ComicSeqModel.encode_packed` and the strip vectors on tensors in memory, best batch size;
- a loop over the same store with `torch.nn.TransformerEncoder` of the same size, padded to the store's slots as they
  are read, and padded to the longest page of each batch only, best batch size each; it writes nothing. Against the
  second, packing can save no more than its padding, 1.4 tokens a panel in batches of 8 pages and 2.0 in those of 256;
- reading the same rows and writing the same bytes in the same layout, without a model.

All take turns. Of the seconds the medians count, of the processor time the least, to which other work on the machine adds
little. Then the command runs in fresh processes on this store and on one four times as large, and the peak memory of each
is shown. A GPU is used where there is one.

    python -m benchmarks.encoding
    python -m benchmarks.encoding --rounds 5 --pages 16192
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zarr
from rich.console import Console
from rich.table import Table
from torch import nn

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.checkpoints.opening import open_checkpoint, read_config
from modeling_comicseq.library.encode import encode_store
from modeling_comicseq.library.encoder import encoder_of
from modeling_comicseq.stores.arrays import create_arrays, finish_store, open_for_writing
from modeling_comicseq.stores.stage5 import stage5_layout

SLOTS, WIDTH = 16, 512
# Pages of COMICS (arXiv:1611.05118) by number of panels, as in the test folds.
PAGES_OF_LENGTH = {1: 10, 2: 45, 3: 301, 4: 2129, 5: 629, 6: 445, 7: 296, 8: 165, 9: 28}
CONFIGURATION = Path(__file__).resolve().parents[1] / "configuration" / "model" / "comicseq-base.json"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def write_store(folder: Path, pages: int) -> None:
    """Writes random unit vectors in float16, garbage in the empty slots, and metadata."""
    rng = np.random.default_rng(0)
    lengths = np.repeat(list(PAGES_OF_LENGTH), list(PAGES_OF_LENGTH.values()))
    counts = np.resize(rng.permutation(lengths), pages)
    group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="w")
    shape, chunks = (pages, SLOTS, WIDTH), (256, SLOTS, WIDTH)
    panels = group.create_array("panel_embeddings", shape=shape, dtype="f2", chunks=chunks)
    group.create_array("panel_masks", shape=shape[:2], dtype="bool", chunks=chunks[:2])[:] = (
        np.arange(SLOTS) < counts[:, None]
    )
    for start in range(0, pages, 256):
        vectors = rng.standard_normal((min(256, pages - start), SLOTS, WIDTH), dtype=np.float32)
        panels[start : start + 256] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    entries = [
        {
            "sequence_index": row,
            "canonical_id": f"library/Book {row // 50:05d}/page_{row % 50:03d}.jpg",
            "num_panels": int(count),
            "overall_summary": f"Page {row % 50} of a story in which two friends walk home in the rain.",
        }
        for row, count in enumerate(counts)
    ]
    (folder / "stage3_metadata.json").write_text(json.dumps(entries))
    (folder / "first_page.json").write_text(json.dumps(entries[:1]))


def encode(folder: Path, output: str, metadata: str = "stage3_metadata.json") -> None:
    """The whole command, without the start of the interpreter."""
    store = folder / "stage3_embeddings.zarr"
    encode_store(
        str(folder.parent / "model"), store, folder / metadata, folder / output, overwrite=True, progress=False
    )


class Forward:
    """The bare packed forward on tensors in memory."""

    def __init__(self, folder: Path, pages: int):
        group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="r")
        self.model = encoder_of(open_checkpoint(str(folder.parent / "model")).model).to(DEVICE)  # type: ignore[arg-type]
        self.mask = torch.from_numpy(group["panel_masks"][:pages]).to(DEVICE)
        self.panels = torch.from_numpy(group["panel_embeddings"][:pages]).to(DEVICE)

    @torch.inference_mode()
    def __call__(self, batch_size: int) -> None:
        for panels, mask in zip(self.panels.split(batch_size), self.mask.split(batch_size), strict=True):
            view = self.model.embed(panels, mask)
            (encoded,), _ = self.model.encode_packed([view])
            self.model.pooler(encoded, mask)
        synchronize()


class PaddedLoop:
    """`torch.nn.TransformerEncoder` over the store, as one would write it first."""

    def __init__(self, folder: Path, pages: int, trim: bool):
        self.group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="r")
        self.pages, self.trim = pages, trim
        config = read_config(str(CONFIGURATION))
        layer = nn.TransformerEncoderLayer(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(config.hidden_size)
        # Its nested tensors, which would drop the padding, are not for pre-norm layers.
        self.model = nn.TransformerEncoder(layer, config.num_hidden_layers, norm, enable_nested_tensor=False)
        self.model.eval().to(DEVICE)

    @torch.inference_mode()
    def __call__(self, batch_size: int) -> None:
        for start in range(0, self.pages, batch_size):
            rows = slice(start, min(self.pages, start + batch_size))
            mask = torch.from_numpy(self.group["panel_masks"][rows])
            length = int(mask.sum(1).max()) if self.trim else SLOTS
            panels = torch.from_numpy(self.group["panel_embeddings"][rows])[:, :length].to(DEVICE).float()
            self.model(panels, src_key_padding_mask=~mask[:, :length].to(DEVICE)).cpu()


def read_and_write(folder: Path, pages: int, values: dict[str, np.ndarray]) -> None:
    """Reads the rows that the command reads and writes what it writes, without computing anything."""
    group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="r")
    layout = stage5_layout(pages, SLOTS, WIDTH, "float32", 3)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        create_arrays(output, layout)
        arrays = open_for_writing(output, layout.arrays)
        for _, lo, hi in layout.parts():
            group["panel_masks"][lo:hi], group["panel_embeddings"][lo:hi]
            for name, array in arrays.items():
                array[lo:hi] = values[name][lo:hi]
        finish_store(output, {})


def synchronize() -> None:
    """Waits for the GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """How long it takes, and the processor time of all threads."""
    started, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - processor


def best_batch_size(work: Callable[[int], None], sizes: list[int]) -> int:
    """The batch size with which `work` is fastest."""
    work(sizes[-1])  # warms up
    return min(
        sizes, key=lambda size: min(seconds(lambda: work(size))[1 if DEVICE.type == "cpu" else 0] for _ in range(2))
    )


def compare(folder: Path, pages: int, padded_pages: int, rounds: int) -> Table:
    """Times everything in turns and returns the table."""
    forward = Forward(folder, pages)
    loops = {trim: PaddedLoop(folder, padded_pages, trim) for trim in (False, True)}
    trial = Forward(folder, padded_pages)
    size = best_batch_size(trial, [64, 256, 1024])
    sizes = {trim: best_batch_size(loop, [8, 32, 128, 512]) for trim, loop in loops.items()}
    encode(folder, "out.zarr")
    values = {name: array[:] for name, array in zarr.open_group(str(folder / "out.zarr"), mode="r").arrays()}

    works: dict[str, tuple[int, Callable[[], None]]] = {
        "start of the command (one page)": (1, lambda: encode(folder, "out.zarr", "first_page.json")),
        "whole command": (pages, lambda: encode(folder, "out.zarr")),
        f"bare packed forward, batches of {size}": (pages, lambda: forward(size)),
        f"padded to 16 slots, batches of {sizes[False]}": (padded_pages, lambda: loops[False](sizes[False])),
        f"padded to the longest, batches of {sizes[True]}": (padded_pages, lambda: loops[True](sizes[True])),
        "reading and writing alone": (pages, lambda: read_and_write(folder, pages, values)),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (_, work) in works.items():
            times[name].append(seconds(work))
    measured = {name: (np.median(values, axis=0)[0], np.min(values, axis=0)[1]) for name, values in times.items()}
    start, whole = (np.array(measured[name]) for name in list(works)[:2])
    columns = ("what", "seconds", "processor s", "pages/s", "command at", "without start", "by processor")
    table = Table(*columns, title=f"{pages:,} pages, {DEVICE}, {torch.get_num_threads()} threads")
    for name, (count, _) in works.items():
        wall, processor = measured[name]
        # Pages a second of the command against this row: as it is, without its start, and by processor time, which
        # other work on the machine disturbs less.
        ratios = pages / count * np.array([wall / whole[0], wall / (whole - start)[0], processor / (whole - start)[1]])
        cells = ["", "", "", ""] if count == 1 else [f"{count / wall:,.0f}", *(f"{ratio:.2f} ×" for ratio in ratios)]
        table.add_row(name, f"{wall:.2f}", f"{processor:.2f}", *cells)
    return table


def measure_memory(folder: Path) -> None:
    """Encodes and prints the peak of the resident memory, before and after."""
    before = peak_memory()
    encoder_of(open_checkpoint(str(folder.parent / "model")).model)
    loaded = peak_memory()
    encode(folder, "memory.zarr")
    print(json.dumps({"imports": before, "model": loaded, "peak": peak_memory()}))


def peak_memory() -> float:
    """Peak of this process's resident memory in MB (Linux; `getrusage` would count the parent's before the exec)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


def main() -> None:
    """Parses the arguments, builds stores and model in a temporary folder, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=4048, help="pages of the store")
    parser.add_argument("--padded-pages", type=int, default=1024, help="pages that the padded loops are timed on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        return measure_memory(options.memory)
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        torch.manual_seed(0)
        ComicSeqForPreTraining(read_config(str(CONFIGURATION))).save_pretrained(root / "model")
        for name, pages in (("store", options.pages), ("larger", 4 * options.pages)):
            (root / name).mkdir()
            write_store(root / name, pages)
        console.print(compare(root / "store", options.pages, min(options.padded_pages, options.pages), options.rounds))
        table = Table("pages", "after imports", "with the model", "peak, MB", title="resident memory of the command")
        for name, pages in (("store", options.pages), ("larger", 4 * options.pages)):
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            command = [sys.executable, __file__, "--memory", str(root / name)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            found = json.loads(done.stdout.splitlines()[-1])
            table.add_row(f"{pages:,}", *(f"{found[key]:,.0f}" for key in ("imports", "model", "peak")))
        console.print(table)


if __name__ == "__main__":
    main()
