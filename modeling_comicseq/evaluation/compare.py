"""Models and baselines on the same questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..data.panels import PanelTable
from ..data.views import Batch
from ..errors import ComicSeqDataError
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..synthetic.optimum import candidate_log_ratio, joint_log_posterior
from ..synthetic.order_optimum import MAX_PANELS, order_posterior
from ..synthetic.world import SyntheticWorld
from .ablations import ABLATIONS
from .baselines import choice_baselines, nearest_neighbour_chain
from .metrics import (
    BookBootstrap,
    chance_level,
    chance_reciprocal_rank,
    kendall_tau,
    pairwise_accuracy,
    perfect_match,
    reciprocal_rank,
    top1_accuracy,
)
from .questions import QuestionSet, right_candidates
from .results import Difference, Group, Result, Score, heading
from .scoring import model_logits, pair_logits, predicted_orders

CHOICE_METRICS = ("top-1 accuracy", "mean reciprocal rank")
ORDER_METRICS = ("pairwise accuracy", "perfect match", "Kendall's tau")
MOST_CANDIDATES = 8  # of which the optimum knows all hypotheses about where wrong ones stand in good time


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
            `optimum` sees all candidates, `optimum, one candidate` judges each without the others.
        note: Is told, in one sentence, why rows are left out.

    Returns:
        One result an answerer, models last; the paired differences of each model with every baseline, with its own
        variants and with the models after it.
    """
    ask = _ask_order if questions.task == "reading_order" else _ask_choices
    answerers = ask(models, table, questions, batch_size, world, note)
    return summarise(answerers, table, questions)


def _ask_choices(
    models: Mapping[str, ComicSeqForPreTraining],
    table: PanelTable,
    questions: QuestionSet,
    batch_size: int,
    world: SyntheticWorld | None,
    note: Callable[[str], None],
) -> list[Answerer]:
    task = questions.task
    baselines = _baselines(task, table, note)
    answerers = {name: Answerer(name, "baseline") for name in ("chance", *baselines)}
    if world is not None and not _has_optimum(questions, table, world, note):
        world = None
    if world is not None:
        answerers |= {name: Answerer(name, "optimum") for name in ("optimum, one candidate", "optimum")}
    for name in models:
        for ablation in ABLATIONS[task]:
            answerers[f"{name}, {ablation}"] = Answerer(f"{name}, {ablation}", "ablation", name)
    answerers |= {name: Answerer(name, "model", name) for name in models}

    for chosen, batch in questions.batches(table, batch_size):
        right, numbers = right_candidates(batch), np.arange(chosen.start, chosen.stop)
        scores = {name: baseline(batch) for name, baseline in baselines.items()}
        if world is not None:
            scores["optimum, one candidate"] = candidate_log_ratio(task, batch, world, questions.protocol)
            scores["optimum"] = joint_log_posterior(task, batch, world, questions.protocol)
        variants = {name: ablate(task, batch, numbers) for name, ablate in ABLATIONS[task].items()}
        for name, model in models.items():
            scores[name] = model_logits(model, task, batch)
            for ablation, variant in variants.items():
                scores[f"{name}, {ablation}"] = model_logits(model, task, variant)
        mask = batch["candidate_mask"]
        chance = (chance_level(mask), chance_reciprocal_rank(mask))
        answerers["chance"].record(dict(zip(CHOICE_METRICS, chance, strict=True)))
        for name, values in scores.items():
            judged = (top1_accuracy(values, right), reciprocal_rank(values, right))
            answerers[name].record(dict(zip(CHOICE_METRICS, judged, strict=True)))
    return list(answerers.values())


def _baselines(
    task: str, table: PanelTable, note: Callable[[str], None]
) -> Mapping[str, Callable[[Batch], np.ndarray]]:
    """The cosine baselines of a task, none where captions and panels are vectors of different widths."""
    caption, panel = table.widths.get("caption_embeddings"), table.widths["panel_embeddings"]
    if task != "caption_relevance" or caption == panel:
        return choice_baselines(task)
    note(f"No cosine for {task}: captions are {caption} wide and panels {panel}.")
    return {}


def _has_optimum(
    questions: QuestionSet, table: PanelTable, world: SyntheticWorld, note: Callable[[str], None]
) -> bool:
    """Whether the exact answers of these questions are known and can be computed; if not, says why."""
    num_candidates = questions.candidates.shape[1]
    reason = f"it tries all places of at most {MOST_CANDIDATES} candidates on a page, these have {num_candidates}"
    if questions.protocol not in ("in_page", "later_panels") or num_candidates <= MOST_CANDIDATES:
        fullest = int((questions.candidates >= 0).sum(1).argmax())  # what holds for most candidates holds for fewer
        batch = questions.batch(table, slice(fullest, fullest + 1))
        try:
            joint_log_posterior(questions.task, batch, world, questions.protocol)
            return True
        except ComicSeqDataError as error:
            reason = str(error).rstrip(".")
    note(f"No optimum for {heading(questions.task, questions.protocol)}: {reason}.")
    return False


