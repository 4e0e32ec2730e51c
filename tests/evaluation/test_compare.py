from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from modeling_comicseq.evaluation.compare import compare
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.plots import plot_results
from modeling_comicseq.evaluation.report import print_results, report_markdown
from modeling_comicseq.evaluation.scoring import score_model
from modeling_comicseq.evaluation.strips import MEAN_POOL, retrieve

from ..data.made_dataset import made_table
from ..tasks.questions import draw_question_set
from .test_scoring import tiny_model

BOOKS = [[3, 4, 2, 5], [3, 3], [6, 4, 2]]


def seeded_model(**changes):
    """The same one each time."""
    torch.manual_seed(0)
    return tiny_model(**changes)


def compared(task="panel_picking", protocol="same_book", models=("first", "second"), **kwargs):
    table = made_table(BOOKS)
    questions = draw_question_set(table, task, protocol, repeats=2)
    results, differences = compare({name: seeded_model() for name in models}, table, questions, **kwargs)
    return table, questions, {result.answerer: result for result in results}, differences


def test_every_answerer_is_put_the_same_questions():
    table, questions, results, _ = compared(models=("model",))
    assert list(results) == [
        "chance",
        "last-panel cosine",
        "context-mean cosine",
        "farthest from the context",
        "model, without context",
        "model, shuffled context",
        "model, candidates only",
        "model",
    ]
    assert {(r.num_questions, r.num_books, r.questions) for r in results.values()} == {(18, 3, questions.fingerprint)}
    assert results["chance"].score.mean == pytest.approx(np.mean([1 / 5] * 8 + [1 / 4] * 4 + [1 / 5] * 6), abs=0.05)


def test_a_model_s_score_is_that_of_the_training_s_validation():
    table, questions, results, _ = compared(models=("model",))
    right = score_model(seeded_model(), questions.task, questions.batches(table, 7))
    assert results["model"].score.mean == pytest.approx(right.mean())
    interval = bootstrap_mean(right, table.books[questions.rows])
    assert (results["model"].score.low, results["model"].score.high) == pytest.approx(interval[1:])


def test_differences_are_paired():
    _, _, results, differences = compared()
    pairs = {(d.answerer, d.minus) for d in differences}
    assert ("first", "second") in pairs and ("second", "first") not in pairs
    assert ("second", "context-mean cosine") in pairs and ("second", "second, without context") in pairs
    assert ("second", "first, without context") not in pairs
    for d in differences:
        means = [results[name].metrics[d.metric].mean for name in (d.answerer, d.minus)]
        assert d.difference.mean == pytest.approx(means[0] - means[1])
    # The two models are one and the same: the paired interval is nothing wide, whatever their own are.
    same = next(d for d in differences if (d.answerer, d.minus) == ("first", "second"))
    assert same.difference.low == same.difference.high == 0 < results["first"].score.high - results["first"].score.low


def test_groups_share_out_the_questions():
    _, questions, results, _ = compared()
    result = results["first"]
    for groups in (result.by_page_length, result.by_candidates):
        assert sum(group.num_questions for group in groups) == len(questions)
        total = sum(group.score.mean * group.num_questions for group in groups)
        assert total / len(questions) == pytest.approx(result.score.mean)
    assert [group.value for group in result.by_page_length] == [2, 3, 4, 5, 6]


def test_reading_order_has_its_own_rows_and_metrics():
    _, questions, results, _ = compared("reading_order", models=("model",))
    assert list(results) == ["chance", "nearest-neighbour chain", "model, without context", "model"]
    assert list(results["model"].metrics) == ["pairwise accuracy", "perfect match", "Kendall's tau"]
    chance = results["chance"].metrics
    lengths = [n for book in BOOKS for n in book] * 2
    expected = np.mean([1 / np.prod(np.arange(1, n + 1)) for n in lengths])
    assert [score.mean for score in chance.values()] == pytest.approx([0.5, expected, 0.0])
    assert results["model"].by_candidates == []


