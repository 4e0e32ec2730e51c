"""Orders by rule: what they are on pages where everybody agrees, and that they do not depend on how boxes come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modeling_comicseq.layouts.rules import nearest_order, raster_order, xy_cut_order

RULES = (raster_order, xy_cut_order, nearest_order)
GRID = np.array([[x, y, x + 0.45, y + 0.3] for y in (0.0, 0.33, 0.66) for x in (0.0, 0.5)])
STACK_THEN_TALL = np.array([[0, 0, 0.4, 0.45], [0, 0.5, 0.4, 1], [0.45, 0, 1, 1]])
SLANTED = np.array([[0, 0, 0.55, 0.5], [0.5, 0, 1, 0.48], [0, 0.47, 0.45, 1], [0.5, 0.46, 1, 1]])


def mirrored(boxes, width):
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


@st.composite
def pages(draw):
    corners = draw(arrays(np.float64, (draw(st.integers(0, 9)), 2, 2), elements=st.integers(0, 40)))
    return np.concatenate([corners.min(1), corners.max(1) + 1], axis=1)  # whole numbers: no rounding decides


@pytest.mark.parametrize("rule", (raster_order, xy_cut_order))
def test_a_grid_is_read_in_rows(rule):
    assert rule(GRID).tolist() == [0, 1, 2, 3, 4, 5]
    assert rule(GRID, "rtl").tolist() == [1, 0, 3, 2, 5, 4]


def test_a_stack_is_read_before_the_tall_panel_beside_it():
    assert xy_cut_order(STACK_THEN_TALL).tolist() == [0, 1, 2]
    assert xy_cut_order(STACK_THEN_TALL, "rtl").tolist() == [2, 0, 1]
    assert raster_order(STACK_THEN_TALL).tolist() == [0, 2, 1]


def test_cuts_may_overlap_a_little():
    assert xy_cut_order(SLANTED).tolist() == [0, 1, 2, 3]


def test_the_nearest_comes_next():
    assert nearest_order(np.array([[0, 0, 0.1, 0.1], [0.8, 0, 1, 0.1], [0, 0.2, 0.1, 0.3]])).tolist() == [0, 2, 1]
    assert nearest_order(GRID, "rtl")[0] == 1


@pytest.mark.parametrize("rule", RULES)
@given(boxes=pages())
def test_orders_are_permutations_that_mirror_with_the_page_and_scale(rule, boxes):
    order = rule(boxes)
    assert sorted(order.tolist()) == list(range(len(boxes)))
    assert rule(boxes * 1024).tolist() == order.tolist()
    assert rule(mirrored(boxes, 41), "rtl").tolist() == order.tolist()


@given(boxes=pages(), rule=st.sampled_from((raster_order, xy_cut_order)))
def test_single_boxes_and_none(rule, boxes):
    for count in (0, 1):
        assert rule(boxes[:count]).tolist() == list(range(len(boxes[:count])))
