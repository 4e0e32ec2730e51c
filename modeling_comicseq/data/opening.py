"""Opens a split of a data set that `comicseq convert` wrote."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from datasets import load_from_disk

from ..errors import ComicSeqDataError
from ..stores.names import respelled
from .panels import PanelTable

logger = logging.getLogger(__name__)

NEEDED_COLUMNS = ("panel_embeddings", "num_panels", "book_id", "page_index", "window_start")


def open_split(folder: str, split: str) -> PanelTable:
    """The panels of one split of the data set in `folder`.

    Raises:
        ComicSeqDataError: If `folder` is no such data set, or has no such split or no page in it.
    """
    try:
        splits = json.loads((Path(folder) / "dataset_dict.json").read_text())["splits"]
    except (OSError, ValueError, KeyError):
        remedy = "name the folder that `comicseq convert --output` wrote"
        if (Path(folder) / "state.json").is_file():
            remedy = f"it is a single split, name the folder above it, {Path(folder).absolute().parent}"
        raise ComicSeqDataError(f"{folder} is no data set: {remedy}.") from None
    if split not in splits:
        raise ComicSeqDataError(f"{folder} has no split {split!r} but {', '.join(splits)}: name one of them.")
    try:
        dataset = load_from_disk(str(Path(folder) / split))
    except OSError as error:
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} cannot be read ({error}): convert the store again."
        ) from None
    except IndexError:  # what `save_to_disk` writes for a split without a row
        dataset = None
    if not dataset:
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} holds no page: convert more books, or give it a larger share by"
            " `comicseq convert --fractions`."
        )
    missing = [column for column in NEEDED_COLUMNS if column not in dataset.column_names]
    if missing:
        raise ComicSeqDataError(
            f"The split {split!r} of {folder} has no column `{missing[0]}`: convert the store with `comicseq convert`."
        )
    table = PanelTable(dataset)
    for name, earlier in list(respelled(table.book_ids.tolist()).items())[:1]:
        logger.warning(
            f"The split {split!r} of {folder} takes {earlier!a} and {name!a} for two books, but they are spellings of one:"
            " convert the store again with this version."
        )
    return table
