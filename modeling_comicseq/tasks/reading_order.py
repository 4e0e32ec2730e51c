"""Reading order: the panels of a page come in any order; how are they read?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from ..data.draws import Draws
from ..data.panels import PanelTable
from ..data.task import Answer, Drawn, Optimum, Task, Values
from ..data.views import Batch, Vectors, box_inputs, page_panels
from ..evaluation.ablations import of_boxes
from ..evaluation.baselines import nearest_neighbour_chain
from ..evaluation.geometry import known_pages, page_boxes
from ..evaluation.metrics import kendall_tau, pairwise_accuracy, perfect_match
from ..evaluation.ordering import pair_logits, predicted_orders, true_order
from ..evaluation.probe import PlaceProbe, can_probe, sample_pages
from ..evaluation.results import XY_CUT
from ..evaluation.scoring import model_logits
from ..layouts.predictor import load_predictor, order_pages
from ..layouts.rules import raster_order, xy_cut_order
from ..model.tasks_comicseq import READING_ORDER
from ..stores.stage3 import BOX_ARRAY
from ..synthetic.order_optimum import MAX_PANELS, order_posterior


def _by_predictor(pages: list[np.ndarray]) -> list[np.ndarray]:
    found = order_pages(load_predictor(), [{"panel_boxes": boxes} for boxes in pages])
    return [np.asarray(page.order) for page in found]


RULES: dict[str, Callable[[list[np.ndarray]], list[np.ndarray]]] = {
    "raster order": lambda pages: [raster_order(boxes) for boxes in pages],
    XY_CUT: lambda pages: [xy_cut_order(boxes) for boxes in pages],
    "packaged predictor": _by_predictor,
}


class ReadingOrder(Task):
    """The panels of a page are shuffled, without positions; labels say which follows which."""

    spec = READING_ORDER
    metrics = ("pairwise accuracy", "perfect match", "Kendall's tau")
    training_metric = "successor_accuracy"  # finding each panel's successor stands for the whole order, a search

    def servable(self, table: PanelTable, rows: np.ndarray) -> np.ndarray:
        return table.num_panels[rows] >= 2

    def draw(self, table, rows, draws: Draws, num_candidates=5, protocol="same_book") -> Drawn:
        mask = page_panels(table, rows)[1]
        order = np.argsort(np.where(mask, draws.uniform("order", mask.shape[1]), 2.0), axis=1)
        none = np.full(len(rows), -1)
        return Drawn(none, np.zeros((len(rows), 0), dtype=np.int64), none, np.where(mask, order, -1))

    def is_question(self, drawn: Drawn) -> np.ndarray:
        return np.ones(len(drawn.shuffles), dtype=bool)

    def view(self, table, rows, drawn, reading_order_target="adjacency") -> Batch:
        panels, mask = page_panels(table, rows)
        order = drawn.shuffles[:, : mask.shape[1]]
        step = order[:, None, :] - order[:, :, None]
        follows = step == 1 if reading_order_target == "adjacency" else step > 0
        counted = mask[:, :, None] & mask[:, None, :] & (step != 0)
        shown = np.where(mask, np.take_along_axis(panels, order, 1), -1)
        return {
            "panel_embeddings": Vectors("panel_embeddings", shown),
            "attention_mask": mask.astype(np.int64),
            "labels": np.where(counted, follows, -100),
            **box_inputs(table, shown),
        }

    def judge(self, batch, logits, reading_order_target="adjacency") -> Values:
        return self._judge_orders(batch, predicted_orders(logits, batch["attention_mask"], reading_order_target))

    def _judge_orders(self, batch: Batch, orders: list[np.ndarray]) -> Values:
        truth = true_orders(batch)
        values = (metric(orders, truth) for metric in (pairwise_accuracy, perfect_match, kendall_tau))
        return dict(zip(self.metrics, values, strict=True))

    def chance(self, batch: Batch) -> Values:
        lengths = batch["attention_mask"].sum(1)
        factorials = np.asarray([1 / np.prod(np.arange(1.0, n + 1)) for n in range(lengths.max() + 1)])
        values = (np.full(len(lengths), 0.5), factorials[lengths], np.zeros(len(lengths)))
        return dict(zip(self.metrics, values, strict=True))

    def baselines(self, table: PanelTable, note: Callable[[str], None]) -> Mapping[str, Answer]:
        return {
            "nearest-neighbour chain": lambda batch: self._judge_orders(batch, nearest_neighbour_chain(batch)),
            **({name: partial(self.by_rule, name) for name in RULES} if BOX_ARRAY in table else {}),
        }

    def by_rule(self, name: str, batch: Batch) -> Values:
        """The metrics of the orders of one of `RULES`; those of a guess for pages of which not all boxes are known."""
        known, values = known_pages(batch), self.chance(batch)
        if known.any():
            asked = {name: value[known] for name, value in batch.items()}
            for metric, value in self._judge_orders(asked, RULES[name](page_boxes(asked))).items():
                values[metric][known] = value
        return values

    def fitted(
        self, table: PanelTable, training: PanelTable | None, note: Callable[[str], None]
    ) -> Mapping[str, Answer]:
        panels = sample_pages([table] if training is None else [table, training])
        if not can_probe(*panels[1:]):
            return {}
        probe = PlaceProbe(*panels)
        return {"place probe": lambda batch: self._judge_orders(batch, probe.orders(batch))}

    def answer(self, model, batch: Batch) -> Values:
        return self.judge(batch, model_logits(model, self.name, batch), model.config.reading_order_target)

    def ask(self, model, batch: Batch, numbers: np.ndarray) -> dict[str, Values]:
        target = model.config.reading_order_target
        variants = {"": batch} | {name: ablate(batch, numbers) for name, ablate in of_boxes(model, batch).items()}
        logits = {name: model_logits(model, self.name, variant) for name, variant in variants.items()}
        logits["without context"] = pair_logits(model, batch)
        return {name: self.judge(batch, each, target) for name, each in logits.items()}

    def optima(self, questions, table: PanelTable, world, note: Callable[[str], None]) -> list[Optimum]:
        short = table.num_panels[questions.rows] <= MAX_PANELS
        if not short.any():
            note(f"No optimum for {self.name}: every page has more than {MAX_PANELS} panels.")
            return []
        return [Optimum(f"optimum (up to {MAX_PANELS} panels)", lambda batch: self._best(batch, world), short)]

    def _best(self, batch: Batch, world) -> Values:
        """The metrics of the best orders: most expected pairs, or most probable as a whole; NaN for pages too long to try."""
        short = batch["attention_mask"].sum(1) <= MAX_PANELS
        known = {name: value[short] for name, value in batch.items()}
        posterior = order_posterior(known["panel_embeddings"], known["attention_mask"], world)
        truth = true_orders(known)
        pairs, whole = (
            [order[: len(true)] for order, true in zip(orders, truth, strict=True)]
            for orders in (posterior.by_precedence, posterior.best_order)
        )
        values = {metric: np.full(len(short), np.nan) for metric in self.metrics}
        judged = (pairwise_accuracy(pairs, truth), perfect_match(whole, truth), kendall_tau(pairs, truth))
        for metric, value in zip(self.metrics, judged, strict=True):
            values[metric][short] = value
        return values

    def is_right(self, logits, labels):
        best = logits.masked_fill(labels == -100, -float("inf")).argmax(-1)
        return (labels.gather(-1, best[..., None])[..., 0] == 1)[(labels == 1).any(-1)]


def true_orders(batch: Batch) -> list[np.ndarray]:
    """The reading order `(N,)` of the real panels of each page, which adjacency labels tell."""
    sizes = batch["attention_mask"].sum(1)
    return [true_order(labels[:size, :size]) for labels, size in zip(batch["labels"], sizes, strict=True)]
