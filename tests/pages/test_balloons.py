"""Lines to balloons, balloons to panels."""

import numpy as np

from modeling_comicseq.pages.balloons import assign_texts, group_lines
from modeling_comicseq.pages.ocr import TextLine

PANELS = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32)


def line(x0, y0, text, width=0.2, height=0.03, upright=False):
    return TextLine((x0, y0, x0 + width, y0 + height), text, upright=upright)


def test_lines_below_one_another_are_one_balloon():
    lines = [line(0.1, 0.14, "the cat?"), line(0.1, 0.10, "Where is"), line(0.1, 0.4, "Here.")]
    assert sorted(balloon.text for balloon in group_lines(lines)) == ["Here.", "Where is the cat?"]
    assert group_lines([]) == []


def test_other_size_or_place_is_another_balloon():
    assert len(group_lines([line(0.1, 0.1, "small"), line(0.1, 0.14, "LARGE", height=0.1)])) == 2
    assert len(group_lines([line(0.1, 0.1, "left"), line(0.28, 0.14, "right")])) == 2


def test_columns_are_read_from_right_to_left():
    columns = [line(0.1 + 0.04 * place, 0.1, text, 0.03, 0.2, upright=True) for place, text in enumerate("cba")]
    (balloon,) = group_lines(columns)
    assert balloon.text == "abc"
    np.testing.assert_allclose(balloon.box, [0.1, 0.1, 0.21, 0.3])


def test_texts_of_each_panel_in_reading_order():
    lines = [line(0.1, 0.5, "second"), line(0.1, 0.1, "first"), line(0.6, 0.1, "third")]
    assert assign_texts(lines, PANELS) == [["first", "second"], ["third"], []]
    side_by_side = [line(0.02, 0.1, "left", 0.1), line(0.3, 0.1, "right", 0.1)]
    assert assign_texts(side_by_side, PANELS, "ltr")[0] == ["left", "right"]
    assert assign_texts(side_by_side, PANELS, "rtl")[0] == ["right", "left"]
    assert assign_texts([], PANELS, None) == [[], [], []]


def test_text_across_panels_goes_where_most_of_it_is():
    assert assign_texts([line(0.35, 0.1, "left", 0.25)], PANELS) == [["left"], [], []]
    assert assign_texts([line(0.45, 0.1, "right", 0.25)], PANELS) == [[], ["right"], []]


def test_text_outside_of_all_panels_comes_last():
    assert assign_texts([line(0.1, 0.5, "title")], np.array([[0, 0, 1, 0.3]])) == [[], ["title"]]
    assert assign_texts([line(0.1, 0.5, "title")], np.zeros((0, 4))) == [["title"]]
