"""Top-1 accuracy and mean reciprocal rank for the `evaluate` library.

evaluate.load("modeling_comicseq/evaluation/choice_metric.py") loads it without a network, as does the class itself.
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from modeling_comicseq.evaluation.metrics import reciprocal_rank, top1_accuracy


class ComicSeqChoice(evaluate.Metric):
    """`top1_accuracy` and `mean_reciprocal_rank`: how often the right candidate has the highest score, and one over its
    rank; ties share.
    """

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=str(type(self).__doc__),
            citation="",
            inputs_description=str(self._compute.__doc__),
            features=datasets.Features({"predictions": scores, "references": datasets.Value("int64")}),
        )

    def _compute(self, *, predictions, references) -> dict[str, float]:
        """Means over questions.

        Args:
            predictions: Scores of the candidates of each question, one list a question; their lengths may differ.
            references: Index of the right candidate of each question.
        """
        padded = np.full((len(predictions), max(map(len, predictions))), -np.inf)
        for row, scores in zip(padded, predictions, strict=True):
            row[: len(scores)] = scores
        answers = np.asarray(references)
        return {
            "top1_accuracy": float(top1_accuracy(padded, answers).mean()),
            "mean_reciprocal_rank": float(reciprocal_rank(padded, answers).mean()),
        }
