"""What is said and told in a panel: a small grammar whose words refer to what is drawn."""

from __future__ import annotations

import random
from typing import Any

from .state import Event
from .world import PLACES, PROPS

PLACE = {place.name: place for place in PLACES}
ARTICLE = {prop.name: prop.article for prop in PROPS}
# Lines of each action: what is said, in this order, by the actor (a), the other (b), or nobody (n: narration).
LINES: dict[str, tuple[tuple[str, ...], ...]] = {
    "enter": (
        ("a: Hello, {b}! May I join you?",), ("a: There you are, {b}!",), ("b: Look, it's {a}!",),
        ("n: {a} arrives.", "a: {b}, I looked for you everywhere!"),
    ),
    "greet": (
        ("a: Good {time}, {b}!",), ("a: How are you, {b}?", "b: Fine, {a}!"), ("a: Nice to see you, {b}!", "b: Hello, {a}!"),
        ("a: It is nice {place}, {b}.", "b: It is, {a}!"), ("a: {b}, my friend!", "b: {a}!"),
    ),
    "farewell": (
        ("a: {b}, I have to go {to} now.",), ("a: I will be {there} if you need me, {b}.",),
        ("a: I must go {to}.", "b: Must you go {to}, {a}?"), ("a: Somebody waits for me {there}.", "b: So soon, {a}?"),
    ),
    "leave": (
        ("a: See you later {there}, {b}!",), ("b: Goodbye, {a}!", "a: Goodbye, {b}!"), ("n: So {a} went {to}.",),
        ("a: Bye, {b}!", "b: Bye, {a}!"),
    ),
    "ask": (
        ("a: {b}, may I have the {p}?",), ("a: What a fine {p} you have there, {b}!",), ("a: I need {an} {p}, {b}.",),
        ("a: Could you lend me the {p}, {b}?", "b: The {p}? Hmm..."),
    ),
    "give": (
        ("a: Here, take the {p}, {b}!",), ("a: The {p} is for you, {b}.",), ("a: Here you are, {b}.", "b: Oh! {An} {p}!"),
        ("a: You can have the {p}, {b}.",),
    ),
    "refuse": (
        ("a: No, {b}! It's my {p}!",), ("a: You can't have the {p} now, {b}.", "b: But why, {a}?"),
        ("a: I will not give you the {p}.",), ("a: {b}, I need the {p} myself.",),
    ),
    "thank": (
        ("a: Thank you for the {p}, {b}!",), ("a: You are so kind, {b}!", "b: Enjoy the {p}, {a}."),
        ("a: I will take care of the {p}, {b}.",), ("a: {An} {p}! Thanks, {b}!",),
    ),
    "quarrel": (
        ("a: That is not fair, {b}!",), ("a: You never share the {p}, {b}!", "b: ..."), ("a: I am cross with you, {b}!",),
        ("a: {b}! I want that {p}!",),
    ),
    "apologise": (
        ("a: I am sorry, {b}.",), ("a: You are right about the {p}, {b}. Forgive me!",),
        ("a: We can share the {p}, {b}.", "b: Yes, {a}!"),
    ),
    "spot": (
        ("a: What is that? {An} {p}?",), ("a: Oh! Is that {an} {p} {place}?",), ("a: Look what lies here!", "n: {An} {p}!"),
        ("a: {An} {p}, {place}!",),
    ),
    "take": (
        ("a: I'll take the {p} with me.",), ("a: Got it! The {p} is mine!",), ("n: {a} picks up the {p}.",),
        ("a: {An} {p}! Just what I need.",),
    ),
    "put": (
        ("a: I'll leave the {p} here.",), ("a: The {p} can stay {place}.",), ("a: This {p} is too heavy.",),
        ("n: {a} puts the {p} down.",),
    ),
    "drop": (
        ("a: Oh no, the {p}!",), ("a: Oops! My {p}!",), ("n: The {p} falls down!", "a: Oh no, {b}!"),
        ("a: {b}, I dropped the {p}!",),
    ),
    "comfort": (
        ("a: Don't cry about the {p}, {b}.",), ("a: The {p} is not broken, {b}.", "b: Really, {a}?"),
        ("a: {b}, we all drop {an} {p} one day.",), ("a: Let me see the {p}, {b}.",),
    ),
    "search": (
        ("a: Where is the {p}?",), ("a: I have lost my {p}!",), ("a: Is the {p} in the chest?",),
        ("a: There must be {an} {p} {place}.",),
    ),
    "open": (
        ("a: Let me open the chest.",), ("n: Creak! {a} opens the chest.",), ("a: Open up, chest!",),
        ("a: The chest {place} isn't locked.",),
    ),
    "close": (
        ("a: Lid down! The chest is shut.",), ("n: Clack! {a} shuts the chest.",), ("a: I'll close the chest.",),
        ("n: {a} shuts the chest.",),
    ),
    "fetch": (
        ("a: Here it is, my {p}!",), ("a: I've found the {p}!",), ("a: The {p} was in the chest!",), ("n: {a} finds {an} {p}.",),
    ),
    "stow": (
        ("a: In the chest the {p} is safe.",), ("a: I'll hide the {p} in the chest.",), ("n: The {p} goes into the chest.",),
        ("a: Nobody will find the {p} in this chest.",),
    ),
    "hunger": (
        ("a: I am so hungry!",), ("a: When do we eat {place}?",), ("n: Grumble!", "a: My hungry tummy..."),
        ("a: I need some food.",),
    ),
    "eat": (
        ("a: Yum! What a good {p}!",), ("n: Munch, munch!", "a: I love {an} {p}!"), ("a: That {p} tastes great!",),
        ("n: {a} eats the {p}.",),
    ),
    "throw": (
        ("a: Catch the {p}, {b}!",), ("a: Here comes the {p}, {b}!",), ("a: Your turn, {b}!", "b: I'll get the {p}, {a}!"),
        ("n: Whoosh!", "a: Catch the {p}, {b}!"),
    ),
    "show": (
        ("a: Look at my {p}, {b}!",), ("a: See what I have, {b}?", "b: {An} {p}!"), ("a: {b}, this is my {p}.",),
    ),
    "admire": (
        ("a: What a beautiful {p}, {b}!",), ("a: Wow, {b}! That {p}!", "b: Isn't it?"),
        ("a: I have never seen such {an} {p}, {b}!",),
    ),
    "wear": (("a: I'll put the {p} on.",), ("a: How does the {p} look?",), ("a: With {an} {p} I am dressed up!",)),
    "take off": (("a: Enough of the {p}.",), ("a: I'll take the {p} off.",), ("n: {a} takes off the {p}.",)),
    "play": (
        ("a: My {p} plays for you, {b}!",), ("n: La la la!", "b: {a} and the {p}!"), ("a: Hear me play the {p}, {b}!",),
        ("n: {a} plays the {p}.",),
    ),
    "miss": (
        ("a: I wonder where {b} is.",), ("a: If only {b} were {place}!",), ("a: {b}! Where are you?",), ("a: I miss {b}.",),
    ),
    "complain of dark": (
        ("a: It is so dark {place}!",), ("a: I can't see a thing in the dark.",), ("a: Where is the lamp?",),
        ("a: Who turned off the lamp?",),
    ),
    "switch on": (
        ("n: Click!", "a: A lamp in the dark!"), ("a: Let there be light!",), ("a: The lamp is on.",), ("n: {a} lights the lamp.",),
    ),
    "switch off": (
        ("a: We don't need the lamp.",), ("n: Click! The lamp is off.",), ("a: Off with the lamp!",), ("a: It is bright enough.",),
    ),
    "yawn": (
        ("a: I'm so tired, {b}...",), ("a: Yaaawn! I'm sleepy, {b}!",), ("a: What a long day.", "b: Sit down and sleep, {a}."),
        ("a: I need a nap, {b}.",),
    ),
    "fall asleep": (
        ("a: Zzz...", "b: Sleep, {a}."), ("n: And {a} falls asleep.",), ("b: {a}? Are you asleep?", "a: Zzz..."),
        ("b: Sleep well, {a}.",),
    ),
    "wake": (
        ("a: Wake up, {b}!",), ("a: {b}! You can't sleep {place}!",), ("a: Hello, sleepy {b}!", "b: Huh? {a}?"),
        ("n: {a} wakes {b}.",),
    ),
    "plan": (
        ("a: Let us go {to}, {b}!",), ("a: Next we go {to}.", "b: Hurray, {a}!"), ("a: I know, {b}! We have to go {to}.",),
        ("a: Shall we go {to}?", "b: Yes, {a}, let's go!"),
    ),
}  # fmt: skip
TOLD: dict[str, str] = {
    "enter": "{a} comes to {b}", "greet": "{a} greets {b}", "farewell": "{a} tells {b} of going {to}",
    "leave": "{a} leaves and goes {to}", "ask": "{a} asks {b} for the {p}", "give": "{a} gives the {p} to {b}",
    "refuse": "{a} refuses {b} the {p}", "thank": "{a} thanks {b} for the {p}", "quarrel": "{a} is angry with {b}",
    "apologise": "{a} says sorry to {b}", "spot": "{a} sees {an} {p}", "take": "{a} picks up the {p}",
    "put": "{a} puts down the {p}", "drop": "{a} drops the {p}", "comfort": "{a} comforts {b}",
    "search": "{a} looks for the {p}", "open": "{a} opens the chest", "close": "{a} closes the chest",
    "fetch": "{a} takes the {p} out of the chest", "stow": "{a} puts the {p} into the chest", "hunger": "{a} is hungry",
    "eat": "{a} eats the {p}", "throw": "{a} throws the {p} to {b}", "show": "{a} shows {b} {an} {p}",
    "admire": "{a} admires the {p} of {b}", "wear": "{a} puts on the {p}", "take off": "{a} takes off the {p}",
    "play": "{a} plays the {p} for {b}", "miss": "{a} misses {b}", "complain of dark": "{a} finds it dark",
    "switch on": "{a} switches on the lamp", "switch off": "{a} switches off the lamp", "yawn": "{a} is tired",
    "fall asleep": "{a} falls asleep", "wake": "{a} wakes {b}", "plan": "{a} proposes to go {to}",
}  # fmt: skip


