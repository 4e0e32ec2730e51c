"""That training reaches what it should: gradients everywhere, and questions that can be learned by heart are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.views import to_tensors
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.model.packing_comicseq import ComicSeqView

from ..data.made_dataset import COLUMNS, made_dataset
from ..tasks.questions import build_questions, halves, judge, masked

# A constant added to all scores of a softmax changes nothing.
SHIFT_INVARIANT = (
    "k_proj.bias",
    "panel_picking_head.scorer.mlp.3.bias",
    "visual_closure_head.scorer.mlp.5.bias",
    "text_closure_head.scorer.mlp.5.bias",
    "caption_relevance_head.scorer.bias",
    "text_cloze_head.scorer.bias",
)
TASKS = list(DEFAULT_TASK_WEIGHTS)


def small_model(**changes) -> ComicSeqForPreTraining:
    torch.manual_seed(0)
    fields = {"panel_embedding_dim": 24, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    fields |= {"intermediate_size": 96, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return ComicSeqForPreTraining(ComicSeqConfig(**(fields | changes)))


def frozen_questions(num_books: int = 16) -> tuple[dict[str, dict], dict]:
    """Questions of every task and the strips of four pages a book, as arrays."""
    dataset = made_dataset([[4, 5, 6, 3]] * num_books)
    generator = np.random.default_rng(0)
    for column in COLUMNS:
        vectors = [generator.normal(size=24 * count).astype(np.float32).tolist() for count in dataset["num_panels"]]
        dataset = dataset.remove_columns(column).add_column(column, vectors)
    table = PanelTable(dataset.cast(made_dataset([[1]]).features))
    rows = np.arange(len(table))
    draws = Draws(0, 0, rows)
    questions = {task: build_questions(table, task, rows, draws) for task in TASKS}
    strips = to_tensors(halves(table, rows, draws))
    strips["masked_panels"] = to_tensors(masked(table, rows, draws))
    return questions, strips


def check_every_layer_is_reached(model: ComicSeqForPreTraining, task: str) -> None:
    # Caption and panel are encoded apart: a token that sees only itself has nothing to choose with queries and keys.
    idle = ("q_proj.weight", "q_proj.bias", "k_proj.weight") if task == "caption_relevance" else ()
    norms = [
        min(p.grad.norm().item() for name, p in layer.named_parameters() if not name.endswith(("k_proj.bias", *idle)))
        for layer in model.comicseq.layers
    ]
    largest = max(p.grad.norm().item() for p in model.comicseq.parameters() if p.grad is not None)
    assert min(norms) > 1e-6 * largest, norms


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_each_task_alone_reaches_every_layer(task):
    model = small_model().train()
    questions, _ = frozen_questions(num_books=4)
    model(**{task: to_tensors(questions[task])}).loss.backward()
    check_every_layer_is_reached(model, task)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["context", "candidates"])
@pytest.mark.parametrize("task", [task for task in TASKS if task != "reading_order"])
def test_context_and_candidates_each_go_through_every_layer(task, side, monkeypatch):
    """A head that reads one of them without the encoder leaves the layers no gradient from that side."""
    ordinary = ComicSeqView.split

    def split(view, hidden_states):
        panels, candidates = ordinary(view, hidden_states)
        return (panels, candidates.detach()) if side == "context" else (panels.detach(), candidates)

    monkeypatch.setattr(ComicSeqView, "split", split)
    model = small_model().train()
    questions, _ = frozen_questions(num_books=4)
    model(**{task: to_tensors(questions[task])}).loss.backward()
    check_every_layer_is_reached(model, task)


def test_all_objectives_together_reach_every_parameter():
    model = small_model(masked_panel_weight=1.0).train()
    questions, strips = frozen_questions()
    model(**{task: to_tensors(batch) for task, batch in questions.items()}, **strips).loss.backward()
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    unreached = {name for name, norm in norms.items() if norm < 1e-9 * max(norms.values())}  # rounding is below 1e-10
    assert unreached == {name for name in norms if name.endswith(SHIFT_INVARIANT)}


@pytest.mark.slow
def test_frozen_questions_are_learned_by_heart():
    """64 pages: more than 99 % right in every task."""
    model = small_model(hidden_size=64, num_hidden_layers=2, intermediate_size=128).train()
    questions, _ = frozen_questions()
    assert {task: len(batch["labels"]) for task, batch in questions.items()} == dict.fromkeys(TASKS, 64)
    inputs = {task: to_tensors(batch) for task, batch in questions.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    accuracy: dict[str, float] = {}
    for step in range(400):
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 24:
            accuracy = {
                task: judge(task, batch, model_logits(model, task, batch)).mean() for task, batch in questions.items()
            }
            if min(accuracy.values()) > 0.99:
                break
    assert min(accuracy.values()) > 0.99, accuracy
