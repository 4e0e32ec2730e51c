"""A page: its panels drawn in their places, and what is known about them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from .figures import HEAD, RADIUS, draw_figure, top_of
from .lettering import Balloon, draw_balloon, letter_panel
from .pen import INK, Pen
from .places import draw_lamp, draw_place, light
from .props import draw_chest, draw_prop
from .shot import ROOM, UNSEEN, Shot, choose_shot
from .story import Moment
from .style import Style
from .words import describe, lines
from .world import Character

SMOOTH = 2  # pictures are drawn larger by this factor, and reduced
ACROSS = 700  # units of a single page's width
LARGEST = 3.4  # units of the page to a unit of figures
NARROWEST = 20.0  # units that are drawn in, however little of a panel is seen
Box = tuple[float, float, float, float]
Corners = list[tuple[float, float]]  # clockwise from the upper left one


@dataclass(frozen=True)
class Panel:
    """A panel in its place, in units: what it shows, where its figures stand, and its balloons."""

    box: Box
    corners: Corners
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


def inner(corners: Corners) -> Box:
    """The rectangle that is wholly in a panel."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    return max(ax, dx), max(ay, by), min(bx, cx), min(cy, dy)


def outer(corners: Corners) -> Box:
    """The rectangle around a panel."""
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def area(box: Box) -> float:
    """How large a rectangle is."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def uncovered(room: Box, above: Sequence[Box]) -> Box:
    """The largest part of a room that is found beside the panels that lie over it."""
    for x0, y0, x1, y1 in above:
        if x0 < room[2] and x1 > room[0] and y0 < room[3] and y1 > room[1]:
            beside = ((room[0], room[1], x0, room[3]), (x1, room[1], room[2], room[3]),
                      (room[0], room[1], room[2], y0), (room[0], y1, room[2], room[3]))  # fmt: skip
            room = max(beside, key=area)
    return room


def plan_panel(
    moment: Moment,
    corners: Corners,
    above: Sequence[Box],
    opens: bool,
    cast: dict[str, Character],
    style: Style,
    rng: random.Random,
) -> Panel:
    """Decides what a panel shows and where everything stands in it.

    Args:
        moment: What happens.
        corners: The panel's corners in units.
        above: Where other panels lie over it.
        opens: Whether it is the first panel of its page.
        cast: The book's characters by name.
        style: The book's style.
        rng: The panel's random numbers.
    """
    free = uncovered(inner(corners), above)
    margin = 5 + style.frame
    room = (free[0] + margin, free[1] + margin, free[2] - margin, free[3] - margin)
    width, height = (max(NARROWEST, room[i + 2] - room[i]) for i in (0, 1))
    texts = lines(moment.event, moment.shown, opens, rng)
    shot = choose_shot(moment, opens, width / height, {speaker for speaker, _ in texts}, rng)
    texts = [(speaker, words) for speaker, words in texts if speaker is None or speaker in shot.looks]
    places, far = {}, 0.0
    for name in shot.row:
        places[name] = (far + ROOM.get(name, ROOM["figure"]) / 2) / shot.width
        far += ROOM.get(name, ROOM["figure"])
    balloons, reached = letter_panel(texts, places, room, style.lettering, style.reading_direction == "rtl")
    top = reached + 4 if balloons else free[1] + 3
    tallest = max(top_of(cast[name], look) for name, look in shot.looks.items())
    scale = min(width / shot.width, max(NARROWEST, free[3] - top) / (tallest - UNSEEN[shot.kind]), LARGEST)
    spare = max(0.0, free[3] - top - (tallest + 12) * scale)
    floor = max(free[3] - 12 * scale - 0.2 * spare, top + tallest * scale)
    # Where heads are far below, what is said comes down to them.
    lower = 0.8 * max(0.0, floor - (tallest + 12) * scale - reached)
    balloons = [balloon.lowered(lower) if balloon.speaker else balloon for balloon in balloons]
    spread = min(width, shot.width * scale * 1.35)
    across = {name: (room[0] + room[2]) / 2 + (place - 0.5) * spread for name, place in places.items()}
    if shot.kind == "close" and shot.looks[shot.row[0]].held:  # room for the hand
        across[shot.row[0]] += (9 if shot.row[0] in shot.faces_left else -9) * scale
    return Panel(outer(corners), corners, moment, shot, balloons, scale, floor, across)


def draw_panel(image: Image.Image, panel: Panel, cast: dict[str, Character], style: Style, unit: float) -> None:
    """Draws a panel without its balloons on a page of `unit` pixels a unit."""
    x0, y0, x1, y1 = (round(edge * unit) for edge in panel.box)
    picture = Image.new("RGB", (x1 - x0, y1 - y0))
    middle = (panel.box[0] + panel.box[2]) / 2

    def pen(x: float, floor: float = 0.0, mirrored: bool = False) -> Pen:
        origin = (x * unit - x0, panel.floor * unit - y0 - floor * panel.scale * unit)
        return Pen(picture, origin, panel.scale * unit, style.line * unit, mirrored)

    shot = panel.shot
    draw_place(pen(middle).at(style.shift, 0), shot.scene["place"], shot.scene["time"], style.walls)
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


@dataclass(frozen=True)
class Page:
    """A page before it is drawn: its panels in reading order, and the order in which they are drawn over one another."""

    panels: list[Panel]
    order: list[int]


def plan_page(
    moments: Sequence[Moment], corners: Sequence[Corners], cast: dict[str, Character], style: Style, rng: random.Random
) -> Page:
    """Decides what the panels of a page show and where everything stands in them.

    Args:
        moments: What happens in each panel.
        corners: Each panel's four corners in units, in reading order.
        cast: The book's characters by name.
        style: The book's style.
        rng: The page's random numbers.
    """
    boxes = [outer(where) for where in corners]
    order = sorted(range(len(boxes)), key=lambda index: -area(boxes[index]))  # small panels lie over large ones
    panels = [
        plan_panel(
            moment, corners[index], [boxes[i] for i in order[order.index(index) + 1 :]], index == 0, cast, style, rng
        )
        for index, moment in enumerate(moments)
    ]
    return Page(panels, order)


def draw_page(page: Page, cast: dict[str, Character], style: Style, size: tuple[int, int], unit: float) -> Image.Image:
    """The picture of a page.

    Args:
        page: What `plan_page` decided.
        cast: The book's characters by name.
        style: The book's style.
        size: Width and height in pixels.
        unit: Pixels a unit.
    """
    image = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), style.paper)
    for index in page.order:
        draw_panel(image, page.panels[index], cast, style, unit * SMOOTH)
    for panel in page.panels:
        for balloon in panel.balloons:
            head = None
            if balloon.speaker is not None:
                who = cast[balloon.speaker]
                head = panel.point(who, 5, 101 - (20 if panel.shot.looks[who.name].pose == "sit" else 0))
            draw_balloon(
                image, balloon, unit * SMOOTH, head, style.lettering, max(1, round(style.line * unit * SMOOTH))
            )
    return image.reduce(SMOOTH)


def annotate_page(page: Page, cast: dict[str, Character], size: tuple[int, int], unit: float) -> list[dict[str, Any]]:
    """What `panels.json` has about each panel of a page whose picture has `size` pixels, `unit` of them a unit."""
    return [_annotation(panel, cast, unit, size) for panel in page.panels]


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
