"""A file that is written past the page cache, where the system can."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path

_BLOCK = 4 << 20
_ALIGNMENT = 4096  # what O_DIRECT asks of places and sizes, on any disk


class UnbufferedFile(io.RawIOBase):
    """A new file whose bytes go to the disk some MiB at a time, and are all there when it is closed.

    The output of a conversion can be larger than memory. Through the page cache, all of it would be copied to fresh memory, which
    costs more time than the writing, and would drive out what others keep there.

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
        self._block = mmap.mmap(-1, _BLOCK)  # aligned to a page
        self._filled = 0

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _BLOCK):
            self._append(view[start : start + _BLOCK])
        return len(view)

    def _append(self, part: memoryview) -> None:
        first = min(len(part), _BLOCK - self._filled)
        self._block[self._filled : self._filled + first] = part[:first]
        self._filled += first
        if self._filled == _BLOCK:
            self._write_block(_BLOCK)
            rest = len(part) - first
            self._block[:rest] = part[first:]
            self._filled = rest

    def _write_block(self, size: int) -> None:
        with memoryview(self._block) as block:
            done = 0
            while done < size:
                done += os.write(self._file, block[done:size])

    def close(self) -> None:
        if self.closed:
            return
        try:
            padded = -(-self._filled // _ALIGNMENT) * _ALIGNMENT
            self._write_block(padded)
            os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR) - padded + self._filled)
            os.fsync(self._file)
        finally:
            os.close(self._file)
            super().close()
