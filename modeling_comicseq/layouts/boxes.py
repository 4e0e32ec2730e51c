"""Where panels stand on a page: boxes `x0 y0 x1 y1` as shares of the page's width and height, float32.

0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, from the upper left corner. Four zeros say that no box is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "READING_DIRECTIONS",
    "as_shares",
    "check_boxes",
    "cut",
    "describe_bad_box",
    "find_bad_boxes",
    "iou",
    "mirror",
]

READING_DIRECTIONS = ("ltr", "rtl")


def find_bad_boxes(boxes: np.ndarray) -> np.ndarray:
    """Which of the boxes (..., 4) are neither unknown nor a rectangle on the page, shape (...)."""
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    is_good = (0 <= x0) & (x0 < x1) & (x1 <= 1) & (0 <= y0) & (y0 < y1) & (y1 <= 1)  # false for NaN
    return ~is_good & (boxes != 0).any(-1)


def check_boxes(boxes: Any) -> str | None:
    """What is wrong with boxes (..., 4), as the words of a message, or None.

    Unknown boxes are right. Of several faulty boxes, the first is told, by its place among all.
    """
    boxes = np.asarray(boxes)
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        return f"boxes have shape {boxes.shape} but need four numbers each, x0 y0 x1 y1"
    boxes = boxes.reshape(-1, 4)
    bad = np.flatnonzero(find_bad_boxes(boxes))
    return f"box {bad[0]} {describe_bad_box(boxes[bad[0]])}" if bad.size else None


def describe_bad_box(box: Any) -> str:
    """What is wrong with a box (4,), as the words of a message that begin with its numbers."""
    x0, y0, x1, y1 = map(float, box)
    if not np.isfinite((x0, y0, x1, y1)).all():
        what = "is not finite"
    elif x0 > x1 or y0 > y1:
        what = "is inverted"
    elif x0 == x1 or y0 == y1:
        what = "has no area"
    else:
        what = "is outside the page"
    return f"({x0:.4g}, {y0:.4g}, {x1:.4g}, {y1:.4g}) {what}"


def cut(boxes: np.ndarray, slack: Any = 1e-6) -> np.ndarray:
    """The boxes (..., 4) without what is beyond the page by at most `slack`, by default what float32's rounding leaves."""
    boxes = np.where((boxes < 0) & (boxes >= -slack), 0, boxes)
    return np.where((boxes > 1) & (boxes <= 1 + slack), 1, boxes)


def mirror(boxes: np.ndarray) -> np.ndarray:
    """The boxes (..., 4) of a page that is read from right to left, as its mirror image has them; unknown ones stay."""
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    return np.where((boxes != 0).any(-1, keepdims=True), np.stack([1 - x1, y0, 1 - x0, y1], -1), boxes)


def as_shares(pixel_boxes: Any, size: Sequence[float]) -> np.ndarray:
    """Boxes in pixels (..., 4) as shares of the page of `size`, its width and height."""
    width, height = size
    return (np.asarray(pixel_boxes, np.float64) / (width, height, width, height)).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` (n, 4) with every one of `b` (m, 4), shape (n, m); 0 for unknown ones."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = sides.clip(0).prod(-1)
    either = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)
