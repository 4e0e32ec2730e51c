"""Reading orders from pairwise scores, and what the scores are without a page around the pair."""

from __future__ import annotations

import numpy as np
import torch

from ..data.views import Batch
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.ordering_comicseq import best_orders
from ..model.tasks_comicseq import READING_ORDER
from ..stores.stage3 import BOX_ARRAY
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
    real = batch["attention_mask"].astype(bool)
    page, first, second = np.nonzero(np.triu(real[:, :, None] & real[:, None], k=1))
    alone: Batch = {"attention_mask": np.ones((len(page), 2), dtype=np.int64)}
    for name in {"panel_embeddings", BOX_ARRAY} & batch.keys():
        alone[name] = np.stack((batch[name][page, first], batch[name][page, second]), axis=1)
    logits = model_logits(model, READING_ORDER.name, alone)
    scores = np.zeros((*real.shape, real.shape[1]), dtype=np.float32)
    scores[page, first, second], scores[page, second, first] = logits[:, 0, 1], logits[:, 1, 0]
    return scores
