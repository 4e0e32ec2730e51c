"""What a drawn book can be about: who there is, where they are, and what they carry."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

Colour = tuple[int, int, int]

NAMES = (
    "Ada", "Bo", "Cleo", "Dara", "Emil", "Fay", "Gus", "Hana", "Ivo", "June", "Kofi", "Lola", "Milo", "Nia", "Otto",
    "Pia", "Quin", "Rosa", "Sami", "Tuva", "Ugo", "Vera", "Wim", "Yara", "Zeno",
)  # fmt: skip
SPECIES = ("human", "human", "human", "cat", "rabbit", "bear", "fox", "frog", "mouse", "robot")
SKIN: tuple[Colour, ...] = ((255, 222, 192), (240, 196, 156), (206, 152, 112), (158, 106, 72), (112, 74, 50))
FUR: dict[str, tuple[Colour, ...]] = {
    "cat": ((245, 170, 90), (150, 150, 160), (70, 70, 80), (240, 225, 200)),
    "rabbit": ((235, 225, 215), (190, 160, 130), (170, 170, 180)),
    "bear": ((150, 100, 60), (200, 160, 110), (95, 70, 60), (240, 240, 240)),
    "fox": ((230, 120, 50), (200, 90, 60)),
    "frog": ((120, 190, 90), (90, 170, 140), (170, 200, 80)),
    "mouse": ((175, 175, 185), (205, 180, 160), (130, 120, 120)),
    "robot": ((180, 195, 210), (215, 190, 120), (160, 205, 190)),
}
HAIR: tuple[Colour, ...] = ((50, 40, 40), (110, 65, 35), (225, 180, 80), (200, 80, 40), (150, 80, 160), (60, 120, 170))
HAIRCUTS = ("short", "bob", "spiky", "ponytail", "bun", "curly")
CLOTHES: tuple[Colour, ...] = (
    (214, 69, 65), (66, 133, 200), (247, 202, 60), (80, 160, 90), (150, 100, 180), (240, 140, 60), (60, 170, 170),
    (235, 120, 160), (100, 100, 120), (245, 245, 240),
)  # fmt: skip
PATTERNS = ("plain", "stripes", "dots", "overalls")
ACCESSORIES = ("none", "scarf", "bow tie", "glasses", "cap", "flower")


@dataclass(frozen=True)
class Character:
    """Somebody of a book, and how they look from the first page to the last."""

    name: str
    species: str
    skin: Colour
    hair: Colour
    haircut: str
    top: Colour
    bottom: Colour
    wears_skirt: bool
    pattern: str
    accessory: str
    accent: Colour
    height: float  # of a grown figure


@dataclass(frozen=True)
class Place:
    """Where a page plays: its name, how one speaks of it, and whether there is a lamp to switch on."""

    name: str
    phrase: str  # "in the kitchen"
    target: str  # "to the kitchen"
    is_indoor: bool


PLACES = (
    Place("kitchen", "in the kitchen", "to the kitchen", True),
    Place("living room", "in the living room", "to the living room", True),
    Place("library", "in the library", "to the library", True),
    Place("workshop", "in the workshop", "to the workshop", True),
    Place("cave", "in the cave", "to the cave", True),
    Place("garden", "in the garden", "to the garden", False),
    Place("forest", "in the forest", "to the forest", False),
    Place("beach", "at the beach", "to the beach", False),
    Place("street", "in the street", "to town", False),
    Place("hill", "on the hill", "up the hill", False),
)
TIMES = ("morning", "noon", "evening", "night")


@dataclass(frozen=True)
class Prop:
    """A thing to carry; what it is good for decides what happens with it."""

    name: str
    uses: frozenset[str] = field(default_factory=frozenset)  # of "eat", "throw", "wear", "play"
    article: str = "a"


def _prop(name: str, *uses: str, article: str = "a") -> Prop:
    return Prop(name, frozenset(uses), article)


PROPS = (
    _prop("apple", "eat", article="an"),
    _prop("cake", "eat"),
    _prop("fish", "eat"),
    _prop("carrot", "eat"),
    _prop("ball", "throw"),
    _prop("frisbee", "throw"),
    _prop("crown", "wear"),
    _prop("party hat", "wear"),
    _prop("guitar", "play"),
    _prop("trumpet", "play"),
    _prop("key"),
    _prop("map"),
    _prop("letter"),
    _prop("lantern"),
    _prop("book"),
    _prop("umbrella", article="an"),
    _prop("teddy"),
    _prop("flower"),
    _prop("kite"),
    _prop("gem"),
)


def draw_cast(rng: random.Random, size: int) -> list[Character]:
    """Characters that can be told apart: no two of them share a name, or a kind and the colour of their clothes."""
    names = rng.sample(NAMES, size)
    tops = rng.sample(CLOTHES, size)
    species: list[str] = []
    while len(species) < size:
        kind = rng.choice(SPECIES)
        if kind == "human" or kind not in species:
            species.append(kind)
    hair = rng.sample(HAIR, size)
    haircuts = rng.sample(HAIRCUTS, size)
    skins = rng.sample(SKIN, size)
    accessories = rng.sample(ACCESSORIES, size)
    return [
        Character(
            name=names[i],
            species=species[i],
            skin=skins[i] if species[i] == "human" else rng.choice(FUR[species[i]]),
            hair=hair[i],
            haircut=haircuts[i],
            top=tops[i],
            bottom=rng.choice([colour for colour in CLOTHES if colour != tops[i]]),
            wears_skirt=rng.random() < 0.4,
            pattern=rng.choice(PATTERNS),
            accessory=accessories[i],
            accent=rng.choice([colour for colour in CLOTHES if colour != tops[i]]),
            height=rng.choice((0.84, 0.92, 1.0, 1.06)),
        )
        for i in range(size)
    ]
