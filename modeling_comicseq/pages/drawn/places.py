"""How places look: a wall or a sky, a floor at whose edge the figures stand, and furniture as far as the panel reaches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from PIL import Image, ImageChops

from .pen import INK, Pen, mix, shade
from .world import PLACES, Colour

FLOOR, CEILING = 26, 176  # where the wall begins and ends
SKIES: dict[str, Colour] = {
    "morning": (255, 226, 190), "noon": (176, 220, 246), "evening": (246, 176, 140), "night": (58, 66, 118),
}  # fmt: skip
# What the light of a time of the day takes from every colour, outdoors and where a lamp is on or off.
LIGHT: dict[str, Colour] = {
    "morning": (255, 246, 232), "noon": (255, 255, 255), "evening": (255, 222, 204), "night": (165, 176, 228),
}  # fmt: skip
LAMPLIGHT, DARK = (255, 244, 214), (146, 148, 205)
WOOD, WHITE = (176, 124, 78), (252, 250, 245)
IS_INDOOR = {place.name: place.is_indoor for place in PLACES}


def draw_place(pen: Pen, name: str, time: str, tint: Colour) -> None:
    """Fills the picture with a place.

    Args:
        pen: A pen whose origin is on the floor, where the figures stand.
        name: The place.
        time: The time of the day, which the sky shows.
        tint: The book's colour of walls.
    """
    _DRAWN[name](pen, SKIES[time], mix(tint, WHITE, 0.45))
    if not IS_INDOOR[name]:
        _sun_or_moon(pen, time)


def draw_lamp(pen: Pen, is_on: bool) -> None:
    """A lamp on a stand, some 80 units high."""
    if is_on:
        pen.oval(0, 78, 30, 26, (255, 246, 196), None)
    pen.line([(0, 2), (0, 66)], 3.4, (90, 80, 80))
    pen.oval(0, 2, 12, 3.4, (90, 80, 80))
    pen.polygon([(-16, 64), (16, 64), (9, 90), (-9, 90)], (255, 228, 120) if is_on else (150, 145, 150))


def light(image: Image.Image, place: str, time: str, is_lit: bool) -> Image.Image:
    """The picture in the light of the time of the day, or of the lamp."""
    colour = LIGHT[time]
    if IS_INDOOR[place] and time in ("evening", "night"):
        colour = LAMPLIGHT if is_lit else DARK
    return ImageChops.multiply(image, Image.new("RGB", image.size, colour))


def _every(pen: Pen, period: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Number and x of what stands again and again, from the left edge of the picture to the right one."""
    left, _, right, _ = pen.view
    first, last = int((left - start) // period), int((right - start) // period) + 1
    yield from ((number, start + number * period) for number in range(first, last + 1))


def _ground(pen: Pen, above: Colour, below: Colour) -> None:
    left, bottom, right, top = pen.view
    pen.box(left - 9, FLOOR, right + 9, top + 9, above, None)
    pen.box(left - 9, bottom - 9, right + 9, FLOOR, below)


def _room(pen: Pen, wall: Colour, floor: Colour) -> None:
    """Wall, floor and, in high panels, a ceiling on beams."""
    _ground(pen, wall, floor)
    left, _, right, top = pen.view
    if top > CEILING:
        pen.box(left - 9, CEILING, right + 9, top + 9, mix(WOOD, WHITE, 0.25))
        for _, x in _every(pen, 70, 20):
            pen.box(x - 6, CEILING, x + 6, top + 9, WOOD)
        pen.box(left - 9, CEILING - 7, right + 9, CEILING, shade(WOOD))


def _rolling(pen: Pen, y: float, up: float, colour: Colour, period: int, start: int) -> None:
    """A line of hills."""
    for number, x in _every(pen, period, start):
        pen.oval(x, y, period * 0.72, up * (0.8 + 0.3 * (number % 2)), colour)


def _sun_or_moon(pen: Pen, time: str) -> None:
    _, _, right, top = pen.view
    x, y = right - 30, min(top - 26, 190)
    if time == "night":
        pen.oval(x, y, 12, 12, (250, 244, 200))
        pen.oval(x + 5, y + 3, 9, 9, SKIES[time], None)
        for number, star in _every(pen, 47, 11):
            pen.star(star, 130 + (number * 37) % 70, 3.4, 1.4, 5, (250, 244, 200), None)
    else:
        pen.oval(x, y, 15, 15, (255, 214, 80))


def _window(pen: Pen, x: float, sky: Colour) -> None:
    pen.box(x - 24, 66, x + 24, 118, sky)
    pen.line([(x, 66), (x, 118)], 3, WHITE)
    pen.line([(x - 24, 92), (x + 24, 92)], 3, WHITE)
    pen.box(x - 28, 61, x + 28, 66, WHITE)


def _shelf(pen: Pen, x: float, y: float, things: int, rng: random.Random) -> None:
    pen.box(x - 30, y - 4, x + 30, y, WOOD)
    for number in range(things):
        colour = rng.choice(((190, 90, 80), (90, 130, 180), (220, 180, 90), (110, 160, 110)))
        at = x - 24 + number * 52 / things
        pen.box(at, y, at + 40 / things, y + rng.choice((13, 17, 20)), mix(colour, WHITE, 0.25))


def _kitchen(pen: Pen, sky: Colour, wall: Colour) -> None:
    _room(pen, wall, (226, 214, 200))
    for _, x in _every(pen, 30):
        pen.line([(x, FLOOR), (x * 1.3, pen.view[1] - 5)], fill=(200, 186, 172))
    for number, x in _every(pen, 180, 60):
        _window(pen, x, sky)
        left = x + 54
        pen.box(left, FLOOR - 4, left + 72, 62, (236, 232, 222))
        pen.box(left - 3, 62, left + 75, 67, WOOD)
        for knob in (18, 54):
            pen.line([(left + 36, FLOOR - 4), (left + 36, 62)])
            pen.oval(left + knob, 46, 2.4, 2.4, shade(WOOD))
        if number % 2:
            pen.box(left + 8, 67, left + 34, 82, (190, 80, 70))
            pen.line([(left + 34, 76), (left + 42, 80)], 3.4, (190, 80, 70))
        else:
            pen.box(left + 40, 67, left + 60, 88, (130, 170, 190))
        pen.box(left + 4, 98, left + 68, 126, (222, 212, 196))
        pen.line([(left + 36, 98), (left + 36, 126)])


def _living_room(pen: Pen, sky: Colour, wall: Colour) -> None:
    _room(pen, wall, (190, 140, 100))
    for _, x in _every(pen, 22, 5):
        pen.line([(x, FLOOR + 1), (x, CEILING - 8)], 1.2, mix(wall, WHITE, 0.5))
    for number, x in _every(pen, 210, -70):
        sofa = mix((170, 80, 90), WHITE, 0.15)
        pen.smooth([(x - 46, FLOOR - 2), (x - 46, 62), (x, 68), (x + 46, 62), (x + 46, FLOOR - 2)], sofa)
        pen.box(x - 46, FLOOR - 4, x + 46, 42, shade(sofa))
        pen.box(x - 26, 84, x + 26, 122, (230, 190, 110))
        if number % 2:
            pen.box(x - 21, 89, x + 21, 117, (150, 200, 220))
            pen.polygon([(x - 21, 89), (x - 4, 108), (x + 6, 98), (x + 13, 104), (x + 21, 89)], (110, 160, 110))
        else:
            pen.box(x - 21, 89, x + 21, 117, (240, 220, 200))
            pen.oval(x, 103, 9, 9, (220, 120, 90))
        _window(pen, x + 105, sky)


def _library(pen: Pen, sky: Colour, wall: Colour) -> None:
    _room(pen, shade(wall), (150, 70, 60))
    rng = random.Random(7)
    for number, x in _every(pen, 74, 10):
        if number % 4 == 3:
            _window(pen, x, sky)
            continue
        pen.box(x - 34, FLOOR - 4, x + 34, 152, shade(WOOD))
        for y in (32, 58, 84, 110, 134):
            _shelf(pen, x, y, rng.choice((5, 6, 7)), rng)


def _workshop(pen: Pen, sky: Colour, wall: Colour) -> None:
    _room(pen, mix(wall, (200, 190, 170), 0.5), (170, 165, 160))
    for number, x in _every(pen, 190, 85):
        pen.box(x - 44, 54, x + 44, 61, WOOD)
        for leg in (-38, 38):
            pen.box(x + leg - 4, FLOOR - 6, x + leg + 4, 54, shade(WOOD))
        pen.box(x - 42, 84, x + 42, 124, (205, 185, 150))
        pen.line([(x - 30, 116), (x - 30, 94)], 3.4, (90, 90, 100))
        pen.box(x - 37, 112, x - 23, 119, (120, 125, 135))
        pen.line([(x - 8, 92), (x - 8, 118)], 3, (190, 80, 60))
        pen.star(x + 20, 104, 13, 9, 9, (150, 155, 165))
        pen.oval(x + 20, 104, 4, 4, (205, 185, 150))
        if number % 2:
            pen.box(x - 30, 61, x - 8, 76, (90, 140, 190))
        _window(pen, x + 95, sky)


def _cave(pen: Pen, sky: Colour, wall: Colour) -> None:
    rock = mix((112, 104, 118), wall, 0.25)
    _ground(pen, rock, shade(rock))
    for number, x in _every(pen, 54, 12):
        top = min(pen.view[3] + 4, 230)
        pen.polygon([(x - 18, top), (x + 18, top), (x + 2, top - 40 - 22 * (number % 3))], shade(rock))
        if number % 3 == 0:
            pen.polygon([(x - 14, FLOOR), (x + 16, FLOOR), (x + 2, FLOOR + 34)], mix(rock, WHITE, 0.15))
        if number % 4 == 1:
            pen.polygon([(x, 40), (x + 7, 52), (x + 14, 40), (x + 7, 30)], (120, 220, 210))
        pen.curve((x - 12, 92), (x, 104 + 6 * (number % 2)), (x + 12, 92), fill=shade(rock))


def _garden(pen: Pen, sky: Colour, wall: Colour) -> None:
    _ground(pen, sky, (150, 200, 110))
    _rolling(pen, FLOOR, 44, (130, 185, 120), 130, 20)
    for _, x in _every(pen, 26):
        pen.polygon([(x - 9, FLOOR - 3), (x - 9, 58), (x, 68), (x + 9, 58), (x + 9, FLOOR - 3)], WHITE)
    pen.box(pen.view[0] - 5, 40, pen.view[2] + 5, 46, WHITE)
    for number, x in _every(pen, 44, 17):
        bloom = ((235, 90, 110), (250, 200, 80), (180, 110, 210))[number % 3]
        pen.line([(x, 12), (x, 24)], 1.8, (80, 150, 80))
        for dx, dy in ((-3, 0), (3, 0), (0, 3), (0, -3)):
            pen.oval(x + dx, 26 + dy, 3.2, 3.2, bloom)
    pen.box(pen.view[0] - 9, pen.view[1] - 9, pen.view[2] + 9, 12, (150, 200, 110), None)


def _forest(pen: Pen, sky: Colour, wall: Colour) -> None:
    _ground(pen, mix(sky, (120, 180, 140), 0.35), (120, 165, 95))
    for _, x in _every(pen, 34, 9):
        pen.box(x - 5, FLOOR, x + 5, 240, mix((110, 130, 110), sky, 0.3), None)
    for number, x in _every(pen, 92, -46):
        green = ((88, 150, 92), (112, 168, 88))[number % 2]
        pen.polygon([(x - 9, FLOOR - 6), (x - 7, 90), (x + 7, 90), (x + 9, FLOOR - 6)], (130, 92, 62))
        pen.smooth(
            [(x - 40, 92), (x - 38, 128), (x - 14, 152), (x + 16, 150), (x + 38, 126), (x + 38, 92), (x, 80)], green
        )
        pen.smooth([(x + 24, FLOOR - 4), (x + 28, 40), (x + 42, 45), (x + 56, 38), (x + 58, FLOOR - 4)], shade(green))


def _beach(pen: Pen, sky: Colour, wall: Colour) -> None:
    _ground(pen, sky, (244, 222, 164))
    left, _, right, _ = pen.view
    pen.box(left - 9, FLOOR, right + 9, 70, mix((80, 160, 205), sky, 0.2))
    for number, x in _every(pen, 40, 13):
        y = 36 + 11 * (number % 3)
        pen.curve((x - 9, y), (x, y + 6), (x + 9, y), 1.6, WHITE)
    for _, x in _every(pen, 260, 90):
        pen.polygon([(x - 24, 70), (x + 24, 70), (x + 16, 60), (x - 16, 60)], (180, 90, 70))
        pen.polygon([(x, 72), (x, 112), (x + 24, 78)], WHITE)
    for _, x in _every(pen, 240, -100):
        pen.curve((x, 12), (x + 20, 60), (x + 8, 118), 8, (150, 110, 70))
        for dx, dy in ((-40, 104), (-30, 128), (10, 146), (44, 128), (52, 102)):
            pen.smooth([(x + 8, 118), (x + 8 + dx * 0.5, 124 + (dy - 118) * 0.8), (x + 8 + dx, dy), (x + 8 + dx * 0.5, 114 + (dy - 118) * 0.5)], (90, 165, 95))  # fmt: skip


def _street(pen: Pen, sky: Colour, wall: Colour) -> None:
    _ground(pen, sky, (176, 176, 182))
    for number, x in _every(pen, 96, 20):
        front = ((226, 160, 130), (240, 214, 160), (170, 196, 206), (206, 178, 206))[number % 4]
        top = 132 + 16 * (number % 3)
        pen.box(x - 46, FLOOR, x + 46, top, front)
        pen.polygon([(x - 52, top), (x + 52, top), (x, top + 34)], (178, 96, 84))
        pen.box(x - 12, FLOOR, x + 12, 72, shade(WOOD) if number % 2 else (90, 130, 120))
        for dx in (-30, 30):
            pen.box(x + dx - 10, 88, x + dx + 10, 112, mix(sky, WHITE, 0.35))
    pen.box(pen.view[0] - 9, 14, pen.view[2] + 9, FLOOR, (206, 204, 204))


def _hill(pen: Pen, sky: Colour, wall: Colour) -> None:
    _ground(pen, sky, (160, 205, 120))
    _rolling(pen, FLOOR - 6, 70, mix((120, 160, 190), sky, 0.3), 150, 60)
    _rolling(pen, FLOOR - 6, 34, (136, 186, 126), 110, 0)
    for number, x in _every(pen, 150, 30):
        y = 132 + 18 * (number % 2)
        pen.smooth([(x - 28, y), (x - 20, y + 13), (x, y + 19), (x + 20, y + 12), (x + 28, y), (x, y - 5)], WHITE)
    for _, x in _every(pen, 330, -120):
        pen.polygon([(x - 14, 34), (x + 14, 34), (x + 9, 98), (x - 9, 98)], (236, 226, 210))
        pen.polygon([(x - 13, 98), (x + 13, 98), (x, 116)], (190, 90, 80))
        for dx, dy in ((34, 14), (-34, -14), (-14, 34), (14, -34)):
            pen.line([(x, 92), (x + dx, 92 + dy)], 5, (150, 120, 90))
        pen.oval(x, 92, 4, 4, INK)
    for _, x in _every(pen, 37, 8):
        pen.line([(x, 4), (x - 3, 12)], 1.4, (110, 160, 90))
        pen.line([(x, 4), (x + 3, 12)], 1.4, (110, 160, 90))


_DRAWN: dict[str, Callable[[Pen, Colour, Colour], None]] = {
    "kitchen": _kitchen, "living room": _living_room, "library": _library, "workshop": _workshop, "cave": _cave,
    "garden": _garden, "forest": _forest, "beach": _beach, "street": _street, "hill": _hill,
}  # fmt: skip
