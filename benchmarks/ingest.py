"""What `comicseq ingest` costs, and whether it goes on where it was killed.

Draws books, copies them to as many pages as are asked for, and measures the whole command in a process of its own, with
nothing given, so that all panels are found (`--panels none`: none are): seconds, processor seconds and the peak memory of
the process and its workers, each with one and with two processes. Then the same run is killed at ten moments, with all its
workers, and started again each time; what it makes in the end is compared with the undisturbed output, row for row.

    python -m benchmarks.ingest
    python -m benchmarks.ingest --panels none
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from datasets import load_from_disk
from rich.console import Console
from rich.table import Table

from modeling_comicseq.pages.drawn.writing import write_books

DRAWN = 10  # books, of which the others are copies
PAGES = 10  # of a book


def copied_books(folder: Path, pages: int, width: int) -> Path:
    """A folder of books of 10 drawn pages each."""
    write_books(folder / "drawn", DRAWN, pages=PAGES, width=width, progress=False)
    drawn = sorted(each for each in (folder / "drawn").iterdir() if each.is_dir())
    for book in range(pages // PAGES):
        shutil.copytree(drawn[book % DRAWN], folder / "comics" / f"book {book}", copy_function=os.link)
    return folder / "comics"


def start(comics: Path, output: Path, num_proc: int, panels: str) -> psutil.Popen:
    code = "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.command import main; main()"
    words = ["ingest", str(comics), "--output", str(output), "--num-proc", str(num_proc), "--panels", panels]
    return psutil.Popen([sys.executable, "-P", "-c", code, *words], stdout=subprocess.DEVNULL)


def with_workers(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def memory(process: psutil.Process) -> float:
    """MiB of a process and its workers, what they share counted once."""
    total = 0.0
    for each in with_workers(process):
        try:
            total += each.memory_full_info().pss / 2**20
        except psutil.Error:
            pass
    return total


def measure(comics: Path, output: Path, num_proc: int, panels: str) -> tuple[float, float, float]:
    """Seconds, processor seconds of all processes, and the peak of the memory in MiB."""
    began, before, peak = time.perf_counter(), os.times(), 0.0
    process = start(comics, output, num_proc, panels)
    while process.poll() is None:
        try:
            peak = max(peak, memory(process))
        except psutil.Error:
            pass
        time.sleep(1)
    assert process.returncode == 0
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, processor, peak


def killed(
    comics: Path, output: Path, num_proc: int, panels: str, kills: int, pause: float
) -> tuple[list[int], float]:
    """Kills the run after each pause and starts it again; finished parts after each kill, and seconds in all."""
    work = output.with_name(f".{output.name}.partial")
    began, parts = time.perf_counter(), []
    for moment in range(kills):
        process = start(comics, output, num_proc, panels)
        try:
            process.wait(pause)
        except psutil.TimeoutExpired:
            workers = process.children(recursive=True)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            _, alive = psutil.wait_procs(workers, timeout=30)
            assert not alive, "workers outlive the process that started them"
        parts.append(len(list(work.glob("*.arrow"))))
        assert output.exists() == (not work.exists()), moment
    measure(comics, output, num_proc, panels)
    return parts, time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--width", type=int, default=850)
    parser.add_argument("--panels", default="auto", help="none: pages are read and written alone")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--num-proc", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        comics = copied_books(folder, arguments.pages, arguments.width)
        table = Table("processes", "seconds", "processor seconds", "peak MiB", title=f"{arguments.pages:,} pages")
        for num_proc in arguments.num_proc:
            seconds, processor, peak = measure(comics, folder / f"out {num_proc}", num_proc, arguments.panels)
            table.add_row(str(num_proc), f"{seconds:.0f}", f"{processor:.0f}", f"{peak:.0f}")
        Console().print(table)
        parts, total = killed(
            comics, folder / "again", num_proc, arguments.panels, arguments.kills, seconds / arguments.kills
        )
        print(
            f"killed {arguments.kills} times: parts finished after each {parts}, {total:.0f} s in all, {seconds:.0f} s undisturbed"
        )
        expected, found = (
            load_from_disk(str(folder / each)).with_format("arrow") for each in (f"out {num_proc}", "again")
        )
        same = expected.data.table.equals(found.data.table) and not list(folder.glob(".*"))
        print("the same rows, and nothing beside them" if same else "NOT the same")


if __name__ == "__main__":
    main()
