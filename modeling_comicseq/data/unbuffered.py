"""A file that is written past the page cache, where the system can."""

from __future__ import annotations

import io
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

_BLOCK = 4 << 20
_BLOCKS = 3  # all but one can be on their way to the disk, which takes several at a time
_ALIGNMENT = 4096  # what O_DIRECT asks of places and sizes, on any disk


class UnbufferedFile(io.RawIOBase):
    """A new file whose bytes go to the disk some MiB at a time, and are all there when it is closed.

    The output of a conversion can be larger than memory. Through the page cache, all of it would be copied to fresh memory,
    which costs more time than the writing, and would drive out what others keep there. The disk is written to in threads:
    whoever calls `write` only waits where the disk is behind.

    Args:
        path: The file; one of that name is emptied.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.name = str(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            self._file = os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o666)
        except OSError:  # a file system in memory has nothing to go past
            self._file = os.open(path, flags, 0o666)
        self._blocks = deque(_aligned_block() for _ in range(_BLOCKS))  # the first one is being filled
        self._filled = self._offset = 0
        self._threads = ThreadPoolExecutor(_BLOCKS - 1)
        self._writes: deque[Future] = deque()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        source = np.frombuffer(data, np.uint8)
        rest = source
        while len(rest):
            part = rest[: _BLOCK - self._filled]
            # NumPy copies without the interpreter's lock.
            self._blocks[0][self._filled :][: len(part)] = part
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == _BLOCK:
                self._hand_over(_BLOCK)
        return len(source)

    def _hand_over(self, size: int) -> None:
        """Has the filled block written, and waits for the next one to be free."""
        self._writes.append(self._threads.submit(self._write_block, self._blocks[0], size, self._offset))
        self._offset, self._filled = self._offset + size, 0
        self._blocks.rotate(-1)
        if len(self._writes) == _BLOCKS:
            self._writes.popleft().result()

    def _write_block(self, block: np.ndarray, size: int, offset: int) -> None:
        done = 0
        while done < size:
            done += os.pwrite(self._file, block[done:size].data, offset + done)

    def close(self) -> None:
        if self.closed:
            return
        size = self._offset + self._filled
        try:
            self._hand_over(-(-self._filled // _ALIGNMENT) * _ALIGNMENT)
            for write in self._writes:
                write.result()
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        finally:
            self._threads.shutdown()
            os.close(self._file)
            super().close()


def _aligned_block() -> np.ndarray:
    memory = np.empty(_BLOCK + _ALIGNMENT, np.uint8)
    return memory[-memory.ctypes.data % _ALIGNMENT :][:_BLOCK]
