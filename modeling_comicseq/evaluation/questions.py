"""Questions of a split, drawn once from a seed: the same for every model that is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import xxhash

from ..data.draws import Draws
from ..data.panels import BOTH, PICTURES, PanelTable
from ..data.task import Drawn, Task
from ..data.views import Batch, materialise, shown_in_part
from ..stores.provenance import read_provenance
from .results import heading

_CHUNK = 4096  # rows that are drawn for at a time


@dataclass(frozen=True)
class QuestionSet:
    """Questions of one task under one protocol, as rows and panel numbers of one split: no vectors are in it.

    Attributes:
        task: The task.
        protocol: Where wrong candidates come from; empty for a task that has none.
        data: Fingerprint of the split that rows and panel numbers count in.
        rows: Row of each question `(Q,)`. Several questions of a row ask for different panels, or shuffle it anew.
        drawn: What was drawn for each.
    """

    task: Task
    protocol: str
    data: str
    rows: np.ndarray
    drawn: Drawn

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def heading(self) -> str:
        """What it is called: its task and, where wrong candidates are drawn, their protocol."""
        return heading(self.task.name, self.protocol)

    @cached_property
    def fingerprint(self) -> str:
        """Of the questions and the data they are about: whoever was asked the same has the same."""
        digest = xxhash.xxh3_128(f"{self.task.name} {self.protocol} {self.data}".encode())
        for array in (self.rows, *self.drawn):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return f"xxh3:{digest.hexdigest()}"

    def batch(self, table: PanelTable, chosen: slice, shown: int = BOTH) -> Batch:
        """Inputs and labels of the task's class for the `chosen` questions, of which `shown` says what is shown."""
        view = self.task.view(table, self.rows[chosen], self.drawn.select(chosen))
        if shown != BOTH:
            view = shown_in_part(view, np.full(len(self.rows[chosen]), shown))
        return materialise(view, table)

    def has_modalities(self, table: PanelTable) -> bool:
        """Whether the questions show both pictures and texts of panels, as far as the data have them."""
        view = self.task.view(table, self.rows[:1], self.drawn.select(slice(0, 1)))
        shown = shown_in_part(view, np.full(len(self.rows[:1]), PICTURES))
        return any(shown[name] is not view[name] for name in view)

    def batches(self, table: PanelTable, batch_size: int = 256) -> Iterator[tuple[slice, Batch]]:
        """Yields all questions in batches of pages of about one length, each with its place in the set."""
        for start in range(0, len(self), batch_size):
            chosen = slice(start, min(start + batch_size, len(self)))
            yield chosen, self.batch(table, chosen)


def draw_question_set(
    table: PanelTable,
    task: Task,
    protocol: str = "same_book",
    num_candidates: int = 5,
    seed: int = 0,
    repeats: int = 1,
) -> QuestionSet:
    """Draws questions: every page that can serve the task asks `repeats`, one without a single distractor asks none.

    A page in several windows counts once as well: its windows take turns, in an order that is drawn.

    Args:
        table: The panels.
        task: The task.
        protocol: Where wrong candidates come from, for a task that has some.
        num_candidates: K, the right one included.
        seed: Seed of everything that is drawn.
        repeats: Questions a page; in reading order shuffles a page.

    Raises:
        ComicSeqArgumentError: If the protocol makes no sense for the task.
    """
    rows = np.arange(len(table))
    rows = rows[task.servable(table, rows)]
    longest = int(table.num_panels[rows].max(initial=1))
    asked, drawn = [], []
    for repeat in range(repeats):
        turn = _window_of_each_page(table, rows, seed, repeat)
        for start in range(0, max(len(turn), 1), _CHUNK):  # once where no page can serve the task, too
            chunk = turn[start : start + _CHUNK]
            part = task.draw(table, chunk, Draws(seed, repeat, chunk), num_candidates, protocol)
            is_question = task.is_question(part)
            asked.append(chunk[is_question])
            drawn.append(_widen(part.select(is_question), longest))
    asked_rows = np.concatenate(asked)
    everything = Drawn(*(np.concatenate(arrays) for arrays in zip(*drawn, strict=True)))
    order = np.argsort(table.num_panels[asked_rows], kind="stable")  # pages of one length in a batch: little padding
    protocol = protocol if task.protocols else ""
    return QuestionSet(task, protocol, split_fingerprint(table), asked_rows[order], everything.select(order))


def _widen(drawn: Drawn, longest: int) -> Drawn:
    """Shuffles `(B, N)`, where there are any, as wide as those of the longest page."""
    width = drawn.shuffles.shape[1]
    padding = ((0, 0), (0, longest - width if width else 0))
    return drawn._replace(shuffles=np.pad(drawn.shuffles, padding, constant_values=-1))


def _window_of_each_page(table: PanelTable, rows: np.ndarray, seed: int, repeat: int) -> np.ndarray:
    """One row of each page among `rows`: of the windows of a long page, the one whose turn it is."""
    _, page, count = np.unique(table.pages[rows], return_inverse=True, return_counts=True)
    order = np.lexsort((Draws(seed, 0, rows).uniform("window"), page))
    place = np.empty_like(order)
    place[order] = np.arange(len(rows)) - (np.cumsum(count) - count)[page[order]]
    return rows[place == repeat % count[page]]


@lru_cache(maxsize=1)  # all sets of a run are about one split
def split_fingerprint(table: PanelTable) -> str:
    """Fingerprint of a split: of its vectors, and of which page and book each row is."""
    digest = xxhash.xxh3_128()
    source = read_provenance(table.dataset).get("source", {}).get("fingerprint")
    if source is not None:
        digest.update(source.encode())
    else:  # not converted by this package: nobody has looked at the vectors yet
        for pieces in table.columns.values():
            for piece in pieces:
                digest.update(piece.tobytes())
            # A vector of zeros ended each column when the first sets were frozen; without it they would not open.
            digest.update(bytes(pieces[0].shape[1] * pieces[0].itemsize))
    digest.update(str(sorted((name, pieces[0].shape[1]) for name, pieces in table.columns.items())).encode())
    digest.update("\0".join(table.book_ids).encode())
    for array in (table.num_panels, table.books, table.pages):
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return f"xxh3:{digest.hexdigest()}"
