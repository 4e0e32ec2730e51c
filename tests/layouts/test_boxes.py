"""Boxes: what is a box on a page, the mirror image, shares of the page, and overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq.layouts.boxes import as_shares, check_boxes, find_bad_boxes, iou, mirror

SIZE = (1000, 1400)


@st.composite
def pixel_boxes(draw, most=6):
    """Boxes in whole pixels of a page of SIZE, (n, 4)."""

    def side(length):
        return st.tuples(*[st.integers(0, length)] * 2).filter(lambda ends: ends[0] != ends[1]).map(sorted)

    boxes = draw(st.lists(st.tuples(side(SIZE[0]), side(SIZE[1])), min_size=1, max_size=most))
    return np.array([(x0, y0, x1, y1) for (x0, x1), (y0, y1) in boxes])


@given(pixel_boxes())
def test_boxes_on_the_page_are_right_and_so_is_their_mirror_image(pixels):
    boxes = as_shares(pixels, SIZE)
    assert boxes.dtype == np.float32 and check_boxes(boxes) is None
    mirrored = mirror(boxes)
    assert mirrored.dtype == np.float32 and check_boxes(mirrored) is None
    np.testing.assert_array_equal(mirrored[:, [1, 3]], boxes[:, [1, 3]])
    torch.testing.assert_close(torch.from_numpy(mirror(mirrored)), torch.from_numpy(boxes))


@given(pixel_boxes())
def test_overlap_is_whole_with_itself_and_the_same_both_ways(pixels):
    overlap = iou(pixels, pixels)
    np.testing.assert_array_equal(np.diagonal(overlap), 1)
    np.testing.assert_array_equal(overlap, overlap.T)
    assert ((overlap >= 0) & (overlap <= 1)).all()


def test_overlap_by_hand():
    left, half, far = [0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]
    np.testing.assert_allclose(iou([left], [half, far, [0, 0, 0, 0]]), [[1 / 3, 0, 0]])
    assert iou([[0, 0, 0, 0]], [[0, 0, 0, 0]]).item() == 0


def test_no_known_box_is_right_and_stays_unknown_in_the_mirror():
    unknown = np.zeros((2, 3, 4), np.float32)
    assert check_boxes(unknown) is None
    assert not mirror(unknown).any()


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((0.5, 0.1, 0.3, 0.2), "inverted"),
        ((0.1, 0.5, 0.3, 0.2), "inverted"),
        ((0.1, 0.1, 0.1, 0.2), "no area"),
        ((0.1, 0.1, 1.2, 0.2), "outside the page"),
        ((-0.1, 0.1, 0.2, 0.2), "outside the page"),
        ((0.1, np.nan, 0.2, 0.2), "not finite"),
        ((0.1, 0.1, np.inf, 0.2), "not finite"),
    ],
)
def test_a_wrong_box_is_told_by_its_place(box, what):
    boxes = np.array([(0, 0, 1, 1), (0, 0, 0, 0), box], np.float32)
    np.testing.assert_array_equal(find_bad_boxes(boxes), [False, False, True])
    assert check_boxes(boxes).startswith("box 2 (") and check_boxes(boxes).endswith(what)


def test_four_numbers_make_a_box():
    assert "four numbers" in check_boxes(np.zeros((2, 5)))
    assert "four numbers" in check_boxes(3.0)
