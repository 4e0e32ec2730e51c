"""Pairwise accuracy, perfect match and Kendall's tau of reading orders for the `evaluate` library.

evaluate.load("modeling_comicseq/evaluation/order_metric.py") loads it without a network, as does the class itself.
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from modeling_comicseq.evaluation.metrics import kendall_tau, pairwise_accuracy, perfect_match

DESCRIPTION = "How near predicted reading orders come to the true ones, averaged over pages."
INPUTS = """
Args:
    predictions: For each page its panels in the predicted order, at least two.
    references: For each page the same panels in the true order.
"""


class ComicSeqOrder(evaluate.Metric):
    """Reading order: `pairwise_accuracy`, `perfect_match` and `kendall_tau`."""

    def _info(self) -> evaluate.MetricInfo:
        orders = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": orders, "references": orders}),
        )

    def _compute(self, *, predictions, references) -> dict[str, float]:
        orders, true_orders = ([np.asarray(order) for order in each] for each in (predictions, references))
        return {
            "pairwise_accuracy": float(pairwise_accuracy(orders, true_orders).mean()),
            "perfect_match": float(perfect_match(orders, true_orders).mean()),
            "kendall_tau": float(kendall_tau(orders, true_orders).mean()),
        }
