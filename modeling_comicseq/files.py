"""Files and folders that appear complete or not at all: locked, written beside their place, then renamed."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .disk_faults import disk_faults
from .errors import ComicSeqDataError
from .outputs import check_output


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
