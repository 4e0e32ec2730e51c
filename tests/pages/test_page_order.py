"""Pages come as a reader turns them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq.pages.page_order import in_page_order


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg"],
        ["P1.jpg", "p2.jpg", "P10.jpg"],
        ["cover.jpg", "001.jpg"],
        ["Front Cover.png", "p1.png"],
        ["Asterix - cover.jpg", "Asterix - 01.jpg", "Asterix - 02.jpg"],
        ["ch1/cover.jpg", "ch1/1.jpg", "Ch2/cover.jpg", "ch2/1.jpg", "ch10/1.jpg"],
        ["ch1_01.jpg", "ch1_cover.jpg", "ch2_cover.jpg"],  # a chapter's cover is not the book's
        ["01.jpg", "back cover.jpg"],
        ["第1話/2.png", "第1話/10.png", "第2話/1.png", "第10話/1.png"],
        ["ch1/9.jpg", "ch1b/1.jpg"],
    ],
)
def test_pages_are_in_reading_order(names):
    shuffled = names.copy()
    random.Random(0).shuffle(shuffled)
    assert in_page_order(shuffled) == names


@given(st.lists(st.text("aA1٣/.-é", min_size=1, max_size=6), unique=True, max_size=8), st.randoms())
def test_the_order_does_not_depend_on_that_of_the_names(names, shuffler):
    expected = in_page_order(names)
    assert sorted(expected) == sorted(names)
    shuffler.shuffle(names)
    assert in_page_order(names) == expected
