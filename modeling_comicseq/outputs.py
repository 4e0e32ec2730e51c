"""Checks of what is to be written, before any work: that it can be, and that nothing of value is lost by it."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from .disk_faults import disk_faults
from .errors import ComicSeqDataError
from .urls import file_system, local_path, refuse_url


def check_output(
    output: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str] | None] = (),
    overwrite: bool | None = False,
    *,
    folder: bool = False,
    remote: bool = False,
    is_own: Callable[[Path], bool] | None = None,
) -> None:
    """Checks, before any work, that `output` can be written and that nothing of value is lost by it.

    Args:
        output: File or folder that is to be made; of a URL only its name is compared with the inputs.
        inputs: What is read: files, folders, names on the Hub, URLs, None.
        overwrite: Whether something that is there already may be replaced; None where nobody can say so.
        folder: Whether a folder is to be made.
        remote: Whether it may be a URL.
        is_own: Tells of an existing output whether this command made it, so that it can be made again without
            `overwrite`.

    Raises:
        ComicSeqArgumentError: `output` is a URL and must not be.
        ComicSeqDataError: `output` is, holds or lies in one of the inputs; is something that is not to be overwritten; or
            cannot be written.
    """
    path = local_path(output)
    for given in inputs:
        if given is not None and not os.fspath(given):
            raise ComicSeqDataError("The name of an input is empty: name a file, a folder or a URL.")
        place = None if given is None else local_path(given)
        if path is None or place is None:
            if given is not None and os.fspath(output).rstrip("/") == os.fspath(given).rstrip("/"):
                raise ComicSeqDataError(f"The output {output} is one of the inputs: name another output.")
        elif os.path.exists(place):  # False for a name that is too long, too
            how = _relation(path, place)
            if how is not None:
                raise ComicSeqDataError(f"The output {output} {how} the input {given}: name another output.")
    if remote:
        file_system(os.fspath(output))
    else:
        refuse_url(output)
    if path is None:
        return
    with disk_faults(output, "nothing was begun"):
        if path.is_dir() and not folder:
            raise ComicSeqDataError(f"{output} is a folder: name a file to write.")
        if os.path.lexists(path) and not path.is_dir() and (folder or not path.is_file()):
            what = "is a file: name a folder to create" if path.is_file() else "is no plain file: name another output"
            raise ComicSeqDataError(f"{output} {what}.")
        nearest = next((parent for parent in [*path.parents, path] if parent.exists()), None)
        if nearest is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if not nearest.is_dir():
            raise ComicSeqDataError(f"{output} cannot be made: {nearest} is a file; name another output.")
        if path.is_dir() and (os.path.ismount(path) or not os.access(nearest, os.W_OK)):
            raise ComicSeqDataError(
                f"{output} is a whole drive, or lies in a folder that cannot be written to, so that nothing can be put in"
                " its place: name a folder in it."
            )
        try:
            if path.exists() and not os.access(path, os.W_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            tempfile.TemporaryFile(dir=nearest).close()
        except OSError as error:
            raise OSError(error.errno, error.strerror) from error
        is_empty = not path.exists() or not (any(path.iterdir()) if path.is_dir() else path.stat().st_size)
        if not is_empty and not overwrite and not (is_own is not None and is_own(path)):
            what, remedy = "folder" if folder else "file", "remove it" if overwrite is None else "give --overwrite"
            raise ComicSeqDataError(f"{output} exists: name another {what}, or {remedy}.")


def check_report(
    folder: str | os.PathLike[str],
    names: Sequence[str],
    words: Sequence[str],
    inputs: Iterable[str | os.PathLike[str]],
) -> None:
    """Checks, before any work, that a command can write its files into a folder, beside whatever else is in it.

    Args:
        folder: The folder; the command's own files of an earlier run may be in it.
        names: The files, the first of them JSON.
        words: What the beginning of that one holds, if this command made them.
        inputs: As in `check_output`.

    Raises:
        ComicSeqDataError: A file is one of the inputs, of other origin, or cannot be written.
    """
    is_own, inputs = has_words(*words), list(inputs)
    for name in names:
        check_output(Path(folder, name), inputs, None, is_own=lambda _: is_own(Path(folder, names[0])))


def has_words(*words: str) -> Callable[[Path], bool]:
    """Tells of a file whether all of these words stand in its beginning, by which a command knows what it made."""

    def is_own(path: Path) -> bool:
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            beginning = file.read(1 << 16)
            return all(word in beginning for word in words)
        return False

    return is_own


def _relation(path: Path, place: Path) -> str | None:
    """How an output lies to an input that exists; None if they are apart."""

    def is_same(one: Path, other: Path) -> bool:
        with suppress(OSError):
            return os.path.samefile(one, other)
        return False

    if is_same(path, place):
        return "is"
    if any(is_same(parent, place) for parent in path.parents):
        return "lies in"
    if any(is_same(path, parent) for parent in place.parents):
        return "holds"
    return None
