# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Boxes of panels as numbers: which are right, and how a page looks in a mirror. Importing it takes no torch."""

from typing import Any

import numpy as np

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


def mirror(boxes: np.ndarray) -> np.ndarray:
    """The boxes (..., 4) of a page that is read from right to left, as its mirror image has them; unknown ones stay."""
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    return np.where((boxes != 0).any(-1, keepdims=True), np.stack([1 - x1, y0, 1 - x0, y1], -1), boxes)
