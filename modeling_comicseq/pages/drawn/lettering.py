"""Balloons and captions: where they stand in a panel, how their words are broken, and how they are drawn.

Sizes are in units of which a page is 700 wide, and widths of words are those that the font itself states, so
that where a text stands depends neither on the size of the picture nor on the library that draws the letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont

from .pen import INK
from .world import Colour

LEADING = 1.24  # from line to line, in sizes of the letters
EM = 1000  # the font's own units in a size


@dataclass(frozen=True)
class Lettering:
    """How a book letters.

    Attributes:
        size: Of the letters, in units.
        is_upper: Whether all letters are capitals.
        roundness: Of balloons: 2 is an ellipse, more comes closer to a rectangle.
        caption: The colour of boxes of narration.
    """

    size: float
    is_upper: bool
    roundness: float
    caption: Colour


@dataclass(frozen=True)
class Balloon:
    """A text in its place on the page; boxes are x0, y0, x1, y1 in units, from the page's upper left corner."""

    speaker: str | None
    lines: tuple[str, ...]
    size: float
    box: tuple[float, float, float, float]

    @property
    def text(self) -> str:
        """The words, as they stand there."""
        return " ".join(self.lines)

    def lowered(self, by: float) -> Balloon:
        """The same, further down the page."""
        x0, y0, x1, y1 = self.box
        return replace(self, box=(x0, y0 + by, x1, y1 + by))

    @property
    def text_box(self) -> tuple[float, float, float, float]:
        """Around the letters."""
        width = max(measure(line) for line in self.lines) * self.size
        height = self.size * LEADING * len(self.lines)
        x, y = (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


@cache
def _font_path() -> str:
    import fontpkg_delius

    return str(fontpkg_delius.ROOT / "files" / "Delius-Regular.ttf")


@lru_cache(maxsize=64)
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_path(), pixels, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=512)
def _advance(letter: str) -> int:
    """The width of a letter in the font's own units: at this size nothing is rounded."""
    return round(_font(EM).getlength(letter))


def measure(text: str) -> float:
    """The width of a line, in sizes of the letters."""
    return sum(_advance(letter) for letter in text) / EM


def break_lines(text: str, width: float) -> list[str] | None:
    """The words in as few lines as the width takes, of about equal length; None where a word is wider.

    Args:
        text: The words.
        width: The width, in sizes of the letters.
    """
    words = text.split()
    if max(measure(word) for word in words) > width:
        return None

    def fill(width: float) -> list[str]:
        lines = [words[0]]
        for word in words[1:]:
            if measure(f"{lines[-1]} {word}") <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    lines = fill(width)
    while (narrower := fill(max(measure(line) for line in lines) - 0.001)) and len(narrower) == len(lines):
        if max(measure(line) for line in narrower) >= max(measure(line) for line in lines):
            break
        lines = narrower
    return lines


def letter_panel(
    texts: Sequence[tuple[str | None, str]],
    places: dict[str, float],
    room: tuple[float, float, float, float],
    style: Lettering,
    is_rtl: bool,
) -> tuple[list[Balloon], float]:
    """Finds places for a panel's texts, from the top down, in reading order.

    Args:
        texts: Speaker and words of each.
        places: Where each speaker stands across the room, from 0 to 1.
        room: What of the panel can be lettered, in units.
        style: How the book letters.
        is_rtl: Whether the book is read from right to left.

    Returns:
        The balloons, fewer than texts where there is no room, and how far down they reach.
    """
    for count in range(len(texts), 0, -1):
        for size in (style.size, style.size * 0.86):
            placed = _place(texts[:count], places, room, style, size, is_rtl)
            if placed is not None:
                return placed, max(balloon.box[3] for balloon in placed)
    return [], room[1]


