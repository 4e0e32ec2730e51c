"""How people look: kind, hair, clothes, pose and mood. A grown figure is some 100 units high and stands at (0, 0)."""

from __future__ import annotations

from dataclasses import dataclass

from .pen import INK, Pen, Point, mix, shade
from .props import crown, draw_prop, party_hat
from .world import Character, Colour

WHITE = (255, 255, 255)
HEAD: Point = (0.0, 75.0)
RADIUS = 23.0
# Where the front hand is, for a figure that looks to the right.
HANDS: dict[str, Point] = {
    "stand": (17, 27),
    "hold": (24, 38),
    "reach": (37, 42),
    "raise": (33, 66),
    "mouth": (20, 56),
    "low": (34, 22),
    "walk": (22, 30),
    "sit": (20, 12),
}


TOPS = {"rabbit": 128, "fox": 115, "robot": 115, "cat": 109, "mouse": 108, "frog": 106}


def top_of(who: Character, look: Look) -> float:
    """How high somebody is, with ears, hair and hat."""
    hair = {"spiky": 111, "bun": 114, "curly": 111}.get(who.haircut, 102) if who.species == "human" else 104
    return who.height * max(TOPS.get(who.species, hair), 124 if look.worn else 0)


@dataclass(frozen=True)
class Look:
    """How somebody is drawn in one panel."""

    pose: str = "stand"
    mood: str = "happy"
    held: str | None = None
    worn: str | None = None
    is_talking: bool = False


def draw_figure(pen: Pen, who: Character, look: Look) -> None:
    """Draws somebody who looks to the right; a mirrored pen lets them look to the left."""
    sits = look.pose == "sit"
    body = pen.at(0, -20) if sits else pen
    pose = "hold" if look.held and look.pose in ("stand", "walk") else look.pose
    hand = HANDS[pose]
    hand = (hand[0], hand[1] + 20) if sits else hand
    _behind(body, who)
    _legs(pen, who, look.pose)
    back_hand = (-19, 27) if pose != "raise" else (-24, 36)
    body.limb([(-10, 47), (-19, 38), back_hand], 7, shade(who.top))
    body.oval(*back_hand, 4.6, 4.6, who.skin)
    _torso(body, who)
    if look.held and pose != "mouth":
        draw_prop(body.at(hand[0] + 5, hand[1] + 3, 0.95), look.held)
    elbow = (16 + hand[0] / 6, min(hand[1], 40) - 2 if hand[1] < 50 else 44)
    body.limb([(10, 47), elbow, hand], 7, who.top)
    body.oval(*hand, 4.8, 4.8, who.skin)
    _head(body, who, look)
    if look.held and pose == "mouth":
        draw_prop(body.at(hand[0] + 2, hand[1] + 4, 0.8), look.held)
    if look.worn:
        (crown if look.worn == "crown" else party_hat)(body.at(0, HEAD[1] + RADIUS + 4, 1.15))


def _behind(pen: Pen, who: Character) -> None:
    """What hangs behind the body: long hair and tails."""
    if who.species == "human" and who.haircut == "bob":
        pen.smooth([(-24, 84), (-28, 58), (-20, 48), (20, 48), (28, 58), (24, 84)], who.hair)
    elif who.species == "human" and who.haircut == "ponytail":
        pen.smooth([(-18, 92), (-38, 82), (-42, 58), (-33, 52), (-28, 70)], who.hair)
    elif who.species in ("cat", "mouse"):
        pen.curve((-8, 22), (-40, 14), (-32, 48), 5.4, INK)
        pen.curve((-8, 22), (-40, 14), (-32, 48), 3.4, who.skin)
    elif who.species == "fox":
        pen.smooth([(-6, 22), (-24, 14), (-44, 30), (-40, 52), (-26, 36)], who.skin)
        pen.smooth([(-43, 36), (-40, 52), (-32, 43)], WHITE)


def _legs(pen: Pen, who: Character, pose: str) -> None:
    leg = who.skin if who.wears_skirt else who.bottom
    if pose == "sit":
        for y in (9, 4):
            pen.limb([(-6, y), (22, y)], 8, leg)
        pen.oval(27, 5, 5, 8, shade(who.accent))
        return
    steps = ((-13, 2), (13, 2)) if pose == "walk" else ((-8, 0), (8, 0))
    for x, y in steps:
        pen.limb([(x / 2, 26), (x, 6 + y)], 8, leg)
        pen.oval(x + 3, 3 + y, 8, 4.4, shade(who.accent))


