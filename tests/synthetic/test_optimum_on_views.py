"""From the store over conversion and the package's questions to the exact answers, as run_eval goes."""

from __future__ import annotations

import numpy as np
import pytest

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.evaluation.compare import compare
from modeling_comicseq.evaluation.metrics import top1_accuracy
from modeling_comicseq.synthetic.optimum import candidate_log_ratio, joint_log_posterior
from modeling_comicseq.synthetic.order_optimum import order_posterior
from modeling_comicseq.tasks.multiple_choice import right_candidates

from ..tasks.questions import draw_question_set, iterate_questions
from .synthetic_questions import SHOWN

QUESTIONS = [
    *((task, "same_book") for task in SHOWN),
    ("panel_picking", "cross_book"),
    ("text_cloze", "in_page"),
    ("visual_closure", "in_page"),
    ("text_closure", "later_panels"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "protocol"), QUESTIONS)
def test_stated_confidence_is_the_accuracy(data, task, protocol):
    table, world = data
    hits, stated, alone = [], [], []
    for _, batch in iterate_questions(table, task, protocol=protocol):
        joint = joint_log_posterior(batch, world, protocol, shown=SHOWN[task])
        hits.append(top1_accuracy(joint, right_candidates(batch)))
        stated.append(np.exp(joint.max(1)))
        alone.append(
            top1_accuracy(candidate_log_ratio(batch, world, protocol, shown=SHOWN[task]), right_candidates(batch))
        )
    hit, confidence = np.concatenate(hits), np.concatenate(stated)
    deviation = np.sqrt((confidence * (1 - confidence)).sum()) / len(hit)
    assert len(hit) > 400 and hit.mean() > 0.7
    assert abs(hit.mean() - confidence.mean()) < 3.5 * deviation + 1e-6
    assert np.concatenate(alone).mean() < hit.mean() + 0.02


def test_order_of_shuffled_pages(data):
    table, world = data
    for _, batch in iterate_questions(table, "reading_order"):
        short = batch["attention_mask"].sum(1) <= 5
        if short.any():
            posterior = order_posterior(batch["panel_embeddings"][short], batch["attention_mask"][short], world)
            follows = np.where(batch["labels"][short] == 1, 1, 0)
            labels, counted = follows, batch["labels"][short] >= 0
            for _ in range(labels.shape[1]):  # what comes anywhere after
                labels = np.maximum(labels, np.minimum(labels @ follows, 1))
            assert ((posterior.precedence > 0.5) == labels)[counted].mean() > 0.7


def untrained_model() -> ComicSeqForPreTraining:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return ComicSeqForPreTraining(ComicSeqConfig(panel_embedding_dim=32, **sizes))


ROWS = [
    *((task, "same_book") for task in SHOWN),
    ("character_coherence", "cross_book"),
    ("text_cloze", "cross_book"),
    ("panel_picking", "in_page"),
    ("visual_closure", "in_page"),
    ("text_closure", "later_panels"),
    ("reading_order", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "protocol"), ROWS)
def test_the_optimum_is_above_every_other_row(data, task, protocol):
    table, world = data
    results, _ = compare({"model": untrained_model()}, table, draw_question_set(table, task, protocol), world=world)
    name = "optimum (up to 7 panels)" if task == "reading_order" else "optimum"
    optimum = next(result for result in results if result.answerer == name)
    assert optimum.role == "optimum"
    for metric, best in optimum.metrics.items():
        for other in results:
            # The two optima agree but for luck where candidates hardly tell about each other.
            luck = 0.01 if other.answerer == "optimum, one candidate" else 0.0
            assert best.mean >= other.metrics[metric].mean - luck, (other.answerer, metric)


def test_more_candidates_than_pages_drop_the_optimum_with_a_note(data):
    table, world = data
    notes: list[str] = []
    questions = draw_question_set(table, "panel_picking", num_candidates=9)
    results, _ = compare({"model": untrained_model()}, table, questions, world=world, note=notes.append)
    assert {result.role for result in results} == {"baseline", "ablation", "model"}
    assert len(notes) == 1 and "No optimum for panel_picking, same_book" in notes[0]
    questions = draw_question_set(table, "visual_closure", "later_panels", num_candidates=9)
    results, _ = compare({"model": untrained_model()}, table, questions, world=world, note=notes.append)
    assert len(notes) == 2 and "at most 8 candidates" in notes[1]
    questions = draw_question_set(table, "visual_closure", "in_page", num_candidates=9)
    compare({"model": untrained_model()}, table, questions, world=world, note=notes.append)
    assert "No optimum for visual_closure, in_page (leaky): " in notes[2]


@pytest.mark.slow
def test_the_model_is_also_scored_on_the_pages_of_the_order_optimum(data):
    table, world = data
    questions = draw_question_set(table, "reading_order", repeats=2)
    results, differences = compare({"model": untrained_model()}, table, questions, world=world)
    subset = next(result for result in results if result.role == "subset")
    short = int((table.num_panels[questions.rows] <= 7).sum())
    assert subset.num_questions == short < len(questions)
    whole = next(result for result in results if result.role == "model")
    pages = {group.value: group.score.mean for group in whole.by_page_length}
    assert {group.value: group.score.mean for group in subset.by_page_length} == {
        length: score for length, score in pages.items() if length <= 7
    }
    gap = next(d for d in differences if d.minus == "optimum (up to 7 panels)" and d.metric == "pairwise accuracy")
    optimum = next(result for result in results if result.role == "optimum")
    assert gap.difference.mean == pytest.approx(subset.score.mean - optimum.score.mean)
