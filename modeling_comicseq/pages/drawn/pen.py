"""Outlined shapes in the coordinates of what is drawn: x to the right, y up, whatever its place and size on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from .world import Colour

Point = tuple[float, float]
INK: Colour = (35, 30, 40)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two, with this share of the second."""
    return (
        round(one[0] + share * (other[0] - one[0])),
        round(one[1] + share * (other[1] - one[1])),
        round(one[2] + share * (other[2] - one[2])),
    )


def shade(colour: Colour) -> Colour:
    """A darker tone of the same colour."""
    return mix(colour, (20, 20, 50), 0.25)


class Pen:
    """Draws on a picture.

    Args:
        image: The picture, larger than it will be, so that reducing it smooths the edges.
        origin: The pixel at which (0, 0) is.
        scale: Pixels a unit.
        width: Pixels of an outline.
        mirrored: Whether x runs to the left.
    """

    def __init__(self, image: Image.Image, origin: Point, scale: float, width: float, mirrored: bool = False):
        self.image, self.origin, self.scale, self.width, self.mirrored = image, origin, scale, width, mirrored
        self._draw = ImageDraw.Draw(image)

    def at(self, x: float, y: float, scale: float = 1.0, mirrored: bool = False) -> Pen:
        """A pen whose origin is at a point of this one's."""
        return Pen(self.image, self.pixel((x, y)), self.scale * scale, self.width, self.mirrored != mirrored)

    def pixel(self, point: Point) -> Point:
        """Where a point is on the picture."""
        x = -point[0] if self.mirrored else point[0]
        return self.origin[0] + self.scale * x, self.origin[1] - self.scale * point[1]

    @property
    def view(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top edge of the picture."""
        width, height = self.image.size
        left, right = -self.origin[0] / self.scale, (width - self.origin[0]) / self.scale
        bottom, top = (self.origin[1] - height) / self.scale, self.origin[1] / self.scale
        return (-right if self.mirrored else left), bottom, (-left if self.mirrored else right), top

    def polygon(self, points: Sequence[Point], fill: Colour | None, ink: Colour | None = INK) -> None:
        """A closed shape."""
        pixels = [self.pixel(point) for point in points]
        if fill is not None:
            self._draw.polygon(pixels, fill=fill)
        if ink is not None:
            self._draw.line([*pixels, pixels[0], pixels[1]], fill=ink, width=self._outline, joint="curve")

    def smooth(self, points: Sequence[Point], fill: Colour | None, ink: Colour | None = INK) -> None:
        """A closed shape, round through the points (Catmull-Rom)."""
        curve, count = [], len(points)
        for i in range(count):
            before, start, end, beyond = (points[(i + step) % count] for step in (-1, 0, 1, 2))
            for share in (0.0, 0.2, 0.4, 0.6, 0.8):
                curve.append((_between(before[0], start[0], end[0], beyond[0], share),
                              _between(before[1], start[1], end[1], beyond[1], share)))  # fmt: skip
        self.polygon(curve, fill, ink)

    def box(self, left: float, bottom: float, right: float, top: float, fill: Colour | None, ink: Colour | None = INK):
        """A rectangle."""
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], fill, ink)

    def oval(self, x: float, y: float, across: float, up: float, fill: Colour | None, ink: Colour | None = INK):
        """An ellipse with these half axes."""
        (a, b), (c, d) = self.pixel((x - across, y - up)), self.pixel((x + across, y + up))
        corners = (min(a, c), min(b, d), max(a, c), max(b, d))
        self._draw.ellipse(corners, fill=fill, outline=ink, width=self._outline if ink else 0)

    def line(self, points: Sequence[Point], width: float | None = None, fill: Colour = INK) -> None:
        """A line with round ends; without a width in units it is as wide as an outline."""
        pixels = [self.pixel(point) for point in points]
        across = max(1, round(self.width if width is None else self.scale * width))
        self._draw.line(pixels, fill=fill, width=across, joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - across / 2, y - across / 2, x + across / 2, y + across / 2), fill=fill)

    def limb(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A thick line with an outline."""
        self.line(points, width + 2 * self.width / self.scale, INK)
        self.line(points, width, fill)

    def curve(self, start: Point, bend: Point, end: Point, width: float | None = None, fill: Colour = INK) -> None:
        """A bow from one point to another, drawn towards a third."""
        shares = [step / 8 for step in range(9)]
        self.line(
            [
                tuple((1 - s) ** 2 * start[i] + 2 * s * (1 - s) * bend[i] + s * s * end[i] for i in (0, 1))  # type: ignore[misc]
                for s in shares
            ],
            width,
            fill,
        )

    def star(
        self, x: float, y: float, outer: float, inner: float, spikes: int, fill: Colour, ink: Colour | None = INK
    ):
        """A star."""
        points = []
        for corner in range(2 * spikes):
            angle, far = math.pi * (corner / spikes + 0.5), inner if corner % 2 else outer
            points.append((x + far * math.cos(angle), y + far * math.sin(angle)))
        self.polygon(points, fill, ink)

    @property
    def _outline(self) -> int:
        return max(1, round(self.width))


def _between(before: float, start: float, end: float, beyond: float, share: float) -> float:
    """Where a Catmull-Rom curve is between its second and third point."""
    return start + share / 2 * (
        end - before
        + share * (2 * before - 5 * start + 4 * end - beyond + share * (3 * (start - end) + beyond - before))
    )  # fmt: skip
