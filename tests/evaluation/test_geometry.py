"""What is answered from boxes alone: nothing where vectors tell no shapes, and much where they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.evaluation.geometry import GeometryRidge, describe_context, known_pages, largest_gap
from modeling_comicseq.evaluation.metrics import top1_accuracy
from modeling_comicseq.tasks import TASKS

WIDTH, CANDIDATES = 48, 5


def draw_page(generator: np.random.Generator) -> np.ndarray:
    """Boxes in rows of several heights, each of one to three panels, with gutters."""
    boxes, heights = [], generator.dirichlet(np.full(generator.integers(2, 4), 4))
    for bottom, height in zip(heights.cumsum(), heights, strict=True):
        widths = generator.dirichlet(np.full(generator.integers(1, 4), 4))
        for right, width in zip(widths.cumsum(), widths, strict=True):
            boxes.append([right - width + 0.01, bottom - height + 0.01, right - 0.01, bottom - 0.01])
    return np.asarray(boxes)


def questions(seed: int, count: int, slot_is_shown: bool = True, strength: float = 0.0) -> dict:
    """Panels are asked for among those of other pages; vectors are noise and, of this strength, the panel's own shape."""
    generator = np.random.default_rng(seed)
    maps = np.random.default_rng(0).standard_normal((2, WIDTH))
    pages = [draw_page(generator) for _ in range(count)]
    slots = np.array([generator.integers(len(page)) for page in pages])
    longest = max(map(len, pages))
    boxes = np.stack([np.pad(page, ((0, longest - len(page)), (0, 0))) for page in pages])
    mask = (np.arange(longest) < np.array([len(page) for page in pages])[:, None]).astype(np.int64)
    asked = boxes[np.arange(count), slots]
    width, height = (asked[:, 2:] - asked[:, :2]).T
    shapes = np.stack((np.log(width / height), 4 * width * height), axis=1)
    vectors = generator.standard_normal((count, WIDTH)) + strength * shapes @ maps
    others = (np.arange(count)[:, None] + np.arange(CANDIDATES)) % count
    labels = generator.integers(CANDIDATES, size=count)
    candidates = np.stack([np.roll(row, label) for row, label in zip(others, labels, strict=True)])
    batch = {"panel_boxes": boxes, "attention_mask": mask, "labels": labels}
    batch |= {"candidate_embeddings": vectors[candidates], "candidate_mask": np.ones_like(candidates)}
    return batch | {"mask_position" if slot_is_shown else "candidate_position": slots}


def training(**kwargs) -> dict:
    """Questions whose right candidate is the first."""
    batch = questions(seed=1, count=300, **kwargs)
    right = batch["candidate_embeddings"][np.arange(300), batch["labels"]]
    return batch | {"candidate_embeddings": right[:, None]}


def accuracy(strength: float, seed: int = 2) -> float:
    batch = questions(seed, 300, strength=strength)
    return float(top1_accuracy(GeometryRidge(training(strength=strength)).scores(batch), batch["labels"]).mean())


@pytest.mark.parametrize("seed", [2, 3])
def test_geometry_alone_is_at_chance_where_vectors_tell_no_shapes(seed):
    assert abs(accuracy(0.0, seed) - 1 / CANDIDATES) < 3 * (0.2 * 0.8 / 300) ** 0.5


def test_geometry_alone_finds_shapes_that_vectors_tell():
    assert accuracy(0.5) > 0.4 and accuracy(2.0) > 0.5


def test_the_asked_box_and_padding_are_not_read():
    batch = questions(4, 20)
    before = describe_context(batch)[0]
    garbage = batch["panel_boxes"].copy()
    garbage[np.arange(20), batch["mask_position"]] = np.nan
    garbage[batch["attention_mask"] == 0] = 7
    after, is_known = describe_context(batch | {"panel_boxes": garbage})
    assert np.array_equal(before, after) and np.isfinite(after).all() and is_known.all()
    # Where candidates keep a place of their own, the page's slot is empty; in closure it stands behind the last.
    assert np.array_equal(describe_context(questions(4, 20, slot_is_shown=False))[0], before)
    closure = {name: batch[name] for name in ("panel_boxes", "attention_mask")}
    assert (describe_context(closure)[0][:, 8:16] == 0).all()  # no box stands behind


def test_without_a_box_it_is_a_guess():
    batch = questions(5, 12) | {"panel_boxes": np.zeros((12, 9, 4))}
    batch["attention_mask"] = (np.arange(9) < 4).astype(np.int64) * np.ones((12, 1), np.int64)
    assert not describe_context(batch)[1].any()
    scores = GeometryRidge(training()).scores(batch)
    assert (top1_accuracy(scores, batch["labels"]) == 1 / CANDIDATES).all()
    batch["candidate_mask"][:, 3:] = 0
    assert (GeometryRidge(training()).scores(batch)[:, 3:] == -np.inf).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_largest_gap_is_free_and_at_least_the_missing_panel(seed):
    generator = np.random.default_rng(seed)
    page = draw_page(generator)
    gone = generator.integers(len(page))
    rest = np.delete(page, gone, axis=0)
    x0, y0, x1, y1 = gap = largest_gap(rest)
    sides = np.minimum(rest[:, 2:], gap[2:]) - np.maximum(rest[:, :2], gap[:2])
    assert not (sides > 1e-9).all(1).any()
    asked = page[gone]
    low = np.maximum(asked[:2], np.minimum(rest[:, :2], 1 - rest[:, 2:]).min(0))
    high = np.minimum(asked[2:], 1 - np.minimum(rest[:, :2], 1 - rest[:, 2:]).min(0))
    assert (x1 - x0) * (y1 - y0) >= np.prod(high - low) - 1e-9


def test_gaps_by_hand():
    assert largest_gap(np.zeros((0, 4))).tolist() == [0, 0, 1, 1]
    assert largest_gap(np.array([[0.0, 0.0, 1.0, 1.0]])).tolist() == [0, 0, 0, 0]
    rest = np.array([[0.1, 0.1, 0.9, 0.5], [0.1, 0.6, 0.4, 0.9]])
    assert largest_gap(rest).tolist() == [0.4, 0.5, 0.9, 0.9]


def test_rules_put_pages_in_order_and_guess_where_a_box_is_not_known():
    task = TASKS["reading_order"]
    boxes = np.array([[[0.5, 0, 1, 0.5], [0, 0, 0.5, 0.5], [0, 0.5, 1, 1]]] * 2)
    boxes[1, 2] = 0
    labels = np.zeros((2, 3, 3), int)
    labels[:, 1, 0] = labels[:, 0, 2] = 1
    batch = {"panel_boxes": boxes, "attention_mask": np.ones((2, 3), int), "labels": labels}
    assert known_pages(batch).tolist() == [True, False]
    for rule in ("raster order", "XY-cut", "packaged predictor"):
        values = task.by_rule(rule, batch)
        assert [value.tolist() for value in values.values()] == [[1, 0.5], [1, 1 / 6], [1, 0]]
