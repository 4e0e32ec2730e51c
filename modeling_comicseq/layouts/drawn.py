"""Layouts without end: pages whose panels are drawn by recursive cuts, so that their reading order is known.

A page is cut into rows, these into panels side by side, some of these into rows again, and so on: whoever reads follows
the cuts. What real pages do beyond that is drawn on top of it, and keeps the order: gutters that slant and do not meet,
panels that bleed, lie over others, stand in others, have no border. Pages are drawn as they are read from left to right
and mirrored if they are read from right to left.

What readers follow is from Cohn (2013, Navigating comics, Frontiers in Psychology 4:186), among others: rows that are a
little out of line are read as rows, and a stack beside a tall panel is read before going on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from .boxes import mirror

__all__ = ["FORMATS", "Layout", "LayoutStyle", "draw_layout", "draw_style"]

# What a page is, and how often.
FORMATS = {"page": 0.78, "spread": 0.05, "four_panel": 0.06, "strip": 0.05, "scroll": 0.03, "grid": 0.03}
_LEAST = 0.02  # the smallest side of a box, as a share of the page

Point = tuple[float, float]
Quadrilateral = tuple[Point, Point, Point, Point]  # upper left, upper right, lower right, lower left


class Layout(NamedTuple):
    """A page with its panels in reading order.

    Attributes:
        boxes: `x0 y0 x1 y1` of each panel, (n, 4) float32, as shares of the page.
        reading_direction: `ltr` or `rtl`.
        quadrilaterals: Corners of each panel, (n, 4, 2) float32, as shares of the page: upper left, upper right, lower
            right, lower left. Of a slanted panel the box is the rectangle around it.
        kind: What kind of page it is, in a word.
        size: Width and height of the page in pixels.
    """

    boxes: np.ndarray
    reading_direction: str
    quadrilaterals: np.ndarray
    kind: str
    size: tuple[int, int]


@dataclass(frozen=True)
class LayoutStyle:
    """What the pages of a book have in common. Lengths are in widths of a page; probabilities are of a page or a panel.

    Attributes:
        reading_direction: `ltr` or `rtl`.
        format: One of `FORMATS`.
        aspect: Height of a page in widths.
        margin: From the page's edge to the panels.
        row_gutter: Between rows.
        column_gutter: Between panels side by side.
        unevenness: How unequal rows and columns are; 0 makes grids.
        rows: Rows of a page, in the mean.
        slants: Share of the gutters that slant.
        staggers: Share of the pages whose rows are out of line.
        bleeds: Share of the outer panels that reach the page's edge.
        overlaps: Share of the pages with panels over others.
        insets: Share of the pages with panels in others.
        loose: Share of the pages with panels that do not fill their place, as those without a border.
    """

    reading_direction: str
    format: str
    aspect: float
    margin: float
    row_gutter: float
    column_gutter: float
    unevenness: float
    rows: float
    slants: float
    staggers: float
    bleeds: float
    overlaps: float
    insets: float
    loose: float


def draw_style(
    rng: np.random.Generator, reading_direction: str | None = None, format: str | None = None
) -> LayoutStyle:
    """Draws what the pages of a book have in common; what is given stays."""
    format_ = str(rng.choice(list(FORMATS), p=list(FORMATS.values())))
    is_rtl = rng.random() < 0.5
    column_gutter = float(rng.uniform(0.0, 0.03))
    is_tame = rng.random() < 0.3  # a book of plain rows
    some = rng.random(6) * (0.1 if is_tame else 1.0)
    return LayoutStyle(
        reading_direction=reading_direction or ("rtl" if is_rtl else "ltr"),
        format=format or format_,
        aspect=float(rng.uniform(1.25, 1.6)),
        margin=float(rng.uniform(0.0, 0.09)),
        row_gutter=column_gutter * float(rng.uniform(0.8, 3.0)),
        column_gutter=column_gutter,
        unevenness=float(rng.uniform(0.0, 0.6)),
        rows=float(rng.uniform(2.0, 4.2)),
        slants=0.6 * some[0] ** 2,
        staggers=0.6 * some[1],
        bleeds=0.7 * some[2] ** 2,
        overlaps=0.6 * some[3],
        insets=0.4 * some[4],
        loose=0.5 * some[5],
    )


def draw_layout(
    rng: np.random.Generator,
    style: LayoutStyle | None = None,
    *,
    reading_direction: Literal["ltr", "rtl"] | None = None,
    jitter: float = 0.0,
    missed: float = 0.0,
) -> Layout:
    """Draws one page.

    Args:
        rng: All that is drawn comes from it.
        style: What it has in common with other pages; by default drawn, too.
        reading_direction: Of the drawn style. The same `rng` draws the mirror image for the other direction.
        jitter: Standard deviation of what each edge of a box is off, in sides of the box, as those that are found by a
            detector are.
        missed: Probability that a panel is missing; one at least remains.
    """
    style = style or draw_style(rng, reading_direction)
    page = _Page(rng, style)
    kind = page.draw()
    corners = np.array(page.panels, dtype=np.float64) / (page.width, page.height)
    corners = corners.clip(0.0, 1.0)
    boxes = _box_around(corners)
    if jitter:
        boxes = jittered(boxes, jitter, rng)
    if missed:
        kept = rng.random(len(boxes)) >= missed
        kept[int(rng.integers(len(boxes)))] |= not kept.any()
        boxes, corners = boxes[kept], corners[kept]
    height = int(rng.integers(1000, 2400))
    size = (max(1, round(height * page.width / page.height)), height)
    boxes, corners = boxes.astype(np.float32), corners.astype(np.float32)
    if style.reading_direction == "rtl":
        boxes = mirror(boxes)
        corners = (corners * (-1, 1) + (1, 0))[:, [1, 0, 3, 2]].astype(np.float32)
    return Layout(boxes, style.reading_direction, corners, kind, size)


def jittered(boxes: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """The boxes (n, 4) with each edge off by a share of its side, as if a detector had found them."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return _on_page(boxes + rng.normal(0.0, jitter, boxes.shape) * sides)


