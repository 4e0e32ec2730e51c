"""What a large index takes: random strips, a page a panel; build, open, ask, an update of 1,000 pages, and kills.

Each step runs in a process of its own, whose largest memory is told. The store is read and written on this disk. The index
is built, removed, and built by processes that are killed, of which the last goes on to the end; an update is killed, too.
After each kill every row is compared with the store.

    python -m benchmarks.index_scale --folder large --pages 1200000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from rich.console import Console

WIDTH = 512
BOOK = 200
CHANGED = 1000


def make_store(folder: Path, pages: int) -> None:
    """A Stage 5 store of random float16 vectors, and its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    group = zarr.open_group(str(folder / "stage5.zarr"), mode="w")
    rows, step = 4096, 4096 * 16
    shapes = {"contextualized_panels": (pages, 1, WIDTH), "strip_embeddings": (pages, WIDTH)}
    arrays = {
        name: group.create_array(name, shape=shape, dtype="float16", chunks=(rows, *shape[1:]), compressors=None)
        for name, shape in shapes.items()
    }
    group.create_array("panel_masks", shape=(pages, 1), dtype="bool", chunks=(step, 1))[...] = True
    rng = np.random.default_rng(0)
    for lo in range(0, pages, step):
        count = min(step, pages - lo)
        for name, array in arrays.items():
            values = rng.standard_normal((count, *shapes[name][1:]), dtype=np.float32)
            array[lo : lo + count] = values.astype(np.float16)
    with open(folder / "stage5_metadata.json", "w") as file:
        for row in range(pages):
            entry = {"sequence_index": row, "num_panels": 1, "canonical_id": f"library/book {row // BOOK}/{row}.jpg"}
            entry |= {"year": 1900 + row // BOOK % 120, "texts": [f"number {row} of many"]}
            file.write(("[\n" if not row else ",\n") + json.dumps(entry))
        file.write("\n]\n")


def change(folder: Path) -> None:
    """Other vectors on a thousand pages of the store."""
    strips = zarr.open_group(str(folder / "stage5.zarr"), mode="r+")["strip_embeddings"]
    lo = strips.shape[0] // 2
    strips[lo : lo + CHANGED] = -np.asarray(strips[lo : lo + CHANGED])


def ask(folder: Path, queries: int = 50) -> dict[str, Any]:
    """Opening, and searches by page, with a filter, by words, and after panels."""
    from modeling_comicseq.library.index import open_index

    found: dict[str, Any] = {}
    start = time.perf_counter()
    index = open_index(folder / "index")
    index.search(page=0, k=10)
    found["open and first answer, s"] = time.perf_counter() - start
    rng = np.random.default_rng(1)
    rows = rng.integers(len(index), size=queries).tolist()
    kinds: dict[str, Callable[[int], Any]] = {
        "by page": lambda row: index.search(page=row),
        "by page, of ten years": lambda row: index.search(page=row, where="year between 1950 and 1959"),
        "by page, of one book": lambda row: index.search(page=row, where=f"book_id = 'book {row // BOOK}'"),
        "by words": lambda row: index.search(words=f"number {row}"),
        "panels by panel": lambda row: index.search(panel=(row, 0)),
        "a page": lambda row: index.page(row),
    }
    for name, search in kinds.items():
        times = []
        for row in rows:
            before = time.perf_counter()
            search(row)
            times.append(1e3 * (time.perf_counter() - before))
        found[f"{name}, ms: median, 95 %"] = [round(float(np.quantile(times, each)), 1) for each in (0.5, 0.95)]
    return found


def check(folder: Path) -> dict[str, Any]:
    """How many rows the index has, and how many of them have not the vectors of the store."""
    from modeling_comicseq.library.index import open_index

    index = open_index(folder / "index")
    group: Any = zarr.open_group(str(folder / "stage5.zarr"), mode="r")
    found: dict[str, Any] = {}
    for name, table in (("strip_embeddings", index.strips), ("contextualized_panels", index.panels)):
        array, rows, others = group[name], [], 0
        for lo in range(0, array.shape[0], 1 << 16):
            where = f"row >= {lo} and row < {lo + (1 << 16)}"
            part = table.search().where(where).select(["row", "vector"]).to_arrow().sort_by("row")
            numbers = part["row"].to_numpy()
            vectors = part["vector"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH)
            stored = np.asarray(array[lo : lo + (1 << 16)]).reshape(-1, WIDTH)
            others += int((vectors != stored[numbers - lo]).any(axis=1).sum())
            rows.append(numbers)
        each_once = np.array_equal(np.concatenate(rows), np.arange(array.shape[0]))
        found[name] = {"every row once": each_once, "unlike the store": others}
    return found


def child(step: str, folder: Path) -> dict[str, Any]:
    """One step in this process."""
    from modeling_comicseq.library.index import build_index

    start = time.perf_counter()
    found: dict[str, Any] = {}
    if step == "ask":
        found = ask(folder)
    elif step == "check":
        found = check(folder)
    else:
        about = build_index(folder / "stage5.zarr", folder / "index", update=step == "update", progress=False)
        found = {"counts": about["counts"], "updated": about.get("updated")}
    found["seconds"] = round(time.perf_counter() - start, 1)
    found["peak GiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return found


def run(step: str, folder: Path, kill_after: float | None = None) -> dict[str, Any]:
    """A step in a process of its own, which is killed after some seconds."""
    words = [sys.executable, "-m", "benchmarks.index_scale", "--folder", str(folder), "--child", step]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        printed, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return {"killed after, s": kill_after}
    if process.returncode:
        raise SystemExit(f"{step} ended with {process.returncode}")
    return json.loads(printed.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pages", type=int, default=1_200_000)
    parser.add_argument("--kill-build-after", type=float, nargs="*", help="seconds (default: thrice 0.3 of a build)")
    parser.add_argument("--kill-update-after", type=float, help="seconds (default: half as many as a build takes)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.child:
        print(json.dumps(child(arguments.child, folder)))
        return
    console = Console(soft_wrap=True)
    if not (folder / "stage5_metadata.json").exists():
        make_store(folder, arguments.pages)

    def tell(step: str, found: dict[str, Any]) -> None:
        console.print(f"{step}: {json.dumps(found)}")

    tell("build", built := run("build", folder))
    size = sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file())
    tell("index", {"GiB on the disk": round(size / 2**30, 2)})
    tell("ask", run("ask", folder))
    shutil.rmtree(folder / "index")
    kills = arguments.kill_build_after
    for seconds in [round(0.3 * built["seconds"])] * 3 if kills is None else kills:
        tell("build, killed", found := run("build", folder, seconds))
        assert "counts" in found or not (folder / "index").exists()
    tell("build, gone on with", run("build", folder))
    tell("check", run("check", folder))
    change(folder)
    tell("update, killed", run("update", folder, arguments.kill_update_after or round(0.5 * built["seconds"])))
    tell("check", run("check", folder))
    tell("update", run("update", folder))
    tell("check", run("check", folder))
    tell("ask", run("ask", folder))
    console.print(f"load of the machine: {os.getloadavg()}")
    shutil.rmtree(folder / "index")


if __name__ == "__main__":
    main()
