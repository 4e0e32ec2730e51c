from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.evaluation import questions as module
from modeling_comicseq.evaluation.question_sets import freeze, load_questions
from modeling_comicseq.evaluation.questions import split_fingerprint
from modeling_comicseq.tasks import TASKS as ALL
from modeling_comicseq.tasks import get_tasks

from ..data.made_dataset import made_table
from ..tasks.questions import build_questions, draw_question_set, iterate_questions

BOOKS = [[3, 4, 2, 5, 6], [3, 3, 1, 7], [4]]
TASKS = [
    "panel_picking",
    "character_coherence",
    "visual_closure",
    "text_closure",
    "caption_relevance",
    "text_cloze",
    "reading_order",
]


def frozen(folder, table, **kwargs):
    names = kwargs.pop("tasks", ["all"])
    freeze(table, folder, split="test", tasks=get_tasks(names), **kwargs)
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_a_question_is_what_the_views_build(task):
    table = made_table(BOOKS)
    questions = draw_question_set(table, task, "cross_book", num_candidates=4, seed=5)
    for number in range(len(questions)):
        batch = questions.batch(table, slice(number, number + 1))
        row = questions.rows[number : number + 1]
        expected = build_questions(table, task, row, Draws(5, 0, row), 4, "cross_book")
        assert batch.keys() == expected.keys()
        for name in batch:
            assert np.array_equal(batch[name], expected[name]), name


def test_repeats_ask_other_questions_of_the_same_pages():
    questions = draw_question_set(made_table([[6, 6, 6, 6]]), "panel_picking", repeats=2)
    assert sorted(questions.rows) == [0, 0, 1, 1, 2, 2, 3, 3]
    first, second = (
        questions.drawn.slots[[np.flatnonzero(questions.rows == row)[n] for row in range(4)]] for n in (0, 1)
    )
    assert not np.array_equal(first, second)
    shuffles = draw_question_set(made_table([[8] * 5]), "reading_order", repeats=3).drawn.shuffles
    assert (np.sort(shuffles, axis=1) == np.arange(8)).all() and len(np.unique(shuffles, axis=0)) > 10


def test_questions_without_a_distractor_are_not_asked():
    assert sorted(draw_question_set(made_table([[3, 2], [4]]), "panel_picking").rows) == [0, 1]


@pytest.mark.parametrize("task", TASKS)
def test_a_page_in_several_windows_asks_as_often_as_any_other(task):
    table = made_table([[19, 3, 9], [4, 2, 1]], window=4)
    for repeats in (1, 3):
        questions = draw_question_set(table, task, repeats=repeats)
        pages, counts = np.unique(table.pages[questions.rows], return_counts=True)
        assert pages.tolist() == ([0, 1, 2, 3, 4, 5] if task == "caption_relevance" else [0, 1, 2, 3, 4])
        assert (counts == repeats).all()
    # The windows take turns: after as many repeats as the page has windows, each has been asked.
    windows = np.flatnonzero(table.pages == 0)
    asked = draw_question_set(table, task, repeats=len(windows)).rows
    assert set(windows) <= set(asked) and len(windows) == 6
    first = {row for seed in range(20) for row in draw_question_set(table, task, seed=seed).rows}
    assert len(first & set(windows)) > 2  # which is first is drawn