def _torso(pen: Pen, who: Character) -> None:
    if who.wears_skirt:
        pen.polygon([(-11, 34), (11, 34), (19, 14), (-19, 14)], who.bottom)
    else:
        pen.smooth([(-13, 34), (13, 34), (13, 22), (0, 19), (-13, 22)], who.bottom)
    shirt = [(-9, 53), (9, 53), (15, 46), (14, 27), (0, 25), (-14, 27), (-15, 46)]
    pen.smooth(shirt, who.top)
    if who.pattern == "stripes":
        for y in (32, 39, 46):
            pen.line([(-12.5, y), (12.5, y)], 2.6, who.accent)
    elif who.pattern == "dots":
        for dot, y in ((-8, 46), (1, 43), (9, 47), (-5, 36), (6, 35), (-9, 30), (0, 30)):
            pen.oval(dot, y, 1.9, 1.9, who.accent, None)
    elif who.pattern == "overalls":
        pen.box(-8, 26, 8, 40, who.bottom)
        for x in (-7, 7):
            pen.line([(x, 40), (x * 1.2, 51)], 3, who.bottom)
    if who.accessory == "scarf":
        pen.limb([(-10, 53), (10, 53)], 7, who.accent)
        pen.limb([(8, 51), (10, 36)], 6, who.accent)
    elif who.accessory == "bow tie":
        pen.polygon([(0, 50), (9, 55), (9, 45)], who.accent)
        pen.polygon([(0, 50), (-9, 55), (-9, 45)], who.accent)


def _head(pen: Pen, who: Character, look: Look) -> None:
    x, y = HEAD
    _EARS.get(who.species, lambda pen, colour: None)(pen, who.skin)
    if who.species == "robot":
        pen.polygon([(-21, 96), (21, 96), (26, 91), (26, 58), (21, 53), (-21, 53), (-26, 58), (-26, 91)], who.skin)
    else:
        pen.oval(x, y, RADIUS + (3 if who.species in ("frog", "bear") else 0), RADIUS - 1, who.skin)
    if who.species == "human":
        _hair(pen, who)
    _face(pen, who, look)
    if who.accessory == "glasses":
        for dx in (-1, 15):
            pen.oval(dx, 77, 7.4, 7.4, None)
        pen.line([(6.4, 78), (7.6, 78)])
        pen.line([(-8.4, 78), (-21, 80)])
    elif who.accessory == "cap" and not look.worn:
        pen.smooth([(-23, 84), (-18, 98), (0, 103), (18, 98), (23, 84), (0, 88)], who.accent)
        pen.smooth([(10, 88), (34, 84), (33, 80), (12, 83)], shade(who.accent))
    elif who.accessory == "flower":
        bloom = pen.at(-23, 79) if who.species == "frog" else pen.at(-17, 92)
        for along, up in ((0, 4), (4, 1), (2.5, -4), (-2.5, -4), (-4, 1)):
            bloom.oval(along, up, 3.6, 3.6, who.accent)
        bloom.oval(0, 0, 2.6, 2.6, (250, 205, 70))


