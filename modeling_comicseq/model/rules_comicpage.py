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
"""Reading orders by rule, from boxes alone: in rows, by recursive cuts, and from each panel to the nearest.

Boxes are `x0 y0 x1 y1` (n, 4), in shares of the page or in pixels; an order lists the places of the boxes as they are read.
Importing it takes no torch.
"""

import numpy as np

__all__ = ["nearest_order", "raster_order", "xy_cut_order"]

# How far the boxes on both sides of a cut may overlap, as a share of the smallest side of theirs across it.
_TOLERANCE = 0.1


def raster_order(boxes: np.ndarray, reading_direction: str = "ltr") -> np.ndarray:
    """Order (n,) from top to bottom, and in a row along the direction.

    A row begins with the highest box that is left, and takes all whose upper edge is above the middle of that one.
    """
    boxes = _along(boxes, reading_direction)
    left, order = np.argsort(boxes[:, 1], kind="stable"), []
    while len(left):
        _, top, _, bottom = boxes[left[0]]
        in_row = boxes[left, 1] <= (top + bottom) / 2
        row = left[in_row]
        order += row[np.argsort(boxes[row, 0], kind="stable")].tolist()
        left = left[~in_row]
    return np.array(order, dtype=np.int64)


def xy_cut_order(boxes: np.ndarray, reading_direction: str = "ltr") -> np.ndarray:
    """Order (n,) by recursive cuts through the page, across it where that is possible, else from top to bottom.

    The X-Y cut of Nagy and Seth (1984). Boxes may overlap a little where they are cut apart; where no cut is possible, that
    with the least overlap is taken.
    """
    boxes = _along(boxes, reading_direction)

    def order(places: np.ndarray) -> list[int]:
        if len(places) < 2:
            return places.tolist()
        (rows, first, second), (columns, *sides) = (_best_cut(boxes, places, axis) for axis in (1, 0))
        if rows > _TOLERANCE and columns < rows:
            first, second = sides
        return order(first) + order(second)

    return np.array(order(np.arange(len(boxes))), dtype=np.int64)


def nearest_order(boxes: np.ndarray, reading_direction: str = "ltr") -> np.ndarray:
    """Order (n,) that begins at the upper corner where reading starts, and goes on to the nearest centre each time."""
    boxes = _along(boxes, reading_direction)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    left, order = list(range(len(boxes))), []
    place = boxes[:, :2].min(0) if len(boxes) else None
    while left:
        nearest = min(left, key=lambda box: float(np.hypot(*(centres[box] - place))))
        place = centres[nearest]
        left.remove(nearest)
        order.append(nearest)
    return np.array(order, dtype=np.int64)


def _along(boxes: np.ndarray, reading_direction: str) -> np.ndarray:
    """The boxes (n, 4) so that reading goes from small to large x."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return boxes if reading_direction == "ltr" else boxes * (-1, 1, -1, 1) @ np.eye(4)[[2, 1, 0, 3]]


def _best_cut(boxes: np.ndarray, places: np.ndarray, axis: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The cut of boxes in two along an axis that they overlap least at: the overlap as a share, and both parts."""
    low, high = boxes[places, axis], boxes[places, axis + 2]
    sort = np.argsort(low + high, kind="stable")
    low, high, sides = low[sort], high[sort], (high - low)[sort]
    end, begin = np.maximum.accumulate(high)[:-1], np.minimum.accumulate(low[::-1])[::-1][1:]
    smallest = np.minimum(np.minimum.accumulate(sides)[:-1], np.minimum.accumulate(sides[::-1])[::-1][1:])
    overlaps = (end - begin) / smallest
    cut = int(overlaps.argmin())
    return float(overlaps[cut]), places[sort[: cut + 1]], places[sort[cut + 1 :]]
