"""Questions of a split, drawn once from a seed: the same for every model that is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import xxhash

from ..data.draws import Draws
from ..data.panels import PanelTable
from ..data.views import Batch, choice_questions, draw_choices, draw_shuffles, reading_order, servable
from ..stores.provenance import read_provenance

_CHUNK = 4096  # rows that are drawn for at a time
_fingerprints: WeakKeyDictionary[PanelTable, str] = WeakKeyDictionary()  # of tables that do not change


@dataclass(frozen=True)
class QuestionSet:
    """Questions of one task under one protocol, as rows and panel numbers of one split: no vectors are in it.

    Attributes:
        task: The task.
        protocol: Where wrong candidates come from; empty for reading order, which has none.
        data: Fingerprint of the split that rows and panel numbers count in.
        rows: Row of each question `(Q,)`. Several questions of a row ask for different panels, or shuffle it anew.
        slots: The slot that is asked for `(Q,)`; -1 in reading order.
        candidates: Panel numbers `(Q, K)`, -1 for padding; no columns in reading order.
        answers: Place of the right candidate `(Q,)`; -1 in reading order.
        shuffles: In reading order the slots of the page in the order in which they are shown `(Q, N)`, -1 for padding;
            else no columns.
    """

    task: str
    protocol: str
    data: str
    rows: np.ndarray
    slots: np.ndarray
    candidates: np.ndarray
    answers: np.ndarray
    shuffles: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """Of the questions and the data they are about: whoever was asked the same has the same."""
        digest = xxhash.xxh3_128(f"{self.task} {self.protocol} {self.data}".encode())
        for array in (self.rows, self.slots, self.candidates, self.answers, self.shuffles):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return f"xxh3:{digest.hexdigest()}"

    def batch(self, table: PanelTable, chosen: slice, reading_order_target: str = "adjacency") -> Batch:
        """Inputs and labels of the task's class for the `chosen` questions."""
        rows = self.rows[chosen]
        if self.task == "reading_order":
            width = table.num_panels[rows].max()
            return reading_order(table, rows, self.shuffles[chosen, :width], reading_order_target)
        return choice_questions(
            table, self.task, rows, self.slots[chosen], self.candidates[chosen], self.answers[chosen]
        )

    def batches(
        self, table: PanelTable, batch_size: int = 256, reading_order_target: str = "adjacency"
    ) -> Iterator[tuple[slice, Batch]]:
        """Yields all questions in batches of pages of about one length, each with its place in the set."""
        for start in range(0, len(self), batch_size):
            chosen = slice(start, min(start + batch_size, len(self)))
            yield chosen, self.batch(table, chosen, reading_order_target)


def draw_question_set(
    table: PanelTable,
    task: str,
    protocol: str = "same_book",
    num_candidates: int = 5,
    seed: int = 0,
    repeats: int = 1,
) -> QuestionSet:
    """Draws questions: every page that can serve the task asks `repeats`, one without a single distractor asks none.

    A page in several windows counts once as well: its windows take turns, in an order that is drawn.

    Args:
        table: The panels.
        task: One of the seven tasks.
        protocol: Where wrong candidates come from. Not used by reading order.
        num_candidates: K, the right one included. Not used by reading order.
        seed: Seed of everything that is drawn.
        repeats: Questions a page; in reading order shuffles a page.

    Raises:
        ComicSeqDataError: If the protocol makes no sense for the task.
    """
    is_order = task == "reading_order"
    rows = np.arange(len(table))
    rows = rows[servable(table, task, rows)]
    longest = int(table.num_panels[rows].max(initial=1)) if is_order else 0
    parts: list[tuple[np.ndarray, ...]] = [_parts(np.zeros(0, int), 0 if is_order else num_candidates, longest)]
    for repeat in range(repeats):
        turn = _window_of_each_page(table, rows, seed, repeat)
        for start in range(0, len(turn), _CHUNK):
            chunk = turn[start : start + _CHUNK]
            draws = Draws(seed, repeat, chunk)
            part = _parts(chunk, 0 if is_order else num_candidates, longest)
            if is_order:
                drawn = draw_shuffles(table, chunk, draws)
                is_panel = np.arange(drawn.shape[1]) < table.num_panels[chunk][:, None]
                part[4][:, : drawn.shape[1]] = np.where(is_panel, drawn, -1)
                parts.append(part)
            else:
                part[1][:], part[2][:], part[3][:] = draw_choices(table, task, chunk, draws, num_candidates, protocol)
                is_question = (part[2] >= 0).sum(1) > 1
                parts.append(tuple(array[is_question] for array in part))
    arrays = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    order = np.argsort(table.num_panels[arrays[0]], kind="stable")  # pages of one length in a batch: little padding
    return QuestionSet(task, "" if is_order else protocol, split_fingerprint(table), *(a[order] for a in arrays))


def _window_of_each_page(table: PanelTable, rows: np.ndarray, seed: int, repeat: int) -> np.ndarray:
    """One row of each page among `rows`: of the windows of a long page, the one whose turn it is."""
    pages = table.pages[rows]
    _, page, count = np.unique(pages, return_inverse=True, return_counts=True)
    if len(count) == len(rows):
        return rows
    order = np.lexsort((Draws(seed, 0, rows).uniform("window"), page))
    place = np.empty_like(order)
    place[order] = np.arange(len(rows)) - (np.cumsum(count) - count)[page[order]]
    return rows[place == repeat % count[page]]


def _parts(rows: np.ndarray, num_candidates: int, longest: int) -> tuple[np.ndarray, ...]:
    """The arrays of a `QuestionSet` for some rows, nothing drawn yet."""
    count = len(rows)
    shapes = ((count,), (count, num_candidates), (count,), (count, longest))
    return rows, *(np.full(shape, -1, dtype=np.int64) for shape in shapes)


def split_fingerprint(table: PanelTable) -> str:
    """Fingerprint of a split: of its vectors, and of which page and book each row is."""
    if table not in _fingerprints:
        _fingerprints[table] = _fingerprint(table)
    return _fingerprints[table]


def _fingerprint(table: PanelTable) -> str:
    digest = xxhash.xxh3_128()
    source = read_provenance(table.dataset).get("source", {}).get("fingerprint")
    if source is not None:
        digest.update(source.encode())
    else:  # not converted by this package: nobody has looked at the vectors yet
        for column in table.columns.values():
            for piece in column.pieces:
                digest.update(np.ascontiguousarray(piece).tobytes())
    digest.update(str(sorted(table.widths.items())).encode())
    digest.update("\0".join(table.book_ids).encode())
    for array in (table.num_panels, table.books, table.pages):
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return f"xxh3:{digest.hexdigest()}"


def iterate_questions(
    table: PanelTable,
    task: str,
    *,
    protocol: str = "same_book",
    num_candidates: int = 5,
    reading_order_target: str = "adjacency",
    seed: int = 0,
    repeats: int = 1,
    batch_size: int = 256,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Draws a question set and yields `(rows (B,), batch)`: the inputs and labels of the task's class."""
    questions = draw_question_set(table, task, protocol, num_candidates, seed, repeats)
    for chosen, batch in questions.batches(table, batch_size, reading_order_target):
        yield questions.rows[chosen], batch


def right_candidates(batch: Batch) -> np.ndarray:
    """Index of the right candidate of each question `(B,)`, also where every candidate has a label of its own."""
    labels = batch["labels"]
    return labels if labels.ndim == 1 else np.argmax(labels == 1, axis=1)
