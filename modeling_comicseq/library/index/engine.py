"""LanceDB as the index uses it: opened, and what it raises told in one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import orjson

from ...disk_faults import disk_faults
from ...errors import ComicSeqDataError, in_words
from ...urls import is_url, local_path

__all__ = [
    "ABOUT",
    "PANELS",
    "STRIPS",
    "connect",
    "engine_faults",
    "kept_by_updates",
    "named",
    "quote",
    "read_about",
    "valid",
    "write_about",
]

STRIPS, PANELS, ABOUT = "strips", "panels", "about"
_LONGEST = 300  # characters of what the engine says


def connect(place: str) -> Any:
    """The database in a local folder or under a URL such as `s3://bucket/name`.

    Raises:
        ComicSeqDataError: LanceDB is not installed, or does not know such a URL.
    """
    if find_spec("lancedb") is None:
        raise ComicSeqDataError("an index needs LanceDB: install it with `pip install 'comicseq[search]'`")
    os.environ.setdefault("LANCEDB_LOG", "error")  # its warnings are for those who program it
    import lancedb

    with engine_faults(place):
        return lancedb.connect(place if is_url(place) else str(local_path(place)))


def quote(text: str) -> str:
    """A text as SQL has it, whatever it holds; half a surrogate pair, which the engine does not take, is a question mark."""
    return "'" + valid(text).replace("'", "''") + "'"


def named(text: str) -> str:
    """A text as a message quotes it: its beginning, with nothing that moves the cursor."""
    shown = repr(text[:200])
    return shown if len(text) <= 200 and len(shown) <= 210 else shown[:150] + "…'"


def valid(text: str) -> str:
    """A text as valid Unicode."""
    return text.encode(errors="replace").decode()


@contextmanager
def engine_faults(place: str) -> Iterator[None]:
    """Turns what the engine raises while the block reads `place` into one sentence.

    Raises:
        ComicSeqDataError: The index is damaged, or cannot be reached.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        if isinstance(error, ComicSeqDataError) or type(error).__module__.startswith("modeling_comicseq"):
            raise
        remedy = (
            "check the URL and your rights" if is_url(place) else "make it again with `comicseq index --overwrite`"
        )
        raise ComicSeqDataError(f"{place} cannot be read ({said(error)}); {remedy}") from error


@contextmanager
def writing_faults(place: str, remains: str) -> Iterator[None]:
    """Turns what goes wrong while the block writes `place` into one sentence.

    Raises:
        ComicSeqDataError: The disk fails, or what stands behind the URL refuses.
    """
    try:
        with disk_faults(place, remains):
            yield
    except (ValueError, RuntimeError, OSError) as error:
        if type(error).__module__.startswith("modeling_comicseq"):
            raise
        remedy = "check the URL and your rights" if is_url(place) else "mend that, or name another output"
        raise ComicSeqDataError(f"{place} cannot be written ({said(error)}); {remains}; {remedy}") from error


def said(error: BaseException) -> str:
    """What the engine says, on one line, without the names of its own files."""
    text = re.sub(r",?\s*/\S+\.rs:\d+(:\d+)?", "", in_words(error))
    text = re.sub(r"\b[A-Z]\w*(Error|Exception):? ?", "", text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def read_about(database: Any) -> dict[str, Any] | None:
    """What an index says of itself; None where there is none."""
    if ABOUT not in database.list_tables().tables:
        return None
    rows = database.open_table(ABOUT).to_arrow()["about"].to_pylist()
    return orjson.loads(rows[0]) if rows else None


def kept_by_updates(about: dict[str, Any]) -> dict[str, Any]:
    """What an index says of itself that no update changes, by what people call it: its space and its columns."""
    return {
        "model": about["model"] and about["model"].get("fingerprint"),
        "origin": about["origin"],
        "width": about["store"]["width"],
        "stage": about["store"]["stage"],
        "fields of the metadata": about["columns"],
        "Stage 3 store": about["embeddings"] and {**about["embeddings"], "url": None},
        "picture size": about["picture_size"],
        "format": about["format"],
    }


def write_about(database: Any, about: dict[str, Any]) -> None:
    """Says it, in one step that is done or not."""
    import pyarrow as pa

    table = pa.table({"about": pa.array([orjson.dumps(about).decode()])})
    database.create_table(ABOUT, table, mode="overwrite")
