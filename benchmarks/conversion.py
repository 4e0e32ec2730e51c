"""How fast `comicseq convert` is against a plain read of the same store, and how much memory it takes.

Writes a Stage 3 store of the given size, then measures in fresh processes, with the store's files out of the page cache
(cold) and in it (warm): reading all its rows in order with zarr, and converting it. Prints uncompressed source bytes a
second, their ratio, and the peak memory of the conversion with all its processes.

    python -m benchmarks.conversion --folder FOLDER --gigabytes 4
    python -m benchmarks.conversion --folder FOLDER --gigabytes 16 --num-proc 2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

SLOTS, WIDTH, ROWS_PER_CHUNK, CHUNKS_PER_SHARD = 16, 512, 256, 16
BLOCK_ROWS = 1536  # 24 MiB of panel vectors, what the conversion reads at a time


def write_store(folder: Path, gigabytes: float, arrays: list[str], sharded: bool) -> None:
    """Writes random unit vectors for 1 to 16 panels a page (about two thirds of the slots) and their metadata."""
    import numpy as np
    import zarr
    from rich.progress import track

    bytes_per_page = SLOTS * WIDTH * 2 * len(arrays)
    unit = ROWS_PER_CHUNK * CHUNKS_PER_SHARD
    pages = -(-int(gigabytes * 1e9) // (bytes_per_page * unit)) * unit
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((unit, SLOTS, WIDTH), dtype=np.float32)
    pool = (pool / np.linalg.norm(pool, axis=-1, keepdims=True)).astype(np.float16)
    counts = np.minimum(1 + rng.binomial(15, 0.65, pages), SLOTS)
    group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="w")
    shards = {"shards": (unit, SLOTS, WIDTH)} if sharded else {}
    targets = [
        group.create_array(
            name, shape=(pages, SLOTS, WIDTH), dtype="f2", chunks=(ROWS_PER_CHUNK, SLOTS, WIDTH), **shards
        )
        for name in arrays
    ]
    masks = group.create_array("panel_masks", shape=(pages, SLOTS), dtype="bool", chunks=(ROWS_PER_CHUNK * 16, SLOTS))
    masks[:] = np.arange(SLOTS) < counts[:, None]
    for start in track(range(0, pages, unit), f"Writing {pages:,} pages"):
        for target in targets:
            target[start : start + unit] = pool[rng.permutation(unit)]
    with open(folder / "stage3_metadata.json", "w", encoding="utf-8") as file:
        for row in range(pages):
            entry = {
                "sequence_index": row,
                "canonical_id": f"library/Book {row // 120:05d}/page_{row % 120:03d}.jpg",
                "num_panels": int(counts[row]),
                "overall_summary": f"Page {row % 120} of a story in which two friends walk home in the rain.",
            }
            file.write(("[\n" if row == 0 else ",\n") + json.dumps(entry))
        file.write("\n]\n")


def drop_from_cache(folder: Path) -> None:
    """Asks the kernel to forget the files' pages, which needs no privileges once they are written back."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def read_plainly(folder: Path) -> None:
    """Reads all rows of all arrays in order."""
    import zarr

    group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="r")
    arrays = [array for _, array in group.arrays()]
    started, before = time.perf_counter(), os.times()
    for start in range(0, arrays[0].shape[0], BLOCK_ROWS):
        for array in arrays:
            array[start : start + BLOCK_ROWS]
    seconds, size = time.perf_counter() - started, sum(array.nbytes for array in arrays)
    print(json.dumps({"seconds": seconds, "cpu": cpu_seconds(before), "bytes": size}))


def cpu_seconds(before: os.times_result) -> float:
    """Processor time of this process and its ended children since `before`."""
    return sum(os.times()[:4]) - sum(before[:4])


def convert(folder: Path, num_proc: int) -> None:
    """Converts the store; the system keeps the peak memory of one process, that of several is sampled."""
    import psutil

    from modeling_comicseq.data.conversion import convert_store

    peak, done = {"rss": 0, "pss": 0}, threading.Event()

    def sample() -> None:
        me, samples = psutil.Process(), 0
        while not done.wait(0.2):
            family = [me, *me.children(recursive=True)]
            fields = ["rss"] if samples % 10 else ["rss", "pss"]  # the kernel takes long to work out the latter
            samples += 1
            for field in fields:
                with contextlib.suppress(psutil.Error):
                    read = psutil.Process.memory_info if field == "rss" else psutil.Process.memory_full_info
                    peak[field] = max(peak[field], sum(getattr(read(process), field) for process in family))

    base = psutil.Process().memory_info().rss
    sampler = threading.Thread(target=sample)
    if num_proc > 1:
        sampler.start()
    started, before = time.perf_counter(), os.times()
    convert_store(
        folder / "stage3_embeddings.zarr",
        folder / "stage3_metadata.json",
        folder / "arrow",
        num_proc=num_proc,
        progress=False,
    )
    seconds, cpu = time.perf_counter() - started, cpu_seconds(before)
    done.set()
    if num_proc > 1:
        sampler.join()
    else:
        peak["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        peak["pss"] = peak["rss"]
    print(json.dumps({"seconds": seconds, "cpu": cpu, "base": base, **peak}))


def measure(folder: Path, *arguments: str) -> dict[str, float]:
    """Runs one measurement in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Parses the arguments and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="working folder; the store is kept unless --delete")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="uncompressed size of the vectors")
    parser.add_argument("--arrays", nargs="+", default=["panel_embeddings"], help="vector arrays of the store")
    parser.add_argument("--sharded", action="store_true", help=f"{CHUNKS_PER_SHARD} chunks in a shard")
    parser.add_argument("--num-proc", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2, help="warm rounds after the cold one")
    parser.add_argument("--delete", action="store_true", help="delete the folder at the end")
    parser.add_argument("--step", choices=["read", "convert"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "read":
        return read_plainly(options.folder)
    if options.step == "convert":
        return convert(options.folder, options.num_proc)

    options.folder.mkdir(parents=True, exist_ok=True)
    store = options.folder / "stage3_embeddings.zarr"
    if not (options.folder / "stage3_metadata.json").exists():
        shutil.rmtree(store, ignore_errors=True)
        write_store(options.folder, options.gigabytes, options.arrays, options.sharded)
    for round_number in range(options.rounds + 1):
        results = []
        for step in (["--step", "read"], ["--step", "convert", "--num-proc", str(options.num_proc)]):
            shutil.rmtree(options.folder / "arrow", ignore_errors=True)
            os.sync()  # the last output's write-back is not this step's work
            if round_number == 0:
                drop_from_cache(options.folder)
            results.append(measure(options.folder, *step))
        read, converted = results
        speeds = [read["bytes"] / result["seconds"] / 1e6 for result in results]
        print(
            f"{'warm' if round_number else 'cold'}: {read['bytes'] / 1e9:.1f} GB, read {speeds[0]:.0f} MB/s, "
            f"convert {speeds[1]:.0f} MB/s ({converted['seconds']:.1f} s), ratio {speeds[1] / speeds[0]:.2f}; "
            f"processor seconds {read['cpu']:.1f} and {converted['cpu']:.1f}; peak "
            f"{converted['rss'] / 1e6:.0f} MB resident ({converted['pss'] / 1e6:.0f} MB proportional), "
            f"of which imports {converted['base'] / 1e6:.0f} MB",
            flush=True,
        )
    shutil.rmtree(options.folder if options.delete else options.folder / "arrow", ignore_errors=True)


if __name__ == "__main__":
    main()
