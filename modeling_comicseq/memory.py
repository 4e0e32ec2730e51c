"""Memory that was freed, and that the C library keeps."""

import ctypes
import sys
from contextlib import suppress


def return_freed_memory() -> None:
    """Gives freed memory back to the system.

    glibc keeps it in pools, which are cut up by and by, so that long work takes more and more, though it holds no more.
    Where the C library is another one, nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