def _box_around(corners: np.ndarray) -> np.ndarray:
    return _on_page(np.concatenate([corners.min(1), corners.max(1)], axis=1))


def _on_page(boxes: np.ndarray) -> np.ndarray:
    """The boxes (n, 4) moved and widened so that each is on the page and not too small."""
    low = boxes[:, :2].clip(0.0, 1.0 - _LEAST)
    return np.concatenate([low, np.maximum(boxes[:, 2:].clip(0.0, 1.0), low + _LEAST)], axis=1)


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Quadrilateral:
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


class _Page:
    """A page while it is drawn, from left to right, in widths of a single page."""

    def __init__(self, rng: np.random.Generator, style: LayoutStyle):
        self.rng, self.style = rng, style
        self.width, self.height = 1.0, style.aspect
        self.panels: list[Quadrilateral] = []

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def one_of(self, *weights: float) -> int:
        """A number from 0 on, by weights."""
        return int(np.searchsorted(np.cumsum(weights), self.rng.random() * sum(weights), side="right"))

    def draw(self) -> str:
        """Draws the panels in reading order and returns the kind of page."""
        kind = getattr(self, f"draw_{self.style.format}")()
        if kind != "four_panel":
            self.change()
        return kind

    # Formats.

    def frame(self, width: float, height: float) -> Quadrilateral:
        """What the panels of a page fill, which becomes as large as given."""
        self.width, self.height = width, height
        margin = min(self.style.margin, 0.2 * height)
        return _rectangle(margin, margin * self.uniform(0.7, 1.3), width - margin, height - margin)

    def draw_page(self) -> str:
        frame = self.frame(1.0, self.style.aspect)
        which = self.one_of(0.04, self.style.staggers, 0.1 * (1 - self.style.staggers), 1 - self.style.staggers)
        if which == 0:
            self.panels.append(frame)
            return "splash"
        if which == 1:
            self.draw_staggered(frame)
            return "staggered"
        if which == 2:
            self.cut(frame, 2 + self.chance(0.15), across=False, depth=1)
            return "columns"
        self.cut(frame, self.number_of_rows(), across=True, depth=0)
        return "rows"

    def draw_grid(self) -> str:
        """Many panels of nearly one size."""
        frame = self.frame(1.0, self.uniform(0.7, 1.6))
        rows, columns = int(self.rng.integers(2, 9)), int(self.rng.integers(2, 6))
        for row in self.parts(frame, rows, True, unevenness=0.1 * self.style.unevenness):
            merged = columns - self.chance(0.2)
            self.panels += self.parts(row, merged, False, unevenness=0.1 * self.style.unevenness)
        return "grid"

    def draw_spread(self) -> str:
        """Two pages in one picture; a first row can run across both, and so can all rows."""
        frame = self.frame(2.0, self.style.aspect)
        if self.chance(0.08):
            self.cut(frame, self.number_of_rows(), across=True, depth=0, more=2)
            return "spread"
        if self.chance(0.2):
            top, frame = self.parts(frame, 2, True)
            self.panels.append(top)
        gutter = self.uniform(0.0, 2.5) * max(self.style.margin, self.style.column_gutter)
        for page in self.parts(frame, 2, False, unevenness=0.0, gutter=gutter):
            if self.chance(0.15):
                self.panels.append(page)
            else:
                self.cut(page, self.number_of_rows(), across=True, depth=0)
        return "spread"

    def draw_four_panel(self) -> str:
        """Columns of equal panels that are each read to their end: gutters between them are the wider ones."""
        columns = 1 + self.chance(0.65)
        frame = self.frame(1.0, self.style.aspect * (1 if columns == 2 else self.uniform(1.0, 2.2)))
        if self.chance(0.15):
            top, frame = self.parts(frame, 2, True, gutter=self.uniform(0.01, 0.05))
            self.panels.append(top)
        row_gutter = self.uniform(0.0, 0.03)
        gutter = row_gutter + self.uniform(0.02, 0.12)
        count = 4 if self.chance(0.85) else int(self.rng.integers(3, 7))
        for column in self.parts(frame, columns, False, unevenness=0.0, gutter=gutter):
            if self.chance(0.3):  # a title above it
                column = self.parts(column, 2, True, gutter=0.01, shares=(0.0, self.uniform(0.05, 0.2), 1.0))[1]
            self.panels += self.parts(column, count, True, unevenness=0.04 * self.chance(0.3), gutter=row_gutter)
        return "four_panel"

    def draw_strip(self) -> str:
        """One or two rows of a newspaper, also in a square."""
        rows = 1 + self.one_of(0.6, 0.3, 0.1)
        frame = self.frame(1.0, rows * self.uniform(0.22, 0.5))
        for row in self.parts(frame, rows, True, unevenness=0.1):
            self.panels += self.parts(row, 1 + self.one_of(0.05, 0.25, 0.35, 0.25, 0.1), False)
        return "strip"

    def draw_scroll(self) -> str:
        """A long column of panels of many widths, as they are read on a telephone."""
        count = 2 + int(self.rng.integers(0, 11))
        frame = self.frame(1.0, count * self.uniform(0.4, 1.0))
        for row in self.parts(frame, count, True, gutter=self.uniform(0.02, 0.25)):
            if self.chance(0.15):
                self.panels += self.parts(row, 2, False)
            else:
                (x0, y0), _, (x1, y1), _ = row
                width = (x1 - x0) * (1.0 if self.chance(0.4) else self.uniform(0.45, 0.95))
                x0 += self.uniform(0.0, x1 - x0 - width)
                self.panels.append(_rectangle(x0, y0, x0 + width, y1))
        return "scroll"

    # Cuts.

    def number_of_rows(self) -> int:
        return max(1, round(self.rng.normal(self.style.rows, 0.9)))

    def shares(self, count: int, unevenness: float) -> list[float]:
        """Where parts begin and end, 0 to 1."""
        weights = np.exp(unevenness * self.rng.standard_normal(count)).clip(0.4, 2.5)
        return [0.0, *(np.cumsum(weights) / weights.sum()).tolist()]

    def parts(
        self,
        region: Quadrilateral,
        count: int,
        across: bool,
        unevenness: float | None = None,
        gutter: float | None = None,
        shares: tuple[float, ...] | None = None,
    ) -> list[Quadrilateral]:
        """Cuts a region into rows (`across`) or into columns, with gutters between them that can slant."""
        if count == 1:
            return [region]
        a, b, c, d = region
        # The two edges that the cuts run between, in the direction from part to part.
        first, second = ((a, d), (b, c)) if across else ((a, b), (d, c))
        unevenness = self.style.unevenness if unevenness is None else unevenness
        ends = self.shares(count, unevenness) if shares is None else list(shares)
        gutter = (self.style.row_gutter if across else self.style.column_gutter) if gutter is None else gutter
        lengths = [max(math.dist(*edge), 1e-6) for edge in (first, second)]
        slants = [0.0] * (count + 1)
        for cut in range(1, count):
            if self.style.format != "four_panel" and self.chance(self.style.slants):
                room = min(ends[cut] - ends[cut - 1], ends[cut + 1] - ends[cut])
                slants[cut] = float(self.rng.normal(0.0, 0.22 if across else 0.18)) * room
                slants[cut] = min(max(slants[cut], -0.4 * room), 0.4 * room)
        quadrilaterals = []
        for part in range(count):
            points = []
            for edge, length, sign in zip((first, second), lengths, (1, -1), strict=True):
                low, high = (ends[part + side] + sign * slants[part + side] for side in (0, 1))
                half = min(gutter / 2 / length, 0.3 * (high - low))
                low, high = low + half * (part > 0), high - half * (part < count - 1)
                points += [_between(*edge, low), _between(*edge, high)]
            p, q, r, s = points
            quadrilaterals.append((p, r, s, q) if across else (p, q, s, r))
        return quadrilaterals

    def cut(self, region: Quadrilateral, count: int, across: bool, depth: int, more: int = 0) -> None:
        """Cuts a region and its parts on, the other way each time, and appends what is left uncut in reading order."""
        self.cut_parts(self.parts(region, count, across), across, depth, more)

    def cut_parts(self, parts: list[Quadrilateral], across: bool, depth: int, more: int = 0) -> None:
        """Cuts parts on that lie below one another (`across`) or side by side."""
        beside: list[float] = []
        for part in parts:
            beside = self.cut_on(part, not across, depth + 1, beside, more)

    def cut_on(
        self, region: Quadrilateral, across: bool, depth: int, beside: Sequence[float] = (), more: int = 0
    ) -> list[float]:
        """Cuts a region on, or leaves it as a panel. Returns the heights at which it is cut into rows.

        These are never near those of the column `beside` it: gutters that meet would be read as rows across both.
        """
        (x0, y0), (x1, _), (_, y1), _ = region
        width, height = x1 - x0, y1 - y0
        if depth == 1:
            weights: tuple[float, ...] = (0.22, 0.45, 0.25, 0.07, 0.01) if width > 1.2 * height else (0.35, 0.55, 0.1)
        else:
            further = (0.8, 0.17, 0.03) if depth > 2 or not across else (0.78, 0.17, 0.05)
            weights = further if (height if across else width) > 0.25 else (1.0,)
        count = 1 + self.one_of(*weights) + (int(self.rng.integers(0, more + 1)) if depth == 1 else 0)
        parts = self.parts(region, count, across)
        cuts = [part[0][1] for part in parts[1:]] if across else []
        if any(abs(cut - other) < 0.09 for cut in cuts for other in beside):
            parts, cuts = [region], []
        if len(parts) == 1:
            self.panels.append(region)
        else:
            self.cut_parts(parts, across, depth)
        return cuts

    def draw_staggered(self, frame: Quadrilateral) -> None:
        """Rows whose gutters do not meet: each panel hangs from the panels above it.

        Where all rows have the same columns, rows that are far out of line are read as columns.
        """
        (left, top), _, (right, bottom), _ = frame
        count = max(2, self.number_of_rows())
        ends = [top + share * (bottom - top) for share in self.shares(count, 0.5 * self.style.unevenness)]
        smallest = min(low - high for high, low in zip(ends, ends[1:], strict=False))
        amount = self.uniform(0.0, 0.5)  # how far out of line, in heights of a row
        same = self.chance(0.3)
        columns = 2 + self.chance(0.25)
        if same and self.chance((amount - 0.1) / 0.25):
            for column in self.parts(frame, columns, False):
                self.panels += self.parts(column, count, True, unevenness=max(0.25, amount))
            return
        shares = self.shares(columns, self.style.unevenness)
        above: list[tuple[float, float, float]] = []  # x0, x1 and lower edge of the row above
        for row in range(count):
            if not same:
                shares = self.shares(1 + self.one_of(0.15, 0.6, 0.22, 0.03), self.style.unevenness)
            gutter, hung = self.style.column_gutter / 2, []
            for part, (low, high) in enumerate(zip(shares, shares[1:], strict=False)):
                x0 = left + low * (right - left) + gutter * (part > 0)
                x1 = left + high * (right - left) - gutter * (part < len(shares) - 2)
                y1 = bottom if row == count - 1 else ends[row + 1] + self.uniform(-0.5, 0.5) * amount * smallest
                # A panel that only just reaches under another is not pushed down by it: it lies over it.
                touched = [
                    lower
                    for begin, end, lower in above
                    if min(end, x1) - max(begin, x0) > self.uniform(0.0, 0.15) * (x1 - x0)
                ]
                y0 = max(touched, default=top) + self.style.row_gutter * (row > 0)
                y0 = min(y0, y1 - 0.3 * (ends[row + 1] - ends[row]))
                hung.append((x0, x1, y1))
                self.cut_on(_rectangle(x0, y0, x1, y1), across=True, depth=2)
            above = hung

    # What real pages do beyond cuts.

    def change(self) -> None:
        if self.chance(self.style.loose):
            self.loosen()
        if self.style.bleeds:
            self.bleed()
        if self.chance(self.style.overlaps):
            for _ in range(1 + self.one_of(0.6, 0.3, 0.1)):
                self.overlap()
        is_alone = len(self.panels) == 1 and self.style.format == "page"
        if self.chance(max(self.style.insets, 0.5) if is_alone and self.style.insets else self.style.insets):
            for _ in range(1 + self.one_of(0.7, 0.2, 0.1)):
                self.inset()

    def moved(self, panel: Quadrilateral, x0: float, y0: float, x1: float, y1: float) -> Quadrilateral:
        """A panel whose left, upper, right and lower edges are moved."""
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = panel
        return (ax + x0, ay + y0), (bx + x1, by + y0), (cx + x1, cy + y1), (dx + x0, dy + y1)

    def sides(self, panel: Quadrilateral) -> tuple[float, float, float, float]:
        """The rectangle around a panel."""
        xs, ys = zip(*panel, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def loosen(self) -> None:
        """Some panels do not fill their place."""
        share, most = self.uniform(0.1, 0.8), self.uniform(0.05, 0.25)
        for place, panel in enumerate(self.panels):
            if self.chance(share):
                x0, y0, x1, y1 = self.sides(panel)
                by = self.rng.random(4) ** 2 * most * (self.rng.random(4) < 0.6)
                width, height = x1 - x0, y1 - y0
                self.panels[place] = self.moved(panel, by[0] * width, by[1] * height, -by[2] * width, -by[3] * height)

    def bleed(self) -> None:
        """Some outer panels reach the edge of the page."""
        near = self.style.margin * 1.4 + 0.01
        edges = self.rng.random(4) < 0.8  # at which edges
        for place, panel in enumerate(self.panels):
            if self.chance(self.style.bleeds):
                x0, y0, x1, y1 = self.sides(panel)
                gaps = (-x0, -y0, self.width - x1, self.height - y1)
                by = [gap if edge and abs(gap) < near else 0.0 for gap, edge in zip(gaps, edges, strict=True)]
                self.panels[place] = self.moved(panel, *by)

    def overlap(self) -> None:
        """A panel grows over its neighbours: a little, or as the ground that they lie on."""
        place = int(self.rng.integers(len(self.panels)))
        x0, y0, x1, y1 = self.sides(self.panels[place])
        most = 0.25 if self.chance(0.8) else 0.8
        by = self.rng.random(4) * most * (self.rng.random(4) < 0.6)
        width, height = min(x1 - x0, 0.5), min(y1 - y0, 0.5)
        grown = self.moved(self.panels[place], -by[0] * width, -by[1] * height, by[2] * width, by[3] * height)
        self.panels[place] = tuple((min(max(x, 0.0), self.width), min(max(y, 0.0), self.height)) for x, y in grown)  # type: ignore[assignment]

    def inset(self) -> None:
        """A small panel in a large one, or over the gutter between two that follow one another.

        In the corner where reading begins it is read before the panel that it stands in, elsewhere after it; over a
        gutter, between the two.
        """
        areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in map(self.sides, self.panels)]
        after = int(self.rng.integers(len(areas)))
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = map(self.sides, (self.panels * 2)[after : after + 2])
        # Sides that the two have in common; negative where they are apart.
        beside, below = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
        if after + 1 < len(areas) and max(beside, below) > 0.1 and min(beside, below) > -0.1 and self.chance(0.5):
            x, y = (sum(sorted(ends)[1:3]) / 2 for ends in ((ax0, ax1, bx0, bx1), (ay0, ay1, by0, by1)))
            size = self.uniform(0.25, 0.5)
            width, height = (size * min(a, b) for a, b in ((ax1 - ax0, bx1 - bx0), (ay1 - ay0, by1 - by0)))
            place = after + 1
        else:
            host = int(np.argmax(np.array(areas) * self.rng.random(len(areas))))
            x0, y0, x1, y1 = self.sides(self.panels[host])
            width, height = (self.uniform(0.2, 0.5) * side for side in (x1 - x0, y1 - y0))
            u, v = self.rng.random(2)
            if self.chance(0.5):  # at a corner
                u, v = float(round(u)), float(round(v))
            out = self.uniform(-0.15, 0.5)  # how far inside the host's edge, in its own sides
            x = x0 + width * out + u * (x1 - x0 - 2 * out * width)
            y = y0 + height * out + v * (y1 - y0 - 2 * out * height)
            place = host if u < 0.4 and v < 0.4 else host + 1
        x, y = (
            min(max(at, side / 2), end - side / 2)
            for at, side, end in ((x, width, self.width), (y, height, self.height))
        )
        self.panels.insert(place, _rectangle(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
