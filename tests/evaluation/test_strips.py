"""Strip vectors of held-out pages: a page counts once, with all its panels, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.evaluation.strips import retrieve, strip_vectors
from modeling_comicseq.library.encoder import PageEncoder

from ..closeness import assert_close
from ..data.made_dataset import made_dataset, made_table
from ..model_inputs import draw_boxes


def tiny_model(max_position_embeddings: int = 32, boxes: bool = False) -> ComicSeqForPreTraining:
    torch.manual_seed(0)
    sizes = {"panel_embedding_dim": 4, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"max_position_embeddings": max_position_embeddings, "num_hidden_layers": 1}
    model = ComicSeqForPreTraining(ComicSeqConfig(box_embedding=boxes, **sizes))
    if boxes:
        torch.nn.init.normal_(model.comicseq.embeddings.box_embedding.output.weight)
    return model


@pytest.mark.parametrize("boxes", [False, True])
def test_windows_are_put_together_to_their_page(boxes):
    models = {"model": tiny_model(boxes=boxes)}
    # The long page stands last, so that all pages have the same first row and draw the same halves.
    books = [[3, 4, 2, 5], [3, 3], [2, 4, 23]]
    whole, cut = (retrieve(models, made_table(books, window=window, boxes=boxes)) for window in (None, 6))
    assert [result.num_questions for result in cut[0]] == [9] * 6
    for first, second in zip(whole[0], cut[0], strict=True):
        assert (first.task, first.answerer) == (second.task, second.answerer)
        assert first.metrics == second.metrics


def test_a_page_that_stands_twice_is_one():
    """Copies, in the same book and in others, change nothing: they would find each other."""
    pages = made_dataset([[3, 4, 2, 5], [3, 3], [2, 4, 6]])
    copies = pages.select([0, 1, 4]).map(lambda row, n: {"book_id": f"book-00{n}", "page_index": 9}, with_indices=True)
    models = {"model": tiny_model()}
    plain, doubled = (retrieve(models, PanelTable(each)) for each in (pages, concatenate_datasets([pages, copies])))
    assert [result.num_questions for result in doubled[0]] == [9] * 6
    for first, second in zip(plain[0], doubled[0], strict=True):
        assert first.metrics == second.metrics


def test_whole_pages_are_encoded_with_boxes_and_halves_without():
    model, asked = tiny_model(boxes=True), []
    model.comicseq.register_forward_pre_hook(
        lambda module, args, kwargs: asked.append(kwargs.get("panel_boxes") is not None), with_kwargs=True
    )
    retrieve({"model": model}, made_table([[3, 4, 2, 5], [3, 3], [2, 4, 6]], boxes=True))
    assert asked == [True, False, False]


@pytest.mark.parametrize(("length", "with_boxes"), [(8, False), (9, True), (12, False), (13, True), (30, True)])
def test_a_strip_longer_than_the_model_takes_is_that_of_stage_5(length, with_boxes):
    model = tiny_model(max_position_embeddings=8, boxes=with_boxes)
    panels = np.random.default_rng(0).standard_normal((3, length, 4)).astype(np.float32)
    counts = np.array([5, length, 8])
    mask = (np.arange(length) < counts[:, None]).astype(np.int64)
    boxes = draw_boxes(3, length).numpy() if with_boxes else None
    given = {"panel_embeddings": panels, "attention_mask": mask} | ({"panel_boxes": boxes} if with_boxes else {})
    found, real = strip_vectors(model)(given), mask.astype(bool)
    its_boxes = boxes[real] if with_boxes else None
    expected = PageEncoder(model.comicseq.eval(), torch.device("cpu"))(panels[real], counts, its_boxes)[1]
    assert_close(found, expected)