def fill(template: str, event: Event, scene: dict[str, Any]) -> str:
    """A line with the names of what is drawn in it."""
    place, to = PLACE[scene["place"]], PLACE[event.to] if event.to else None
    article = ARTICLE.get(event.prop or "", "a")
    return template.format(
        a=event.actor, b=event.other or "friend", p=event.prop, an=article, An=article.capitalize(),
        place=place.phrase, there=to and to.phrase, to=to and to.target, time=greeting(scene["time"]),
    )  # fmt: skip


def greeting(time: str) -> str:
    """The word after "good" at a time of the day."""
    return "day" if time == "noon" else "evening" if time == "night" else time


def lines(event: Event, scene: dict[str, Any], opens: bool, rng: random.Random) -> list[tuple[str | None, str]]:
    """The texts of a panel in reading order: each with its speaker, None for narration.

    Args:
        event: What happens.
        scene: What can be seen.
        opens: Whether the panel is the first of its page, which tells of time and place.
        rng: The panel's random numbers.
    """
    speakers = {"a": event.actor, "b": event.other, "n": None}
    chosen = [line.partition(": ") for line in rng.choice(LINES[event.action])]
    told = [
        (speakers[who], fill(words, event, scene))
        for who, _, words in chosen
        if who != "b" or event.other in scene["present"]
    ]
    if opens and rng.random() < 0.7:
        told.insert(0, (None, f"{_when(scene['time'])}, {PLACE[scene['place']].phrase}."))
    return told


def _when(time: str) -> str:
    return {"morning": "In the morning", "noon": "At noon", "evening": "In the evening", "night": "At night"}[time]


def describe(event: Event, scene: dict[str, Any]) -> str:
    """What a panel shows, in one sentence."""
    place = "" if event.action == "leave" else f" {PLACE[scene['place']].phrase}"
    return f"{fill(TOLD[event.action], event, scene)}{place}, {'at ' if scene['time'] in ('noon', 'night') else 'in the '}{scene['time']}."
