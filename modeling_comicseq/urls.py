"""URLs and local paths: which of the two a text is, and the file system behind it."""

import os
import re
from pathlib import Path
from textwrap import shorten
from typing import Any

import fsspec

from .errors import ComicSeqArgumentError, ComicSeqDataError, in_words


def is_url(path: str) -> bool:
    """Whether `path` is an fsspec URL and no local path."""
    return "://" in path or "::" in path


def refuse_url(output: str | os.PathLike[str]) -> None:
    """Raises a `ComicSeqArgumentError` where an output that must be local is a URL, of which `Path` takes a slash."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|.*::", os.fspath(output)):
        raise ComicSeqArgumentError(
            f"The output {output} is a URL: name a local path, and upload what was written there."
        )


def local_path(path: str | os.PathLike[str]) -> Path | None:
    """The local path without links; None for a URL."""
    text = re.sub("^(file|local)://", "", os.fspath(path))
    if "://" in text or "::" in text:
        return None
    try:
        return Path(os.path.realpath(text))
    except ValueError:
        raise ComicSeqDataError(f"{text!r} is no path: it holds a null character.") from None


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
