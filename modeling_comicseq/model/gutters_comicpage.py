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
"""Panels by their gutters: a page is cut along straight bands of one colour, and its parts again, until none is left.

What tells a gutter from plain paper inside of a panel is that the band ends sharply and along all its length: by a frame,
or by where the art begins. So the share of gutter colour is taken line by line, over lines that are level, upright or
slanted, and a gutter is a high and narrow peak of these shares with steep sides. Balloons and figures that cross the
gutter lower the peak a little, no more. Panels whose frames touch are cut at the dark line between them in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Pages are looked at in this many pixels along their longer side, so that a gutter keeps some pixels of width. What is longer
# than so many times its width, as comics to scroll through are, counts as several pages.
LONG_SIDE, LONGEST = 1000, 3.3
# Shares of a line: at least so much of a gutter is in its colour, and so much more than of the lines beside it.
GUTTER, CONTRAST = 0.75, 0.65
# The same for a dark line between two panels that touch.
DARK_LINE, DARK_CONTRAST = 0.80, 0.50
# Where panels do not run off the page, they mostly have paper between, while art has dark lines (beams, horizons): there a
# line must be a whole frame, and the only one around.
FRAME, FRAME_CONTRAST, ALSO_DARK = 0.97, 0.85, 0.50
# More is asked of slanted lines, as there are many of them.
SLANTED = 0.05
# A gutter that is lettered, or crossed, may fall so far below what is asked of its best line.
DIP = 0.15
# A band that is clean may end sharply on one side only, as beside a panel that is white itself; it may fall twice as far.
CLEAN, STEP = 0.95, 0.80
# With no sharp side at all it is to have nothing in it, and so much width, as a share of the longer side.
EMPTY, EMPTY_WIDTH = 0.995, 0.006
# No gutter is wider, no panel thinner or smaller than these shares of the longer side and of the page.
WIDEST, THINNEST, SMALLEST = 0.05, 0.04, 0.008
# The sides of a gutter are sharp within so many pixels.
REACH = 4


@dataclass(frozen=True)
class Cut:
    """A straight line across a part of a page.

    Attributes:
        score: How surely it is a gutter.
        axis: 0 for a line along the page's width, 1 along its height.
        slope: Pixels across for each pixel along.
        place: Where it begins, in pixels across.
    """

    score: float
    axis: int
    slope: float
    place: int

    def halves(self, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The two sides of a part (rows, columns)."""
        turned = part.T if self.axis else part
        across, along = np.ogrid[: turned.shape[0], : turned.shape[1]]
        before = across - np.round(self.slope * along).astype(int) < self.place
        before = before.T if self.axis else before
        return part & before, part & ~before


class Pixels:
    """What the cuts are found by, of a whole page: which pixels are gutter-coloured, dark, or on a straight edge."""

    def __init__(self, image: Image.Image):
        pages = max(1.0, max(image.size) / min(image.size) / LONGEST)
        shrunk = image.convert("RGB")
        shrunk.thumbnail((pages * LONG_SIDE, pages * LONG_SIDE), Image.Resampling.BOX)
        pixels = np.asarray(shrunk).astype(np.int16)
        self.shape = pixels.shape[:2]
        self.long = min(max(self.shape), LONGEST * min(self.shape))
        self.gutters = gutter_colours(pixels)
        grey = pixels.mean(2)
        self.dark = grey < 90
        down, right = np.abs(sobel(grey)), np.abs(sobel(grey.T).T)
        self.edges = [(down > 200) & (down > 1.5 * right), (right > 200) & (right > 1.5 * down)]


def sobel(grey: np.ndarray) -> np.ndarray:
    """How steeply grey (rows, columns) rises from row to row, by Sobel's filter; the picture is mirrored at its edges."""
    padded = np.pad(grey, 1, mode="symmetric")
    rises = padded[2:] - padded[:-2]
    return rises[:, :-2] + 2 * rises[:, 1:-1] + rises[:, 2:]


