"""How the things look that people carry, some 24 units across, with (0, 0) where a hand has hold of them."""

from __future__ import annotations

from .pen import INK, Pen, mix
from .world import Colour

RED, GREEN, YELLOW, BLUE = (214, 60, 60), (90, 165, 80), (250, 205, 70), (70, 130, 205)
BROWN, GREY, WHITE, PINK = (140, 92, 54), (165, 170, 180), (252, 252, 248), (245, 150, 180)


def draw_prop(pen: Pen, name: str) -> None:
    """Draws a thing of `world.PROPS`."""
    _DRAWN[name](pen)


def _apple(pen: Pen) -> None:
    pen.smooth([(0, 8), (7, 10), (11, 3), (7, -8), (0, -7), (-7, -8), (-11, 3), (-7, 10)], RED)
    pen.line([(0, 8), (1, 14)], 1.6, BROWN)
    pen.smooth([(1, 12), (7, 16), (9, 12)], GREEN)


def _cake(pen: Pen) -> None:
    pen.box(-12, -8, 12, 4, (235, 190, 130))
    pen.smooth([(-13, 3), (-12, 8), (12, 8), (13, 3), (8, 0), (4, 3), (0, 0), (-4, 3), (-8, 0)], PINK)
    pen.oval(0, 11, 3.4, 3.4, RED)


def _fish(pen: Pen) -> None:
    pen.polygon([(8, 0), (17, 8), (17, -8)], (90, 160, 190))
    pen.smooth([(-14, 0), (-4, 8), (9, 2), (9, -2), (-4, -8)], (120, 190, 215))
    pen.oval(-8, 2, 1.4, 1.4, INK)


def _carrot(pen: Pen) -> None:
    for tip in (-5, 0, 5):
        pen.line([(0, 8), (tip, 18)], 2.6, GREEN)
    pen.smooth([(-6, 8), (6, 8), (3, -4), (0, -15), (-3, -4)], (242, 135, 45))


def _ball(pen: Pen) -> None:
    pen.oval(0, 0, 11, 11, YELLOW)
    pen.curve((-8, 7), (0, 0), (-8, -7))
    pen.curve((8, 7), (0, 0), (8, -7))


def _frisbee(pen: Pen) -> None:
    pen.oval(0, 0, 14, 6, BLUE)
    pen.oval(0, 1, 8, 2.8, mix(BLUE, WHITE, 0.4))


def crown(pen: Pen) -> None:
    """A crown, also to be worn."""
    pen.polygon([(-12, -7), (12, -7), (14, 9), (6, 2), (0, 11), (-6, 2), (-14, 9)], YELLOW)
    for x in (-7, 0, 7):
        pen.oval(x, -3, 1.8, 1.8, RED)


def party_hat(pen: Pen) -> None:
    """A pointed hat, also to be worn."""
    pen.polygon([(-11, -8), (11, -8), (0, 18)], (110, 90, 190))
    pen.line([(-7, 1), (7, 1)], 3, YELLOW)
    pen.oval(0, 18, 4, 4, PINK)


def _guitar(pen: Pen) -> None:
    pen.line([(0, 0), (13, 26)], 3.6, BROWN)
    pen.oval(-6, -12, 11, 10, (205, 135, 70))
    pen.oval(0, -1, 8, 7.5, (205, 135, 70))
    pen.oval(-3, -7, 3.4, 3.4, INK)
    pen.line([(-8, -14), (12, 26)], 0.8, WHITE)


def _trumpet(pen: Pen) -> None:
    pen.line([(-14, 0), (10, 0)], 4, YELLOW)
    pen.polygon([(8, -2), (8, 2), (18, 9), (18, -9)], YELLOW)
    pen.box(-6, 0, 2, 7, YELLOW)


def _key(pen: Pen) -> None:
    pen.line([(0, 0), (16, 0)], 4, YELLOW)
    pen.line([(10, 0), (10, -7)], 3, YELLOW)
    pen.line([(15, 0), (15, -8)], 3, YELLOW)
    pen.oval(-5, 0, 8, 8, YELLOW)
    pen.oval(-5, 0, 3.4, 3.4, WHITE)


def _map(pen: Pen) -> None:
    pen.polygon([(-15, 9), (-5, 12), (5, 9), (15, 12), (15, -9), (5, -12), (-5, -9), (-15, -12)], (240, 222, 170))
    pen.line([(-10, -4), (-3, 3), (3, -1)], 1.6, RED)
    pen.line([(6, 1), (11, 6)], 1.6, RED)
    pen.line([(6, 6), (11, 1)], 1.6, RED)


