"""Work that makes a store, killed at any moment in processes of its own; and whether two stores are the same."""

from __future__ import annotations

import builtins
import filecmp
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import torch
from accelerate import PartialState

from modeling_comicseq.stores.arrays import metadata_beside

from ..training.processes import ranks


def same_files(first: Path, second: Path) -> bool:
    """Whether two stores and their metadata are equal byte by byte."""
    files = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (first, second)]
    metadata = [Path(metadata_beside(str(path))).read_bytes() for path in (first, second)]
    return (
        files[0] == files[1]
        and not any(filecmp.cmpfiles(first, second, files[0], shallow=False)[1:])
        and metadata[0] == metadata[1]
    )


def work_until(step: int, steps, work: Callable[[], object], environment: dict[str, str]) -> None:
    """Works, counting everything that is done to files, and kills itself before the given step of all processes."""
    os.environ |= environment
    PartialState._reset_state()  # the parent's
    torch.set_num_threads(1)

    def count(*_: object) -> None:
        with steps.get_lock():
            done, steps.value = steps.value, steps.value + 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple) -> None:
        if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
            count()

    class HalfByHalf:
        """A file whose bytes come to the disk in two steps."""

        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            data = memoryview(data).cast("B")
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            count()
            self.file.write(data[len(data) // 2 :])
            self.file.flush()
            count()
            return len(data)

    opened = io.open

    def open_by_halves(file, mode="r", *rest, **more):
        found = opened(file, mode, *rest, **more)
        return HalfByHalf(found) if mode == "wb" else found

    io.open = builtins.open = open_by_halves  # zarr writes through the one, fsspec through the other
    sys.addaudithook(audit)
    work()
    os._exit(0)


class Children:
    """Work in one or more processes that were forked from this one, which has imported everything."""

    def __init__(self, work: Callable[[], object], processes: int = 1):
        self.work, self.processes = work, processes

    def run(self, step: int = -1, kill_all: bool = True) -> list[int]:
        """Exit codes; the process that comes to `step` is killed there, and the others with it or left to themselves."""
        fork = multiprocessing.get_context("fork")
        self.steps = fork.Value("i")  # anew: who is killed while it counts keeps the lock of the last one
        common = (step, self.steps, self.work)
        started = [
            fork.Process(target=work_until, args=(*common, environment))
            for environment in ([{}] if self.processes == 1 else ranks(self.processes))
        ]
        for process in started:
            process.start()
        if kill_all and step >= 0:
            wait([process.sentinel for process in started], 120)
            for process in started:
                process.kill()
        for process in started:
            process.join(120)
        codes = [process.exitcode for process in started]
        for process in started:
            process.kill()
        assert None not in codes, "a process waits for ever for one that was killed"
        return codes
