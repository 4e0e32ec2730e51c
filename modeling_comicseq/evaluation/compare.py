"""A model and the baselines on the same questions."""

from __future__ import annotations

import numpy as np

from ..data.panels import PanelTable
from ..data.synthetic import SyntheticWorld
from ..modeling_comicseq import ComicSeqForPreTraining
from .baselines import BASELINES
from .metrics import bootstrap_mean, chance_level
from .optimum import candidate_log_ratio, joint_log_posterior
from .questions import iterate_questions
from .report import Result
from .scoring import judge, model_logits


def compare(
    model: ComicSeqForPreTraining,
    name: str,
    table: PanelTable,
    task: str,
    protocol: str,
    *,
    num_candidates: int = 5,
    seed: int = 0,
    repeats: int = 1,
    batch_size: int = 256,
    world: SyntheticWorld | None = None,
) -> list[Result]:
    """Asks the model and every baseline the questions of one task and protocol; the model comes last.

    Where the pages come from a synthetic `world`, the best answers that can be given stand beside it: `optimum` sees
    all candidates, `optimum, one candidate` judges each without the others.
    """
    target = model.config.reading_order_target
    is_order = task == "reading_order"
    questions = iterate_questions(
        table,
        task,
        protocol=protocol,
        num_candidates=num_candidates,
        reading_order_target=target,
        seed=seed,
        repeats=repeats,
        batch_size=batch_size,
    )
    parts: dict[str, list[np.ndarray]] = {}
    rows: list[np.ndarray] = []
    for chunk, batch in questions:
        rows.append(chunk)
        chance = np.full(len(chunk), 0.5) if is_order else chance_level(batch["candidate_mask"])
        parts.setdefault("chance", []).append(chance)
        if not is_order:
            for baseline, cosine in BASELINES.items():
                parts.setdefault(baseline, []).append(judge(task, batch, cosine(batch)))
            if world is not None:
                for optimum, log_odds in (
                    ("optimum, one candidate", candidate_log_ratio),
                    ("optimum", joint_log_posterior),
                ):
                    scores = log_odds(task, batch, world, protocol)
                    parts.setdefault(optimum, []).append(judge(task, batch, scores))
        parts.setdefault(name, []).append(judge(task, batch, model_logits(model, task, batch), target))

    answers = {answerer: np.concatenate(values) for answerer, values in parts.items()}
    books = table.books[np.concatenate(rows)]
    results = []
    for answerer, right in answers.items():
        score, low, high = bootstrap_mean(right, books)
        result = Result(task, "" if is_order else protocol, answerer, score, low, high)
        if answerer != name:
            result.gain, result.gain_low, result.gain_high = bootstrap_mean(answers[name] - right, books)
        result.num_questions, result.num_books = len(right), len(np.unique(books))
        results.append(result)
    return results
