"""Makes a store part by part, in one process or in several that `accelerate launch` has started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import zarr
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from rich.console import Console

from ..disk_faults import disk_faults
from ..memory import return_freed_memory
from ..progress import progress_bar
from ..stores.arrays import Layout, Part, open_for_writing
from ..stores.output import PartialStore

__all__ = ["Processes", "Work"]

# Processes wait for each other only before and after the work, but the last may need much longer than the first.
_PATIENCE = timedelta(days=7)
# Is given the parts to make, the arrays, and what moves the progress bar on by a number of pages; yields each part with a
# function that writes it and returns what is to be noted of it.
Work = Callable[
    [Sequence[Part], Mapping[str, zarr.Array], Callable[[int], None]],
    Iterator[tuple[Part, Callable[[], dict[str, Any]]]],
]


class Processes:
    """The processes that make a store together; the main one prepares it and puts it in place.

    Args:
        progress: Whether to show how far the work is.
    """

    def __init__(self, progress: bool):
        use_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
        self._state = PartialState(cpu=use_cpu, timeout=_PATIENCE)
        self.is_shown = progress and self.is_main
        self.console = Console(stderr=True, quiet=not self.is_shown, soft_wrap=True, markup=False)

    @property
    def is_main(self) -> bool:
        """Whether this is the main process."""
        return self._state.is_main_process

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._state.device

    def wait(self) -> None:
        """Waits until all processes are here."""
        self._state.wait_for_everyone()

    def is_done(self, place: PartialStore, overwrite: bool) -> bool:
        """Whether the store is complete and made from the same input; says so.

        Raises:
            ComicSeqDataError: Something else is in its place, and `overwrite` does not say to replace it.
        """
        is_done = place.is_done(overwrite)
        self.wait()  # nobody changes the output before all have seen it
        if is_done:
            self.console.print(f"{place.target} is already done for this input: nothing to do")
            if self.is_main and place.has_leftover():
                with place.locked():
                    place.remove_leftover()
        return is_done

    @contextmanager
    def at_work(self, place: PartialStore) -> Iterator[None]:
        """Keeps other commands away from the output."""
        with place.locked() if self.is_main else disk_faults(place.target):
            yield

    def write_parts(self, place: PartialStore, layout: Layout, what: str, work: Work) -> None:
        """Makes all parts that are not finished, each process a run of them.

        Args:
            place: Where the store is made.
            layout: Its arrays.
            what: What is done, for the progress bar.
            work: Makes parts. Each is written while the next one is made.
        """
        if self.is_main:
            place.prepare(layout)
        self.wait()
        finished, parts = place.finished_parts(), list(layout.parts())
        if finished:
            self.console.print(f"{len(finished)} of {len(parts)} parts are finished from an earlier run")
        left = [part for part in parts if part.number not in finished]
        count, rank = self._state.num_processes, self._state.process_index
        # A run of parts for each process; none has more than one part more than another.
        todo = left[len(left) * rank // count : len(left) * (rank + 1) // count]
        self.wait()  # all have counted the same
        arrays = open_for_writing(place.root, layout.arrays)
        # The bar shows how far this process is; the others have equal shares.
        what += f" (process 1 of {count})" if count > 1 else ""
        total = sum(part.hi - part.lo for part in todo)
        with progress_bar(what, total, self.is_shown) as advance, ThreadPoolExecutor(1) as thread:

            def finish(part: Part, write: Callable[[], dict[str, Any]]) -> None:
                place.finish_part(part.number, write())

            written = None
            for part, write in work(todo, arrays, advance):
                if written:
                    written.result()
                written = thread.submit(finish, part, write)
                return_freed_memory()
            if written:
                written.result()
        self.wait()
