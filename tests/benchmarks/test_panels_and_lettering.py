"""What the figures on panel finding and lettering are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from benchmarks.lettering import count_edits, script_of
from benchmarks.panel_finding import components, count_hits, f1

WORDS = st.text("abc ", max_size=7)


def edits_by_definition(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    exchanged = edits_by_definition(one[1:], other[1:]) + (one[0] != other[0])
    return min(exchanged, 1 + edits_by_definition(one[1:], other), 1 + edits_by_definition(one, other[1:]))


@settings(max_examples=40, deadline=None)
@given(WORDS, WORDS)
def test_edits_are_the_levenshtein_distance(one, other):
    assert count_edits(one, other) == edits_by_definition(one, other)


def test_scripts():
    assert [script_of(letter) for letter in "aのカ眼!３"] == ["latin", "kana", "kana", "kanji", "other", "other"]


def test_each_panel_is_found_by_one_box():
    given_boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    twice = np.array([[0, 0, 0.5, 1], [0, 0, 0.5, 0.9], [0.5, 0, 1, 0.6]])
    assert [count_hits(twice, given_boxes, overlap) for overlap in (0.5, 0.75)] == [2, 1]
    assert count_hits(np.zeros((0, 4)), given_boxes, 0.5) == 0
    np.testing.assert_allclose(f1(np.array([[2, 1, 3, 2, 0.1], [1, 1, 1, 2, 0.1]])), [6 / 8, 4 / 8])


def test_components_are_boxes_of_what_hangs_together():
    image = Image.new("L", (200, 100), 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, 89, 89), outline=0)
    draw.rectangle((30, 30, 50, 50), fill=0)
    draw.rectangle((110, 10, 189, 89), fill=0)
    assert components(image).tolist() == pytest.approx(np.array([[0.05, 0.1, 0.45, 0.9], [0.55, 0.1, 0.95, 0.9]]))
