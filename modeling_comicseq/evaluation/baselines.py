"""What cosine alone answers, from the Stage 3 vectors of a question and without any model."""

from __future__ import annotations

import numpy as np

from ..data.views import Batch
from ..vectors import unit


def context_mean_cosine(batch: Batch) -> np.ndarray:
    """Cosine of each candidate to the mean of the panels that the question shows `(Q, K)`."""
    context, shown = _context(batch)
    directions = unit(context)
    return _cosine((directions * shown[..., None]).sum(1), batch)


def last_panel_cosine(batch: Batch) -> np.ndarray:
    """Cosine of each candidate to the panel before the asked one, or to its successor where it is the first `(Q, K)`."""
    context, shown = _context(batch)
    slots = np.arange(shown.shape[1])
    before = slots < batch["mask_position"][:, None] if "mask_position" in batch else np.ones_like(shown)
    preceding = shown & before
    last = shown.shape[1] - 1 - np.argmax(preceding[:, ::-1], axis=1)
    nearest = np.where(preceding.any(1), last, np.argmax(shown, axis=1))
    return _cosine(context[np.arange(len(context)), nearest], batch)


def farthest_from_context(batch: Batch) -> np.ndarray:
    """Minus the cosine to the mean of the context `(Q, K)`: right where wrong candidates stand in the context."""
    return np.where(batch["candidate_mask"].astype(bool), -context_mean_cosine(batch), -np.inf)


def nearest_neighbour_chain(batch: Batch) -> list[np.ndarray]:
    """A reading order `(N,)` of each shuffled page: from the panel least like the others always on to the nearest left.

    Cosine does not tell a direction; that pages open on a panel of their own, a view of the place, would.
    """
    orders = []
    for vectors, mask in zip(batch["panel_embeddings"], batch["attention_mask"].astype(bool), strict=True):
        # Plainly divided, not by `unit`: on a page of two panels all is a tie, and only rounding decides.
        panels = vectors[mask].astype(np.float32)
        directions = panels / np.maximum(np.linalg.norm(panels, axis=-1, keepdims=True), 1e-12)
        cosine = directions @ directions.T
        order = [int(cosine.sum(1).argmin())]
        while len(order) < len(directions):
            left = np.setdiff1d(np.arange(len(directions)), order)
            order.append(int(left[cosine[order[-1], left].argmax()]))
        orders.append(np.asarray(order))
    return orders


OF_SEQUENCES = {
    "last-panel cosine": last_panel_cosine,
    "context-mean cosine": context_mean_cosine,
    "farthest from the context": farthest_from_context,
}


def _context(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Vectors that can be compared with the candidates `(Q, N, P)`, and which of them the question shows `(Q, N)`."""
    if "caption_embeddings" in batch:
        context = batch["caption_embeddings"][:, None]
        return context, np.ones(context.shape[:2], dtype=bool)
    shown = batch["attention_mask"].astype(bool)
    if "mask_position" in batch:
        shown = shown & (np.arange(shown.shape[1]) != batch["mask_position"][:, None])
    return batch["text_embeddings" if "candidate_text_embeddings" in batch else "panel_embeddings"], shown


def _cosine(query: np.ndarray, batch: Batch) -> np.ndarray:
    name = "candidate_text_embeddings" if "candidate_text_embeddings" in batch else "candidate_embeddings"
    cosine = np.einsum("qd,qkd->qk", unit(query), unit(batch[name]))
    return np.where(batch["candidate_mask"].astype(bool), cosine, -np.inf)
