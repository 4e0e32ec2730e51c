"""What an evaluation puts on the model card: a table, and `model-index` metadata that the Hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

from ..checkpoints.card import put_results
from .metrics import few_books
from .report import best_cosine, by_set, fill, find, percent, score_text, without_context
from .results import GEOMETRY, RETRIEVAL, XY_CUT, Result, heading

METRIC_TYPES = {
    "top-1 accuracy": "accuracy",
    "mean reciprocal rank": "mrr",
    "pairwise accuracy": "pairwise_accuracy",
    "perfect match": "exact_match",
    "Kendall's tau": "kendall_tau",
    "precision at 1": "precision_at_1",
}


def put_on_card(folder: Path, results: Sequence[Result], model: str, about: dict) -> None:
    """Writes a model's results onto the card in its folder: `README.md`, made from the template where there is none.

    Only the results and the metadata about them change; what else was written on the card stays.

    Args:
        folder: The checkpoint.
        results: Results of the evaluation.
        model: The model's name in them.
        about: `dataset`, `split`, `data_fingerprint`, `questions_fingerprint`, and `place` where it is known whether places
            can be read off the vectors.
    """
    put_results(folder, _summary(results, model, about).rstrip(), _model_index(results, model, about))


def only_on_card(folder: Path, results: Sequence[Result]) -> list[str]:
    """The question sets whose scores stand on the card in a checkpoint's folder, and which these results do not hold."""
    if not (folder / "README.md").is_file():
        return []
    asked = {heading(result.task, result.protocol) for result in results}
    kept = ModelCard.load(folder / "README.md").data.eval_results or []
    found = dict.fromkeys(each.dataset_config for each in kept if each.dataset_type == "comicseq")
    return [name for name in found if name not in asked]


def _summary(results: Sequence[Result], model: str, about: dict) -> str:
    """A line a question set: chance, the better cosine, where boxes are known what geometry alone answers (in reading order
    XY-cut), the model, and the model without its context."""
    rows, retrieval = [], []
    geometry = {result.answerer for result in results} & {GEOMETRY, XY_CUT}
    for block in by_set(results):
        mine = find(block, model)
        if mine is not None and mine.task not in RETRIEVAL:
            rank = mine.metrics.get("mean reciprocal rank")
            cells = [heading(mine.task, mine.protocol), f"{mine.num_questions:,}", percent(find(block, "chance"))]
            cells.append(percent(best_cosine(block)))
            cells += [percent(find(block, GEOMETRY) or find(block, XY_CUT))] if geometry else []
            cells += [score_text(mine.score), percent(without_context(block, model))]
            rows.append([*cells, "" if rank is None else f"{rank.mean:.3f}"])
        for result in block:
            if result.task in RETRIEVAL and result.model in ("", model):
                vectors = "strip vectors" if result.model else result.answerer
                name = result.task.removesuffix("_retrieval").replace("_", " ")
                retrieval.append([name, vectors, f"{result.num_questions:,}", score_text(result.score)])
    few = few_books(min(result.num_books for result in results))
    return fill("card.md", about=about, rows=rows, retrieval=retrieval, geometry=geometry, few=few)


def _model_index(results: Sequence[Result], model: str, about: dict) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="feature-extraction" if result.task in RETRIEVAL else "multiple-choice",
            task_name=result.task,
            dataset_type="comicseq",
            dataset_name=about["dataset"],
            dataset_config=heading(result.task, result.protocol),
            dataset_split=about["split"],
            dataset_revision=result.questions,
            metric_type=METRIC_TYPES.get(metric, metric),
            metric_name=metric,
            metric_value=round(score.mean, 4),
        )
        for result in results
        if result.role == "model" and result.answerer == model
        for metric, score in result.metrics.items()
    ]
