"""Where the panels of a page are, by a finder of a name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ..errors import ComicSeqArgumentError, did_you_mean
from ..model.gutters_comicpage import gutter_panels

__all__ = ["PANEL_FINDERS", "find_panels", "register_panel_finder"]

PanelFinder = Callable[[Image.Image], np.ndarray]

# By name: a page to the boxes (n, 4) of its panels, shares of the page, float32. `register_panel_finder` adds to it.
PANEL_FINDERS: dict[str, PanelFinder] = {"gutters": gutter_panels}


def register_panel_finder(name: str, finder: PanelFinder) -> None:
    """Makes a function known by a name: `finder(image)` gives boxes `(n, 4)`, shares of the page, in any order."""
    PANEL_FINDERS[name] = finder


def find_panels(image: Image.Image, finder: str = "gutters") -> np.ndarray:
    """Boxes `(n, 4)` of the panels of a page as shares of it, float32, in no order; at least one, which may be the page.

    Args:
        image: The page, of any size and mode.
        finder: A name of `PANEL_FINDERS`.

    Raises:
        ComicSeqArgumentError: There is no such finder.
    """
    if finder not in PANEL_FINDERS:
        raise ComicSeqArgumentError(
            f"There is no panel finder {finder!r}{did_you_mean(finder, set(PANEL_FINDERS))};"
            f" it can be {', '.join(PANEL_FINDERS)}."
        )
    return PANEL_FINDERS[finder](image)
