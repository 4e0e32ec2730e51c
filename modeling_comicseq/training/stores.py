"""What a run trains and validates on: splits of a data set, or of Stage 3 stores that are converted first."""

from pathlib import Path

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers.utils import logging

from ..checkpoints.provenance import compare_origins
from ..data.conversion import convert_store
from ..data.opening import open_split, tell_twins
from ..data.panels import PanelTable
from ..errors import ComicSeqDataError, ComicSeqError
from ..stores.names import normal_form
from ..stores.provenance import read_provenance
from .arguments import PretrainingArguments

logger = logging.get_logger(__name__)


def open_data(arguments: PretrainingArguments) -> tuple[PanelTable, PanelTable]:
    """The panels to train on and those to validate on, see `_open_tables`; warns of pages that stand twice."""
    train, validation = _open_tables(arguments)
    _warn_of_twins(train, validation)
    return train, validation


def _open_tables(arguments: PretrainingArguments) -> tuple[PanelTable, PanelTable]:
    """The panels to train on and those to validate on.

    Stage 3 stores are converted into `data_folder` first, by one process while the others wait; a rerun finds them
    there. A training store without one for validation is split by the hash of the book, as `comicseq convert` does; of
    two, each is taken as a whole.

    Raises:
        ComicSeqDataError: If the data cannot be used, or a book stands in both stores.
    """
    if arguments.dataset is not None:
        train, validation = open_split(arguments.dataset, "train"), open_split(arguments.dataset, "validation")
        both = _in_both(train, validation)
        if both:
            logger.warning_once(
                f"The book {both[0]!r} stands in the splits train and validation of {arguments.dataset} ({len(both):,}"
                " books do): validation says too much. Convert the store again."
            )
        return train, validation
    folder = data_folder(str(arguments.output_dir))
    _convert_once(arguments, folder)
    train = open_split(str(folder / "train"), "train")
    if arguments.val_embeddings is None:
        return train, open_split(str(folder / "train"), "validation")
    validation = open_split(str(folder / "validation"), "validation")
    both = _in_both(train, validation)
    if both:
        raise ComicSeqDataError(
            f"The book {both[0]!r} stands in {arguments.train_metadata} and in {arguments.val_metadata}"
            f" ({len(both):,} books do): keep each book on one side, or leave out --val_embeddings and --val_metadata,"
            " and the training store is split by book."
        )
    difference = compare_origins(read_provenance(train.dataset), read_provenance(validation.dataset))
    if difference is not None:
        logger.warning_once(
            f"{arguments.train_embeddings} and {arguments.val_embeddings} are of different origin ({difference}): equal"
            " width is not equal meaning, and validation says little."
        )
    return train, validation


def _warn_of_twins(train: PanelTable, validation: PanelTable) -> None:
    """Warns of pages that stand twice in the training pages, and of those that stand in the validation pages, too."""
    twins = tell_twins(train, "the training pages")
    if twins is not None:
        logger.warning_once(twins)
    seen = np.flatnonzero(np.isin(validation.page_hashes, train.page_hashes))
    if len(seen):
        logger.warning_once(
            f"{len(seen):,} validation pages, the first {validation.page_names[seen[0]]!r}, stand among the training pages"
            " (equal vectors in all panels): validation says too much. Give their books one book_id."
        )


def _in_both(train: PanelTable, validation: PanelTable) -> list[str]:
    """The books that both hold, in whatever spelling."""
    there = set(map(normal_form, validation.book_ids.tolist()))
    return [book for book in train.book_ids.tolist() if normal_form(book) in there]


def data_folder(output_dir: str) -> Path:
    """Where the converted stores of a run lie: beside its folder, which is uploaded as a whole."""
    folder = Path(output_dir).absolute()
    return folder.with_name(f"{folder.name}_data")


def _convert_once(arguments: PretrainingArguments, folder: Path) -> None:
    """Converts what is not converted yet, in one process; the others wait, and stop with the same sentence."""
    whole = arguments.val_embeddings is not None
    stores = [(arguments.train_embeddings, arguments.train_metadata, "train", (1, 0, 0) if whole else (0.8, 0.1, 0.1))]
    if whole:
        stores.append((arguments.val_embeddings, arguments.val_metadata, "validation", (0, 1, 0)))
    fault: list[str | None] = [None]
    try:
        for embeddings, metadata, name, fractions in stores if arguments.process_index == 0 else []:
            convert_store(
                str(embeddings),
                str(metadata),
                folder / name,
                fractions=fractions,
                num_proc=arguments.num_proc,
                on_error=arguments.on_error,
                overwrite=True,  # a store that has changed; what is no converted data set is left alone all the same
                progress=not arguments.disable_tqdm,
            )
    except ComicSeqError as error:
        fault = [str(error)]
    except OSError as error:
        fault = [f"{embeddings} could not be converted to {folder / name}: {error}; mend that and run again"]
    if arguments.world_size > 1:
        fault = broadcast_object_list(fault)
    if fault[0] is not None:
        raise ComicSeqDataError(fault[0])