def _ask_order(
    models: Mapping[str, ComicSeqForPreTraining],
    table: PanelTable,
    questions: QuestionSet,
    batch_size: int,
    world: SyntheticWorld | None,
    note: Callable[[str], None],
) -> list[Answerer]:
    lengths = table.num_panels[questions.rows]
    guess = Answerer("chance", "baseline")
    factorials = np.asarray([1 / np.prod(np.arange(1.0, n + 1)) for n in range(lengths.max() + 1)])
    chance = (np.full(len(lengths), 0.5), factorials[lengths], np.zeros(len(lengths)))
    guess.record(dict(zip(ORDER_METRICS, chance, strict=True)))
    chain = Answerer("nearest-neighbour chain", "baseline")
    short = lengths <= MAX_PANELS
    optimum = Answerer(f"optimum (up to {MAX_PANELS} panels)", "optimum", chosen=short)
    if world is not None and not short.any():
        note(f"No optimum for reading_order: every page has more than {MAX_PANELS} panels.")
    alone = {name: Answerer(f"{name}, without context", "ablation", name) for name in models}
    whole = {name: Answerer(name, "model", name) for name in models}

    for chosen, batch in questions.batches(table, batch_size):
        mask = batch["attention_mask"]
        true_orders = [np.argsort(s[s >= 0]) for s in questions.shuffles[chosen]]
        chain.record(_order_metrics(nearest_neighbour_chain(batch), true_orders))
        if world is not None:
            optimum.record(_best_orders_known(batch, world, true_orders))
        for name, model in models.items():
            target = model.config.reading_order_target
            logits = model_logits(model, "reading_order", batch)
            whole[name].record(_order_metrics(predicted_orders(logits, mask, target), true_orders))
            orders = predicted_orders(pair_logits(model, batch), mask, target)
            alone[name].record(_order_metrics(orders, true_orders))

    answerers = [guess, chain]
    if world is not None and short.any():
        answerers.append(optimum)
        if not short.all():  # else the row would be the model's own
            for name, each in whole.items():
                same = Answerer(f"{name} (up to {MAX_PANELS} panels)", "subset", name, short, each.parts)
                answerers.append(same)
    return [*answerers, *alone.values(), *whole.values()]


def _order_metrics(orders: list[np.ndarray], true_orders: list[np.ndarray]) -> dict[str, np.ndarray]:
    metrics = (pairwise_accuracy, perfect_match, kendall_tau)
    return {name: metric(orders, true_orders) for name, metric in zip(ORDER_METRICS, metrics, strict=True)}


def _best_orders_known(batch: Batch, world: SyntheticWorld, true_orders: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics of the best orders: most expected pairs, or most probable as a whole; NaN for pages too long to try."""
    sizes = batch["attention_mask"].sum(1)
    short = sizes <= MAX_PANELS
    values = {metric: np.full(len(sizes), np.nan) for metric in ORDER_METRICS}
    if short.any():
        posterior = order_posterior(batch["panel_embeddings"][short], batch["attention_mask"][short], world)
        truth = [order for order, is_short in zip(true_orders, short, strict=True) if is_short]
        pairs, whole = (
            [order[:size] for order, size in zip(orders, sizes[short], strict=True)]
            for orders in (posterior.by_precedence, posterior.best_order)
        )
        judged = (pairwise_accuracy(pairs, truth), perfect_match(whole, truth), kendall_tau(pairs, truth))
        for metric, value in zip(ORDER_METRICS, judged, strict=True):
            values[metric][short] = value
    return values


def summarise(
    answerers: list[Answerer], table: PanelTable, questions: QuestionSet
) -> tuple[list[Result], list[Difference]]:
    """Means and paired differences with their intervals over books, and the scores by page length and candidates."""
    books, lengths = table.books[questions.rows], table.num_panels[questions.rows]
    choices = (questions.candidates >= 0).sum(1) if questions.candidates.shape[1] else np.zeros(0, dtype=int)
    bootstrap = BookBootstrap(books)
    results, differences = [], []
    scores: list[Score] = []  # in the order of the bootstrap's columns, which are resampled together at the end

    def score_later(values: np.ndarray, chosen: np.ndarray | None) -> Score:
        bootstrap.add(values, chosen)
        scores.append(Score())
        return scores[-1]

    for answerer in answerers:
        chosen = np.ones(len(books), dtype=bool) if answerer.chosen is None else answerer.chosen
        metrics = {metric: score_later(answerer.values(metric), chosen) for metric in answerer.parts}
        first = answerer.values(next(iter(answerer.parts)))
        groups = [
            [
                Group(int(n), score_later(first, chosen & (numbers == n)), *_counts(books, chosen & (numbers == n)))
                for n in np.unique(numbers[chosen] if len(numbers) else numbers)
            ]
            for numbers in (lengths, choices)
        ]
        results.append(
            Result(
                task=questions.task,
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
            difference = score_later(mine.values(metric) - other.values(metric), both)
            differences.append(
                Difference(questions.task, questions.protocol, mine.name, other.name, metric, difference)
            )
    for score, interval in zip(scores, bootstrap.intervals(), strict=True):
        score.mean, score.low, score.high = interval
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
