"""Reading orders from pairwise scores, and what the scores are without a page around the pair."""

from __future__ import annotations

import numpy as np
import torch

from ..data.views import Batch
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.ordering_comicseq import best_orders
from ..model.tasks_comicseq import READING_ORDER
from .scoring import model_logits


def predicted_orders(scores: np.ndarray, attention_mask: np.ndarray, reading_order_target: str) -> list[np.ndarray]:
    """The reading order `(N,)` of each page's real panels by `scores` (Q, N, N): exact up to 12 panels, a beam beyond."""
    orders = best_orders(torch.from_numpy(scores), torch.from_numpy(attention_mask), reading_order_target).numpy()
    return [order[:count] for order, count in zip(orders, attention_mask.sum(1), strict=True)]


def true_order(labels: np.ndarray) -> np.ndarray:
    """The reading order `(N,)` that a page's adjacency labels (N, N) were made from."""
    follows = labels == 1
    order = [int(np.flatnonzero(~follows.any(0))[0])]
    while len(order) < len(labels):
        order.append(int(np.argmax(follows[order[-1]])))
    return np.asarray(order)


def pair_logits(model: ComicSeqForPreTraining, batch: Batch) -> np.ndarray:
    """The scores of reading order where every pair of panels is a page of its own: there is no context `(Q, N, N)`."""
    pairs, (page, first, second) = pairs_alone(batch)
    logits = model_logits(model, READING_ORDER.name, pairs)
    scores = np.zeros((*batch["attention_mask"].shape, batch["attention_mask"].shape[1]), dtype=np.float32)
    scores[page, first, second], scores[page, second, first] = logits[:, 0, 1], logits[:, 1, 0]
    return scores


def pairs_alone(batch: Batch) -> tuple[Batch, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every pair of panels of each page of a reading-order batch as a page of its own.

    Returns:
        Pages of two panels (M, 2, P), and the page, the first and the second slot of each pair `(M,)`.
    """
    real = batch["attention_mask"].astype(bool)
    width = real.shape[1]
    upper = np.triu(np.ones((width, width), dtype=bool), k=1)
    page, first, second = np.nonzero(real[:, :, None] & real[:, None] & upper)
    panels = batch["panel_embeddings"]
    pairs = np.stack((panels[page, first], panels[page, second]), axis=1)
    return {"panel_embeddings": pairs, "attention_mask": np.ones(pairs.shape[:2], dtype=np.int64)}, (
        page,
        first,
        second,
    )
