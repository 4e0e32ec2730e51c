"""The packaged predictor: what it answers, on whichever page, and that it is as good as it is said to be on drawn pages."""

import json

import numpy as np
import pytest
import torch
from transformers import pipeline

import modeling_comicseq
from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.layouts.boxes import mirror
from modeling_comicseq.layouts.drawn import draw_layout
from modeling_comicseq.layouts.predictor import PREDICTOR, load_predictor, order_pages, order_panels
from modeling_comicseq.layouts.rules import xy_cut_order

GRID = np.array([[x, y, x + 0.45, y + 0.3] for y in (0.0, 0.33, 0.66) for x in (0.0, 0.5)])
STACK_THEN_TALL = np.array([[0, 0, 0.4, 0.45], [0, 0.5, 0.4, 1], [0.45, 0, 1, 1]])


def test_it_is_small_and_names_no_code():
    assert {path.name for path in PREDICTOR.iterdir()} == {"config.json", "model.safetensors"}
    assert (PREDICTOR / "model.safetensors").stat().st_size <= 2 << 20
    assert "auto_map" not in json.loads((PREDICTOR / "config.json").read_text())


def test_pages_that_everybody_reads_alike():
    assert modeling_comicseq.order_panels is order_panels
    assert order_panels(GRID, "ltr")[::2] == ([0, 1, 2, 3, 4, 5], "ltr")
    assert order_panels(GRID, "rtl")[::2] == ([1, 0, 3, 2, 5, 4], "rtl")
    assert order_panels(STACK_THEN_TALL, "ltr").order == [0, 1, 2]
    assert order_panels(STACK_THEN_TALL.tolist(), "rtl").order == [2, 0, 1]
    assert order_panels(GRID * (1000, 1500, 1000, 1500), "ltr", size=(1000, 1500)) == order_panels(GRID, "ltr")
    assert order_panels(GRID, "ltr").confidence > 0.9
    assert order_panels([]) == ([], 1.0, "ltr") and order_panels([[0, 0, 1, 1]]).order == [0]


def test_the_direction_is_that_in_which_the_order_given_reads_well():
    assert order_panels(GRID).reading_direction == "ltr"
    assert order_panels(mirror(GRID)).reading_direction == "rtl"
    assert order_panels(mirror(GRID)).order == list(range(6))
    assert order_panels(np.array([[0, 0, 1, 0.4], [0, 0.5, 1, 1]])).reading_direction == "ltr"  # nothing tells


def test_the_order_follows_the_panels_and_the_mirror():
    for seed in range(5):
        boxes = draw_layout(np.random.default_rng(seed), reading_direction="ltr").boxes
        shuffle = np.random.default_rng(seed).permutation(len(boxes))
        order = order_panels(boxes, "ltr").order
        assert [shuffle[place] for place in order_panels(boxes[shuffle], "ltr").order] == order
        assert order_panels(mirror(boxes), "rtl").order == order


def test_drawn_pages_are_ordered_better_than_by_cuts():
    layouts = [draw_layout(np.random.default_rng((77, page)), reading_direction="ltr").boxes for page in range(250)]
    orders = order_pages(load_predictor(), [{"panel_boxes": boxes} for boxes in layouts])
    ours = np.mean([page.order == sorted(page.order) for page in orders])
    cuts = np.mean([xy_cut_order(boxes).tolist() == list(range(len(boxes))) for boxes in layouts])
    assert ours > cuts + 0.03
    # What it says of itself is about right.
    confidence, agreement = (np.mean([getattr(page, name) for page in orders]) for name in ("confidence", "agreement"))
    assert abs(confidence - agreement) < 0.02


def test_a_page_of_many_panels_is_ordered():
    boxes = np.array([[x, y, x + 0.18, y + 0.11] for y in np.arange(8) / 8 for x in np.arange(5) / 5])
    shuffle = np.random.default_rng(0).permutation(40)
    order = order_panels(boxes[shuffle], "ltr").order
    assert [int(shuffle[place]) for place in order] == list(range(40))


def test_batches_do_not_matter():
    pages = [{"panel_boxes": draw_layout(np.random.default_rng(seed)).boxes} for seed in range(12)]
    together = order_pages(load_predictor(), pages)
    for page, result in zip(pages, together, strict=True):
        (alone,) = order_pages(load_predictor(), [page])
        assert alone.order == result.order
        torch.testing.assert_close(torch.tensor(alone[1:]), torch.tensor(result[1:]))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([[0, 0, 2, 1]],), "box 0 .* is outside the page; boxes in pixels need `size`"),
        (([[0, 0, 200, 100]], None, (100, 100)), "is outside the page"),
        (([[0, 0, 200, 100]], None, (100, 0)), r"`size` is \(100, 0\) but must be the page's width and height"),
        (([[0, 0, 200, 100]], None, 100), "`size` is 100 but"),
        (([[0, 0, 0, 0]],), "box 0 is four zeros"),
        (([[0, 0, 1]],), "shape"),
        (([["a"]],), "four numbers"),
        ((GRID, "left"), "'left' but must be ltr or rtl"),
        ((np.tile(GRID, (30, 1)),), "180 panels but the predictor takes 128"),
    ],
)
def test_what_is_no_page_is_told_in_a_sentence(arguments, told):
    with pytest.raises(ComicSeqArgumentError, match=told):
        order_panels(*arguments)


def test_the_pipeline_needs_no_checkpoint():
    order = pipeline("comic-reading-order")
    given = {"panel_boxes": STACK_THEN_TALL, "reading_direction": "rtl"}
    answer, *others = order([given, {"panel_boxes": GRID}], batch_size=2)
    assert answer["order"] == [2, 0, 1] and others[0]["order"] == [0, 1, 2, 3, 4, 5]
    assert answer["score"] == pytest.approx(order_panels(STACK_THEN_TALL, "rtl").confidence)
