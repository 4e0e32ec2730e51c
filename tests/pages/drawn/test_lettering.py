"""How words are broken into lines, and that balloons are read in the order in which they stand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.pages.drawn.lettering import Lettering, break_lines, letter_panel, measure

WORDS = st.lists(st.text("abcdefghijWM!?.", min_size=1, max_size=9), min_size=1, max_size=12)
STYLE = Lettering(size=15, is_upper=False, roundness=2.6, caption=(255, 255, 255))


@settings(deadline=None)  # the first text loads the font
@given(WORDS, st.floats(2, 30))
def test_lines_keep_the_words_and_the_width(words, width):
    lines = break_lines(" ".join(words), width)
    if lines is None:
        assert max(measure(word) for word in words) > width
    else:
        assert " ".join(lines).split() == words
        assert max(measure(line) for line in lines) <= width


def test_widths_are_those_of_the_font():
    assert (measure("A"), measure("Ab")) == (0.642, 1.194)


@settings(deadline=None)  # the first text loads the font
@given(
    st.lists(st.tuples(st.sampled_from([None, "Ada", "Bo", "Cleo"]), WORDS), min_size=1, max_size=3),
    st.floats(60, 700),
    st.floats(60, 900),
    st.booleans(),
)
def test_balloons_are_read_from_the_top_and_along_the_direction(texts, width, height, is_rtl):
    places = {"Ada": 0.2, "Bo": 0.5, "Cleo": 0.8}
    room = (10.0, 20.0, 10.0 + width, 20.0 + height)
    said = [(speaker, " ".join(words)) for speaker, words in texts]
    balloons, reached = letter_panel(said, places, room, STYLE, is_rtl)
    assert [(balloon.speaker, balloon.text) for balloon in balloons] == said[: len(balloons)]
    for balloon in balloons:
        x0, y0, x1, y1 = balloon.box
        assert room[0] - 1e-9 <= x0 < x1 <= room[2] + 1e-9 and room[1] <= y0 < y1 <= reached <= room[1] + height / 2
        a0, b0, a1, b1 = balloon.text_box
        assert x0 < a0 < a1 < x1 and y0 < b0 < b1 < y1
    for before, after in zip(balloons, balloons[1:], strict=False):
        assert after.box[1] > before.box[1]
        is_beside = after.box[2] < before.box[0] if is_rtl else after.box[0] > before.box[2]
        assert is_beside or after.box[1] > before.box[3]
