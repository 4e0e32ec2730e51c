"""What happens in a drawn book: pages of events, each possible after the one before it, in short chains of causes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from .state import EFFECTS, SHOWN_BEFORE, Event, World
from .world import PLACES, PROPS, TIMES, Character, Prop, draw_cast

Beat = list[Event]
USES = {prop.name: prop.uses for prop in PROPS}
INDOORS = [place.name for place in PLACES if place.is_indoor]


@dataclass(frozen=True)
class Moment:
    """One panel of the story: what happens, and what can be seen before and after it."""

    event: Event
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def shown(self) -> dict[str, Any]:
        """What is drawn of it."""
        return self.before if self.event.action in SHOWN_BEFORE else self.after


@dataclass
class Story:
    """A book's people and things, and its pages of moments."""

    cast: list[Character]
    props: list[Prop]
    pages: list[list[Moment]]


def tell(seed: int, book: int, panels: list[int]) -> Story:
    """The story of a book.

    Args:
        seed: Seed of all books.
        book: The book's number; every book has random numbers of its own.
        panels: The number of panels of each page, at least one.
    """
    rng = random.Random(f"comicseq drawn story {seed} {book}")
    cast = draw_cast(rng, rng.choice((3, 3, 4)))
    names = [character.name for character in cast]
    places = [place.name for place in rng.sample(PLACES, rng.choice((2, 3)))]
    props = rng.sample(PROPS, 7)
    here = rng.choice(places)
    world = World(time="morning", standing={place: [] for place in places})
    for index, name in enumerate(names):
        world.standing[here if index < 2 else rng.choice(places)].append(name)
    for prop in props:
        where = rng.choice(places)
        (world.lies if rng.random() < 0.4 else world.stowed)[prop.name] = where
    for name, thing in zip(names, list(world.lies), strict=False):
        if rng.random() < 0.6:
            del world.lies[thing]
            world.holds[name] = thing

    world.lit.update(place for place in INDOORS if rng.random() < 0.4)
    pages: list[list[Moment]] = []
    for page, length in enumerate(panels):
        moments = list(_play(world, here, length, page + 1 < len(panels), rng))
        pages.append(moments)
        last = moments[-1].event
        for name in names:
            if world.moods.get(name) in ("surprised", "asleep", "tired"):
                world.moods[name] = "happy"
        if last.action == "plan":
            for name in list(world.standing[here]):
                world.move(name, str(last.to))
            here = str(last.to)
        if rng.random() < 0.25:
            world.time = TIMES[(TIMES.index(world.time) + 1) % len(TIMES)]
            if world.time == "evening":
                world.lit = {place for place in INDOORS if rng.random() < 0.4}
    return Story(cast, props, pages)


def _play(world: World, here: str, length: int, goes_on: bool, rng: random.Random) -> Iterator[Moment]:
    """The moments of a page; where the book goes on, the last one often tells where."""
    plan = goes_on and length > 1 and rng.random() < 0.35
    left, done = length - plan, None
    while left:
        beats = [beat for beat in _possible(world, here) if len(beat) <= left]
        beats = [beat for beat in beats if beat[0].action != done] or beats
        kinds = sorted({beat[0].action for beat in beats})
        kind = rng.choices(kinds, [4 if kind not in ("show", "greet", "put", "miss") else 1 for kind in kinds])[0]
        beat = rng.choice([beat for beat in beats if beat[0].action == kind])
        for event in beat:
            before = world.scene(here)
            EFFECTS[event.action](world, event)
            yield Moment(event, before, world.scene(here))
        left, done = left - len(beat), kind
    if plan:
        to = rng.choice([place for place in world.standing if place != here])
        actor, *others = rng.sample(world.standing[here], len(world.standing[here]))
        event = Event("plan", actor, others[0] if others else None, to=to)
        before = world.scene(here)
        EFFECTS[event.action](world, event)
        yield Moment(event, before, world.scene(here))


def _possible(world: World, here: str) -> Iterator[Beat]:
    """Every chain of events that can begin now, each of whose events is possible after those before it."""
    names, holds = list(world.standing[here]), world.holds
    lying = [prop for prop, where in world.lies.items() if where == here]
    stowed = [prop for prop, where in world.stowed.items() if where == here]
    is_dark = here in INDOORS and world.time in ("evening", "night") and here not in world.lit
    for one in names:
        yield from _alone(world, here, one, lying, stowed, is_dark)
    for one, two in permutations(names, 2):
        yield from _together(one, holds.get(one), two, holds.get(two))
    for away in (name for place, there in world.standing.items() if place != here for name in there):
        yield [Event("enter", away, names[0], to=here), Event("greet", names[0], away)]
        yield from ([Event("miss", one, away)] for one in names)
    if len(names) > 2:
        for one, to in ((name, place) for name in names for place in world.standing if place != here):
            other = next(name for name in names if name != one)
            yield [Event("farewell", one, other, to=to), Event("leave", one, other, to=to)]


def _alone(world: World, here: str, one: str, lying: list[str], stowed: list[str], is_dark: bool) -> Iterator[Beat]:
    """What somebody can do who needs nobody for it."""
    held, is_open = world.holds.get(one), here in world.open
    if is_dark:
        yield [Event("complain of dark", one), Event("switch on", one)]
    elif here in INDOORS and here in world.lit and world.time in ("morning", "noon"):
        yield [Event("switch off", one)]
    if is_open:
        yield [Event("close", one)]
    if held is None:
        yield from ([Event("spot", one, prop=prop), Event("take", one, prop=prop)] for prop in lying)
        for prop in stowed:
            fetch = Event("fetch", one, prop=prop)
            yield [fetch] if is_open else [Event("search", one, prop=prop), Event("open", one), fetch]
        if one in world.wears:
            yield [Event("take off", one, prop=world.wears[one])]
        return
    yield [Event("put", one, prop=held)]
    stow = Event("stow", one, prop=held)
    yield [stow, Event("close", one)] if is_open else [Event("open", one), stow, Event("close", one)]
    if "eat" in USES[held]:
        yield [Event("hunger", one), Event("eat", one, prop=held)]
    if "wear" in USES[held] and one not in world.wears:
        yield [Event("wear", one, prop=held)]


def _together(one: str, held: str | None, two: str, got: str | None) -> Iterator[Beat]:
    """What the first of two can begin with the second, given what they hold."""
    yield [Event("greet", one, two)]
    yield [Event("yawn", one, two), Event("fall asleep", one, two), Event("wake", two, one)]
    if held is None:
        if got is None:
            return
        yield [Event("ask", one, two, got), Event("give", two, one, got), Event("thank", one, two, got)]
        yield [Event("ask", one, two, got), Event("refuse", two, one, got), Event("quarrel", one, two, got),
               Event("apologise", two, one, got), Event("give", two, one, got)]  # fmt: skip
        if "eat" in USES[got]:
            yield [Event("hunger", one, two), Event("give", two, one, got), Event("eat", one, two, got)]
        return
    yield [Event("show", one, two, held), Event("admire", two, one, held)]
    if "play" in USES[held]:
        yield [Event("play", one, two, held), Event("admire", two, one, held)]
    if got is None:
        yield [Event("drop", one, two, held), Event("comfort", two, one, held), Event("take", two, one, held),
               Event("give", two, one, held)]  # fmt: skip
        if "throw" in USES[held]:
            yield [Event("throw", one, two, held), Event("throw", two, one, held)]
