"""What is answered from where panels stand, without reading one: no answer by geometry.

The right candidate's shape fits the empty slot. Where vectors tell shapes, whoever sees the boxes of the other panels finds
it, and has read nothing. A ridge regression that foretells the asked panel's vector from the boxes around it shows whether
they do; rules put the panels of a page in order.
"""

from __future__ import annotations

import numpy as np

from ..data.views import Batch
from ..stores.stage3 import BOX_ARRAY
from ..vectors import unit
from .ridge import fit_ridge


class GeometryRidge:
    """A ridge regression from the boxes of a question's context to the vector of the right candidate.

    Args:
        batch: Questions of which the right candidate is the first.
    """

    def __init__(self, batch: Batch):
        features, targets = describe_context(batch)[0], unit(_candidates(batch)[:, 0])
        self.mean, self.deviation, self.centre = features.mean(0), features.std(0) + 1e-6, targets.mean(0)
        features = self._standardised(features)
        targets = targets - self.centre
        energy = (targets**2).sum(0)
        self.weights = fit_ridge(features.T @ features, features.T @ targets, energy, len(targets))

    def _standardised(self, features: np.ndarray) -> np.ndarray:
        return (features - self.mean) / self.deviation

    def scores(self, batch: Batch) -> np.ndarray:
        """Likeness of each candidate to the vector that is foretold `(Q, K)`; all alike where no box is known."""
        features, is_known = describe_context(batch)
        expected = unit(self._standardised(features) @ self.weights)
        cosine = np.einsum("qd,qkd->qk", expected, unit(unit(_candidates(batch)) - self.centre))
        cosine = np.where(is_known[:, None], cosine, 0.0)
        return np.where(batch["candidate_mask"].astype(bool), cosine, -np.inf)


def _candidates(batch: Batch) -> np.ndarray:
    return batch["candidate_text_embeddings" if "candidate_text_embeddings" in batch else "candidate_embeddings"]


def describe_context(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The geometry of each question's context `(Q, F)`, and whether there is any `(Q,)`.

    The boxes before and behind the asked slot, the largest rectangle of the page that none covers, the slot's number, how
    many boxes there are and how much they cover.
    """
    boxes, shown = batch[BOX_ARRAY], batch["attention_mask"].astype(bool)
    slots, rows = np.arange(shown.shape[1]), np.arange(len(shown))
    shown = shown & (boxes != 0).any(-1)
    if "mask_position" in batch:
        asked = batch["mask_position"]
    else:
        asked = batch.get("candidate_position", batch["attention_mask"].sum(1))  # else the one behind the last
    shown = shown & (slots != asked[:, None])
    boxes = np.where(shown[..., None], boxes, 0.0)
    before, behind = shown & (slots < asked[:, None]), shown & (slots > asked[:, None])
    last, first = slots[-1] - before[:, ::-1].argmax(1), behind.argmax(1)
    neighbours = [
        np.where(some.any(1)[:, None], boxes[rows, slot], 0.0) for some, slot in ((before, last), (behind, first))
    ]
    free = np.stack([largest_gap(page[real]) for page, real in zip(boxes, shown, strict=True)])
    covered = (boxes[..., 2:] - boxes[..., :2]).prod(-1).sum(1)
    numbers = np.stack((asked, shown.sum(1), covered), axis=1)
    return np.concatenate((*map(_shapes, (*neighbours, free)), numbers), axis=1), shown.any(1)


def largest_gap(boxes: np.ndarray) -> np.ndarray:
    """The largest rectangle `(4,)` on the page, within the margins that all boxes (n, 4) keep, that none of them covers.

    Zeros where they cover all of it.
    """
    if not len(boxes):
        return np.array([0.0, 0.0, 1.0, 1.0])
    margins = np.minimum(boxes[:, :2], 1 - boxes[:, 2:]).min(0)
    x, y = (np.unique([low, 1 - low, *boxes[:, k], *boxes[:, k + 2]]) for k, low in enumerate(margins))
    columns, rows = (
        (boxes[:, k, None] < edges[1:]) & (edges[:-1] < boxes[:, k + 2, None]) for k, edges in enumerate((x, y))
    )
    covered = (rows[:, :, None] & columns[:, None, :]).any(0)
    sums = np.pad(covered.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = np.triu_indices(len(y), 1), np.triu_indices(len(x), 1)
    top, bottom = top[:, None], bottom[:, None]
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    areas = np.where(inside == 0, (y[bottom] - y[top]) * (x[right] - x[left]), -1.0)
    if areas.max() <= 0:
        return np.zeros(4)
    row, column = np.unravel_index(areas.argmax(), areas.shape)
    return np.array([x[left[column]], y[top[row, 0]], x[right[column]], y[bottom[row, 0]]])


def _shapes(boxes: np.ndarray) -> np.ndarray:
    """Edges, sides, area and how wide boxes (Q, 4) are for their height `(Q, 8)`; zeros for boxes that are not there."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    slimness = np.log(np.maximum(width, 1e-3) / np.maximum(height, 1e-3))
    return np.column_stack((boxes, width, height, width * height, slimness))


def known_pages(batch: Batch) -> np.ndarray:
    """Which pages' panels all have a box `(Q,)`."""
    return ((batch[BOX_ARRAY] != 0).any(-1) | (batch["attention_mask"] == 0)).all(1)


def page_boxes(batch: Batch) -> list[np.ndarray]:
    """The boxes `(N, 4)` of each page's panels, which stand in a batch as if it were read from left to right."""
    return [boxes[:count] for boxes, count in zip(batch[BOX_ARRAY], batch["attention_mask"].sum(1), strict=True)]
