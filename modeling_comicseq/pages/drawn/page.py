"""A page: its panels drawn in their places, and what is known about them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from .figures import HEAD, RADIUS, draw_figure
from .lettering import Balloon, draw_balloon, letter_panel
from .pen import INK, Pen
from .places import draw_lamp, draw_place, light
from .props import draw_chest, draw_prop
from .shot import HEIGHT, ROOM, Shot, choose_shot
from .story import Moment
from .style import Style
from .words import describe, lines
from .world import Character

SMOOTH = 2  # pictures are drawn larger by this factor, and reduced
HIGH = 1000  # units of a page's height
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Panel:
    """A panel in its place, in units: what it shows, where its figures stand, and its balloons."""

    box: Box
    corners: list[tuple[float, float]]
    moment: Moment
    shot: Shot
    balloons: list[Balloon]
    scale: float  # units of the page to a unit of figures
    floor: float  # where the figures stand, down the page
    across: dict[str, float]  # where each of the row stands

    def point(self, who: Character, x: float, y: float) -> tuple[float, float]:
        """A point of somebody's figure."""
        side = -1 if who.name in self.shot.faces_left else 1
        scale = self.scale * who.height
        return self.across[who.name] + side * scale * x, self.floor - scale * y

    def face(self, who: Character) -> Box:
        """Around somebody's face."""
        reach, down = RADIUS * self.scale * who.height, 20 if self.shot.looks[who.name].pose == "sit" else 0
        x, y = self.point(who, HEAD[0], HEAD[1] - down)
        return x - reach, y - reach, x + reach, y + reach


