"""Work that several processes share, which end with the one that started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, parent_process
from multiprocessing.connection import wait
from typing import Any, TypeVar

from ..errors import ComicSeqDataError

_Item = TypeVar("_Item")


def in_processes(
    function: Callable[[_Item], Any], items: Sequence[_Item], num_proc: int
) -> Iterator[tuple[_Item, Any]]:
    """Each item and what the function makes of it, as they are finished; with one process, here and in order.

    Args:
        function: A function of a module, or a `partial` of one.
        items: The items.
        num_proc: Processes.

    Raises:
        ComicSeqDataError: A process was ended from outside. What the function raises is raised as it is.
    """
    if num_proc == 1:
        yield from ((item, function(item)) for item in items)
        return
    others = set(active_children())
    with ProcessPoolExecutor(min(num_proc, max(len(items), 1)), initializer=_start_worker) as pool:
        futures = {pool.submit(function, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            for process in set(active_children()) - others:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise ComicSeqDataError(
                    "a worker process was ended from outside, perhaps for lack of memory: run the same command with a"
                    " smaller --num-proc."
                ) from None
            raise


def _start_worker() -> None:
    """A worker leaves Ctrl-C to the process that started it, and ends with that one, however it ends."""

    def end() -> None:
        wait([parent_process().sentinel])  # type: ignore[union-attr]
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what is imported from here on
    if torch := sys.modules.get("torch"):  # its threads did not come along
        torch.set_num_threads(1)
    threading.Thread(target=end, daemon=True).start()