@pytest.mark.parametrize(
    "task", ["reading_order", "panel_picking", "visual_closure", "text_cloze", "caption_relevance"]
)
def test_with_boxes_there_are_rows_of_boxes_alone_and_content_alone(task):
    """Of a model that reads boxes; what geometry alone answers is fitted on another split, and tells what it lacks."""
    books = [[4, 3, 5, 2]] * 6
    table, training = made_table(books, boxes=True), made_table(books, boxes=True)
    questions, notes = draw_question_set(table, task, "same_book", num_candidates=3), []
    blind, reader = seeded_model(), seeded_model(box_embedding=True)
    for name, weight in reader.named_parameters():  # the boxes' weights begin as zero
        if "box" in name:
            torch.nn.init.normal_(weight, std=0.5)
    found, _ = compare({"blind": blind, "reader": reader}, table, questions, training=training, note=notes.append)
    rows = {result.answerer: result.score.mean for result in found}
    of_boxes = {
        name.removeprefix("reader, ") for name in rows if name.endswith((" alone", "order", "XY-cut", "predictor"))
    }
    rules = {"raster order", "XY-cut", "packaged predictor"} if task == "reading_order" else {"geometry alone"}
    expected = {
        "text_cloze": {"content alone"} | rules,
        "caption_relevance": set(),
    }.get(task, {"boxes alone", "content alone"} | rules)
    assert of_boxes == expected and not notes
    if task != "caption_relevance":
        again, _ = compare({"reader": reader}, made_table(books), questions)
        assert rows["reader, content alone"] == next(r.score.mean for r in again if r.answerer == "reader")
    if "boxes alone" in expected:  # whatever the panels of the context show
        batch = questions.batch(table, slice(0, 9))
        other = batch | {"panel_embeddings": 9 - batch["panel_embeddings"]}
        scores = [questions.task.ask(reader, each, np.arange(9)) for each in (batch, other)]
        assert all(np.array_equal(scores[0]["boxes alone"][m], scores[1]["boxes alone"][m]) for m in scores[0][""])
        assert "boxes alone" not in questions.task.ask(blind, batch, np.arange(9))
    compare({"blind": blind}, table, questions, note=notes.append)
    assert [note[:20] for note in notes] == ["No geometry baseline"] * ("geometry alone" in expected)


def test_strip_vectors_stand_beside_mean_pooling():
    table = made_table([[4, 4, 6], [5, 4], [4]])
    results, differences = retrieve({"model": seeded_model()}, table)
    found = {(result.task, result.answerer): result for result in results}
    same = found["same_book_retrieval", "chance"]
    # Five pages have a mate: two of five others in the first book, one of five in the second.
    assert same.score.mean == pytest.approx((3 * 2 / 5 + 2 * 1 / 5) / 5) and same.num_questions == 5
    assert found["half_page_retrieval", "chance"].score.mean == pytest.approx(1 / 6)
    assert {answerer for _, answerer in found} == {"chance", MEAN_POOL, "model"}
    for d in differences:
        mine, other = (found[d.task, name].metrics[d.metric].mean for name in ("model", MEAN_POOL))
        assert d.difference.mean == pytest.approx(mine - other)


def test_data_without_mates_have_no_retrieval():
    assert retrieve({"model": seeded_model()}, made_table([[1], [1]])) == ([], [])


def test_a_single_book_is_scored_without_intervals(tmp_path):
    table = made_table([[3, 4, 5]])
    results, differences = compare({"model": seeded_model()}, table, draw_question_set(table, "panel_picking"))
    assert all(np.isnan(result.score.low) and np.isfinite(result.score.mean) for result in results)
    console = Console(file=io.StringIO(), width=120, record=True)
    print_results(results, differences, console)
    assert "nan" not in console.export_text() + report_markdown(results, differences, {}, [], [])
    assert plot_results(results, tmp_path)
