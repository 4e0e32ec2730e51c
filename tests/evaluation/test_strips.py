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


def tiny_model(max_position_embeddings: int = 32) -> ComicSeqForPreTraining:
    torch.manual_seed(0)
    sizes = {"panel_embedding_dim": 4, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = ComicSeqConfig(num_hidden_layers=1, max_position_embeddings=max_position_embeddings, **sizes)
    return ComicSeqForPreTraining(config)


def test_windows_are_put_together_to_their_page():
    models = {"model": tiny_model()}
    # The long page stands last, so that all pages have the same first row and draw the same halves.
    books = [[3, 4, 2, 5], [3, 3], [2, 4, 23]]
    whole, cut = (retrieve(models, made_table(books, window=window)) for window in (None, 6))
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


@pytest.mark.parametrize("length", [8, 9, 12, 13, 30])
def test_a_strip_longer_than_the_model_takes_is_that_of_stage_5(length):
    model = tiny_model(max_position_embeddings=8)
    panels = np.random.default_rng(0).standard_normal((3, length, 4)).astype(np.float32)
    counts = np.array([5, length, 8])
    mask = (np.arange(length) < counts[:, None]).astype(np.int64)
    found = strip_vectors(model)({"panel_embeddings": panels, "attention_mask": mask})
    expected = PageEncoder(model.comicseq.eval(), torch.device("cpu"))(panels[mask.astype(bool)], counts)[1]
    assert_close(found, expected)
