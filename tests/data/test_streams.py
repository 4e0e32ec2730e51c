"""Pictures and texts side by side, and questions that are shown by one of them alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.panels import BOTH, PICTURES, TEXTS
from modeling_comicseq.data.views import Vectors, half_page_views, materialise, modality_dropout, shown_in_part
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.tasks import TASKS

from .made_dataset import made_table, vector

BOOKS = [[3, 5, 4], [4, 2, 6], [5, 5]]
FUSED, VISUAL, TEXT, _ = COLUMNS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")


def test_panel_vectors_are_the_two_side_by_side():
    table = made_table(BOOKS)
    separate = table.with_streams("separate")
    expected = np.concatenate([vector(column, 1, 0, 2) for column in (VISUAL, TEXT)])
    panel = np.asarray([[table.offsets[3] + 2, -1]])
    assert separate.gather(FUSED, panel).tolist() == [[expected.tolist(), [0.0] * 8]]
    assert np.array_equal(separate.gather(TEXT, panel), table.gather(TEXT, panel))
    assert separate.widths == table.widths | {FUSED: 8} and table.widths[FUSED] == 4
    assert separate.with_streams("fused").widths == table.widths
    assert np.array_equal(separate.with_streams("fused").gather(FUSED, panel), table.gather(FUSED, panel))
    copy = pickle.loads(pickle.dumps(separate))  # as a worker process gets it
    assert np.array_equal(copy.gather(FUSED, panel), separate.gather(FUSED, panel)) and copy.widths == separate.widths


@pytest.mark.parametrize("streams", ["fused", "separate"])
def test_each_question_is_shown_by_what_it_is_to_be_shown_by(streams):
    table = made_table(BOOKS).with_streams(streams)
    panels, shown = np.asarray([[0, 4], [1, -1], [2, 3]]), np.asarray([BOTH, PICTURES, TEXTS])
    both, pictures, texts = table.gather(FUSED, panels, shown)
    visual, text = table.gather(VISUAL, panels), table.gather(TEXT, panels)
    if streams == "fused":
        assert np.array_equal(both, table.gather(FUSED, panels)[0])
        assert np.array_equal(pictures, visual[1]) and np.array_equal(texts, text[2])
    else:
        assert np.array_equal(both, np.concatenate((visual[0], text[0]), -1))
        assert np.array_equal(pictures, np.concatenate((visual[1], 0 * text[1]), -1))
        assert np.array_equal(texts, np.concatenate((0 * visual[2], text[2]), -1))


def test_questions_about_separate_streams_are_the_same():
    table = made_table(BOOKS)
    for name in ("panel_picking", "text_cloze"):
        one, other = (
            draw_question_set(each, TASKS[name], num_candidates=3) for each in (table, table.with_streams("separate"))
        )
        assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("lacking", [VISUAL, TEXT])
def test_data_without_one_of_the_two_are_refused(lacking):
    table = made_table(BOOKS, columns=tuple(column for column in COLUMNS if column != lacking))
    with pytest.raises(ComicSeqDataError, match=rf"has no '{lacking}'.*comicseq embed.*fused streams"):
        table.with_streams("separate")


def view_of(task: str, rows: int = 300):
    table = made_table(BOOKS)
    asked = np.arange(rows) % len(table)
    draws = Draws(3, 1, np.arange(rows))
    return table, TASKS[task].view(table, asked, TASKS[task].draw(table, asked, draws, 3, "cross_book")), draws


@pytest.mark.parametrize("task", TASKS)
def test_what_is_asked_for_stays_and_all_else_is_shown_alike(task):
    table, view, _ = view_of(task, rows=3)
    shown = np.asarray([BOTH, PICTURES, TEXTS])
    whole, part = materialise(view, table), materialise(shown_in_part(view, shown), table)
    of_texts, of_pictures = whole | {}, whole | {}
    for name, value in view.items():
        if isinstance(value, Vectors) and value.column == FUSED:
            of_pictures[name], of_texts[name] = table.gather(VISUAL, value.panels), table.gather(TEXT, value.panels)
    if task == "text_cloze":
        of_pictures["text_embeddings"] = np.zeros_like(whole["text_embeddings"])
        of_texts["visual_embedding"] = np.zeros_like(whole["visual_embedding"])
    for name in whole:
        if isinstance(whole[name], np.ndarray):
            assert np.array_equal(part[name], np.stack((whole[name][0], of_pictures[name][1], of_texts[name][2])))
    changed = {name for name in view if shown_in_part(view, shown)[name] is not view[name]}
    expected = {
        "panel_picking": {"panel_embeddings", "candidate_embeddings"},
        "character_coherence": {"panel_embeddings", "candidate_embeddings"},
        "visual_closure": set(),  # of pictures alone anyway
        "text_closure": set(),
        "caption_relevance": {"candidate_embeddings"},
        "text_cloze": {"panel_embeddings", "text_embeddings", "visual_embedding"},
        "reading_order": {"panel_embeddings"},
    }
    assert changed == expected[task]


def test_a_share_of_the_questions_is_shown_by_one_alone():
    _, view, draws = view_of("panel_picking")
    assert modality_dropout(view, draws, 0.0) is view
    shown = modality_dropout(view, draws, 0.4)["panel_embeddings"].shown
    assert np.array_equal(shown, modality_dropout(view, draws, 0.4)["candidate_embeddings"].shown)
    counts = np.bincount(shown, minlength=3) / len(shown)
    assert np.abs(counts - [0.6, 0.2, 0.2]).max() < 0.08
    some = np.flatnonzero(np.arange(len(shown)) % 3 == 0)  # each question's is its own, whatever stands beside it
    alone = {name: value for name, value in view.items() if name == "attention_mask"}
    panels = view["panel_embeddings"]
    alone["panel_embeddings"] = panels._replace(panels=panels.panels[some])
    assert np.array_equal(modality_dropout(alone, draws[some], 0.4)["panel_embeddings"].shown, shown[some])


def test_halves_of_a_page_are_shown_each_by_itself():
    table = made_table(BOOKS)
    rows = np.repeat(np.arange(len(table)), 60)
    draws = Draws(0, 0, np.arange(len(rows)))
    strips = half_page_views(table, rows, draws, 0.6)
    plain = half_page_views(table, rows, draws)
    assert np.array_equal(strips["panel_embeddings"].panels, plain["panel_embeddings"].panels)
    first, second = strips["panel_embeddings"].shown.reshape(2, -1)
    pairs = np.bincount(3 * first + second, minlength=9).reshape(3, 3) / len(rows)
    assert np.abs(pairs - np.outer([0.4, 0.3, 0.3], [0.4, 0.3, 0.3])).max() < 0.06