def _place(
    texts: Sequence[tuple[str | None, str]],
    places: dict[str, float],
    room: tuple[float, float, float, float],
    style: Lettering,
    size: float,
    is_rtl: bool,
) -> list[Balloon] | None:
    """As `letter_panel`, with letters of one size; None where not all have room."""
    left, top, right, bottom = room
    gap, limit = 0.45 * size, top + 0.5 * (bottom - top)
    placed: list[Balloon] = []
    for speaker, words in texts:
        words = words.upper() if style.is_upper else words
        if speaker is None:
            pad_x, pad_y, most = 0.6 * size, 0.28 * size, right - left
        else:
            pad_x, pad_y = (1.0 + 1.1 / style.roundness) * size * 0.85, (0.6 + 0.8 / style.roundness) * size
            most = min(right - left, max(0.62 * (right - left), 11 * size))
        lines = break_lines(words, min((most - 2 * pad_x) / size, 15 if speaker else 24))
        if lines is None:
            return None
        width = max(measure(line) for line in lines) * size + 2 * pad_x
        height = LEADING * size * len(lines) + 2 * pad_y
        if speaker is None:
            x = right - width if is_rtl else left
        else:
            x = min(max(left + places[speaker] * (right - left) - width / 2, left), right - width)
        y = top if not placed else placed[-1].box[3] + gap
        if placed:
            before = placed[-1].box
            follows = x + width + gap <= before[0] if is_rtl else x >= before[2] + gap
            if follows:  # side by side, a little lower
                y = before[1] + 0.5 * size
                for earlier in placed[:-1]:
                    if x < earlier.box[2] + gap and earlier.box[0] < x + width + gap:
                        y = max(y, earlier.box[3] + gap)
        if y + height > limit:
            return None
        placed.append(Balloon(speaker, tuple(lines), size, (x, y, x + width, y + height)))
    return placed


def draw_balloon(
    image: Image.Image, balloon: Balloon, unit: float, head: tuple[float, float] | None, style: Lettering, width: int
) -> None:
    """Draws a balloon with its tail, or a box of narration.

    Args:
        image: The page, larger than it will be.
        balloon: The balloon.
        unit: Pixels a unit.
        head: The top of the speaker's head, where the tail ends, in units; None without a tail.
        style: How the book letters.
        width: Pixels of an outline.
    """
    draw = ImageDraw.Draw(image)
    x0, y0, x1, y1 = (edge * unit for edge in balloon.box)
    x, y, across, up = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    if balloon.speaker is None:
        draw.rectangle((x0, y0, x1, y1), fill=style.caption, outline=INK, width=width)
    else:
        outline = _superellipse(x, y, across, up, style.roundness)
        tail: list[tuple[float, float]] = []
        if head is not None:
            tip_x, tip_y = head[0] * unit, head[1] * unit
            root = min(max(tip_x, x - 0.5 * across), x + 0.5 * across)
            half = min(0.5 * balloon.size * unit, 0.3 * across)
            tail = [(root - half, y + 0.55 * up), (tip_x, max(tip_y, y1 + half / 2)), (root + half, y + 0.55 * up)]
            draw.line([*tail], fill=INK, width=2 * width, joint="curve")
        draw.line([*outline, *outline[:2]], fill=INK, width=2 * width, joint="curve")
        draw.polygon(outline, fill=(255, 255, 255))
        if tail:
            draw.polygon(tail, fill=(255, 255, 255))
    font = _font(max(1, round(balloon.size * unit)))
    top = y - LEADING * balloon.size * unit * len(balloon.lines) / 2
    for number, line in enumerate(balloon.lines):
        middle = top + (number + 0.5) * LEADING * balloon.size * unit
        draw.text((x, middle), line, fill=INK, font=font, anchor="mm")


def _superellipse(x: float, y: float, across: float, up: float, roundness: float) -> list[tuple[float, float]]:
    quarter = []
    for step in range(13):
        share = step / 12
        # Points dense where the curve bends.
        a = (1 - share) ** (2 / roundness)
        b = share ** (2 / roundness)
        norm = (a**roundness + b**roundness) ** (1 / roundness)
        quarter.append((a / norm, b / norm))
    mirrored = quarter[::-1]
    points = quarter + [(-a, b) for a, b in mirrored] + [(-a, -b) for a, b in quarter] + [(a, -b) for a, b in mirrored]
    return [(x + across * a, y + up * b) for a, b in points]
