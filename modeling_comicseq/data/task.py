"""What data, evaluation and training ask of a task. `modeling_comicseq.tasks` has one of them for each, and hands them over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import ComicSeqDataError
from ..model.tasks_comicseq import ComicSeqTask
from .draws import Draws
from .panels import PanelTable
from .views import Batch

Values = dict[str, np.ndarray]
"""The value of each metric, by its name, for every question `(Q,)`."""
Answer = Callable[[Batch], Values]
"""How well somebody answers the questions of a batch."""


class Drawn(NamedTuple):
    """What is drawn for questions of one task.

    Attributes:
        slots: The slot that is asked for `(B,)`; -1 where none is.
        candidates: Panel numbers `(B, K)`, -1 for padding; no columns without candidates.
        answers: Place of the right candidate `(B,)`; -1 without candidates.
        shuffles: The slots in the order in which they are shown `(B, N)`, -1 for padding; else no columns.
    """

    slots: np.ndarray
    candidates: np.ndarray
    answers: np.ndarray
    shuffles: np.ndarray

    def select(self, chosen: np.ndarray | slice) -> Drawn:
        """Those of the `chosen` questions."""
        return Drawn(*(each[chosen] for each in self))


class Optimum(NamedTuple):
    """The best answers that can be given about a synthetic corpus.

    Attributes:
        name: What they are called in reports.
        answer: Gives them.
        chosen: The questions for which they are known `(Q,)`; None for all.
    """

    name: str
    answer: Answer
    chosen: np.ndarray | None = None


class Task(ABC):
    """A task: how its questions are drawn, shown, and judged.

    Attributes:
        spec: What a checkpoint knows of it.
        protocols: Where its wrong candidates can come from; empty for a task without candidates.
        columns: Vector columns without which it cannot be asked.
        metrics: What its answers are judged by; the first one counts.
        training_metric: What `is_right` is called in the logs of a training run.
    """

    spec: ClassVar[ComicSeqTask]
    protocols: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...]
    training_metric = "accuracy"

    @property
    def name(self) -> str:
        """Its name in configurations, files and results."""
        return self.spec.name

    @abstractmethod
    def servable(self, table: PanelTable, rows: np.ndarray) -> np.ndarray:
        """Which of `rows` can ask a question `(B,)`: the vectors are there, and so is a context."""

    def missing(self, table: PanelTable) -> str:
        """Why no page can ask a question."""
        return "no page of the data set has two panels"

    def check_servable(self, table: PanelTable, protocol: str | Sequence[str]) -> None:
        """Raises a `ComicSeqDataError` that says what is missing if no page can ask a question under `protocol`.

        Of several protocols, each must find a wrong candidate.
        """
        if not self.servable(table, np.arange(len(table))).any():
            raise ComicSeqDataError(
                f"The task {self.name} cannot be asked: {self.missing(table)}. Leave the task out (weight 0 in training), or"
                " convert a store that has."
            )

    @abstractmethod
    def draw(
        self,
        table: PanelTable,
        rows: np.ndarray,
        draws: Draws,
        num_candidates: int = 5,
        protocol: str | Sequence[str] = "same_book",
    ) -> Drawn:
        """Draws a question for each of `rows` (B,), all of which must be servable.

        Args:
            table: The panels.
            rows: Rows of the table `(B,)`.
            draws: Random numbers of these rows.
            num_candidates: K, the answer included.
            protocol: Where wrong candidates come from, or several protocols, of which each question draws one.

        Raises:
            ComicSeqArgumentError: If there is no such protocol, or it makes no sense for the task.
        """

    @abstractmethod
    def is_question(self, drawn: Drawn) -> np.ndarray:
        """Which of the drawn questions can be asked at all `(B,)`: those that have a wrong candidate."""

    @abstractmethod
    def view(
        self, table: PanelTable, rows: np.ndarray, drawn: Drawn, reading_order_target: str = "adjacency"
    ) -> Batch:
        """Inputs and labels of the task's class, with `Vectors` for `materialise` to read."""

    @abstractmethod
    def judge(self, batch: Batch, logits: np.ndarray, reading_order_target: str = "adjacency") -> Values:
        """How right a model's `logits` are; its own target says what those of reading order mean."""

    @abstractmethod
    def chance(self, batch: Batch) -> Values:
        """How right a guess is on average."""

    @abstractmethod
    def baselines(self, table: PanelTable, note: Callable[[str], None]) -> Mapping[str, Answer]:
        """Answers without a model, by name; `note` is told why one is left out."""

    def fitted(
        self, table: PanelTable, training: PanelTable | None, note: Callable[[str], None]
    ) -> Mapping[str, Answer]:
        """Further such answers, which are fitted: on another split, or on other books of `table` than they are asked about.

        Batches that they are asked have `book_ids` (B,), the names of their books.
        """
        return {}

    def answer(self, model: Any, batch: Batch) -> Values:
        """How right a `ComicSeqForPreTraining`'s answers are."""
        return self.ask(model, batch, np.arange(len(batch["labels"])))[""]

    @abstractmethod
    def ask(self, model: Any, batch: Batch, numbers: np.ndarray) -> dict[str, Values]:
        """A `ComicSeqForPreTraining`'s answers, under "", and those with something taken away, by what that is.

        Args:
            model: The model.
            batch: Questions.
            numbers: Their numbers in the question set `(Q,)`, from which alone an ablation draws.
        """

    def optima(self, questions: Any, table: PanelTable, world: Any, note: Callable[[str], None]) -> list[Optimum]:
        """The best answers to a `QuestionSet` about a `SyntheticWorld`; `note` is told why there are none."""
        note(f"No optimum for {self.name}: nobody has worked it out.")
        return []

    @abstractmethod
    def is_right(self, logits: Any, labels: Any) -> Any:
        """Which questions of a training batch the best score answers rightly, as tensors `(M,)`."""


def cumulative_odds(table: PanelTable, rows: np.ndarray, tasks: Mapping[Task, float]) -> np.ndarray:
    """How often each row asks each of `tasks` (with their weights) or one before it `(B, T)`, up to a factor.

    That is a running sum of weights, which leaves out the tasks that the row cannot ask.
    """
    return np.cumsum([weight * task.servable(table, rows) for task, weight in tasks.items()], axis=0).T


def draw_tasks(odds: np.ndarray, draws: Draws) -> list[np.ndarray]:
    """The rows that ask each task, as places in the batch `(n,)`, drawn by `cumulative_odds` (B, T).

    A row whose odds are all 0 asks none.
    """
    choice = (draws.uniform("task")[:, None] * odds[:, -1:] >= odds).sum(1)
    return [np.flatnonzero(choice == task) for task in range(odds.shape[1])]
