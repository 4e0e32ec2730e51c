"""What an evaluation puts on the model card: a table, and `model-index` metadata that the Hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult

from ..checkpoints.card import put_results
from .report import best_cosine, by_set
from .results import LEAKY, RETRIEVAL, Result, heading, interval

METRIC_TYPES = {
    "top-1 accuracy": "accuracy",
    "mean reciprocal rank": "mrr",
    "pairwise accuracy": "pairwise_accuracy",
    "perfect match": "exact_match",
    "Kendall's tau": "kendall_tau",
    "precision at 1": "precision_at_1",
}


def put_on_card(folder: Path, template: Path, results: Sequence[Result], model: str, about: dict) -> None:
    """Writes a model's results onto the card in its folder: `README.md`, made from the template where there is none.

    Only the results and the metadata about them change; what else was written on the card stays.

    Args:
        folder: The checkpoint.
        template: `model_card.md` at the top of the repository.
        results: Results of the evaluation.
        model: The model's name in them.
        about: `dataset`, `split`, `data_fingerprint` and `questions_fingerprint`.
    """
    put_results(folder, template, "\n".join(_summary(results, model, about)), _model_index(results, model, about))


def _summary(results: Sequence[Result], model: str, about: dict) -> list[str]:
    """A line a question set: chance, the better cosine, the model, and the model without its context."""
    lines = [
        f"Split `{about['split']}` of `{about['dataset']}` (data fingerprint `{about['data_fingerprint']}`), questions"
        f" `{about['questions_fingerprint']}`. Top-1 accuracy in % (reading order: pairwise accuracy) with 95 % intervals"
        " by bootstrap over books.",
        "",
        "| task, wrong candidates | questions | chance | best cosine | model | without context | mean reciprocal rank |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for block in by_set(results):
        mine = [result for result in block if result.role == "model" and result.answerer == model]
        if not mine or mine[0].task in RETRIEVAL:
            continue
        ablations = {result.answerer.removeprefix(f"{model}, "): result for result in block if result.model == model}
        bare = ablations.get("without context") or ablations.get("caption removed")
        rank = mine[0].metrics.get("mean reciprocal rank")
        others = [
            next((result for result in block if result.answerer == "chance"), None),
            best_cosine(block),
        ]
        cells = [heading(mine[0].task, mine[0].protocol), f"{mine[0].num_questions:,}"]
        cells += ["" if result is None else f"{100 * result.score.mean:.1f}" for result in others]
        cells.append(interval(mine[0].score.mean, mine[0].score.low, mine[0].score.high))
        cells += ["" if bare is None else f"{100 * bare.score.mean:.1f}", "" if rank is None else f"{rank.mean:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    retrieval = [
        f"| {result.task.removesuffix('_retrieval').replace('_', ' ')} | {'strip vectors' if result.model else result.answerer}"
        f" | {result.num_questions:,} | {interval(result.score.mean, result.score.low, result.score.high)} |"
        for result in results
        if result.task in RETRIEVAL and result.model in ("", model)
    ]
    if retrieval:
        lines += [
            "",
            "Nearest page by cosine is the right one, %:",
            "",
            "| | vectors | pages | |",
            "|---|---|---:|---:|",
        ]
    return lines + retrieval


def _model_index(results: Sequence[Result], model: str, about: dict) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="feature-extraction" if result.task in RETRIEVAL else "multiple-choice",
            task_name=result.task,
            dataset_type="comicseq",
            dataset_name=about["dataset"],
            dataset_config=f"{result.task}, {LEAKY.get(result.protocol, result.protocol)}"
            if result.protocol
            else result.task,
            dataset_split=about["split"],
            dataset_revision=result.questions,
            metric_type=METRIC_TYPES[metric],
            metric_name=metric,
            metric_value=round(score.mean, 4),
        )
        for result in results
        if result.role == "model" and result.answerer == model
        for metric, score in result.metrics.items()
    ]
