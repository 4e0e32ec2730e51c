"""Reader of the COMICS questions (Iyyer et al., 2017, arXiv:1611.05118): text-cloze and character coherence.

The public files have one question a row: three panels of up to three text boxes each, then the candidates for the panel
that follows. Text comes from OCR; rare words stand as UNK.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.stores.splits import hash_place

BOOK_PREFIX = "comics-"  # a number alone would be the id of some other corpus' book, too
NUM_CONTEXT, NUM_BOXES = 3, 3
HELD_OUT = -1
NUM_FOLDS = 5
HELD_OUT_SHARE = 0.1

IDS = ("book_id", "page_id", "answer_panel_id")
CONTEXT = tuple(f"context_text_{panel}_{box}" for panel in range(NUM_CONTEXT) for box in range(NUM_BOXES))
CLOZE_CANDIDATES = tuple((f"answer_candidate_{k}_text",) for k in range(3))
COHERENCE_CANDIDATES = tuple((f"answer_candidate_{k}_box_0", f"answer_candidate_{k}_box_1") for k in range(2))

Boxes = tuple[str, ...]


@dataclass
class ComicsQuestions:
    """Questions of one file.

    Attributes:
        name: The file's name, for messages and reports.
        book_ids: Book of each question `(Q,)`, `comics-` and the file's number.
        pages: Page of each question in its book `(Q,)`.
        panels: Number of the asked panel on its page `(Q,)`.
        contexts: Texts of the three panels before it, box by box; empty boxes are left out.
        candidates: Texts of each candidate, box by box.
        answers: The right candidate `(Q,)`.
    """

    name: str
    book_ids: np.ndarray
    pages: np.ndarray
    panels: np.ndarray
    contexts: list[tuple[Boxes, ...]]
    candidates: list[tuple[Boxes, ...]]
    answers: np.ndarray

    def __len__(self) -> int:
        return len(self.answers)

    def select(self, chosen: np.ndarray) -> ComicsQuestions:
        """The questions at `chosen`, a mask `(Q,)` or indices."""
        rows = np.arange(len(self))[chosen]
        return ComicsQuestions(
            self.name,
            self.book_ids[rows],
            self.pages[rows],
            self.panels[rows],
            [self.contexts[row] for row in rows],
            [self.candidates[row] for row in rows],
            self.answers[rows],
        )


def read_text_cloze(path: str | Path) -> ComicsQuestions:
    """Reads `text_cloze_easy.csv` or `text_cloze_hard.csv`: three candidate texts a question.

    Raises:
        ComicSeqDataError: The file is not there, lacks a column, or a row has a wrong value.
    """
    return _read(Path(path), CLOZE_CANDIDATES)


def read_character_coherence(path: str | Path) -> ComicsQuestions:
    """Reads `char_coherence.csv`: the same two texts in two orders, one box after the other.

    Raises:
        ComicSeqDataError: As `read_text_cloze`.
    """
    return _read(Path(path), COHERENCE_CANDIDATES)


def _read(path: Path, candidate_columns: Sequence[tuple[str, ...]]) -> ComicsQuestions:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            needed = [*IDS, *CONTEXT, *(name for columns in candidate_columns for name in columns), "correct_answer"]
            missing = [name for name in needed if name not in header]
            if missing:
                raise ComicSeqDataError(
                    f"{path} has no column {missing[0]!r}: give a file of the COMICS questions (miyyer/comics, folder folds)."
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ComicSeqDataError(
            f"{path} cannot be read as CSV ({error}): give a file of the COMICS questions."
        ) from None
    if not rows:
        raise ComicSeqDataError(f"{path} holds no question: give the whole file.")
    numbers = np.asarray([_numbers(path, line, row, len(candidate_columns)) for line, row in enumerate(rows, 2)])
    contexts = [
        tuple(
            tuple(row[f"context_text_{panel}_{box}"] for box in range(NUM_BOXES) if row[f"context_text_{panel}_{box}"])
            for panel in range(NUM_CONTEXT)
        )
        for row in rows
    ]
    candidates = []
    for line, row in enumerate(rows, 2):
        candidates.append(tuple(tuple(row[name] for name in columns) for columns in candidate_columns))
        if not all(text for boxes in candidates[-1] for text in boxes):
            raise ComicSeqDataError(f"{path}, line {line}: a candidate has no text; leave the question out.")
    book_ids = np.asarray([BOOK_PREFIX + row["book_id"] for row in rows])
    return ComicsQuestions(path.stem, book_ids, numbers[:, 0], numbers[:, 1], contexts, candidates, numbers[:, 2])


def _numbers(path: Path, line: int, row: dict, num_candidates: int) -> tuple[int, int, int]:
    """Page, panel and answer of a row."""
    if None in row or None in row.values():
        raise ComicSeqDataError(f"{path}, line {line}: the row has not as many cells as the header; mend the file.")
    values = []
    for name in ("page_id", "answer_panel_id", "correct_answer"):
        if not row[name].isdecimal():
            raise ComicSeqDataError(f"{path}, line {line}: {name} is {row[name]!r} but must be a whole number.")
        values.append(int(row[name]))
    if values[2] >= num_candidates:
        raise ComicSeqDataError(
            f"{path}, line {line}: correct_answer is {values[2]} but must be below {num_candidates}, the number of"
            " candidates."
        )
    return values[0], values[1], values[2]


@dataclass
class TextPages:
    """Panel texts of whole pages, from the metadata of a Stage 3 store.

    Attributes:
        book_ids: Book of each page `(pages,)`.
        pages: Its number in the book `(pages,)`.
        texts: The texts of its panels in reading order, empty where a panel has none.
    """

    book_ids: np.ndarray
    pages: np.ndarray
    texts: list[list[str]]


def read_text_pages(path: str | Path) -> TextPages:
    """Reads a metadata JSON whose pages carry `book_id`, a number as `page_name`, and `texts`.

    Raises:
        ComicSeqDataError: The file is not there, or a page lacks one of the three.
    """
    try:
        pages = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ComicSeqDataError(f"{path} cannot be read as JSON ({error}): give a Stage 3 metadata file.") from None
    if not isinstance(pages, list) or not pages:
        raise ComicSeqDataError(f"{path} holds no list of pages: give a Stage 3 metadata file.")
    for number, page in enumerate(pages):
        fits = isinstance(page, dict) and isinstance(page.get("texts"), list) and isinstance(page.get("book_id"), str)
        if not fits or not str(page.get("page_name", "")).isdecimal():
            raise ComicSeqDataError(
                f"{path}: page {number} lacks `book_id`, `texts` or a number as `page_name`; give the metadata of a store of"
                " the COMICS texts."
            )
    return TextPages(
        np.asarray([page["book_id"] for page in pages]),
        np.asarray([int(page["page_name"]) for page in pages]),
        [[text or "" for text in page["texts"]] for page in pages],
    )


def comics_fold(book_id: str) -> int:
    """Which part of the evaluation a book belongs to: a development fold from 0 to 4, or `HELD_OUT`.

    The place of a book's hash in [0, 1) decides, as for the splits of a data set: the last tenth is held out, which is the
    test split of the default fractions, and the rest is cut into five equal pieces.
    """
    place = hash_place(book_id)
    development = 1 - HELD_OUT_SHARE
    return min(int(place / development * NUM_FOLDS), NUM_FOLDS - 1) if place < development else HELD_OUT


def comics_folds(book_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """`comics_fold` of each of `book_ids` `(n,)`."""
    fold = {book: comics_fold(book) for book in set(map(str, book_ids))}
    return np.asarray([fold[str(book)] for book in book_ids])
