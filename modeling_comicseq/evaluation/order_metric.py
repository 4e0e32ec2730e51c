"""Pairwise accuracy, perfect match and Kendall's tau of reading orders for the `evaluate` library.

evaluate.load("modeling_comicseq/evaluation/order_metric.py") loads it without a network, as does the class itself.
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from modeling_comicseq.evaluation.metrics import kendall_tau, pairwise_accuracy, perfect_match


class ComicSeqOrder(evaluate.Metric):
    """`pairwise_accuracy`, `perfect_match` and `kendall_tau`: how near predicted reading orders come to the true ones,
    averaged over pages.
    """

    def _info(self) -> evaluate.MetricInfo:
        orders = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=str(type(self).__doc__),
            citation="",
            inputs_description=str(self._compute.__doc__),
            features=datasets.Features({"predictions": orders, "references": orders}),
        )

    def _compute(self, *, predictions, references) -> dict[str, float]:
        """Means over pages.

        Args:
            predictions: For each page its panels in the predicted order, at least two.
            references: For each page the same panels in the true order.
        """
        orders, true_orders = ([np.asarray(order) for order in each] for each in (predictions, references))
        metrics = (pairwise_accuracy, perfect_match, kendall_tau)
        return {metric.__name__: float(metric(orders, true_orders).mean()) for metric in metrics}
