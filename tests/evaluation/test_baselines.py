from __future__ import annotations

import numpy as np

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.views import build_questions
from modeling_comicseq.evaluation.baselines import context_mean_cosine, last_panel_cosine

from ..data.made_dataset import made_table


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def batch_of(task: str, **kwargs) -> dict:
    table = made_table([[4, 5, 2], [3, 3, 1]])
    rows = np.asarray([0, 1, 2, 3, 4])
    return build_questions(table, task, rows, Draws(0, 0, rows), **kwargs)


def test_panel_picking_baselines_by_hand():
    batch = batch_of("panel_picking")
    mean_scores, last_scores = context_mean_cosine(batch), last_panel_cosine(batch)
    for question, asked in enumerate(batch["mask_position"]):
        mask = batch["attention_mask"][question].astype(bool)
        panels = [p for slot, p in enumerate(batch["panel_embeddings"][question]) if mask[slot] and slot != asked]
        mean = np.mean([panel / np.linalg.norm(panel) for panel in panels], axis=0)
        neighbour = batch["panel_embeddings"][question, asked - 1 if asked else 1]
        for k, candidate in enumerate(batch["candidate_embeddings"][question]):
            if batch["candidate_mask"][question, k]:
                assert np.isclose(mean_scores[question, k], cosine(mean, candidate), atol=1e-6)
                assert np.isclose(last_scores[question, k], cosine(neighbour, candidate), atol=1e-6)
            else:
                assert mean_scores[question, k] == last_scores[question, k] == -np.inf


def test_baselines_of_the_other_tasks_compare_like_with_like():
    closure = batch_of("visual_closure")
    for question, count in enumerate(closure["attention_mask"].sum(1)):
        last = closure["panel_embeddings"][question, count - 1]
        assert np.isclose(
            last_panel_cosine(closure)[question, 0], cosine(last, closure["candidate_embeddings"][question, 0])
        )
    cloze = batch_of("text_cloze")
    other_text = cloze["text_embeddings"][2, 1 - cloze["mask_position"][2]]
    expected = cosine(other_text, cloze["candidate_text_embeddings"][2, 0])
    assert np.isclose(context_mean_cosine(cloze)[2, 0], expected)
    caption = batch_of("caption_relevance")
    expected = cosine(caption["caption_embeddings"][0], caption["candidate_embeddings"][0, 1])
    assert np.isclose(context_mean_cosine(caption)[0, 1], expected)
