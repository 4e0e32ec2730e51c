"""What the tasks share in which one of several candidates is right."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..data.distractors import check_protocols, draw_distractors
from ..data.draws import Draws
from ..data.panels import PanelSubset, PanelTable
from ..data.task import Answer, Drawn, Optimum, Task, Values
from ..data.views import Batch, materialise
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..evaluation.ablations import OF_SEQUENCES, Ablation, of_boxes
from ..evaluation.baselines import OF_SEQUENCES as COSINES
from ..evaluation.geometry import GeometryRidge
from ..evaluation.metrics import chance_level, chance_reciprocal_rank, reciprocal_rank, top1_accuracy
from ..evaluation.probe import FEWEST_BOOKS, FEWEST_PAGES, spread
from ..evaluation.results import GEOMETRY
from ..evaluation.scoring import model_logits
from ..model.tasks_comicseq import PANELS
from ..stores.stage3 import BOX_ARRAY
from ..synthetic.optimum import Shown, candidate_log_ratio, joint_log_posterior

CONTENT = ("panel_embeddings", "text_embeddings", "visual_embedding")  # of a context, which geometry does not read
MOST_FITTED = 2000  # pages of the geometry baseline
MOST_CANDIDATES = 8  # of which the optimum knows all hypotheses about where wrong ones stand in good time
_NO_DISTRACTOR = {
    "same_book": "no book of the split has another page with a panel that could be a wrong candidate",
    "cross_book": "the split has a single book",
    "in_page": "no page of the split has two panels",
    "later_panels": "no page of the split has three panels",
}


class MultipleChoiceTask(Task):
    """A panel of a page is asked for; it stands among wrong candidates, which `protocol` says where to take from.

    Attributes:
        least_panels: Panels of a page that can ask.
        first_slot: The first slot that can be asked for: 1 where the context is what stands before it.
        shown: Which panels of its page a question shows, as far as the exact optimum knows such questions; else None.
        ablations: What is taken away from a question to see what an answer rests on, by name.
    """

    protocols: tuple[str, ...] = ("same_book", "cross_book", "in_page")
    metrics = ("top-1 accuracy", "mean reciprocal rank")
    least_panels = 2
    first_slot = 0
    shown: Shown | None = None
    ablations: Mapping[str, Ablation] = OF_SEQUENCES

    # Drawing

    def askable(self, table: PanelTable) -> PanelSubset | None:
        """The panels that can be asked for, as those with a text; None for all."""
        return None

    def distractor_limits(self, table: PanelTable) -> dict[str, Any]:
        """What `draw_distractors` is told about wrong candidates."""
        return {}

    def distinct_in(self, table: PanelTable) -> tuple[str, ...]:
        """Columns in which a wrong candidate's vector must not equal the right one's: what candidates are shown by."""
        return ("panel_embeddings",)

    def _draw_distractors(self, table: PanelTable, protocol: str | Sequence[str], *drawn: Any) -> np.ndarray:
        limits = {"distinct_in": self.distinct_in(table)} | self.distractor_limits(table)
        return draw_distractors(table, protocol, *drawn, **limits)

    def draw_slots(self, table: PanelTable, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """The slot that each question asks for `(B,)`."""
        uniform = draws.uniform("gap" if self.first_slot else "asked")
        among = self.askable(table)
        if among is not None:
            return among.draw(*self._panels(table, rows), uniform) - table.offsets[rows]
        return self.first_slot + (uniform * (table.num_panels[rows] - self.first_slot)).astype(np.int64)

    def _panels(self, table: PanelTable, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first panel of each row that can be asked for, and the one behind its last."""
        end = table.offsets[rows + 1]
        return np.minimum(table.offsets[rows] + self.first_slot, end), end

    def servable(self, table: PanelTable, rows: np.ndarray) -> np.ndarray:
        if any(column not in table for column in self.columns):
            return np.zeros(len(rows), dtype=bool)
        enough = table.num_panels[rows] >= self.least_panels
        among = self.askable(table)
        return enough if among is None else enough & (among.count(*self._panels(table, rows)) > 0)

    def missing(self, table: PanelTable) -> str:
        for column in self.columns:
            if column not in table:
                return f"the data set has no `{column}`"
        if self.askable(table) is not None:
            return "no page of the split has a panel whose text or caption could be asked for"
        return super().missing(table)

    def check_protocol(self, table: PanelTable, protocol: str) -> None:
        """Raises a `ComicSeqArgumentError` if `protocol` does not exist or makes no sense for the task."""
        check_protocols([protocol])
        if protocol not in self.protocols:
            raise ComicSeqArgumentError(
                f"The protocol {protocol} makes no sense for the task {self.name}, which has no gap as"
                " closure has. Choose another protocol for it."
            )

    def check_servable(self, table: PanelTable, protocol: str | Sequence[str]) -> None:
        super().check_servable(table, protocol)
        rows = np.arange(len(table))
        rows = rows[self.servable(table, rows)]
        for each in _several(protocol):
            self.check_protocol(table, each)
            for chunk in np.array_split(rows, -(-len(rows) // 4096)):
                slots = np.minimum(1, table.num_panels[chunk] - 1)  # behind the earliest gap, the most panels are left
                if (self._draw_distractors(table, each, chunk, slots, 1, Draws(0, 0, chunk)) >= 0).any():
                    break
            else:
                raise ComicSeqDataError(
                    f"The task {self.name} cannot be asked under the protocol {each}: {_NO_DISTRACTOR[each]}. Choose"
                    " another protocol, or set the task's weight to 0."
                )

    def draw(self, table, rows, draws, num_candidates=5, protocol="same_book") -> Drawn:
        for each in _several(protocol):
            self.check_protocol(table, each)
        slots = self.draw_slots(table, rows, draws)
        distractors = self._draw_distractors(table, protocol, rows, slots, num_candidates - 1, draws)
        candidates = np.concatenate((table.panel(rows, slots)[:, None], distractors), axis=1)
        # The answer goes to a random place among its distractors, padding behind.
        keys = np.where(candidates >= 0, draws.uniform("place", num_candidates), 2.0)
        order = np.argsort(keys, axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
        return Drawn(slots, candidates, np.argmin(order, axis=1), np.zeros((len(rows), 0), dtype=np.int64))

    def is_question(self, drawn: Drawn) -> np.ndarray:
        return (drawn.candidates >= 0).sum(1) > 1

    # Showing

    @abstractmethod
    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        """The inputs of the task's class, without `candidate_mask`."""

    def labels(self, candidates: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """The labels of the task's class."""
        return answers

    def view(self, table, rows, drawn, reading_order_target="adjacency") -> Batch:
        batch = self.inputs(table, rows, drawn.slots, drawn.candidates)
        mask = (drawn.candidates >= 0).astype(np.int64)
        return batch | {"candidate_mask": mask, "labels": self.labels(drawn.candidates, drawn.answers)}

    # Judging

    def judge(self, batch, logits, reading_order_target="adjacency") -> Values:
        right = right_candidates(batch)
        return dict(zip(self.metrics, (top1_accuracy(logits, right), reciprocal_rank(logits, right)), strict=True))

    def chance(self, batch: Batch) -> Values:
        mask = batch["candidate_mask"]
        return dict(zip(self.metrics, (chance_level(mask), chance_reciprocal_rank(mask)), strict=True))

    def scorers(self, table: PanelTable, note: Callable[[str], None]) -> Mapping[str, Callable[[Batch], np.ndarray]]:
        """The baselines by name, as functions that give scores `(Q, K)`."""
        return COSINES

    def baselines(self, table: PanelTable, note: Callable[[str], None]) -> Mapping[str, Answer]:
        return {name: partial(self._judged, scorer) for name, scorer in self.scorers(table, note).items()}

    def fitted(
        self, table: PanelTable, training: PanelTable | None, note: Callable[[str], None]
    ) -> Mapping[str, Answer]:
        if BOX_ARRAY not in table or PANELS not in self.spec.inputs:
            return {}
        batch = None if training is None else self._right_panels(training)
        if batch is None:
            note(
                f"No geometry baseline for {self.name}: it is fitted on the train split, so that another must be asked, and"
                f" needs {FEWEST_PAGES} pages of {FEWEST_BOOKS} books with boxes there."
            )
            return {}
        if BOX_ARRAY not in batch:
            return {}  # of a task from outside
        return {GEOMETRY: partial(self._judged, GeometryRidge(batch).scores)}

    def _right_panels(self, table: PanelTable) -> Batch | None:
        """Questions without wrong candidates about panels from all over a table, each asked for once; None of too few."""
        rows = np.arange(len(table))
        rows = rows[self.servable(table, rows)]
        rows = rows[spread(len(rows), MOST_FITTED)]
        if BOX_ARRAY not in table or len(rows) < FEWEST_PAGES or len(np.unique(table.books[rows])) < FEWEST_BOOKS:
            return None
        drawn = [np.stack((rows, self.draw_slots(table, rows, Draws(0, repeat, rows)))) for repeat in range(4)]
        rows, slots = np.unique(np.concatenate(drawn, axis=1), axis=1)
        none = np.zeros((len(rows), 0), dtype=np.int64)
        alone = Drawn(slots, table.panel(rows, slots)[:, None], np.zeros_like(slots), none)
        view = self.view(table, rows, alone)
        return materialise({name: each for name, each in view.items() if name not in CONTENT}, table)

    def _judged(self, scorer: Callable[[Batch], np.ndarray], batch: Batch) -> Values:
        return self.judge(batch, scorer(batch))

    def answer(self, model, batch: Batch) -> Values:
        return self.judge(batch, model_logits(model, self.name, batch))

    def ask(self, model, batch: Batch, numbers: np.ndarray) -> dict[str, Values]:
        ablations = {**self.ablations, **of_boxes(model, batch)}
        variants = {"": batch} | {name: ablate(batch, numbers) for name, ablate in ablations.items()}
        return {name: self.answer(model, variant) for name, variant in variants.items()}

    def optima(self, questions, table: PanelTable, world, note: Callable[[str], None]) -> list[Optimum]:
        """`optimum` sees all candidates, `optimum, one candidate` judges each without the others."""
        shown, protocol, num_candidates = self.shown, questions.protocol, questions.drawn.candidates.shape[1]
        if shown is None:
            return super().optima(questions, table, world, note)

        form = {"world": world, "protocol": protocol, "shown": shown}
        fullest = int((questions.drawn.candidates >= 0).sum(1).argmax())  # if it can be answered, all can
        try:
            if protocol in ("in_page", "later_panels") and num_candidates > MOST_CANDIDATES:
                raise ComicSeqArgumentError(
                    f"it tries all places of at most {MOST_CANDIDATES} candidates on a page, these have {num_candidates}"
                )
            joint_log_posterior(questions.batch(table, slice(fullest, fullest + 1)), **form)
        except ComicSeqArgumentError as error:
            note(f"No optimum for {questions.heading}: {str(error).rstrip('.')}.")
            return []
        answers = {"optimum, one candidate": candidate_log_ratio, "optimum": joint_log_posterior}
        return [
            Optimum(name, partial(self._judged, partial(scores, **form)))  # type: ignore[call-arg]
            for name, scores in answers.items()
        ]

    def is_right(self, logits, labels):
        return logits.argmax(-1) == (labels.argmax(-1) if labels.dim() == 2 else labels)


def right_candidates(batch: Batch) -> np.ndarray:
    """Index of the right candidate of each question `(B,)`, also where every candidate has a label of its own."""
    labels = batch["labels"]
    return labels if labels.ndim == 1 else np.argmax(labels == 1, axis=1)


def _several(protocol: str | Sequence[str]) -> Sequence[str]:
    return [protocol] if isinstance(protocol, str) else protocol
