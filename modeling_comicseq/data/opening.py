"""Opens a split of a data set that `comicseq convert` wrote."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from textwrap import shorten

import numpy as np
from datasets import Dataset, load_from_disk

from ..errors import ComicSeqDataError, ComicSeqError
from ..stores.names import respelled
from ..stores.provenance import PROVENANCE_FILE, read_provenance
from ..stores.twins import HOW, has_twin
from ..urls import is_url
from .panels import PanelTable

logger = logging.getLogger(__name__)

NEEDED_COLUMNS = ("panel_embeddings", "num_panels", "book_id", "page_index", "window_start")


def open_arrow(folder: str | os.PathLike[str]) -> Dataset | None:
    """The data set that `save_to_disk` wrote into a folder, None for one without a row.

    Raises:
        ComicSeqDataError: If a file is absent or damaged.
    """
    try:
        dataset = load_from_disk(str(folder))
        # Flipped bytes may send what reads the lists beyond the end of the file, and the process is gone.
        dataset.data.table.validate(full=True)
    except IndexError:  # what `save_to_disk` writes for no row
        return None
    except Exception as error:  # Arrow, `datasets` and JSON each have exceptions of their own
        raise ComicSeqDataError(f"{folder} cannot be read ({shorten(str(error), 200)}): make it anew.") from None
    return dataset if len(dataset) else None


def splits_of(folder: str) -> list[str]:
    """The names of the splits of the data set in `folder`.

    Raises:
        ComicSeqDataError: If `folder` is no data set.
    """
    try:
        return list(json.loads((Path(folder) / "dataset_dict.json").read_text())["splits"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        remedy = "name the folder that `comicseq convert --output` wrote"
        if is_url(folder):
            remedy = "it is a URL, download it and name the local folder"
        if (Path(folder) / "state.json").is_file():
            remedy = f"it is a single split, name the folder above it, {Path(folder).absolute().parent}"
        elif below := next(Path(folder).glob("*/dataset_dict.json"), None):
            remedy = f"did you mean {below.parent}"
        raise ComicSeqDataError(f"{folder} is no data set: {remedy}.") from None


def open_split(folder: str, split: str) -> PanelTable:
    """The panels of one split of the data set in `folder`.

    Raises:
        ComicSeqDataError: If `folder` is no such data set, is damaged, or has no such split or no page in it.
    """
    splits = splits_of(folder)
    if split not in splits:
        raise ComicSeqDataError(f"{folder} has no split {split!r} but {', '.join(splits)}: name one of them.")
    dataset = open_arrow(Path(folder) / split)
    rows = 0 if dataset is None else len(dataset)
    # Arrow takes a file that ends between two of its parts for a whole one.
    counts = read_provenance(folder).get("counts", {}) if (Path(folder) / PROVENANCE_FILE).is_file() else {}
    stated = counts.get(split, {}).get("rows", rows)
    if rows != stated:
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} has {rows:,} rows, but its {PROVENANCE_FILE} says {stated:,}: convert the"
            " store again."
        )
    if dataset is None:
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} holds no page: convert more books, or give it a larger share by"
            " `comicseq convert --fractions`."
        )
    missing = [column for column in NEEDED_COLUMNS if column not in dataset.column_names]
    if missing:
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} has no column `{missing[0]}`: convert the store with `comicseq convert`."
        )
    try:
        table = PanelTable(dataset)
    except ComicSeqError as error:
        raise ComicSeqDataError(f"The split {split!r} of {folder}: {error}") from None
    except Exception as error:  # columns of other types, or with nulls
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} is no data set of panels ({shorten(str(error), 200)}): convert the store"
            " with `comicseq convert`."
        ) from None
    for name, earlier in list(respelled(table.book_ids.tolist()).items())[:1]:
        logger.warning(
            f"The split {split!r} of {folder} takes {earlier!a} and {name!a} for two books, but they are spellings of one:"
            " convert the store again with this version."
        )
    return table


def training_split(folder: str, split: str) -> PanelTable | None:
    """The train split of the data set in `folder`; None where that is `split` itself, or cannot be had."""
    try:
        return None if split == "train" else open_split(folder, "train")
    except ComicSeqDataError:
        return None


def tell_twins(table: PanelTable, where: str) -> str | None:
    """A sentence about the pages of a table that stand twice; None where there are none."""
    twice = has_twin(table.twins)
    if not twice.any():
        return None
    copy = int(np.flatnonzero(table.twins != np.arange(len(twice)))[0])
    names = table.page_names
    return (
        f"{twice.sum():,} pages of {where} stand twice ({HOW}), as {names[table.twins[copy]]!r} and {names[copy]!r}: none is a"
        " wrong candidate for a question about the other, and in retrieval they are one."
    )