def _letter(pen: Pen) -> None:
    pen.box(-14, -9, 14, 9, WHITE)
    pen.line([(-14, 9), (0, -1), (14, 9)])
    pen.oval(0, -1, 3, 3, RED)


def _lantern(pen: Pen) -> None:
    pen.curve((-7, 2), (0, 16), (7, 2))
    pen.box(-8, -14, 8, 2, (255, 236, 150))
    pen.box(-10, -17, 10, -13, GREY)
    pen.box(-10, 1, 10, 5, GREY)
    pen.smooth([(0, -2), (3, -8), (0, -11), (-3, -8)], (245, 150, 50))


def _book(pen: Pen) -> None:
    pen.box(-12, -11, 12, 12, (60, 110, 90))
    pen.box(-12, -11, -8, 12, (40, 80, 65))
    pen.box(-4, 2, 8, 8, (240, 225, 180))


def _umbrella(pen: Pen) -> None:
    pen.line([(0, -14), (0, 18)], 2.2, BROWN)
    pen.curve((0, -14), (5, -20), (7, -13), 2.2, BROWN)
    pen.smooth([(-20, 12), (-12, 25), (0, 30), (12, 25), (20, 12), (10, 16), (0, 12), (-10, 16)], (190, 70, 140))


def _teddy(pen: Pen) -> None:
    fur = (190, 135, 85)
    for x in (-8, 8):
        pen.oval(x, 12, 4, 4, fur)
        pen.oval(x, -11, 4.6, 4.6, fur)
    pen.oval(0, -5, 9, 9, fur)
    pen.oval(0, 7, 9, 8, fur)
    pen.oval(0, 4, 4, 3, mix(fur, WHITE, 0.5))
    for side in (-1, 1):
        pen.oval(side * 3.4, 9, 1.2, 1.2, INK)


def _flower(pen: Pen) -> None:
    pen.line([(0, -14), (0, 6)], 2.2, GREEN)
    pen.smooth([(0, -8), (8, -2), (9, -7)], GREEN)
    for x, y in ((0, 17), (7, 12), (5, 4), (-5, 4), (-7, 12)):
        pen.oval(x, y, 4.6, 4.6, PINK)
    pen.oval(0, 10, 4, 4, YELLOW)


def _kite(pen: Pen) -> None:
    pen.curve((0, -12), (-12, -18), (-4, -26))
    pen.polygon([(0, 20), (11, 6), (0, -12), (-11, 6)], RED)
    pen.polygon([(0, 20), (11, 6), (0, 6)], YELLOW)
    pen.polygon([(0, -12), (-11, 6), (0, 6)], YELLOW)


def _gem(pen: Pen) -> None:
    pen.polygon([(-13, 4), (-7, 11), (7, 11), (13, 4), (0, -12)], (90, 215, 225))
    pen.line([(-13, 4), (13, 4)])
    pen.line([(-5, 4), (0, -12), (5, 4), (0, 11), (-5, 4)])


_DRAWN = {
    "apple": _apple, "cake": _cake, "fish": _fish, "carrot": _carrot, "ball": _ball, "frisbee": _frisbee,
    "crown": crown, "party hat": party_hat, "guitar": _guitar, "trumpet": _trumpet, "key": _key, "map": _map,
    "letter": _letter, "lantern": _lantern, "book": _book, "umbrella": _umbrella, "teddy": _teddy, "flower": _flower,
    "kite": _kite, "gem": _gem,
}  # fmt: skip


def draw_chest(pen: Pen, is_open: bool, contents: list[str]) -> None:
    """A chest that stands on the floor at (0, 0), some 44 units wide; what is in it shows where it is open."""
    wood: Colour = (150, 98, 56)
    if is_open:
        pen.polygon([(-22, 24), (22, 24), (19, 44), (-19, 44)], mix(wood, INK, 0.45))
        for index, name in enumerate(contents[:2]):
            draw_prop(pen.at(-9 + 18 * index, 31, 0.75), name)
        pen.box(-22, 0, 22, 25, wood)
    else:
        pen.box(-22, 0, 22, 20, wood)
        pen.smooth([(-22, 20), (-20, 30), (0, 34), (20, 30), (22, 20)], mix(wood, WHITE, 0.12))
    for x in (-15, 15):
        pen.line([(x, 1), (x, 19)], 2.6, (205, 170, 90))
    pen.box(-4, 12, 4, 21, YELLOW)
