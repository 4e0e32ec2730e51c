"""Where panels stand, in what tasks show: in the slots of their panels, and as models take it."""

import numpy as np
import pytest
import torch

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.draws import Draws
from modeling_comicseq.evaluation.ablations import candidates_only
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.layouts.boxes import mirror
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.dataset import PretrainingDataset

from ..data.made_dataset import box, identities, made_table
from .questions import build_questions, halves, masked, pages

BOOKS = [[3, 4, 2, 5, 1, 6]] * 4


@pytest.fixture(scope="module")
def table():
    return made_table(BOOKS, boxes=True)


def config(**fields) -> ComicSeqConfig:
    return ComicSeqConfig(panel_embedding_dim=4, hidden_size=16, num_attention_heads=2, num_hidden_layers=1, **fields)


def place(book: int, page: int, panel: int) -> np.ndarray:
    there = box(book, page, panel)
    return mirror(there) if book % 2 else there


def questions(table, task: str, rows=None):
    rows = np.arange(len(table)) if rows is None else rows
    rows = rows[TASKS[task].servable(table, rows)]
    return rows, build_questions(table, task, rows, Draws(3, 0, rows))


@pytest.mark.parametrize("task", [name for name in TASKS if name != "caption_relevance"])
def test_a_box_stands_in_the_slot_of_its_panel_and_is_mirrored_in_books_that_are_read_from_the_right(table, task):
    rows, batch = questions(table, task)
    shown = identities(batch["panel_embeddings"])
    boxes = batch["panel_boxes"]
    assert boxes.shape == (*batch["attention_mask"].shape, 4) and boxes.dtype == np.float32
    for question, slots in enumerate(shown):
        for slot, panel in enumerate(slots):
            if panel is not None:
                np.testing.assert_array_equal(boxes[question, slot], place(*panel))
    padding = batch["attention_mask"] == 0
    assert padding.any() and not boxes[padding].any()
    if "mask_position" in batch:  # the asked one is given; whether it is read is for the model to say
        for row, slot, its_boxes in zip(rows, batch["mask_position"], boxes, strict=True):
            np.testing.assert_array_equal(its_boxes[slot], place(table.books[row], row % 6, slot))


@pytest.mark.parametrize("task", TASKS)
def test_candidates_bring_no_box_and_questions_are_else_as_without(table, task):
    _, batch = questions(table, task)
    _, without = questions(made_table(BOOKS), task)
    added = batch.keys() - without.keys()
    assert added == (set() if task == "caption_relevance" else {"panel_boxes"})
    for name, value in without.items():
        assert np.array_equal(batch[name], value)
    if added:
        assert "panel_boxes" not in candidates_only(batch, np.arange(len(batch["labels"])))


def test_halves_of_a_page_come_without_boxes_and_whole_pages_with(table):
    rows = np.arange(len(table))
    assert "panel_boxes" not in halves(table, rows, Draws(0, 0, rows))
    whole, hidden = pages(table, rows), masked(table, rows, Draws(0, 0, rows))
    np.testing.assert_array_equal(whole["panel_boxes"][7, 3], place(1, 1, 3))
    # The pages of one panel are left out of the latter.
    np.testing.assert_array_equal(hidden["panel_boxes"], whole["panel_boxes"][table.num_panels > 1])


def test_a_model_that_cannot_read_boxes_is_trained_and_asked_without(table):
    rows = list(range(len(table)))
    without = PretrainingDataset(made_table(BOOKS), config()).__getitems__(rows)[0]
    ignored = PretrainingDataset(table, config()).__getitems__(rows)[0]
    assert ignored.keys() == without.keys()
    for name, value in without.items():
        if isinstance(value, dict):
            assert value.keys() == ignored[name].keys()
            assert all(np.array_equal(tensor, ignored[name][key]) for key, tensor in value.items())
    model = ComicSeqForPreTraining(config()).eval()
    _, batch = questions(table, "panel_picking")
    _, bare = questions(made_table(BOOKS), "panel_picking")
    expected = model_logits(model, "panel_picking", bare)
    np.testing.assert_array_equal(model_logits(model, "panel_picking", batch), expected)


@pytest.mark.parametrize("objective", ["views", "nt_xent"])
def test_a_step_of_training_reaches_the_box_embedding(table, objective):
    torch.manual_seed(0)
    fields = config(box_embedding=True, masked_panel_weight=1.0, contrastive_objective=objective)
    batch = PretrainingDataset(table, fields).__getitems__(list(range(len(table))))[0]
    assert ("panel_boxes" in batch) == (objective == "nt_xent")
    assert all("panel_boxes" in batch[name] for name in ("panel_picking", "reading_order", "masked_panels"))
    model = ComicSeqForPreTraining(fields).train()
    model(**batch).loss.backward()
    gradient = model.comicseq.embeddings.box_embedding.output.weight.grad
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_boxes_are_found_again_in_a_shuffled_selection_of_pages(table):
    rows = np.array([20, 3, 9])
    some = type(table)(table.dataset.select(rows))
    np.testing.assert_array_equal(pages(some, np.arange(3))["panel_boxes"], pages(table, rows)["panel_boxes"])
