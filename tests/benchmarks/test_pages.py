"""What is measured about pages: who is shown what, which books are held out, and how far a model is on the way to the oracle."""

from __future__ import annotations

import argparse
import random

import numpy as np
import pytest

from benchmarks.pages import INPUTS, asked_tasks, known_by_oracle, models_of, share_of_the_way, shown_as, sides_of
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.pages.drawn.corpus import plan_corpus
from modeling_comicseq.tasks import TASKS
from tests.data.made_dataset import COLUMNS, made_table


def options(**given):
    return argparse.Namespace(**{"folds": 2, "test_books": 0, "validation_books": 0, "ask_validation": False} | given)


def test_no_book_is_asked_that_was_learned_from():
    books = list("abcdefg")
    folds = sides_of(options(folds=3), books)
    assert sorted(book for fold in folds for book in fold["test"]) == books
    assert all(not set(fold["train"]) & set(fold["test"]) for fold in folds)
    (test,) = sides_of(options(test_books=2, validation_books=1), books)
    (validation,) = sides_of(options(test_books=2, validation_books=1, ask_validation=True), books)
    assert test == {"train": list("defg"), "test": ["a", "b"]} and validation == {"train": list("defg"), "test": ["c"]}


def test_a_model_is_half_way_between_cosine_and_oracle():
    books = np.repeat(np.arange(10), 20)
    low, high = np.tile([0.0, 1.0, 0.0, 0.0], 50), np.ones(200)
    share, least, most = share_of_the_way(low + (high - low) / 2, low, high, books)
    assert share == pytest.approx(0.5) and least == pytest.approx(0.5) and most == pytest.approx(0.5)
    share, least, most = share_of_the_way(low, low, high, books)
    assert (share, least, most) == (0, 0, 0)


def test_a_model_is_shown_what_the_inputs_say():
    table = made_table([[3, 4], [2, 5]])
    for inputs, column in (
        ("pictures", "visual_embeddings"),
        ("texts", "text_embeddings"),
        ("both", "panel_embeddings"),
    ):
        shown = shown_as(table, inputs)
        first = shown.gather("panel_embeddings", np.array([0]))
        assert (first == table.gather(column, np.array([0]))).all()
        assert set(shown.columns) == {"panel_embeddings", *INPUTS[inputs][1]}
    assert "text_embeddings" not in shown_as(table, "pictures") and set(table.columns) == set(COLUMNS)


def test_only_what_can_be_asked_is_asked():
    table = made_table([[3, 4], [2, 5]], columns=COLUMNS[:3])
    names = [task.name for task in asked_tasks(shown_as(table, "texts"), "texts", None)]
    assert names == ["panel_picking", "text_closure", "text_cloze", "character_coherence", "reading_order"]
    assert [task.name for task in asked_tasks(shown_as(table, "both"), "both", ["text_cloze"])] == ["text_cloze"]


@pytest.mark.parametrize("name", ["panel_picking", "visual_closure"])
def test_the_oracle_knows_what_is_drawn(name):
    pages = list(plan_corpus(range(3)))
    counts = [[len(page["panels"]) for page in pages[start : start + 8]] for start in (0, 8, 16)]
    table = made_table(counts)
    questions = draw_question_set(table, TASKS[name], repeats=2)
    panels = [panel for page in pages for panel in page["panels"]]
    right = known_by_oracle(panels, table, TASKS[name], questions)
    assert len(right) == len(questions) and right.mean() > 0.85
    others = random.Random(0).sample(panels, len(panels))
    assert known_by_oracle(others, table, TASKS[name], questions).mean() < 0.6


def test_models_are_kept_and_asked_elsewhere(tmp_path):
    table = shown_as(made_table([[3, 4, 3]] * 3, columns=COLUMNS[:3]), "both")
    tasks = asked_tasks(table, "both", ["panel_picking"])
    (tmp_path / "tiny.json").write_text(
        '{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}'
    )
    training = {"config": str(tmp_path / "tiny.json"), "steps": 2, "learning_rate": 1e-3, "dropout": 0.1}
    training |= {"boxes": None, "readers": ["none"], "model": None}
    (first,) = models_of(options(**training), table, tasks, "both", 3, tmp_path / "kept").values()
    named = options(**training | {"model": str(tmp_path / "kept/{inputs}/none/{seed}")})
    found = models_of(named, table, tasks, "both", 3)
    assert set(found) == {"trained from scratch", "pretrained", "pretrained, tuned"}
    weights = {name: model.state_dict() for name, model in found.items()}
    assert all((value == first.state_dict()[name]).all() for name, value in weights["pretrained"].items())
    assert any((value != weights["pretrained"][name]).any() for name, value in weights["pretrained, tuned"].items())