def test_batches_are_of_pages_of_about_one_length():
    table = made_table([[3, 9, 4, 8, 3, 9]])
    lengths = [
        table.num_panels[rows] for rows, _ in iterate_questions(table, "panel_picking", repeats=2, batch_size=4)
    ]
    assert np.array_equal(np.concatenate(lengths), np.sort(np.concatenate(lengths)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.sampled_from(TASKS), st.integers(0, 100))
def test_how_many_are_drawn_at_a_time_changes_nothing(chunk, task, seed):
    table = made_table(BOOKS)
    expected = draw_question_set(table, task, seed=seed, repeats=2).fingerprint
    whole, module._CHUNK = module._CHUNK, chunk
    try:
        assert draw_question_set(table, task, seed=seed, repeats=2).fingerprint == expected
    finally:
        module._CHUNK = whole


def test_frozen_questions_are_those_that_are_drawn_on_the_fly(tmp_path):
    table = made_table(BOOKS)
    loaded = load_questions(frozen(tmp_path / "set", table, seed=3, repeats=2, num_candidates=4), table, "data", ALL)
    assert (loaded.split, loaded.num_candidates, loaded.seed, loaded.repeats) == ("test", 4, 3, 2)
    assert len(loaded.sets) == 6 * 2 + 1
    for questions in loaded.sets:
        drawn = draw_question_set(table, questions.task.name, questions.protocol or "same_book", 4, 3, 2)
        assert questions.fingerprint == drawn.fingerprint
        for (_, mine), (_, other) in zip(questions.batches(table, 5), drawn.batches(table, 5), strict=True):
            assert all(np.array_equal(mine[name], other[name]) for name in mine)
    rows = load_from_disk(str(tmp_path / "set"))
    assert len(rows) == sum(map(len, loaded.sets)) and set(rows["book_id"]) <= set(table.book_ids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


CAST = [[[[f"{page}-{slot % 2}"] for slot in range(count)] for page, count in enumerate(pages)] for pages in BOOKS]
TABLES = {
    "whole": lambda: made_table(BOOKS),
    "windows": lambda: made_table([[19, 3, 9], [4, 2, 1]], window=4),
    "cast": lambda: made_table(BOOKS, characters=CAST),
}
# Frozen sets are opened for years: a change of these fingerprints means that none of those out there opens any more.
FINGERPRINTS = {
    ("whole", "panel_picking", "same_book"): "xxh3:c35a75d9153a4f0f6a4d846a62d9b5b1",
    ("whole", "panel_picking", "in_page"): "xxh3:f49b866b3d1fd639d8d8a92436c6cee0",
    ("whole", "visual_closure", "cross_book"): "xxh3:ba02a1e39fae41f2b098f6a7b57d135c",
    ("whole", "visual_closure", "later_panels"): "xxh3:1525dd11543be88b5f8fc772958aec15",
    ("whole", "text_closure", "same_book"): "xxh3:ddd8acde3ce1624f525fc9d982b8ec6a",
    ("whole", "caption_relevance", "cross_book"): "xxh3:a71a4f2e0309cee61a3fc02bb4b3440b",
    ("whole", "text_cloze", "same_book"): "xxh3:3c63cc694aebe88dbfde19e0f1db5c28",
    ("whole", "character_coherence", "same_book"): "xxh3:d2dc5c2446692b10235fa8c862c22920",
    ("cast", "character_coherence", "same_book"): "xxh3:925a0c0b49ef5663e4d8c768659b9339",
    ("windows", "panel_picking", "same_book"): "xxh3:fcd391e1e355ed9a07a893f9a881d838",
    ("windows", "reading_order", ""): "xxh3:b56fead16972c5b24c2f180cb31edcac",
}


@pytest.mark.parametrize("data, task, protocol", FINGERPRINTS)
def test_questions_are_those_of_earlier_versions(data, task, protocol):
    questions = draw_question_set(TABLES[data](), task, protocol or "same_book", num_candidates=4, seed=3, repeats=2)
    assert len(questions) > 0
    assert questions.fingerprint == FINGERPRINTS[data, task, protocol]


def test_other_arguments_are_other_questions():
    table = made_table(BOOKS)
    same = {"task": "panel_picking", "protocol": "same_book", "num_candidates": 4, "seed": 0, "repeats": 1}
    changes = [
        {},
        {"task": "text_cloze"},
        {"protocol": "cross_book"},
        {"num_candidates": 5},
        {"seed": 1},
        {"repeats": 2},
    ]
    sets = [draw_question_set(table, **(same | change)) for change in changes]
    assert len({questions.fingerprint for questions in sets}) == len(changes)
    assert draw_question_set(table, **same).fingerprint == sets[0].fingerprint


def test_a_split_s_fingerprint_is_of_its_pages_and_vectors():
    table = made_table(BOOKS)
    assert split_fingerprint(made_table(BOOKS)) == split_fingerprint(table)
    others = [
        made_table([BOOKS[1], BOOKS[0], BOOKS[2]]),
        made_table(BOOKS, columns=("panel_embeddings", "text_embeddings")),
        made_table(BOOKS, order=np.arange(10)[::-1]),
    ]
    assert len({split_fingerprint(other) for other in [table, *others]}) == 4


def test_boxes_change_no_question():
    """A set that was frozen before where panels stand was known asks the same of the data with boxes."""
    books = [[3, 4, 2, 5]] * 4
    without, with_boxes = made_table(books), made_table(books, boxes=True)
    for task in ("panel_picking", "reading_order"):
        fingerprints = {draw_question_set(table, task).fingerprint for table in (without, with_boxes)}
        assert len(fingerprints) == 1


def test_questions_of_other_data_are_refused(tmp_path):
    folder = frozen(tmp_path / "set", made_table(BOOKS))
    with pytest.raises(
        ComicSeqDataError, match="set asks about other data than the split 'test' of elsewhere: its data"
    ):
        load_questions(folder, made_table(BOOKS[:2]), "elsewhere", ALL)


def test_a_set_of_an_earlier_version_opens_with_a_warning(tmp_path):
    table, said = made_table(BOOKS), []
    folder = frozen(tmp_path / "set", table, tasks=["panel_picking"])
    expected = load_questions(folder, table, "data", ALL, said.append)
    about = json.loads((folder / "questions.json").read_text())
    assert about["format"] == "comicseq-questions-2" and not said
    (folder / "questions.json").write_text(json.dumps(about | {"format": "comicseq-questions-1"}))
    assert load_questions(folder, table, "data", ALL, said.append).fingerprint == expected.fingerprint
    (sentence,) = said
    assert sentence.startswith(f"{folder} was drawn by an earlier version") and "draw it anew" in sentence


def test_what_is_no_question_set_or_was_changed(tmp_path):
    table = made_table(BOOKS)
    with pytest.raises(
        ComicSeqDataError, match="nowhere is no question set: name the folder that `comicseq questions"
    ):
        load_questions(tmp_path / "nowhere", table, "data", ALL)
    folder = frozen(tmp_path / "set", table, tasks=["panel_picking"])
    with pytest.raises(ComicSeqDataError, match="set exists: name another folder, or remove it"):
        frozen(folder, table)
    about = json.loads((folder / "questions.json").read_text())
    about["sets"][1]["fingerprint"] = "xxh3:0"
    (folder / "questions.json").write_text(json.dumps(about))
    with pytest.raises(
        ComicSeqDataError, match="set was changed: its questions of panel_picking have the fingerprint"
    ):
        load_questions(folder, table, "data", ALL)
    (folder / "state.json").unlink()
    with pytest.raises(ComicSeqDataError, match="set cannot be read"):
        load_questions(folder, table, "data", ALL)


def test_all_leaves_out_what_the_data_cannot_serve(tmp_path):
    table, said = made_table(BOOKS, columns=("panel_embeddings",)), []
    about = freeze(
        table,
        tmp_path / "set",
        split="test",
        tasks=get_tasks(["all"]),
        protocols=["same_book", "later_panels"],
        left_out=said.append,
    )
    tasks = {(each["task"], each["protocol"]) for each in about["sets"]}
    assert ("visual_closure", "later_panels") in tasks and ("reading_order", "") in tasks
    assert not any(task in ("text_cloze", "caption_relevance") for task, _ in tasks)
    assert any(sentence.startswith("Left out panel_picking, later_panels: ") for sentence in said)
    assert [each.partition(":")[0] for each in said if "cloze, " in each] == [
        "Left out text_cloze, same_book and later_panels"
    ]
    with pytest.raises(ComicSeqDataError, match="text_cloze cannot be asked"):
        freeze(table, tmp_path / "other", split="test", tasks=get_tasks(["text_cloze"]))
    assert not (tmp_path / "other").exists()


def test_a_set_of_an_unknown_task_is_named(tmp_path):
    table = made_table(BOOKS)
    folder = frozen(tmp_path / "set", table, tasks=["panel_picking"])
    with pytest.raises(ComicSeqDataError, match="set asks panel_picking, which is no task"):
        load_questions(folder, table, "data", {})
