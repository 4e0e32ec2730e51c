"""Where panels stand on a page: boxes `x0 y0 x1 y1` as shares of the page's width and height, float32.

0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, from the upper left corner. Four zeros say that no box is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..model.boxes_comicseq import READING_DIRECTIONS, check_boxes, describe_bad_box, find_bad_boxes, mirror

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


def cut(boxes: np.ndarray, slack: Any = 1e-6) -> np.ndarray:
    """The boxes (..., 4) without what is beyond the page by at most `slack`, by default what float32's rounding leaves."""
    boxes = np.where((boxes < 0) & (boxes >= -slack), 0, boxes)
    return np.where((boxes > 1) & (boxes <= 1 + slack), 1, boxes)


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
