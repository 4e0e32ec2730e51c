"""Reading a store block by block, ahead of the work on the blocks."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ..stores.stage3 import Block, Stage3Store

__all__ = ["BlockReader"]

# Source bytes of a block, all arrays together. Small, since several blocks are in memory at once; not smaller, since each
# becomes a batch of every split, and whoever opens the data set reads the head of every batch.
_BLOCK_BYTES = 48 << 20
_AHEAD = 3  # blocks: while the last chunks of one are decoded, there is work for the other cores


class BlockReader:
    """Reads blocks of whole rows in threads, some ahead of the one that is worked on, in memory that it uses again.

    Args:
        store: The store.
        window: Most panels of a row of the data set.
        stride: Panels between the starts of two windows.
    """

    def __init__(self, store: Stage3Store, window: int, stride: int):
        self.store = store
        # Overlapping windows write a panel several times: such blocks are smaller by as much.
        copies = -(-window // stride) if store.slots > window else 1
        self._rows = store.chunk_rows * max(1, _BLOCK_BYTES // (copies * store.bytes_per_page * store.chunk_rows))
        # One more for the block in work: no read gets it before that is done.
        self._buffers = itertools.cycle([store.new_buffers(min(self._rows, store.pages)) for _ in range(_AHEAD + 1)])
        self._threads = ThreadPoolExecutor(_AHEAD)
        self._started: deque[tuple[tuple[int, int], Future]] = deque()

    def bounds(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """First row and row after the last of the blocks of rows lo to hi; lo is at the start of a chunk."""
        return [(start, min(hi, start + self._rows)) for start in range(lo, hi, self._rows)]

    def start(self, bounds: Iterable[tuple[int, int]]) -> None:
        """Starts to read the first of these blocks, which `read` will most likely be asked for."""
        for block in itertools.islice(bounds, _AHEAD - len(self._started)):
            self._started.append((block, self._threads.submit(self.store.read, *block, next(self._buffers))))

    def read(self, bounds: Sequence[tuple[int, int]]) -> Iterator[Block]:
        """Yields these blocks; each is valid until the next one is asked for."""
        if [block for block, _ in self._started] != list(bounds[: len(self._started)]):  # started for nothing
            wait([read for _, read in self._started])
            self._started.clear()
        waiting = iter(bounds[len(self._started) :])
        self.start(waiting)
        while self._started:
            block = self._started.popleft()[1].result()
            self.start(waiting)
            yield block
