"""Files and folders that appear complete or not at all: written beside their place, then renamed."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ComicSeqDataError


@contextmanager
def written_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `output` to write to, which takes its place when the block ends without an error.

    Args:
        output: The folder to create.
        overwrite: Whether an existing folder is replaced.

    Raises:
        ComicSeqDataError: `output` is a file, or a folder that is not empty and not to be overwritten.
    """
    if output.is_file():
        raise ComicSeqDataError(f"{output} is a file: name a folder to create.")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise ComicSeqDataError(f"{output} exists: name another folder, or give --overwrite.")
    output.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own, so that code can take the name of the written folder for that of the model.
    beside = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        folder = beside / output.name
        folder.mkdir()
        yield folder
        if output.is_dir():
            os.replace(output, beside / "replaced")
        os.replace(folder, output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def written_file(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends without an error.

    Args:
        path: The file to create or replace; its folder is created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, complete or not at all."""
    with written_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON, complete or not at all; NaN and infinity, which JSON has not, are an error."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def find_file(name: str, file: str) -> Path | None:
    """A file of a model, which is a folder or on the Hub, in its cache; None where it has none or cannot be reached."""
    from transformers.utils.hub import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(name, file, **quiet)
    return None if path is None else Path(path)
