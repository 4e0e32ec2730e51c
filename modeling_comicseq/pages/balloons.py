"""Lines of text to balloons, balloons to panels, all in the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from ..layouts.rules import xy_cut_order
from .ocr import TextLine

__all__ = ["Balloon", "assign_texts", "group_lines"]

# Two lines are of one balloon if the gap between them is at most so many times the height of their letters ...
LINE_GAP = 0.8
# ... their letters differ in height by at most so many times, and of the shorter line so much lies beside the longer.
LETTER_RATIO, BESIDE = 1.8, 0.5


@dataclass(frozen=True)
class Balloon:
    """Lines that are read as one text.

    Attributes:
        box: x0 y0 x1 y1 as shares of the page, shape (4,).
        text: Its lines in reading order, with blanks between them unless they are columns.
    """

    box: np.ndarray
    text: str


def group_lines(lines: Sequence[TextLine]) -> list[Balloon]:
    """The balloons that the lines of a page make up, in no order: lines that are close, aligned and of one size."""
    if not lines:
        return []
    touch = np.array([[_belong_together(one, other) for other in lines] for one in lines])
    count, group = connected_components(touch, directed=False)
    return [
        _balloon([line for line, its in zip(lines, group, strict=True) if its == number]) for number in range(count)
    ]


def assign_texts(
    lines: Sequence[TextLine], boxes: np.ndarray, reading_direction: str | None = "ltr"
) -> list[list[str]]:
    """The texts of each panel in reading order, from the lines of the page.

    A text across several panels goes to the one that holds most of it.

    Args:
        lines: What an OCR engine read.
        boxes: The panels (n, 4), shares of the page.
        reading_direction: `ltr` or `rtl`; not known is taken as `ltr`.

    Returns:
        n + 1 lists: one a panel, and as the last one the texts outside of all panels.
    """
    panels = np.asarray(boxes, np.float64).reshape(-1, 4)
    texts: list[list[Balloon]] = [[] for _ in range(len(panels) + 1)]
    for balloon in group_lines(lines):
        sides = np.minimum(balloon.box[2:], panels[:, 2:]) - np.maximum(balloon.box[:2], panels[:, :2])
        inside = sides.clip(0).prod(1)
        texts[int(inside.argmax()) if inside.any() else -1].append(balloon)
    return [_in_reading_order(each, reading_direction or "ltr") for each in texts]


def _in_reading_order(balloons: list[Balloon], reading_direction: str) -> list[str]:
    order = xy_cut_order(np.array([balloon.box for balloon in balloons]), reading_direction)
    return [balloons[index].text for index in order]


def _belong_together(one: TextLine, other: TextLine) -> bool:
    axes = [1, 0, 3, 2] if one.upright else [0, 1, 2, 3]  # columns are turned, as if they were lines
    (x0, y0, x1, y1), (u0, v0, u1, v1) = np.array([one.box, other.box])[:, axes]
    letters = sorted((y1 - y0, v1 - v0))
    gap, beside = max(y0, v0) - min(y1, v1), min(x1, u1) - max(x0, u0)
    return bool(
        one.upright == other.upright
        and letters[1] <= LETTER_RATIO * letters[0]
        and gap <= LINE_GAP * letters[0]
        and beside >= BESIDE * min(x1 - x0, u1 - u0)
    )


def _balloon(lines: Sequence[TextLine]) -> Balloon:
    boxes = np.array([line.box for line in lines])
    box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
    if lines[0].upright:  # columns are read from right to left, in whatever direction the page is
        return Balloon(box, "".join(line.text for line in sorted(lines, key=lambda line: -line.box[2])))
    return Balloon(box, " ".join(line.text for line in sorted(lines, key=lambda line: line.box[1] + line.box[3])))
