"""Drawn pages: what holds of each, whatever the seed, and that the order is the one they were built in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.layouts.boxes import check_boxes, mirror
from modeling_comicseq.layouts.drawn import FORMATS, LayoutStyle, draw_layout, draw_style
from modeling_comicseq.layouts.rules import xy_cut_order

SEEDS = st.integers(0, 2**32)


def drawn(seed, **arguments):
    return draw_layout(np.random.default_rng(seed), **arguments)


def plain_style(format):
    """Straight gutters of some width, and nothing over anything else."""
    lengths = {
        "aspect": 1.4,
        "margin": 0.05,
        "row_gutter": 0.02,
        "column_gutter": 0.02,
        "unevenness": 0.3,
        "rows": 3.0,
    }
    changes = dict.fromkeys(("slants", "staggers", "bleeds", "overlaps", "insets", "loose"), 0.0)
    return LayoutStyle("ltr", format, **lengths, **changes)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, jitter=st.sampled_from((0.0, 0.05)), missed=st.sampled_from((0.0, 0.3)))
def test_panels_are_on_the_page_and_have_area(seed, jitter, missed):
    layout = drawn(seed, jitter=jitter, missed=missed)
    assert check_boxes(layout.boxes) is None and layout.boxes.dtype == np.float32
    assert len(layout.boxes) == len(layout.quadrilaterals) > 0 and not (layout.boxes == 0).all(1).any()
    assert ((layout.quadrilaterals >= 0) & (layout.quadrilaterals <= 1)).all() and min(layout.size) > 0
    if not jitter:
        around = np.concatenate([layout.quadrilaterals.min(1), layout.quadrilaterals.max(1)], axis=1)
        wide = (around[:, 2:] - around[:, :2] > 0.021).all(1)  # slivers are widened
        assert np.array_equal(layout.boxes[wide], around[wide])


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_same_seed_draws_the_same_page_and_its_mirror_image(seed):
    ltr, again = drawn(seed, reading_direction="ltr"), drawn(seed, reading_direction="ltr")
    assert (
        ltr.boxes.tobytes() == again.boxes.tobytes() and ltr.quadrilaterals.tobytes() == again.quadrilaterals.tobytes()
    )
    rtl = drawn(seed, reading_direction="rtl")
    assert rtl.boxes.tobytes() == mirror(ltr.boxes).tobytes() and rtl.reading_direction == "rtl"
    assert np.array_equal(rtl.quadrilaterals[:, 0, 1], ltr.quadrilaterals[:, 1, 1])
    assert (rtl.kind, rtl.size) == (ltr.kind, ltr.size)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, format=st.sampled_from(("page", "strip", "scroll")))
def test_plain_pages_are_read_by_their_cuts(seed, format):
    layout = drawn(seed, style=plain_style(format))
    if layout.kind != "columns":  # whose rows can meet by chance
        assert xy_cut_order(layout.boxes).tolist() == list(range(len(layout.boxes)))
    assert len(drawn(seed, missed=1.0).boxes) == 1


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_columns_of_four_are_read_to_their_end(seed):
    layout = drawn(seed, style=plain_style("four_panel"))
    centres = (layout.boxes[:, 0] + layout.boxes[:, 2]) / 2
    columns = centres[abs(centres - 0.5) > 0.05]
    assert (np.diff(columns) > -0.05).all() and layout.kind == "four_panel"


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_drawn(format):
    styles = [draw_style(np.random.default_rng(seed), format=format) for seed in range(20)]
    layouts = [drawn(seed, style=style) for seed, style in enumerate(styles)]
    assert {layout.reading_direction for layout in layouts} == {"ltr", "rtl"}
    if format == "spread":
        assert all(width > height for width, height in (layout.size for layout in layouts))


def test_some_pages_are_beyond_cuts():
    """Pages that slant, are out of line, or whose panels overlap: neither none nor all are."""
    layouts = [drawn(seed, reading_direction="ltr") for seed in range(200)]
    wrong = [xy_cut_order(layout.boxes).tolist() != list(range(len(layout.boxes))) for layout in layouts]
    assert 0.1 < np.mean(wrong) < 0.35
    assert {layout.kind for layout in layouts} > {"rows", "staggered", "columns", "splash", "spread", "four_panel"}
    assert any(np.ptp(layout.quadrilaterals[:, :2, 1], axis=1).max() > 0.02 for layout in layouts)
