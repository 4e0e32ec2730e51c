"""The picture of a page: what is drawn on it, and where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modeling_comicseq.library.page_picture import COLOURS, Candidate, Question, draw_page, draw_panels

BOXES = [(0.1, 0.1, 0.5, 0.45), (0.55, 0.1, 0.9, 0.45), (0.1, 0.55, 0.9, 0.9)]
PAGE = Image.new("RGB", (400, 500), (250, 250, 250))


def rows_of(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((np.asarray(picture) == colour).all(-1))


def test_every_panel_has_its_frame_and_its_number():
    picture = draw_panels(PAGE, BOXES)
    assert picture.size == PAGE.size
    for box, colour in zip(BOXES, COLOURS, strict=False):
        y, x = rows_of(picture, colour).T
        radius = 10  # of the disc with the number, on the upper left corner
        assert abs(x.max() + 1 - box[2] * 400) <= 1 and abs(y.max() + 1 - box[3] * 500) <= 1
        assert box[0] * 400 - radius <= x.min() < box[0] * 400 and box[1] * 500 - radius <= y.min() < box[1] * 500


def test_numbers_stand_where_reading_begins():
    y, x = rows_of(draw_panels(PAGE, BOXES[:1], "rtl"), COLOURS[0]).T
    assert x.min() == 40 and x.max() > 200  # the disc reaches out on the right


def test_a_panel_without_a_known_box_is_not_drawn_and_keeps_its_number():
    picture = draw_panels(PAGE, [(0, 0, 0, 0), BOXES[1]])
    assert not len(rows_of(picture, COLOURS[0])) and len(rows_of(picture, COLOURS[1]))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_any_mode_are_drawn(mode):
    assert draw_page(PAGE.convert(mode), BOXES, [["A"], [], ["B", "C"]]).mode == "RGB"


def test_long_texts_make_the_picture_higher_up_to_a_bound():
    def height(words):
        return draw_page(PAGE, BOXES, [[words * 40]] * 20, width=500).height

    assert draw_page(PAGE, BOXES, [["a word"]], width=500).height < height("a word ") == height("many more words ")


def test_the_right_candidate_is_framed_and_an_error_is_seen():
    crop = Image.new("RGB", (90, 60), (1, 2, 3))
    candidates = [Candidate(0.7, crop, "first"), Candidate(0.3, None, "second")]
    right, wrong = (draw_page(PAGE, BOXES, (), [Question("Which?", candidates, truth)]) for truth in (0, 1))
    unknown = draw_page(PAGE, BOXES, (), [Question("Which?", candidates)])
    green, red = (34, 136, 51), (187, 85, 51)
    below = draw_page(PAGE, BOXES).height  # the page itself, which has frames of its own
    count = [
        tuple(len(rows_of(picture.crop((0, below, *picture.size)), colour)) for colour in (green, red))
        for picture in (right, wrong, unknown)
    ]
    assert count[0][0] and not count[0][1] and count[1][0] and count[1][1] and count[2] == (0, 0)
    assert len(rows_of(right, (1, 2, 3))) > 90 * 60


def test_words_without_blanks_and_letters_of_other_scripts_are_drawn():
    for words in ("x" * 3000, "これは何ですか" * 50, "Привет, мир!", "！？", "😀 \x00\n\t", "אבג"):
        assert draw_page(PAGE, BOXES, [[words]], [Question(words, [Candidate(1.0, text=words)], 0)], title=words)