def gutter_colours(pixels: np.ndarray) -> list[np.ndarray]:
    """Which pixels (rows, columns) are in a colour that gutters have: the one along the page's edge, and white.

    How far from it a pixel may be is taken from how much the colour varies there: little in a drawing, much in a scan.
    """
    strip = max(1, min(pixels.shape[:2]) // 50)
    sides = [side.reshape(-1, 3) for side in (pixels[:strip], pixels[-strip:], pixels[:, :strip], pixels[:, -strip:])]
    edge = np.concatenate(sides)
    bins = [(side >> 4) @ (256, 16, 1) for side in sides]
    common = np.bincount(np.concatenate(bins)).argmax()
    shares = [(each == common).mean() for each in bins]
    is_paper = min(shares) >= 0.2 and np.mean(shares) >= 0.4  # and not the art of one panel that runs off the page
    colour = np.median(edge[np.concatenate(bins) == common], axis=0) if is_paper else np.full(3, 255)
    distances = np.abs(edge - colour).max(1)
    near = distances[distances <= 48]
    tolerance = np.clip(10 + 2 * np.percentile(near, 90), 16, 48) if near.size else 48
    masks = [np.abs(pixels - colour).max(2) <= tolerance]
    if np.abs(colour - 255).max() > 48:
        masks.append(pixels.min(2) >= 235)
    return masks


def gutter_panels(image: Image.Image) -> np.ndarray:
    """Boxes `(n, 4)` of the panels of a page, as shares of it, float32; the whole page where there is no gutter."""
    pixels = Pixels(image)
    height, width = pixels.shape
    boxes = list(_panels(pixels, np.ones(pixels.shape, bool), 0, 0)) or [(0, 0, width, height)]
    return (np.array(boxes) / (width, height, width, height)).astype(np.float32)


def _panels(pixels: Pixels, part: np.ndarray, top: int, left: int) -> Iterator[tuple[int, int, int, int]]:
    """The panels in a part of the page, which begins at pixel (left, top)."""
    rows, columns = part.shape
    window = np.s_[top : top + rows, left : left + columns]
    part = trimmed(part, [gutter[window] for gutter in pixels.gutters])
    if not part.any() or not large_enough(part, pixels):
        return
    first_row, last_row, first_column, last_column = extent(part)
    part = part[first_row:last_row, first_column:last_column]
    top, left = top + first_row, left + first_column
    for slanted in (False, True):
        for cut in sorted(_cuts(pixels, part, top, left, slanted), key=lambda cut: -cut.score):
            halves = cut.halves(part)
            if all(half.any() and large_enough(half, pixels) for half in halves):
                for half in halves:
                    yield from _panels(pixels, half, top, left)
                return
    yield left, top, left + part.shape[1], top + part.shape[0]


def extent(part: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row and column of what is in a mask, the last ones excluded."""
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def large_enough(part: np.ndarray, pixels: Pixels) -> bool:
    """Whether a part can be a panel."""
    first_row, last_row, first_column, last_column = extent(part)
    area = part.sum()
    thickness = area / max(last_row - first_row, last_column - first_column)
    page = min(pixels.shape[0] * pixels.shape[1], pixels.long**2)
    return area >= SMALLEST * page and thickness >= THINNEST * pixels.long


def trimmed(part: np.ndarray, gutters: list[np.ndarray]) -> np.ndarray:
    """The part without its plain margins: up to the art, or up to the frame where a balloon stands out of it."""
    part = part.copy()
    for axis in (0, 1, 0, 1):
        lines = np.flatnonzero(part.any(1 - axis))
        if not lines.size:
            break
        lines = np.arange(lines[0], lines[-1] + 1)
        count = np.maximum(part.sum(1 - axis)[lines], 1)
        shares = [(gutter & part).sum(1 - axis)[lines] / count for gutter in gutters]
        before, after = (max(margin(share[::way]) for share in shares) for way in (1, -1))
        keep = np.zeros(part.shape[axis], bool)
        keep[lines[before : len(lines) - after]] = True
        part &= keep if axis else keep[:, None]
    return part


def margin(shares: np.ndarray) -> int:
    """How many of the first lines are margin, by each line's share of gutter colour."""
    plain = shares >= 0.97
    if plain.all():
        return len(plain)
    first = int(plain.argmin())
    frames = np.flatnonzero(shares[: len(shares) // 4] <= 0.25)
    if first and frames.size and (shares[: frames[0]] > 0.5).all():
        return max(first, int(frames[0]))
    return first


def _cuts(pixels: Pixels, part: np.ndarray, top: int, left: int, slanted: bool) -> Iterator[Cut]:
    """All lines that may be gutters of a part."""
    window = np.s_[top : top + part.shape[0], left : left + part.shape[1]]
    bottom, right = top + part.shape[0], left + part.shape[1]
    bleeds = not top or not left or bottom == pixels.shape[0] or right == pixels.shape[1]
    for axis in (0, 1):
        turned = part.T if axis else part
        edges, dark, *gutters = (
            (mask[window].T if axis else mask[window]) & turned
            for mask in (pixels.edges[axis], pixels.dark, *pixels.gutters)
        )
        for slope in likely_slopes(edges) if slanted else [0.0]:
            for number, mask in enumerate(gutters):
                shares, first = line_shares(mask, turned, slope)
                found = list(
                    _bands(shares, GUTTER + SLANTED * slanted, CONTRAST + SLANTED * slanted, WIDEST * pixels.long)
                )
                if not slanted and not number:  # of the page's own colour
                    found += _clean_bands(shares, EMPTY_WIDTH * pixels.long)
                yield from (Cut(score, axis, slope, first + place) for place, score in found)
            # Scored below gutters: a frame is cut at the gutter beside it, if it has one.
            shares, first = line_shares(dark, turned, slope)
            height, contrast = (DARK_LINE, DARK_CONTRAST) if bleeds else (FRAME, FRAME_CONTRAST)
            for place, score in _bands(shares, height, contrast, WIDEST / 3 * pixels.long):
                if bleeds or _is_alone(shares, place, round(WIDEST * pixels.long)):
                    yield Cut(score - 0.3, axis, slope, first + place)


def _is_alone(shares: np.ndarray, place: int, far: int) -> bool:
    """Whether no line nearby is nearly as dark, as the other edge of a beam or a board is."""
    before, after = shares[max(0, place - far) : max(0, place - 2 * REACH)], shares[place + 2 * REACH : place + far]
    return not (np.concatenate([before, after]) >= ALSO_DARK).any()


def likely_slopes(edges: np.ndarray) -> list[float]:
    """Slopes along which many edge pixels (across, along) lie on one line, by the Hough transform."""
    across, along = np.nonzero(edges)
    if across.size < 100:
        return []
    step = max(1, across.size // 5000)
    across, along = across[::step], along[::step]
    slopes = np.concatenate([np.arange(-0.6, -0.01, 0.005), np.arange(0.015, 0.605, 0.005)])
    votes = []
    for slope in slopes:
        lines = np.round(across - slope * along).astype(int)
        votes.append(np.bincount(lines - lines.min()).max())
    found: list[float] = []
    for slope in slopes[np.argsort(votes)[::-1]]:
        if all(abs(slope - other) > 0.02 for other in found):
            found.append(slope)
        if len(found) == 3:
            break
    return [slope + fine for slope in found for fine in (-0.0025, 0, 0.0025)]


def line_shares(mask: np.ndarray, part: np.ndarray, slope: float) -> tuple[np.ndarray, int]:
    """Which share of each line of a slope is in the mask, and the first line's place; lines at corners are left out."""
    first = 0
    if slope:
        lines = np.arange(part.shape[0])[:, None] - np.round(slope * np.arange(part.shape[1])).astype(int)
        first = int(lines.min())
        length = np.bincount(lines[part] - first)
        hits = np.bincount(lines[mask] - first, minlength=len(length))
    else:
        length, hits = part.sum(1), mask.sum(1)
    long = np.flatnonzero(length >= 0.6 * length.max())
    long = np.arange(long[0], long[-1] + 1)
    return hits[long] / np.maximum(length[long], 1), first + int(long[0])


def _runs(high: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last line (excluded) of each run that touches neither end."""
    change = np.diff(high.astype(np.int8))
    starts, ends = np.flatnonzero(change == 1) + 1, np.flatnonzero(change == -1) + 1
    ends = ends[ends > starts[0]] if starts.size else ends[:0]
    return zip(starts.tolist(), ends.tolist(), strict=False)


def _sides(shares: np.ndarray, start: int, end: int) -> tuple[float, float]:
    """The lowest share just before and just after a run."""
    return shares[max(0, start - REACH) : start].min(), shares[end : end + REACH].min()


def _bands(shares: np.ndarray, height: float, contrast: float, widest: float) -> Iterator[tuple[int, float]]:
    """High and narrow runs with two sharp sides: place and score."""
    for start, end in _runs(shares >= height - DIP):
        peak = shares[start:end].max()
        sharp = peak - max(_sides(shares, start, end))
        if peak >= height and end - start <= widest and sharp >= contrast:
            yield (start + end - 1) // 2, sharp + 0.3 * peak


def _clean_bands(shares: np.ndarray, empty_width: float) -> Iterator[tuple[int, float]]:
    """Clean runs with one sharp side, and empty ones with none: place and score."""
    for start, end in _runs(shares >= CLEAN - 2 * DIP):
        before, after = _sides(shares, start, end)
        if shares[start:end].max() >= CLEAN and 1 - min(before, after) >= STEP:
            yield start if before < after else end - 1, 1 - min(before, after)
    for start, end in _runs(shares >= EMPTY):
        if end - start >= empty_width:
            yield (start + end - 1) // 2, 0.3 + (end - start) / len(shares)
