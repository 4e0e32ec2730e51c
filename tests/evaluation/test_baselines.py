from __future__ import annotations

import numpy as np

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.evaluation.baselines import (
    context_mean_cosine,
    farthest_from_context,
    last_panel_cosine,
    nearest_neighbour_chain,
)
from modeling_comicseq.tasks import TASKS

from ..closeness import assert_close
from ..data.made_dataset import made_table
from ..tasks.questions import build_questions


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
                assert_close(mean_scores[question, k], cosine(mean, candidate))
                assert_close(last_scores[question, k], cosine(neighbour, candidate))
            else:
                assert mean_scores[question, k] == last_scores[question, k] == -np.inf


def test_baselines_of_the_other_tasks_compare_like_with_like():
    closure = batch_of("visual_closure")
    for question, count in enumerate(closure["attention_mask"].sum(1)):
        last = closure["panel_embeddings"][question, count - 1]
        assert_close(
            last_panel_cosine(closure)[question, 0], cosine(last, closure["candidate_embeddings"][question, 0])
        )
    cloze = batch_of("text_cloze")
    other_text = cloze["text_embeddings"][2, 1 - cloze["mask_position"][2]]
    expected = cosine(other_text, cloze["candidate_text_embeddings"][2, 0])
    assert_close(context_mean_cosine(cloze)[2, 0], expected)
    caption = batch_of("caption_relevance")
    expected = cosine(caption["caption_embeddings"][0], caption["candidate_embeddings"][0, 1])
    assert_close(context_mean_cosine(caption)[0, 1], expected)


def test_farthest_is_right_where_wrong_candidates_stand_in_the_context():
    batch = batch_of("panel_picking")
    real = batch["candidate_mask"].astype(bool)
    assert np.array_equal(farthest_from_context(batch)[real], -context_mean_cosine(batch)[real])
    assert (farthest_from_context(batch)[~real] == -np.inf).all()
    batch = batch_of("panel_picking", protocol="in_page")
    best = farthest_from_context(batch).argmax(1)
    # The page's corners apart, the one panel that the context lacks is least like it.
    assert (best == batch["labels"]).mean() > np.mean(1 / batch["candidate_mask"].sum(1))


def test_no_two_baselines_are_the_same_by_construction():
    for task in ("panel_picking", "visual_closure", "caption_relevance", "text_cloze"):
        scores = [baseline(batch_of(task)) for baseline in TASKS[task].scorers(made_table([[2]]), print).values()]
        for number, first in enumerate(scores):
            for second in scores[:number]:
                assert not np.allclose(np.nan_to_num(first, neginf=0), np.nan_to_num(second, neginf=0))


def test_nearest_neighbour_chain_by_hand():
    angles = np.deg2rad([50, 0, 90, 20, 0])  # the second is least like the others; the last slot is padding
    panels = np.stack((np.cos(angles), np.sin(angles)), axis=1)[None].astype(np.float32)
    batch = {"panel_embeddings": panels, "attention_mask": np.asarray([[1, 1, 1, 1, 0]])}
    unit = panels[0, :4]
    start = int((unit @ unit.T).sum(1).argmin())
    (order,) = nearest_neighbour_chain(batch)
    assert order.tolist() == ([2, 0, 3, 1] if start == 2 else [1, 3, 0, 2])
