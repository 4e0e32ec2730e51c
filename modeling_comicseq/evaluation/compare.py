"""Models and baselines on the same questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..data.panels import PanelTable
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..synthetic.world import SyntheticWorld
from .metrics import BookBootstrap
from .questions import QuestionSet
from .results import Difference, Group, Result


@dataclass
class Answerer:
    """What one answerer made of a question set.

    Attributes:
        name: Its name.
        role: "baseline", "model", "ablation" (a model with something taken away), "optimum", or "subset" (a model on the
            questions of an optimum that is known for some only).
        model: The model it belongs to; empty for others.
        chosen: Which of the questions it was asked `(Q,)`; None for all.
        parts: The values of each metric, batch by batch.
    """

    name: str
    role: str
    model: str = ""
    chosen: np.ndarray | None = None
    parts: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def record(self, values: Mapping[str, np.ndarray]) -> None:
        for metric, value in values.items():
            self.parts.setdefault(metric, []).append(value)

    def values(self, metric: str) -> np.ndarray:
        return np.concatenate(self.parts[metric])


def compare(
    models: Mapping[str, ComicSeqForPreTraining],
    table: PanelTable,
    questions: QuestionSet,
    *,
    batch_size: int = 256,
    world: SyntheticWorld | None = None,
    note: Callable[[str], None] = lambda sentence: None,
) -> tuple[list[Result], list[Difference]]:
    """Asks every model, with and without its context, and every baseline the same questions.

    Args:
        models: The models by name.
        table: The split that the questions are about.
        questions: One task's questions under one protocol.
        batch_size: Questions in a batch.
        world: The generative model of a synthetic corpus: the best answers that can be given then stand beside it.
        note: Is told, in one sentence, why rows are left out.

    Returns:
        One result an answerer, models last; the paired differences of each model with every baseline, with its own
        variants and with the models after it.
    """
    task = questions.task
    baselines = {"chance": task.chance, **task.baselines(table, note)}
    optima = [] if world is None else task.optima(questions, table, world, note)
    first = {name: Answerer(name, "baseline") for name in baselines}
    first |= {optimum.name: Answerer(optimum.name, "optimum", chosen=optimum.chosen) for optimum in optima}
    of_models: dict[tuple[str, str], Answerer] = {}
    for chosen, batch in questions.batches(table, batch_size):
        for name, answer in [*baselines.items(), *((optimum.name, optimum.answer) for optimum in optima)]:
            first[name].record(answer(batch))
        for model_name, model in models.items():
            for variant, values in task.ask(model, batch, np.arange(chosen.start, chosen.stop)).items():
                label, role = (f"{model_name}, {variant}", "ablation") if variant else (model_name, "model")
                of_models.setdefault((model_name, variant), Answerer(label, role, model_name)).record(values)
    whole = [answerer for answerer in of_models.values() if answerer.role == "model"]
    ablations = [answerer for answerer in of_models.values() if answerer.role == "ablation"]
    subsets = [  # the models on the questions of an optimum that is known for some only
        Answerer(
            f"{answerer.name} {optimum.name.partition(' ')[2]}",
            "subset",
            answerer.model,
            optimum.chosen,
            answerer.parts,
        )
        for optimum in optima
        if optimum.chosen is not None and not optimum.chosen.all()  # else the row would be the model's own
        for answerer in whole
    ]
    return summarise([*first.values(), *subsets, *ablations, *whole], table, questions)


def summarise(
    answerers: list[Answerer], table: PanelTable, questions: QuestionSet
) -> tuple[list[Result], list[Difference]]:
    """Means and paired differences with their intervals over books, and the scores by page length and candidates."""
    books, lengths = table.books[questions.rows], table.num_panels[questions.rows]
    choices = (questions.candidates >= 0).sum(1) if questions.candidates.shape[1] else np.zeros(0, dtype=int)
    bootstrap = BookBootstrap(books)
    results, differences = [], []
    for answerer in answerers:
        chosen = np.ones(len(books), dtype=bool) if answerer.chosen is None else answerer.chosen
        metrics = {metric: bootstrap.add(answerer.values(metric), chosen) for metric in answerer.parts}
        first = answerer.values(next(iter(answerer.parts)))
        groups = [
            [
                Group(int(n), bootstrap.add(first, chosen & (numbers == n)), *_counts(books, chosen & (numbers == n)))
                for n in np.unique(numbers[chosen] if len(numbers) else numbers)
            ]
            for numbers in (lengths, choices)
        ]
        results.append(
            Result(
                task=questions.task.name,
                protocol=questions.protocol,
                answerer=answerer.name,
                role=answerer.role,
                model=answerer.model,
                metrics=metrics,
                by_page_length=groups[0],
                by_candidates=groups[1],
                num_questions=_counts(books, chosen)[0],
                num_books=_counts(books, chosen)[1],
                questions=questions.fingerprint,
            )
        )
    for mine, other in _pairs(answerers):
        both = mine.chosen if mine.chosen is not None else other.chosen
        for metric in mine.parts:
            difference = bootstrap.add(mine.values(metric) - other.values(metric), both)
            differences.append(
                Difference(questions.task.name, questions.protocol, mine.name, other.name, metric, difference)
            )
    bootstrap.intervals()  # of all scores, from the same resamples
    return results, differences


def _counts(books: np.ndarray, chosen: np.ndarray) -> tuple[int, int]:
    return int(chosen.sum()), int(np.count_nonzero(np.bincount(books[chosen])))


def _pairs(answerers: list[Answerer]) -> list[tuple[Answerer, Answerer]]:
    """Which answerers are compared: each model with all but the variants of others; a pair of models once."""
    models = [answerer for answerer in answerers if answerer.role == "model"]
    pairs = []
    for number, model in enumerate(models):
        for other in answerers:
            is_mine = other.model in ("", model.name) and other.role != "model"
            if is_mine and other.chosen is None:
                pairs.append((model, other))
        pairs += [(model, later) for later in models[number + 1 :]]
    # The optimum of some of the pages only is compared with the model's answers on these.
    for other in (a for a in answerers if a.chosen is not None and not a.model):
        same = [a for a in answerers if a.chosen is not None and a.model]
        pairs += [(mine, other) for mine in same or models]
    return pairs
