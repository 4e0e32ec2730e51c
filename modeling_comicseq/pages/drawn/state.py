"""What is so in a drawn book at one moment, and what each action changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOODS = ("happy", "sad", "angry", "surprised", "tired", "hungry", "proud", "asleep")


@dataclass(frozen=True)
class Event:
    """What happens in one panel.

    Attributes:
        action: A key of `EFFECTS`.
        actor: Who does it.
        other: To whom, with whom, or about whom.
        prop: With which thing.
        to: The place that somebody goes to or speaks of.
    """

    action: str
    actor: str
    other: str | None = None
    prop: str | None = None
    to: str | None = None


@dataclass
class World:
    """All that is so. `where` has everybody's place; at each place `standing` has those who are there, from left to right."""

    time: str
    standing: dict[str, list[str]]
    holds: dict[str, str] = field(default_factory=dict)  # who holds which thing
    wears: dict[str, str] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)  # which thing lies at which place
    stowed: dict[str, str] = field(default_factory=dict)  # which thing is in the chest of which place
    open: set[str] = field(default_factory=set)  # places whose chest is open
    lit: set[str] = field(default_factory=set)  # places whose lamp is on
    moods: dict[str, str] = field(default_factory=dict)

    def place_of(self, name: str) -> str:
        """Where somebody is."""
        return next(place for place, names in self.standing.items() if name in names)

    def move(self, name: str, to: str) -> None:
        """Somebody goes to a place, and stands there at the right."""
        self.standing[self.place_of(name)].remove(name)
        self.standing[to].append(name)

    def scene(self, place: str) -> dict[str, Any]:
        """What can be seen at a place, as it stands in `panels.json`."""
        here = self.standing[place]
        is_open = place in self.open
        return {
            "place": place,
            "time": self.time,
            "present": list(here),
            "holds": {name: self.holds[name] for name in here if name in self.holds},
            "wears": {name: self.wears[name] for name in here if name in self.wears},
            "moods": {name: self.moods.get(name, "happy") for name in here},
            "lying": sorted(prop for prop, where in self.lies.items() if where == place),
            "chest": "open" if is_open else "closed",
            "in_chest": sorted(prop for prop, where in self.stowed.items() if where == place and is_open),
            "lamp": "on" if place in self.lit else "off",
        }


def _mood(mood: str, whose: str = "actor") -> Callable[[World, Event], None]:
    def effect(world: World, event: Event) -> None:
        world.moods[getattr(event, whose)] = mood

    return effect


def _calm(world: World, event: Event) -> None:
    """Surprise passes with the next thing that one does."""
    if world.moods.get(event.actor) == "surprised":
        world.moods[event.actor] = "happy"


def _enter(world: World, event: Event) -> None:
    world.move(event.actor, str(event.to))
    world.moods[event.actor] = "happy"


def _leave(world: World, event: Event) -> None:
    world.move(event.actor, str(event.to))


def _give(world: World, event: Event) -> None:
    world.holds[str(event.other)] = world.holds.pop(event.actor)
    world.moods[str(event.other)] = "happy"


def _take(world: World, event: Event) -> None:
    del world.lies[str(event.prop)]
    world.holds[event.actor] = str(event.prop)
    _calm(world, event)


def _put(world: World, event: Event) -> None:
    world.lies[world.holds.pop(event.actor)] = world.place_of(event.actor)
    _calm(world, event)


def _drop(world: World, event: Event) -> None:
    _put(world, event)
    world.moods[event.actor] = "sad"


def _open(world: World, event: Event) -> None:
    world.open.add(world.place_of(event.actor))


def _close(world: World, event: Event) -> None:
    world.open.discard(world.place_of(event.actor))


def _fetch(world: World, event: Event) -> None:
    del world.stowed[str(event.prop)]
    world.holds[event.actor] = str(event.prop)
    world.moods[event.actor] = "happy"


def _stow(world: World, event: Event) -> None:
    world.stowed[world.holds.pop(event.actor)] = world.place_of(event.actor)


def _eat(world: World, event: Event) -> None:
    del world.holds[event.actor]
    world.moods[event.actor] = "happy"


def _wear(world: World, event: Event) -> None:
    world.wears[event.actor] = world.holds.pop(event.actor)
    world.moods[event.actor] = "proud"


def _take_off(world: World, event: Event) -> None:
    world.holds[event.actor] = world.wears.pop(event.actor)


def _switch_on(world: World, event: Event) -> None:
    world.lit.add(world.place_of(event.actor))
    world.moods[event.actor] = "happy"


def _switch_off(world: World, event: Event) -> None:
    world.lit.discard(world.place_of(event.actor))


EFFECTS: dict[str, Callable[[World, Event], None]] = {
    "enter": _enter,
    "greet": _mood("happy"),
    "leave": _leave,
    "farewell": _calm,
    "ask": _calm,
    "give": _give,
    "refuse": _mood("sad", "other"),
    "thank": _mood("happy"),
    "spot": _mood("surprised"),
    "take": _take,
    "put": _put,
    "drop": _drop,
    "comfort": _mood("happy", "other"),
    "search": _mood("sad"),
    "open": _open,
    "close": _close,
    "fetch": _fetch,
    "stow": _stow,
    "hunger": _mood("hungry"),
    "eat": _eat,
    "throw": _give,
    "show": _mood("proud"),
    "admire": _mood("surprised"),
    "wear": _wear,
    "take off": _take_off,
    "play": _mood("happy"),
    "miss": _mood("sad"),
    "complain of dark": _mood("sad"),
    "switch on": _switch_on,
    "switch off": _switch_off,
    "yawn": _mood("tired"),
    "fall asleep": _mood("asleep"),
    "wake": _mood("surprised", "other"),
    "quarrel": _mood("angry"),
    "apologise": _mood("happy", "other"),
    "plan": _mood("happy"),
}
# What is drawn of a panel: the moment before the action had its effect, or after it.
SHOWN_BEFORE = {"leave", "give", "throw", "eat"}
