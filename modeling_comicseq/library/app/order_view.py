"""The view of reading order: an uploaded page, its panels by its gutters, and their order by the packaged predictor."""

from __future__ import annotations

import json
from typing import Any

from ...errors import ComicSeqArgumentError, counted
from ...layouts.boxes import READING_DIRECTIONS
from ...layouts.predictor import order_panels
from ...pages.panel_finding import find_panels
from .page_view import marks
from .pictures import as_url, read_upload
from .render import render

__all__ = ["order"]

_WIDTH, _HEIGHT = 1000, 1400  # most pixels of the picture
_LARGEST = 2000  # pixels of the longer side of a page in which panels are looked for


def order(picture: Any, direction: Any = "ltr") -> str:
    """Finds the panels of a page and numbers them as they are read.

    Args:
        picture: A picture as a data URL.
        direction: `ltr` or `rtl`.

    Returns:
        The page with its boxes and numbers, as HTML.

    Raises:
        ComicSeqArgumentError: There is no picture, or the direction is another word.
    """
    if direction not in READING_DIRECTIONS:
        raise ComicSeqArgumentError(
            f"The direction is {str(direction)[:20]!r} but must be {' or '.join(READING_DIRECTIONS)}."
        )
    image = read_upload(picture)
    if image is None:
        raise ComicSeqArgumentError("Choose a picture of a page first.")
    image.thumbnail((_LARGEST, _LARGEST))
    boxes = find_panels(image)
    found = order_panels(boxes, direction)
    ordered = [boxes[place].round(4).tolist() for place in found.order]
    said = {"ltr": "from left to right", "rtl": "from right to left"}[direction]
    sure = f", with a confidence of {found.confidence:.2f}" if len(boxes) > 1 else ""
    written = {"reading_direction": direction, "size": list(image.size), "panel_boxes": ordered}
    return render(
        "order",
        heading=f"{counted(len(boxes), 'panel')} read {said}{sure}.",
        picture=as_url(image, _WIDTH, _HEIGHT),
        panels=marks(ordered, [""] * len(ordered)),
        written=json.dumps(written, indent=1),
    )
