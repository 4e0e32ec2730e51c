"""What holds of every drawn page: order, boxes, texts, speakers, and that a seed is all that counts."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.layouts.boxes import as_shares
from modeling_comicseq.layouts.rules import xy_cut_order
from modeling_comicseq.pages.drawn import writing
from modeling_comicseq.pages.drawn.book import draw_book
from modeling_comicseq.pages.drawn.page import annotate_page, plan_page
from modeling_comicseq.pages.drawn.story import tell
from modeling_comicseq.pages.drawn.style import draw_style
from modeling_comicseq.pages.drawn.writing import write_books
from modeling_comicseq.pages.sources import find_pages

COMMAND = "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.command import main; main()"
BOOKS, PAGES, WIDTH = 6, 3, 170


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("drawn") / "books"
    write_books(path, BOOKS, pages=PAGES, width=WIDTH, progress=False)
    return path


@pytest.fixture(scope="module")
def entries(folder):
    return json.loads((folder / "panels.json").read_text())


@pytest.fixture(scope="module")
def panels(entries):
    return [panel for entry in entries for panel in entry["panels"]]


def is_within(box, other, slack=0):
    return all(box[i] >= other[i] - slack for i in (0, 1)) and all(box[i] <= other[i] + slack for i in (2, 3))


def overlap(box, other):
    return min(box[2], other[2]) > max(box[0], other[0]) and min(box[3], other[3]) > max(box[1], other[1])


def test_books_read_from_right_to_left_say_so_to_who_has_the_pictures_alone(folder, entries):
    told = {page.book_id: page.info.reading_direction for page in find_pages(str(folder), pytest.fail)}
    known = {entry["book_id"]: entry["direction"] for entry in entries}
    assert set(known.values()) == {"ltr", "rtl"}
    assert told == {book: direction if direction == "rtl" else None for book, direction in known.items()}


def test_every_page_is_a_picture_of_the_stated_size(folder, entries):
    assert len(entries) == BOOKS * PAGES
    for entry in entries:
        with Image.open(folder / entry["image"]) as image:
            assert list(image.size) == entry["size"] and image.size[0] % WIDTH == 0 and image.mode == "RGB"
            assert len(image.getcolors(1 << 17)) > 50
    assert "No rights are reserved" in (folder / "README.md").read_text()


def test_books_differ_in_what_books_differ_in(entries):
    assert {entry["direction"] for entry in entries} == {"ltr", "rtl"}
    assert len({tuple(entry["size"]) for entry in entries}) > 1
    assert len({entry["book_id"] for entry in entries}) == BOOKS
    assert len({len(entry["panels"]) for entry in entries}) > 2


def test_boxes_are_on_the_page(entries):
    for entry in entries:
        for panel in entry["panels"]:
            x0, y0, x1, y1 = panel["box"]
            assert 0 <= x0 < x1 <= entry["size"][0] and 0 <= y0 < y1 <= entry["size"][1]


def test_panels_are_in_reading_order(entries):
    """Nearly always as a rule has it that knows the direction; insets and overlaps are beyond the rule."""
    shares = [as_shares([panel["box"] for panel in entry["panels"]], entry["size"]) for entry in entries]
    directions = [entry["direction"] for entry in entries]
    right = [
        (xy_cut_order(boxes, direction) == range(len(boxes))).all()
        for boxes, direction in zip(shares, directions, strict=True)
    ]
    assert np.mean(right) > 0.7 and {
        direction for direction, is_right in zip(directions, right, strict=True) if is_right
    } == {
        "ltr",
        "rtl",
    }


def test_texts_are_in_their_balloons_and_these_in_their_panel(panels):
    for panel in panels:
        assert len(panel["text"]) == len(panel["speakers"]) == len(panel["text_boxes"]) == len(panel["balloon_boxes"])
        for text, balloon in zip(panel["text_boxes"], panel["balloon_boxes"], strict=True):
            assert is_within(text, balloon) and is_within(balloon, panel["box"])
    assert sum(len(panel["text"]) for panel in panels) > 0.8 * len(panels)


def test_balloons_cover_neither_each_other_nor_a_face(panels):
    for panel in panels:
        boxes = panel["balloon_boxes"]
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if overlap(a, b)]
        assert not [(a, b) for a in boxes for b in panel["face_boxes"] if overlap(a, b)]


def test_who_speaks_is_in_the_picture(panels):
    for panel in panels:
        assert set(panel["speakers"]) <= {None, *panel["character_ids"]}
        assert len(panel["face_boxes"]) == len(panel["character_ids"])
    assert {None} < {speaker for panel in panels for speaker in panel["speakers"]}


def test_the_same_seed_draws_the_same_in_any_processes(folder, tmp_path):
    words = f"draw --output {tmp_path}/again --books 2 --pages {PAGES} --width {WIDTH} --num-proc 2".split()
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "again" / "panels.json").read_text())
    assert again == json.loads((folder / "panels.json").read_text())[: len(again)]
    for entry in again:
        assert (tmp_path / "again" / entry["image"]).read_bytes() == (folder / entry["image"]).read_bytes()


def test_other_seeds_and_books_are_others():
    stories = {
        json.dumps([entry["panels"] for _, entry in draw_book(*of, 1, WIDTH)]) for of in ((0, 0), (0, 1), (1, 0))
    }
    assert len(stories) == 3


def test_the_size_of_the_picture_changes_nothing_but_the_pixels():
    small, large = ([entry for _, entry in draw_book(3, 1, 2, width)] for width in (170, 340))
    for a, b in zip(small, large, strict=True):
        for one, other in zip(a["panels"], b["panels"], strict=True):
            assert {k: v for k, v in one.items() if "box" not in k} == {
                k: v for k, v in other.items() if "box" not in k
            }
            assert all(abs(2 * x - y) <= 2 for x, y in zip(one["box"], other["box"], strict=True))


def test_stories_and_pages_are_what_they_always_were():
    """What is measured on drawn comics is measured on these: whoever changes them makes other comics."""
    stories = [tell(0, book, [5, 3, 4]) for book in range(20)]
    assert digest([asdict(story) for story in stories], default=sorted) == "59414879cbfca05e"
    style = draw_style(random.Random(0))
    corners = [[(x, y), (x + 330, y), (x + 330, y + 240), (x, y + 240)] for y in (10, 260, 510) for x in (10, 360)]
    cast = {who.name: who for who in stories[0].cast}
    moments = [moment for page in stories[0].pages for moment in page][:6]
    panels = annotate_page(plan_page(moments, corners, cast, style, random.Random(1)), cast, (175, 190), 0.25)
    assert digest(panels) == "418f9a199cec7f7c"


def digest(content, **options):
    return hashlib.sha256(json.dumps(content, sort_keys=True, **options).encode()).hexdigest()[:16]


def test_a_worker_that_is_killed_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "draw_book", lambda *_: os._exit(9))
    with pytest.raises(ComicSeqDataError, match="a worker process was ended from outside"):
        write_books(tmp_path / "books", 2, num_proc=2, progress=False)
    assert not list(tmp_path.iterdir())
