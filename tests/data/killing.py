"""Kills a conversion, whichever of its processes is at work, before a given change to its files."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from modeling_comicseq.data import conversion


def watch(folder: str, step: int, steps: Any, main_process: int) -> None:
    """Counts every file below `folder` that this process opens to write, renames or removes; at `step` all is over."""

    def count(event: str, arguments: tuple) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove")):
            return
        if not str(arguments[0]).startswith(folder):
            return
        with steps.get_lock():
            number, steps.value = steps.value, steps.value + 1
        if number == step:
            os.kill(main_process, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def start_worker(folder: str, step: int, steps: Any, main_process: int, counter: Any) -> None:
    watch(folder, step, steps, main_process)
    conversion._start_worker(counter)


def convert_until(step: int, steps: Any, folder: Path, **arguments: Any) -> None:
    """Converts in two processes and is killed at `step`; what a forked process does."""
    # The workers come from the fork server that is there: a new one would have to import everything.
    multiprocessing.forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    watched = (str(folder), step, steps, os.getpid())
    conversion._start_worker = partial(start_worker, *watched)
    watch(*watched)
    conversion.convert_store(**arguments, num_proc=2, progress=False)
    os._exit(0)
