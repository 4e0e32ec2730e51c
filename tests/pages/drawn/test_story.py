"""The story goes on from panel to panel: what follows from an action is so afterwards, and nothing else changes."""

from __future__ import annotations

import random

import pytest

from modeling_comicseq.pages.drawn.state import EFFECTS
from modeling_comicseq.pages.drawn.story import tell
from modeling_comicseq.pages.drawn.words import LINES, TOLD, lines

STORIES = [tell(0, book, [5, 1, 2, 3, 7, 4]) for book in range(60)]
MOMENTS = [moment for story in STORIES for page in story.pages for moment in page]


def of(*actions):
    found = [moment for moment in MOMENTS if moment.event.action in actions]
    assert found
    return found


def test_pages_have_the_wanted_numbers_of_panels():
    assert all([len(page) for page in story.pages] == [5, 1, 2, 3, 7, 4] for story in STORIES)


def test_every_action_occurs_and_can_be_told():
    assert {moment.event.action for moment in MOMENTS} == EFFECTS.keys() == LINES.keys() == TOLD.keys()


def test_each_panel_begins_where_the_one_before_it_ended():
    for story in STORIES:
        for page in story.pages:
            for earlier, later in zip(page, page[1:], strict=False):
                assert later.before == earlier.after


def test_who_leaves_is_gone_and_who_comes_is_there():
    for moment in of("leave"):
        assert moment.event.actor in moment.before["present"] and moment.event.actor not in moment.after["present"]
    for moment in of("enter"):
        assert moment.event.actor not in moment.before["present"] and moment.event.actor in moment.after["present"]
    for moment in MOMENTS:
        if moment.event.action not in ("leave", "enter"):
            assert moment.before["present"] == moment.after["present"]


def test_what_is_given_or_thrown_is_held_by_who_gets_it():
    for moment in of("give", "throw"):
        event = moment.event
        assert moment.before["holds"][event.actor] == event.prop == moment.after["holds"][event.other]
        assert event.actor not in moment.after["holds"]


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [("take", "lying", "holds"), ("put", "holds", "lying"), ("drop", "holds", "lying"), ("stow", "holds", "in_chest"),
     ("fetch", "in_chest", "holds"), ("wear", "holds", "wears"), ("take off", "wears", "holds"), ("eat", "holds", None)],
)  # fmt: skip
def test_a_thing_is_in_one_place_before_and_in_another_after(action, before, after):
    for moment in of(action):
        prop = moment.event.prop
        for where, scene in ((before, moment.before), (after, moment.after)):
            there = {key for key in ("holds", "wears", "lying", "in_chest")
                     if prop in (scene[key].values() if isinstance(scene[key], dict) else scene[key])}  # fmt: skip
            assert there == ({where} if where else set())


def test_nobody_holds_two_things_and_no_thing_is_twice():
    for moment in MOMENTS:
        scene = moment.after
        things = [*scene["holds"].values(), *scene["wears"].values(), *scene["lying"], *scene["in_chest"]]
        assert len(things) == len(set(things))
        assert scene["holds"].keys() | scene["wears"].keys() <= set(scene["present"])


def test_what_is_planned_is_done():
    for story in STORIES:
        for page, following in zip(story.pages, story.pages[1:], strict=False):
            last, first = page[-1], following[0].before
            if last.event.action == "plan":
                assert first["place"] == last.event.to and set(last.after["present"]) <= set(first["present"])
            else:
                assert first["place"] == last.after["place"]


def test_texts_name_nobody_who_speaks_from_elsewhere():
    for moment in MOMENTS:
        for speaker, words in lines(moment.event, moment.shown, False, random.Random(0)):
            assert speaker is None or speaker in moment.shown["present"]
            assert words and "None" not in words and "{" not in words


def test_figures_can_be_told_apart():
    for story in STORIES:
        assert len({who.name for who in story.cast}) == len(story.cast)
        assert len({who.top for who in story.cast}) == len(story.cast)
        others = [who.species for who in story.cast if who.species != "human"]
        assert len(others) == len(set(others))
