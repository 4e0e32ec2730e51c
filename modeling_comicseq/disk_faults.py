"""What goes wrong with a disk while something is written, in one sentence."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ComicSeqDataError, ComicSeqError

NOTHING = "nothing of it was left behind, and what was there before is unchanged"
# What can go wrong with a disk, in words, and what to do. Only these are sure to be about the disk, whatever library
# wrote: those in Rust and C++ raise exceptions of their own, which only quote the system's text.
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk failed",
    errno.EFBIG: "the file is too large for this file system",
}
_BARRED = {
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
    errno.ENOTDIR: "a file stands where its folder should be",
    errno.EISDIR: "a folder stands in its place",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EBUSY: "something else has hold of it",
    errno.ELOOP: "its links lead in a circle",
    errno.ENODEV: "the drive is gone",
    errno.ENXIO: "the drive is gone",
    errno.ENOTCONN: "the drive is gone",
    errno.ESTALE: "the drive is gone",
}


class _DiskFault(ComicSeqDataError):
    """What went wrong with the disk, in words, as `what`: who writes a whole folder says it of the folder."""

    what = ""


@contextmanager
def disk_faults(place: str | os.PathLike[str], remains: str = NOTHING) -> Iterator[None]:
    """Turns what goes wrong with the disk while the block writes `place` into one sentence.

    Args:
        place: The file or folder that is written, as the user named it.
        remains: What is on the disk when writing broke off.

    Raises:
        ComicSeqDataError: The disk is full, read-only, gone or barred. Errors of other kinds, and those that are about
            reading another file, stay as they are.
    """
    try:
        yield
    except Exception as error:
        what = error.what if isinstance(error, _DiskFault) else _disk_fault(error, Path(place))
        if what is None:
            raise
        remedy = "free some space" if "full" in what or "quota" in what else "mend that"
        fault = _DiskFault(
            f"{place} cannot be written: {what}; {remains}. {remedy.capitalize()}, or name another output, and run the"
            " same again."
        )
        fault.what = what
        raise fault from error


def _disk_fault(error: Exception, place: Path) -> str | None:
    """What went wrong with the disk, in words; None if it is nothing of the kind, or not about writing `place`."""
    if isinstance(error, ComicSeqError):
        return None
    if not isinstance(error, OSError) or error.errno is None:
        if isinstance(error.__cause__, OSError):
            return _disk_fault(error.__cause__, place)
        if rust := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors, whose files are new ones
            return (_FULL | _BARRED).get(int(rust[1]))
        return next((what for code, what in _FULL.items() if os.strerror(code) in str(error)), None)
    if error.filename is None or isinstance(error.filename, int):
        return (_FULL | _BARRED).get(error.errno)
    written = error.filename2 or error.filename  # a copy names what is copied, too
    file, path = (Path(os.path.realpath(os.fsdecode(each))) for each in (written, place))
    if file.is_relative_to(path.parent) or path.is_relative_to(file):
        return (_FULL | _BARRED).get(error.errno)
    return f"{_FULL[error.errno]} ({error.filename})" if error.errno in _FULL else None
