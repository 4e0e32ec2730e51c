"""What the pages of one book have in common: format, paper, frames, gutters, letters and colours."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from ...layouts.drawn import LayoutStyle
from ...layouts.drawn import draw_style as draw_layout_style
from .lettering import Lettering
from .world import Colour

PAPERS: tuple[Colour, ...] = (
    (255, 255, 255), (255, 255, 255), (250, 244, 230), (18, 18, 22), (60, 70, 100), (214, 226, 232), (240, 208, 190),
)  # fmt: skip
WALLS: tuple[Colour, ...] = ((240, 200, 150), (170, 205, 215), (205, 215, 160), (230, 180, 185), (200, 190, 225))


@dataclass(frozen=True)
class Style:
    """How a book looks.

    Attributes:
        reading_direction: `ltr` or `rtl`.
        layout: Where its panels stand.
        paper: The colour of margins and gutters.
        frame: Width of panel frames in units; 0 where panels have none.
        line: Width of outlines in units.
        lettering: How it letters.
        walls: The colour of the walls of rooms.
        shift: How far furniture and trees stand to the side, in units of figures.
        is_grey: Whether it is printed without colours.
    """

    reading_direction: str
    layout: LayoutStyle
    paper: Colour
    frame: float
    line: float
    lettering: Lettering
    walls: Colour
    shift: int
    is_grey: bool


FORMATS = {"page": 0.8, "four_panel": 0.07, "strip": 0.08, "spread": 0.05}


def draw_style(rng: random.Random) -> Style:
    """The style of a book; books that are read from right to left are more often grey, as they are in print."""
    is_rtl = rng.random() < 0.4
    layout = draw_layout_style(
        np.random.default_rng(rng.getrandbits(64)),
        "rtl" if is_rtl else "ltr",
        rng.choices(list(FORMATS), list(FORMATS.values()))[0],
    )
    frame = rng.choice((0, 1.6, 1.6, 2.4, 3.6))
    return Style(
        reading_direction=layout.reading_direction,
        layout=layout,
        paper=rng.choice(PAPERS),
        frame=max(frame, 1.6) if min(layout.row_gutter, layout.column_gutter) < 0.008 else frame,
        line=rng.choice((1.0, 1.3, 1.6)),
        lettering=Lettering(
            size=rng.choice((14.5, 15.5, 16.5)),
            is_upper=rng.random() < 0.5,
            roundness=rng.choice((2.0, 2.6, 5.0)),
            caption=rng.choice(((255, 244, 200), (255, 255, 255), (224, 238, 246))),
        ),
        walls=rng.choice(WALLS),
        shift=rng.randrange(-120, 121),
        is_grey=rng.random() < (0.6 if is_rtl else 0.1),
    )