def plan_panel(
    moment: Moment, corners: list[tuple[float, float]], opens: bool, style: Style, rng: random.Random
) -> Panel:
    """Decides what a panel shows and where everything stands in it.

    Args:
        moment: What happens.
        corners: The panel's corners in units, clockwise from the upper left one.
        opens: Whether it is the first panel of its page.
        style: The book's style.
        rng: The panel's random numbers.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    box = (min(ax, dx), min(ay, by), max(bx, cx), max(cy, dy))
    inner = (max(ax, dx), max(ay, by), min(bx, cx), min(cy, dy))
    margin = 5 + style.frame
    room = (inner[0] + margin, inner[1] + margin, inner[2] - margin, inner[3] - margin)
    width, height = room[2] - room[0], room[3] - room[1]
    texts = lines(moment.event, moment.shown, opens, rng)
    shot = choose_shot(moment, opens, width / height, {speaker for speaker, _ in texts}, rng)
    texts = [(speaker, words) for speaker, words in texts if speaker is None or speaker in shot.looks]
    places, far = {}, 0.0
    for name in shot.row:
        places[name] = (far + ROOM.get(name, ROOM["figure"]) / 2) / shot.width
        far += ROOM.get(name, ROOM["figure"])
    balloons, reached = letter_panel(texts, places, room, style.lettering, style.reading_direction == "rtl")
    top = reached + 4 if balloons else inner[1] + 3
    scale = min(width / shot.width, (inner[3] - top) / HEIGHT[shot.kind])
    floor = max(inner[3] - 9 * scale - 0.04 * height, top + 112 * scale)
    # Where heads are far below, what is said comes down to them.
    lower = 0.75 * max(0.0, floor - 120 * scale - reached)
    balloons = [balloon.lowered(lower) if balloon.speaker else balloon for balloon in balloons]
    spread = min(width, shot.width * scale * 1.35)
    across = {name: (room[0] + room[2]) / 2 + (place - 0.5) * spread for name, place in places.items()}
    return Panel(box, corners, moment, shot, balloons, scale, floor, across)


def draw_panel(image: Image.Image, panel: Panel, cast: dict[str, Character], style: Style, unit: float) -> None:
    """Draws a panel without its balloons on a page of `unit` pixels a unit."""
    x0, y0, x1, y1 = (round(edge * unit) for edge in panel.box)
    picture = Image.new("RGB", (x1 - x0, y1 - y0))
    middle = (panel.box[0] + panel.box[2]) / 2

    def pen(x: float, floor: float = 0.0, mirrored: bool = False) -> Pen:
        origin = (x * unit - x0, panel.floor * unit - y0 - floor * panel.scale * unit)
        return Pen(picture, origin, panel.scale * unit, style.line * unit, mirrored)

    shot = panel.shot
    draw_place(pen(middle), shot.scene["place"], shot.scene["time"], style.walls)
    for name in shot.row:
        if name == "lamp":
            draw_lamp(pen(panel.across[name], 8), shot.scene["lamp"] == "on")
        elif name == "chest":
            draw_chest(pen(panel.across[name], 4), shot.scene["chest"] == "open", shot.scene["in_chest"])
    for name in shot.figures:
        who = cast[name]
        draw_figure(
            pen(panel.across[name], mirrored=name in shot.faces_left).at(0, 0, who.height), who, shot.looks[name]
        )
    for x, prop in _on_floor(panel):
        draw_prop(pen(x, -1).at(0, 6, 0.8), prop)
    picture = light(picture, shot.scene["place"], shot.scene["time"], shot.scene["lamp"] == "on")
    if style.is_grey:
        picture = picture.convert("L").convert("RGB")
    mask = Image.new("1", picture.size)
    pixels = [(x * unit - x0, y * unit - y0) for x, y in panel.corners]
    ImageDraw.Draw(mask).polygon(pixels, fill=1)
    image.paste(picture, (x0, y0), mask)
    if style.frame:
        outline = [(x * unit, y * unit) for x, y in panel.corners]
        frame = INK if sum(style.paper) > 200 else (235, 235, 235)
        ImageDraw.Draw(image).line([*outline, *outline[:2]], frame, max(1, round(style.frame * unit)), "curve")


def _on_floor(panel: Panel) -> list[tuple[float, str]]:
    """Where the things that lie about are: what the panel is about beside who deals with it, others further on."""
    event, shot = panel.moment.event, panel.shot
    side = -1 if event.actor in shot.faces_left else 1
    near = panel.across[event.actor] + side * 38 * panel.scale
    others = [prop for prop in shot.scene["lying"] if prop != event.prop]
    left = min(panel.across.values()) - 36 * panel.scale
    placed = [(left - 26 * panel.scale * number, prop) for number, prop in enumerate(others)]
    return placed + [(near, event.prop)] if event.prop in shot.scene["lying"] else placed


def draw_page(
    moments: Sequence[Moment],
    corners: Sequence[list[tuple[float, float]]],
    cast: dict[str, Character],
    style: Style,
    size: tuple[int, int],
    rng: random.Random,
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """Draws a page.

    Args:
        moments: What happens in each panel.
        corners: Each panel's four corners in units, clockwise from the upper left one, in reading order.
        cast: The book's characters by name.
        style: The book's style.
        size: Width and height in pixels.
        rng: The page's random numbers.

    Returns:
        The picture, and for each panel what `panels.json` has about it.
    """
    unit = size[1] / HIGH
    panels = [
        plan_panel(moment, where, index == 0, style, rng)
        for index, (moment, where) in enumerate(zip(moments, corners, strict=True))
    ]
    image = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), style.paper)
    for panel in panels:
        draw_panel(image, panel, cast, style, unit * SMOOTH)
    for panel in panels:
        for balloon in panel.balloons:
            head = None
            if balloon.speaker is not None:
                who = cast[balloon.speaker]
                head = panel.point(who, 5, 102 - (20 if panel.shot.looks[who.name].pose == "sit" else 0))
            draw_balloon(
                image, balloon, unit * SMOOTH, head, style.lettering, max(1, round(style.line * unit * SMOOTH))
            )
    return image.reduce(SMOOTH), [_annotation(panel, cast, unit, size) for panel in panels]


def _annotation(panel: Panel, cast: dict[str, Character], unit: float, size: tuple[int, int]) -> dict[str, Any]:
    def pixels(box: Box) -> list[int]:
        return [min(max(round(edge * unit), 0), size[i % 2]) for i, edge in enumerate(box)]

    event, figures = panel.moment.event, panel.shot.figures
    return {
        "box": pixels(panel.box),
        "text": [balloon.text for balloon in panel.balloons],
        "speakers": [balloon.speaker for balloon in panel.balloons],
        "text_boxes": [pixels(balloon.text_box) for balloon in panel.balloons],
        "balloon_boxes": [pixels(balloon.box) for balloon in panel.balloons],
        "caption": describe(event, panel.moment.before),
        "character_ids": figures,
        "face_boxes": [pixels(panel.face(cast[name])) for name in figures],
        "state": {
            "action": {key: value for key, value in vars(event).items() if value is not None},
            "shot": panel.shot.kind,
            "before": panel.moment.before,
            "after": panel.moment.after,
        },
    }
