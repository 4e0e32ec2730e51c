"""Asks a model: questions in, one score a question out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ..data.views import Batch, to_tensors
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.ordering_comicseq import best_orders
from .ablations import pairs_alone
from .metrics import pairwise_accuracy, top1_accuracy
from .questions import right_candidates


@torch.no_grad()
def model_logits(model: ComicSeqForPreTraining, task: str, batch: Batch) -> np.ndarray:
    """The model's logits for a batch of one task, `(Q, K)` or `(Q, N, N)`."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    was_training = model.training
    model.eval()
    logits = model(**{task: to_tensors(inputs, model.device)}).task_logits[task]
    model.train(was_training)
    return logits.float().cpu().numpy()


def pair_logits(model: ComicSeqForPreTraining, batch: Batch) -> np.ndarray:
    """The scores of reading order where every pair of panels is a page of its own: there is no context `(Q, N, N)`."""
    pairs, (page, first, second) = pairs_alone(batch)
    logits = model_logits(model, "reading_order", pairs)
    scores = np.zeros((*batch["attention_mask"].shape, batch["attention_mask"].shape[1]), dtype=np.float32)
    scores[page, first, second], scores[page, second, first] = logits[:, 0, 1], logits[:, 1, 0]
    return scores


def predicted_orders(scores: np.ndarray, attention_mask: np.ndarray, reading_order_target: str) -> list[np.ndarray]:
    """The reading order `(N,)` of each page's real panels by `scores` (Q, N, N): exact up to 12 panels, a beam beyond."""
    orders = best_orders(torch.from_numpy(scores), torch.from_numpy(attention_mask), reading_order_target).numpy()
    return [order[:count] for order, count in zip(orders, attention_mask.sum(1), strict=True)]


def judge(task: str, batch: Batch, scores: np.ndarray, reading_order_target: str = "adjacency") -> np.ndarray:
    """How right the scores are, question by question `(Q,)`: top-1 accuracy, or pairwise accuracy of the order."""
    if task != "reading_order":
        return top1_accuracy(scores, right_candidates(batch))
    orders = predicted_orders(scores, batch["attention_mask"], reading_order_target)
    true_orders = [
        true_order(labels[: len(order), : len(order)], reading_order_target)
        for order, labels in zip(orders, batch["labels"], strict=True)
    ]
    return pairwise_accuracy(orders, true_orders)


def true_order(labels: np.ndarray, reading_order_target: str) -> np.ndarray:
    """The reading order `(N,)` that a page's matrix of labels (N, N) was made from."""
    follows = labels == 1
    if reading_order_target == "precedence":
        return np.argsort(-follows.sum(1))
    order = [int(np.flatnonzero(~follows.any(0))[0])]
    while len(order) < len(labels):
        order.append(int(np.argmax(follows[order[-1]])))
    return np.asarray(order)


def score_model(
    model: ComicSeqForPreTraining, task: str, questions: Iterable[tuple[np.ndarray, Batch]]
) -> tuple[np.ndarray, np.ndarray]:
    """Asks all `questions`; returns their rows and how right each answer is, both `(Q,)`."""
    target = model.config.reading_order_target
    rows, results = [], []
    for chunk, batch in questions:
        rows.append(chunk)
        results.append(judge(task, batch, model_logits(model, task, batch), target))
    return np.concatenate(rows), np.concatenate(results)
