"""Files and folders that appear complete or not at all: written beside their place, then renamed."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any

import fsspec
from filelock import FileLock, Timeout

from .errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError, did_you_mean, in_words

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
    path = _local(output)
    for given in inputs:
        if given is not None and not os.fspath(given):
            raise ComicSeqDataError("The name of an input is empty: name a file, a folder or a URL.")
        place = None if given is None else _local(given)
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


def _local(path: str | os.PathLike[str]) -> Path | None:
    """The local path without links; None for a URL."""
    text = re.sub("^(file|local)://", "", os.fspath(path))
    if "://" in text or "::" in text:
        return None
    try:
        return Path(os.path.realpath(text))
    except ValueError:
        raise ComicSeqDataError(f"{text!r} is no path: it holds a null character.") from None


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


def lock_file(place: str | os.PathLike[str]) -> Path:
    """The file that is there while `place` is locked, or was when a process was killed."""
    path = Path(os.path.realpath(place))
    return path.with_name(f".{path.name[:48]}.lock")


@contextmanager
def locked(place: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other processes away from a local file or folder, which need not exist, by a lock file beside it.

    The lock ends with the process, however that ends; its file is removed with it, unless the process is killed.

    Raises:
        ComicSeqDataError: Another process has the lock.
    """
    file = lock_file(place)
    with disk_faults(place):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(file, timeout=0).acquire()
        except Timeout:
            raise ComicSeqDataError(
                f"another process is writing {place}: wait for it, or name another output."
            ) from None
    with lock:
        try:
            yield
        finally:
            # While it is held: `FileLock` sees that a file that it waited for has gone, and starts over.
            with suppress(OSError):
                file.unlink()


@contextmanager
def written_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `output` to write to, which takes its place when the block ends without an error.

    Args:
        output: The folder to create. Where it is a link, the folder that it leads to is made, on its own disk.
        overwrite: Whether an existing folder is replaced.

    Raises:
        ComicSeqDataError: `output` is a file, or a folder that is not empty and not to be overwritten; another process
            is making it; or the disk fails.
    """
    path = Path(os.path.realpath(output))
    with disk_faults(output), locked(output):
        check_output(output, overwrite=overwrite, folder=True)
        # In a folder of its own, so that code can take the name of the written folder for that of the model.
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name[:48]}-", dir=path.parent))
        try:
            folder = beside / path.name
            folder.mkdir()
            yield folder
            put_in_place(folder, path, beside / "replaced")
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def put_in_place(folder: Path, output: Path, replaced: Path) -> None:
    """Moves a finished folder to `output`; what is there goes to `replaced`, and comes back if that fails."""
    try:
        if output.is_dir():
            os.replace(output, replaced)
        os.replace(folder, output)
    except BaseException:
        if replaced.is_dir() and not output.exists():
            os.replace(replaced, output)
        raise


@contextmanager
def written_file(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends without an error.

    Args:
        path: The file to create or replace; its folder is created. Where it is a link, the file that it leads to.

    Raises:
        ComicSeqDataError: The disk fails.
    """
    with disk_faults(path):
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name[:48]}.{os.getpid()}.partial")
        try:
            yield beside
            os.replace(beside, path)
        finally:
            with suppress(OSError):
                beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, complete or not at all."""
    with written_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON, complete or not at all; NaN and infinity, which JSON has not, are an error."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def check_not_mistyped(name: str, what: str) -> None:
    """Refuses a local path at which nothing is, before the Hub is asked for it: without a network, that takes long.

    A path is what no name on the Hub looks like, and what stands in a folder that is here. A model in the Hub's cache
    keeps its name even where a folder here is called like its owner.

    Args:
        name: A local path, or the name of something on the Hub.
        what: What to name instead, for the message.

    Raises:
        ComicSeqDataError: It is a path, and nothing is there.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    path = Path(name)
    if os.path.exists(path):
        return
    is_path = name.count("/") > 1 or name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name
    if "/" in name and not is_path and path.parent.is_dir():
        is_path = not any(Path(HF_HUB_CACHE).glob(f"*--{name.replace('/', '--')}"))
    if is_path:
        beside = {each.name for each in path.parent.iterdir()} if path.parent.is_dir() else set()
        raise ComicSeqDataError(f"There is no {name}: name {what}{did_you_mean(path.name, beside)}.")


def find_file(name: str, file: str) -> Path | None:
    """A file of a model, which is a folder or on the Hub, in its cache; None where it has none or cannot be reached."""
    from transformers.utils.hub import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(name, file, **quiet)
    return None if path is None else Path(path)


def is_url(path: str) -> bool:
    """Whether `path` is an fsspec URL and no local path."""
    return "://" in path or "::" in path


def refuse_url(output: str | os.PathLike[str]) -> None:
    """Raises a `ComicSeqArgumentError` where an output that must be local is a URL, of which `Path` takes a slash."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|.*::", os.fspath(output)):
        raise ComicSeqArgumentError(
            f"The output {output} is a URL: name a local path, and upload what was written there."
        )


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a local path or URL, and the path in it.

    Raises:
        ComicSeqDataError: There is no such kind of URL, what reads it is not installed, or it cannot be reached.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        found, remedy = f"what reads it is not installed: {error}", "install that with pip, or name a local path"
    except ValueError as error:
        found, remedy = str(error), "name a local path, or a URL such as s3://bucket/name or https://host/name"
    except Exception as error:  # fsspec's back ends each have exceptions of their own
        found, remedy = in_words(error), "check the URL and the network"
    raise ComicSeqDataError(f"{url} cannot be opened ({shorten(found, 200)}); {remedy}")
