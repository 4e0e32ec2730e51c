from __future__ import annotations

import numpy as np
import pytest
import torch

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.evaluation.ablations import candidates_only, shuffled_context, without_context
from modeling_comicseq.evaluation.ordering import pair_logits
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.tasks import TASKS

from ..closeness import assert_close
from ..data.made_dataset import identities, made_table
from ..model_inputs import tiny_config
from ..tasks.questions import draw_question_set

ABLATIONS = {name: task.ablations for name, task in TASKS.items() if task.protocols}
BOOKS = [[5, 6, 4, 3], [6, 5, 7]]
CONTEXT = ("panel_embeddings", "text_embeddings", "caption_embeddings")


@pytest.fixture(scope="module")
def model() -> ComicSeqForPreTraining:
    torch.manual_seed(0)
    dims = {f"{name}_embedding_dim": 4 for name in ("panel", "text", "visual", "caption")}
    model = ComicSeqForPreTraining(tiny_config(**dims)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def batch_of(task: str) -> tuple[dict, np.ndarray]:
    questions = draw_question_set(made_table(BOOKS), task, num_candidates=3, seed=2)
    return questions.batch(made_table(BOOKS), slice(0, len(questions))), np.arange(len(questions))


def with_other_context(batch: dict) -> dict:
    """The same question in a context of garbage."""
    generator = np.random.default_rng(0)
    return batch | {n: generator.standard_normal(batch[n].shape).astype(np.float32) for n in CONTEXT if n in batch}


@pytest.mark.parametrize("task", ABLATIONS)
def test_without_context_no_context_is_read(model, task):
    batch, numbers = batch_of(task)
    assert not np.allclose(model_logits(model, task, batch), model_logits(model, task, with_other_context(batch)))
    expected = model_logits(model, task, without_context(batch, numbers))
    found = model_logits(model, task, without_context(with_other_context(batch), numbers))
    assert np.isfinite(expected).all() and np.array_equal(found, expected)


@pytest.mark.parametrize(
    "task", ["panel_picking", "character_coherence", "text_cloze", "visual_closure", "text_closure"]
)
def test_candidates_only_neither_reads_position_nor_picture(model, task):
    batch, numbers = batch_of(task)
    expected = model_logits(model, task, candidates_only(batch, numbers))
    other = with_other_context(batch)
    if "visual_embedding" in other:
        other["visual_embedding"] = other["visual_embedding"] + 1
        bare = model_logits(model, task, without_context(batch, numbers))
        assert not np.allclose(bare, model_logits(model, task, without_context(other, numbers)))
    if "candidate_position" in other:  # another place is asked for
        other["candidate_position"] = other["candidate_position"] + 1
        bare = model_logits(model, task, without_context(batch, numbers))
        assert not np.allclose(bare, model_logits(model, task, without_context(other, numbers)))
    if "mask_position" in other:  # another slot is asked for
        other["mask_position"] = (other["mask_position"] + 1) % batch["attention_mask"].sum(1)
    found = model_logits(model, task, candidates_only(other, numbers))
    assert_close(found, expected)


@pytest.mark.parametrize("task", [task for task in ABLATIONS if task != "caption_relevance"])
def test_shuffling_keeps_panels_slots_and_the_question(task):
    batch, numbers = batch_of(task)
    shuffled = shuffled_context(batch, numbers)
    moved = 0
    for question in numbers:
        before, after = (identities(b["panel_embeddings"][question]) for b in (batch, shuffled))
        assert sorted(filter(None, after)) == sorted(filter(None, before))
        assert [panel is None for panel in after] == [panel is None for panel in before]
        moved += after != before
        if "text_embeddings" in batch:
            assert [t and t[2] for t in identities(shuffled["text_embeddings"][question])] == [
                t and t[2] for t in after
            ]
    assert moved > 1
    assert all(shuffled[name] is batch[name] for name in batch if name not in ("panel_embeddings", "text_embeddings"))
    # A question is shuffled in the same way in any batch.
    part = {name: value[2:4] if isinstance(value, np.ndarray) else value for name, value in batch.items()}
    again = shuffled_context(part, numbers[2:4])
    assert np.array_equal(again["panel_embeddings"], shuffled["panel_embeddings"][2:4])


@pytest.mark.parametrize("task", ABLATIONS)
def test_no_two_rows_are_the_same_by_construction(model, task):
    batch, numbers = batch_of(task)
    variants = [batch, *(ablate(batch, numbers) for ablate in ABLATIONS[task].values())]
    logits = [model_logits(model, task, variant) for variant in variants]
    for number, first in enumerate(logits):
        for second in logits[:number]:
            assert np.abs(first - second).max() > 1e-4


def test_pairs_are_scored_as_pages_of_their_own(model):
    questions = draw_question_set(made_table(BOOKS), "reading_order")
    batch = questions.batch(made_table(BOOKS), slice(0, len(questions)))
    scores = pair_logits(model, batch)
    for page, i, j in ((0, 0, 2), (3, 4, 1)):
        pair = {"panel_embeddings": batch["panel_embeddings"][page : page + 1, [i, j]]}
        pair["attention_mask"] = np.ones((1, 2), dtype=np.int64)
        expected = model_logits(model, "reading_order", pair)[0]
        assert_close(scores[page, i, j], expected[0, 1])
        assert_close(scores[page, j, i], expected[1, 0])
    assert not scores[batch["attention_mask"] == 0].any()
