"""What a panel shows of its moment, and where: who is in the picture, how near, and what they do with their hands."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from .figures import Look
from .places import IS_INDOOR
from .state import Event
from .story import Moment

AT_CHEST = {"search", "open", "close", "fetch", "stow"}
AT_LAMP = {"switch on", "switch off", "complain of dark"}
ON_FLOOR = {"spot", "put", "drop"}
WIDE = AT_CHEST | AT_LAMP | ON_FLOOR | {"enter", "leave", "fall asleep", "yawn", "wake", "throw"}
POSES = {
    "enter": "walk", "leave": "walk", "farewell": "raise", "greet": "raise", "ask": "reach", "give": "reach",
    "spot": "reach", "take": "raise", "fetch": "raise", "put": "low", "stow": "low", "open": "low", "close": "low",
    "search": "reach", "eat": "mouth", "hunger": "stand", "throw": "raise", "show": "reach", "comfort": "reach",
    "switch on": "reach", "switch off": "reach", "wake": "reach", "quarrel": "raise", "plan": "reach",
}  # fmt: skip
# How wide things are, and what of a figure is not to be seen, from the feet on; in units of figures.
ROOM = {"figure": 70.0, "chest": 56.0, "lamp": 40.0}
UNSEEN = {"wide": -12.0, "medium": 22.0, "close": 42.0}


@dataclass(frozen=True)
class Shot:
    """A panel's picture.

    Attributes:
        kind: `wide`, `medium` or `close`.
        scene: What can be seen, as in `World.scene`.
        row: From left to right, names of figures, "chest" and "lamp".
        looks: How each figure is drawn.
        faces_left: The figures that look to the left.
    """

    kind: str
    scene: dict[str, Any]
    row: list[str]
    looks: dict[str, Look]
    faces_left: set[str]

    @property
    def figures(self) -> list[str]:
        """The names of who is in the picture, from left to right."""
        return [name for name in self.row if name in self.looks]

    @property
    def width(self) -> float:
        """What the row takes, in units of figures."""
        return sum(ROOM.get(name, ROOM["figure"]) for name in self.row)


def choose_shot(moment: Moment, opens: bool, across: float, talking: set[str | None], rng: random.Random) -> Shot:
    """How a moment is shown.

    Args:
        moment: The moment.
        opens: Whether the panel is the first of its page, which shows where one is.
        across: The panel's width over its height.
        talking: Who speaks.
        rng: The panel's random numbers.
    """
    event, scene = moment.event, moment.shown
    is_wide = opens or event.action in WIDE or rng.random() < 0.25
    involved = {event.actor, event.other} | talking
    kind = "wide" if is_wide else "medium"
    if not is_wide and talking <= {event.actor, None} and rng.random() < 0.4:
        kind, involved = "close", {event.actor}
    row = [name for name in scene["present"] if name in involved or (is_wide and across > 0.4 * len(scene["present"]))]
    at = row.index(event.actor)
    if event.action in AT_CHEST:
        row.insert(at + 1, "chest")
    elif event.action in AT_LAMP:
        row.insert(at, "lamp")
    elif is_wide and across > 0.4 * len(row) + 0.5:
        row = [*(["lamp"] if IS_INDOOR[scene["place"]] else []), *row, "chest"]
    looks, faces_left = {}, set()
    for name in row:
        if name not in scene["present"]:
            continue
        pose = POSES.get(event.action, "stand") if name == event.actor else "stand"
        mood = scene["moods"][name]
        held = scene["holds"].get(name)
        if mood == "asleep":
            pose, held = "sit", None
        looks[name] = Look(pose, mood, held, scene["wears"].get(name), name in talking)
        if _looks_left(name, event, row, rng):
            faces_left.add(name)
    return Shot(kind, scene, row, looks, faces_left)


def _looks_left(name: str, event: Event, row: list[str], rng: random.Random) -> bool:
    """Whether somebody looks to the left: to whom or what they deal with."""
    if name == event.actor and event.action in AT_CHEST | AT_LAMP:
        return event.action in AT_LAMP
    target = event.other if name == event.actor else event.actor
    if target is None or target not in row or target == name:
        return row.index(name) > 0 and rng.random() < 0.5
    return (row.index(target) < row.index(name)) != (event.action in ("leave", "refuse") and name == event.actor)