def _cat_ears(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.polygon([(side * 21, 82), (side * 20, 108), (side * 5, 95)], colour)
        pen.polygon([(side * 18, 90), (side * 17.5, 101), (side * 11, 95)], (245, 170, 175), None)


def _fox_ears(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.polygon([(side * 22, 82), (side * 23, 114), (side * 4, 95)], colour)
        pen.polygon([(side * 22, 102), (side * 23, 114), (side * 16, 107)], (60, 45, 45))


def _rabbit_ears(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.smooth([(side * 5, 92), (side * 4, 112), (side * 10, 126), (side * 16, 112), (side * 15, 92)], colour)
        pen.smooth([(side * 8, 98), (side * 8, 112), (side * 11, 118), (side * 12, 98)], (245, 170, 175), None)


def _round_ears(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.oval(side * 19, 94, 8.5, 8.5, colour)
        pen.oval(side * 19, 94, 4.5, 4.5, mix(colour, INK, 0.3), None)


def _mouse_ears(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.oval(side * 23, 93, 14, 14, colour)
        pen.oval(side * 23, 93, 9, 9, (245, 180, 185), None)


def _frog_eyes(pen: Pen, colour: Colour) -> None:
    for x in (-9, 15):
        pen.oval(x, 95, 10, 10, colour)


def _antenna(pen: Pen, colour: Colour) -> None:
    pen.line([(0, 94), (0, 106)], 2.4, shade(colour))
    pen.oval(0, 109, 4.6, 4.6, (214, 60, 60))
    for side in (-1, 1):
        pen.box(side * 27 - 3, 68, side * 27 + 3, 82, shade(colour))


_EARS = {
    "cat": _cat_ears, "fox": _fox_ears, "rabbit": _rabbit_ears, "bear": _round_ears, "mouse": _mouse_ears,
    "frog": _frog_eyes, "robot": _antenna,
}  # fmt: skip


def _hair(pen: Pen, who: Character) -> None:
    pen.oval(-22, 74, 4, 5, who.skin)
    cap: list[Point] = [(-24, 74), (-23, 90), (-10, 100), (10, 100), (23, 90), (24, 80), (14, 87), (0, 90), (-12, 85)]
    if who.haircut == "spiky":
        cap = [(-25, 72), (-30, 88), (-22, 90), (-22, 104), (-10, 98), (-2, 110), (6, 99), (18, 106), (19, 95),
               (29, 92), (23, 82), (14, 88), (2, 85), (-8, 89), (-16, 83)]  # fmt: skip
        pen.polygon(cap, who.hair)
        return
    if who.haircut == "curly":
        for x, y in ((-22, 78), (-20, 90), (-10, 98), (2, 101), (13, 97), (22, 89)):
            pen.oval(x, y, 8.5, 8.5, who.hair)
        pen.smooth([(-18, 86), (-8, 97), (8, 97), (18, 88), (6, 86)], who.hair, None)
        return
    pen.smooth(cap, who.hair)
    if who.haircut == "bun":
        pen.oval(-8, 104, 10, 8.5, who.hair)
    elif who.haircut == "bob":
        pen.smooth([(-25, 88), (-27, 62), (-19, 60), (-16, 80)], who.hair)


def _face(pen: Pen, who: Character, look: Look) -> None:
    """Eyes, brows, nose and mouth, a little towards where the figure looks."""
    mood, eye_y = look.mood, 94 if who.species == "frog" else 77
    eyes = (-9, 15) if who.species == "frog" else (-1, 15)
    if who.species in ("bear", "fox", "mouse"):
        pen.oval(9, 66, 11, 8, mix(who.skin, WHITE, 0.6), None)
    dark = sum(who.skin) < 330
    ink = (250, 245, 235) if dark and who.species not in ("human", "robot") else INK
    for x in eyes:
        if mood == "asleep":
            pen.curve((x - 4, eye_y), (x, eye_y - 5), (x + 4, eye_y), fill=ink)
        elif mood == "proud":
            pen.curve((x - 4, eye_y - 1), (x, eye_y + 6), (x + 4, eye_y - 1), fill=ink)
        elif mood == "tired":
            pen.oval(x, eye_y, 4, 4, WHITE)
            pen.oval(x + 0.6, eye_y - 1.5, 2, 2, INK)
            pen.box(x - 4.6, eye_y + 0.5, x + 4.6, eye_y + 4.6, who.skin, None)
            pen.line([(x - 4.4, eye_y + 0.5), (x + 4.4, eye_y + 0.5)], fill=ink)
        else:
            large = 5.4 if mood == "surprised" else 4.4
            pen.oval(x, eye_y, large - 0.6, large, WHITE)
            pen.oval(x + 0.9, eye_y - 0.3, 2.1, 2.6, INK)
    tilt = {"sad": 3, "hungry": 2, "angry": -4, "surprised": 0}.get(mood)
    if tilt is not None:
        lift = 10 if mood == "surprised" else 7.5
        for x, side in zip(eyes, (-1, 1), strict=True):
            inner, outer = x - side * 4, x + side * 4
            pen.line([(inner, eye_y + lift + tilt / 2), (outer, eye_y + lift - tilt / 2)], 1.9, ink)
    if who.species in ("cat", "rabbit", "bear", "fox", "mouse"):
        pen.smooth([(6.5, 71), (11.5, 71), (9, 67.5)], (90, 50, 55) if who.species != "rabbit" else (240, 140, 150))
    elif who.species == "human":
        pen.curve((9, 73), (13, 69), (9, 68.5), fill=shade(who.skin))
    if who.species in ("cat", "mouse"):
        for y in (66, 69):
            pen.line([(17, y), (27, y + (y - 67.5) * 1.4)], 0.9, ink)
            pen.line([(1, y), (-9, y + (y - 67.5) * 1.4)], 0.9, ink)
    _mouth(pen, mood, look.is_talking, ink if who.species not in ("bear", "fox", "mouse") else INK)
    if mood in ("happy", "proud") and who.species != "robot":
        pen.oval(20, 68, 3, 1.8, mix(who.skin, (240, 90, 90), 0.45), None)
        pen.oval(-6, 68, 3, 1.8, mix(who.skin, (240, 90, 90), 0.45), None)
    if mood == "sad":
        pen.smooth([(19, 73), (21, 67), (17, 67)], (130, 190, 240))


def _mouth(pen: Pen, mood: str, is_talking: bool, ink: Colour) -> None:
    red = (150, 50, 55)
    if mood == "surprised":
        pen.oval(8, 60.5, 3.4, 4.4, red)
    elif mood == "asleep":
        pen.oval(8, 61.5, 2.2, 1.6, red)
    elif mood in ("sad", "angry", "tired"):
        if is_talking:
            pen.smooth([(2, 59), (8, 64), (14, 59), (8, 57.6)], red)
        else:
            pen.curve((2, 59), (8, 65), (14, 59), 1.5, ink)
    elif mood == "hungry":
        pen.line([(1, 61), (4, 63), (8, 60), (12, 63), (15, 61)], 1.5, ink)
    elif is_talking or mood == "proud":
        pen.smooth([(1, 64), (8, 62.5), (15, 64), (12, 57.5), (5, 57.5)], red)
    else:
        pen.curve((1, 63.5), (8, 56), (15, 63.5), 1.5, ink)
