"""Models and baselines on the same questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..data.panels import PICTURES, TEXTS, PanelTable
from ..data.task import Values
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..synthetic.world import SyntheticWorld
from .metrics import BookBootstrap
from .questions import QuestionSet
from .results import Difference, Group, Result

ROLES = ("baseline", "optimum", "subset", "ablation", "model")  # in the order of the rows
ALONE = {"pictures alone": PICTURES, "texts alone": TEXTS}


@dataclass
class Answerer:
    """What one answerer made of a question set.

    Attributes:
        name: Its name.
        role: "baseline", "model", "ablation" (a model with something taken away), "optimum", or "subset" (a model on the
            questions of an optimum that is known for some only).
        model: The model it belongs to; empty for others.
        values: How right it is by each metric.
        chosen: Which of the questions it was asked `(Q,)`; None for all.
    """

    name: str
    role: str
    model: str
    values: Values
    chosen: np.ndarray | None = None


def compare(
    models: Mapping[str, ComicSeqForPreTraining],
    table: PanelTable,
    questions: QuestionSet,
    *,
    training: PanelTable | None = None,
    batch_size: int = 256,
    world: SyntheticWorld | None = None,
    modalities: bool = False,
    note: Callable[[str], None] = lambda sentence: None,
) -> tuple[list[Result], list[Difference]]:
    """Asks every model, with and without its context, and every baseline the same questions.

    Args:
        models: The models by name.
        table: The split that the questions are about.
        questions: One task's questions under one protocol.
        training: Another split, for the baselines that are fitted.
        batch_size: Questions in a batch.
        world: The generative model of a synthetic corpus: the best answers that can be given then stand beside it.
        modalities: Whether the models are asked also with pictures alone and with texts alone.
        note: Is told, in one sentence, why rows are left out.

    Returns:
        One result an answerer, models last; the paired differences of each model with every baseline, with its own
        variants and with the models after it.
    """
    task = questions.task
    baselines = {"chance": task.chance, **task.baselines(table, note)}
    baselines |= task.fitted(table, training, note)
    alone = ALONE if modalities and questions.has_modalities(table) else {}
    optima = [] if world is None else task.optima(questions, table, world, note)
    parts: dict[tuple[str, str, str], list[Values]] = defaultdict(list)
    for chosen, batch in questions.batches(table, batch_size):
        books = table.book_ids[table.books[questions.rows[chosen]]]
        for name, answer in baselines.items():
            parts[name, "baseline", ""].append(answer(batch | {"book_ids": books}))
        for optimum in optima:
            parts[optimum.name, "optimum", ""].append(optimum.answer(batch))
        read = {"fused": batch}  # by the streams of a model
        for name, model in models.items():
            streams = model.config.streams
            own = table.with_streams(streams)
            if streams not in read:
                read[streams] = questions.batch(own, chosen)
            answers = dict(task.ask(model, read[streams], np.arange(chosen.start, chosen.stop)))
            for variant, shown in alone.items() if own.has_halves else ():
                answers[variant] = task.answer(model, questions.batch(own, chosen, shown))
            for variant, values in answers.items():
                key = (f"{name}, {variant}", "ablation", name) if variant else (name, "model", name)
                parts[key].append(values)
    answerers = [
        Answerer(*key, {metric: np.concatenate([values[metric] for values in batches]) for metric in batches[0]})
        for key, batches in parts.items()
    ]
    for optimum in optima:
        next(each for each in answerers if each.name == optimum.name).chosen = optimum.chosen
        if optimum.chosen is not None and not optimum.chosen.all():  # else the row would be the model's own
            known = optimum.name.partition(" ")[2]
            answerers += [
                replace(each, name=f"{each.name} {known}", role="subset", chosen=optimum.chosen)
                for each in answerers
                if each.role == "model"
            ]
    return summarise(sorted(answerers, key=lambda each: ROLES.index(each.role)), table, questions)


def summarise(
    answerers: list[Answerer], table: PanelTable, questions: QuestionSet
) -> tuple[list[Result], list[Difference]]:
    """Means and paired differences with their intervals over books, and the scores by page length and candidates."""
    books, lengths = table.books[questions.rows], table.num_panels[questions.rows]
    choices = (questions.drawn.candidates >= 0).sum(1)
    about = (questions.task.name, questions.protocol)
    bootstrap = BookBootstrap(books)

    def groups(values: np.ndarray, chosen: np.ndarray, numbers: np.ndarray) -> list[Group]:
        return [
            Group(int(n), bootstrap.add(values, chosen & (numbers == n)), *_counts(books[chosen & (numbers == n)]))
            for n in np.unique(numbers[chosen])
        ]

    results, differences = [], []
    for each in answerers:
        chosen = np.ones(len(books), dtype=bool) if each.chosen is None else each.chosen
        metrics = {metric: bootstrap.add(values, chosen) for metric, values in each.values.items()}
        first = each.values[questions.task.metrics[0]]
        by_length = groups(first, chosen, lengths)
        by_candidates = groups(first, chosen, choices) if questions.task.protocols else []
        who, counts = (each.name, each.role, each.model), _counts(books[chosen])
        results.append(Result(*about, *who, metrics, by_length, by_candidates, *counts, questions.fingerprint))
    for mine, other in _pairs(answerers):
        both = mine.chosen if mine.chosen is not None else other.chosen
        for metric, values in mine.values.items():
            difference = bootstrap.add(values - other.values[metric], both)
            differences.append(Difference(*about, mine.name, other.name, metric, difference))
    bootstrap.intervals()  # of all scores, from the same resamples
    return results, differences


def _counts(books: np.ndarray) -> tuple[int, int]:
    """How many questions there are, and books that they come from."""
    return len(books), len(np.unique(books))


def _pairs(answerers: list[Answerer]) -> list[tuple[Answerer, Answerer]]:
    """Which answerers are compared: each model with all but the variants of others; a pair of models once."""
    models = [each for each in answerers if each.role == "model"]
    some = [each for each in answerers if each.chosen is not None]
    pairs = []
    for number, model in enumerate(models):
        others = [each for each in answerers if each.role != "model" and each.chosen is None]
        pairs += [(model, other) for other in others if other.model in ("", model.name)]
        pairs += [(model, later) for later in models[number + 1 :]]
    # The optimum of some of the pages only is compared with the model's answers on these.
    mine = [each for each in some if each.role == "subset"] or models
    return pairs + [(each, optimum) for optimum in some if optimum.role == "optimum" for each in mine]
