"""What a run trains and validates on: splits of a data set, or of stores or pages that are converted first."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..checkpoints.provenance import compare_origins
from ..data.contents import Contents
from ..data.conversion import convert_store
from ..data.opening import open_split, tell_twins
from ..data.page_panels import CONTENT_METADATA, CONTENT_STORE, ContentTable, number_pages, open_pages
from ..data.panels import PanelTable
from ..encoders.panel_encoder import PanelEncoder
from ..errors import ComicSeqDataError
from ..evaluation.probe import places_for_card
from ..pages.page_set import PageSet
from ..progress import track
from ..stores.names import normal_form
from ..stores.provenance import read_provenance
from ..stores.stage3 import PANEL_ARRAYS, Stage3Store
from .arguments import STORES, PretrainingArguments
from .faults import once
from .features import feature_file, make_features
from .reading import TOKENS, reading_fields
from .tuning import reads_features
from .wanted import WantedTasks

logger = logging.get_logger(__name__)


CONTENTS = "contents"  # in the data folder: what number stands for which picture or text
PICTURES_WANTED = "has no pictures, which {} is to see: name an encoder of texts alone, as +all-MiniLM-L6-v2"


def open_data(
    arguments: PretrainingArguments, wanted: WantedTasks, encoder: PanelEncoder | None = None
) -> tuple[PanelTable, PanelTable]:
    """The panels to train on and those to validate on, see `_open_tables`; warns of pages that stand twice, and of vectors that
    tell places. With `pages`, both are a `ContentTable` of what the `encoder` reads."""
    opened = _open_tables(arguments, wanted) if encoder is None else _open_pages(arguments, wanted, encoder)
    train, validation = opened
    _warn_of_twins(train, validation)
    place = read_provenance(train.dataset).get("place") or {}
    if place.get("verdict") == "readable":
        logger.warning_once(place["sentence"])
    return train, validation


def _open_tables(arguments: PretrainingArguments, wanted: WantedTasks) -> tuple[PanelTable, PanelTable]:
    """The panels to train on and those to validate on.

    Stage 3 stores are converted into `data_folder` first, by one process while the others wait; a rerun finds them
    there. A training store without one for validation is split by the hash of the book, as `comicseq convert` does; of
    two, each is taken as a whole.

    Args:
        arguments: Those of the run.
        wanted: The tasks; those that neither can ask are named, or left out where the run says so.

    Raises:
        ComicSeqDataError: If the data cannot be used, or a book stands in both stores.
    """
    if arguments.dataset is not None:
        train, validation = _open_splits(arguments.dataset, arguments.dataset, wanted)
        both = _in_both(train, validation)
        if both:
            logger.warning_once(
                f"The book {both[0]!r} stands in the splits train and validation of {arguments.dataset} ({len(both):,}"
                " books do): validation says too much. Convert the store again."
            )
        return train, validation
    folder = data_folder(str(arguments.output_dir))
    once(arguments, lambda: _convert_stores(arguments, folder, wanted))
    val_folder = folder / ("train" if arguments.val_embeddings is None else "validation")
    train, validation = _open_splits(str(folder / "train"), str(val_folder), wanted)
    if arguments.val_embeddings is None:
        return train, validation
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


def _open_pages(
    arguments: PretrainingArguments, wanted: WantedTasks, encoder: PanelEncoder
) -> tuple[ContentTable, ContentTable]:
    """The panels of `pages`, split by book: which hold which picture and text, and what is known of these by now.

    The numbers are made, and converted as vectors are, in `data_folder`, and with them the features of a half of the encoder
    whose layers stay as they are.
    """
    folder = data_folder(str(arguments.output_dir))
    pages = open_pages(str(arguments.pages))
    sees = encoder.reads_images and isinstance(pages, PageSet)
    if encoder.reads_images and not sees:
        raise ComicSeqDataError(f"{arguments.pages} {PICTURES_WANTED.format(encoder.name)}.")

    def make() -> None:
        shown = not arguments.disable_tqdm
        number_pages(
            pages,
            folder / CONTENTS,
            encoder.processor,
            sees=sees,
            origin=encoder.origin,
            track=lambda items, total: track(items, "Reading pages", total, shown),
        )
        store = str(folder / CONTENTS / CONTENT_STORE)
        metadata = str(folder / CONTENTS / CONTENT_METADATA)
        _convert(arguments, str(arguments.pages), store, metadata, folder / "train", wanted, dtype="float32")

    once(arguments, make)
    split = str(folder / "train")
    tables = _open_splits(split, split, wanted)
    contents = Contents.open(folder / CONTENTS, pages if isinstance(pages, PageSet) else None, encoder.processor)
    for half, is_constant in reads_features(arguments.tuning).items():
        if half == "text" and reading_fields(arguments)["text_reading"] == TOKENS:
            continue  # of a text, more than its vector is read
        if is_constant and (contents.num_images if half == "vision" else contents.num_texts):
            file = feature_file(folder, half, encoder, contents)
            shown = not arguments.disable_tqdm
            once(arguments, partial(make_features, file, half, encoder, contents, shown))
            setattr(contents, "image_features" if half == "vision" else "text_features", np.load(file, mmap_mode="r"))
    widths = dict.fromkeys(PANEL_ARRAYS, encoder.width)
    train, validation = (ContentTable(table.dataset, contents, widths) for table in tables)
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


def _open_splits(train: str, validation: str, wanted: WantedTasks) -> tuple[PanelTable, PanelTable]:
    """Both splits; whatever is wrong with them is said at once."""
    faults, tables = [], {}
    for folder, split in ((train, "train"), (validation, "validation")):
        try:
            tables[split] = open_split(folder, split)
        except ComicSeqDataError as error:
            faults.append(str(error).rstrip("."))
    faults += wanted.unservable(tables)
    if faults:
        raise ComicSeqDataError("; ".join(dict.fromkeys(faults)) + ".")
    return tables["train"], tables["validation"]


def _in_both(train: PanelTable, validation: PanelTable) -> list[str]:
    """The books that both hold, in whatever spelling."""
    there = set(map(normal_form, validation.book_ids.tolist()))
    return [book for book in train.book_ids.tolist() if normal_form(book) in there]


def data_folder(output_dir: str) -> Path:
    """Where the converted stores of a run lie: beside its folder, which is uploaded as a whole."""
    folder = Path(output_dir).absolute()
    return folder.with_name(f"{folder.name}_data")


def _convert_stores(arguments: PretrainingArguments, folder: Path, wanted: WantedTasks) -> None:
    """Converts the stores that are not converted yet."""
    train, val = (tuple(str(getattr(arguments, name)) for name in names) for names in STORES)
    whole = arguments.val_embeddings is not None
    for (store, metadata), name, fractions in ((train, "train", (1, 0, 0)), (val, "validation", (0, 1, 0)))[
        : 1 + whole
    ]:
        options: dict[str, Any] = {"fractions": fractions} if whole else {}
        _convert(arguments, store, store, metadata, folder / name, wanted, probe=places_for_card, **options)


def _convert(
    arguments: PretrainingArguments,
    source: str,
    store: str,
    metadata: str,
    output: Path,
    wanted: WantedTasks,
    fractions: Sequence[float] | None = None,
    **options: Any,
) -> None:
    """Converts a store, which `source` is called, once it is clear that the run can use it; by book without `fractions`."""
    faults = wanted.without_columns({*Stage3Store.open(store).widths}) if fractions is None or fractions[0] else []

    def check(books: Mapping[str, int]) -> None:
        found = list(faults)
        for split in ("train", "validation") if fractions is None else ():
            if not books[split]:
                found.append(
                    f"none of its {sum(books.values()):,} books falls into {split}: give that a larger share, as"
                    " --fractions 0.5 0.5 0, or name its books with --split_books, or give a store of other books with"
                    " --val_embeddings and --val_metadata"
                )
        if found:
            raise ComicSeqDataError(f"{source} cannot be trained on: {'; '.join(found)}.")

    try:
        convert_store(
            store,
            metadata,
            output,
            fractions=fractions or arguments.fractions,
            split_books=None if fractions else arguments.split_books,
            num_proc=arguments.num_proc,
            on_error=arguments.on_error,
            overwrite=True,  # a store that has changed; what is no converted data set is left alone all the same
            progress=not arguments.disable_tqdm,
            check=check,
            **options,
        )
    except BaseException as error:
        with suppress(OSError):
            output.parent.rmdir()  # which fails where something is in it
        if not isinstance(error, OSError):
            raise
        raise ComicSeqDataError(
            f"{source} could not be converted to {output}: {error}; mend that and run again"
        ) from None
