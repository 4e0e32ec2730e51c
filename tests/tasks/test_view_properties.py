"""What must hold for every question and view, whatever the books, the windows, the seed and the protocol."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modeling_comicseq.data.distractors import PROTOCOLS
from modeling_comicseq.data.draws import Draws

from ..data.made_dataset import identities, made_table
from .questions import CHOICE_TASKS, build_questions, halves, pages, servable

CHOICE_TASKS = CHOICE_TASKS
CLOSURES = ("visual_closure", "text_closure")
PAGES = st.lists(st.integers(1, 7), min_size=1, max_size=6)
TABLES = st.builds(
    lambda books, window: made_table(books, window=window),
    st.lists(PAGES, min_size=1, max_size=4),
    st.sampled_from([None, 3, 4]),
)
SEEDS = st.integers(0, 2**32)
ASKED = [
    (task, protocol)
    for task in CHOICE_TASKS
    for protocol in (*PROTOCOLS, ("same_book", "cross_book"))
    if protocol != "later_panels" or task in CLOSURES
]


def name(protocol) -> str:
    return protocol if isinstance(protocol, str) else "-".join(protocol)


def ask(table, task: str, seed: int, rows: np.ndarray | None = None, **kwargs) -> tuple[np.ndarray, dict]:
    rows = np.arange(len(table)) if rows is None else rows
    rows = rows[servable(table, task, rows)]
    return rows, build_questions(table, task, rows, Draws(seed, 0, rows), **kwargs) if len(rows) else {}


def offered(batch: dict) -> list[list]:
    return identities(batch["candidate_text_embeddings" if "text_embeddings" in batch else "candidate_embeddings"])


def page_of(table, row: int) -> list[tuple]:
    """The panels of a row, slot by slot."""
    return identities(table.gather("panel_embeddings", table.panel(row, np.arange(table.num_panels[row]))))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "protocol"), ASKED, ids=[f"{task}-{name(p)}" for task, p in ASKED])
@settings(max_examples=15, deadline=None)
@given(table=TABLES, seed=SEEDS, num_candidates=st.integers(2, 6))
def test_candidates(task, protocol, table, seed, num_candidates):
    rows, batch = ask(table, task, seed, num_candidates=num_candidates, protocol=protocol)
    for question, row in enumerate(rows):
        page = page_of(table, row)
        mask = batch["candidate_mask"][question].astype(bool)
        panels = offered(batch)[question]
        # The mask says which are there, and those that are not are zeros.
        assert [panel is not None for panel in panels] == mask.tolist()
        real = [panel for panel in panels if panel]
        assert len(set(real)) == len(real)
        labels = batch["labels"][question]
        if task == "character_coherence":
            assert (labels == -100).tolist() == (~mask).tolist() and (labels == 1).sum() == 1
            labels = int(np.argmax(labels == 1))
        answer = panels[labels]
        assert answer in page  # a real panel of the page, never a padded slot
        wrong = set(real) - {answer}
        assert len(wrong) == len(real) - 1
        gap = page.index(answer)
        if task in CLOSURES:
            context = page[:gap]
        else:
            context = [] if task == "caption_relevance" else page[:gap] + page[gap + 1 :]
        assert answer not in context
        if protocol != "in_page":
            assert not wrong & set(context)
        if protocol == "later_panels":
            assert wrong <= set(page[gap + 1 :])
        elif protocol != "in_page":  # nor does another window of the page give one
            assert all(panel[:2] != answer[:2] for panel in wrong)


@pytest.mark.parametrize("task", CHOICE_TASKS)
@settings(max_examples=20, deadline=None)
@given(table=TABLES, seed=SEEDS)
def test_contexts(task, table, seed):
    """The context is the page without what is asked for; masked slots are zeros, real ones are marked."""
    rows, batch = ask(table, task, seed)
    for question, row in enumerate(rows):
        page = page_of(table, row)
        labels = batch["labels"][question]
        answer = offered(batch)[question][labels if labels.ndim == 0 else int(np.argmax(labels == 1))]
        if task == "caption_relevance":
            assert identities(batch["caption_embeddings"][question : question + 1]) == [answer]
            continue
        shown = identities(batch["panel_embeddings"][question])
        mask = batch["attention_mask"][question].astype(bool)
        place = page.index(answer)
        if task in CLOSURES:
            expected = page[:place]
            marked = len(expected)
        else:
            expected = [None if slot == place else panel for slot, panel in enumerate(page)]
            marked = len(page)
        padding = [None] * (len(shown) - len(expected))
        assert shown == expected + padding
        if task == "character_coherence":  # the panel that is held out leaves no slot
            assert mask.tolist() == [panel is not None for panel in shown]
        else:
            assert mask.tolist() == [slot < marked for slot in range(len(shown))]
        if "mask_position" in batch:
            assert batch["mask_position"][question] == place


@settings(max_examples=40, deadline=None)
@given(table=TABLES, seed=SEEDS)
def test_text_cloze_never_sees_the_text_that_is_asked_for(table, seed):
    rows, batch = ask(table, "text_cloze", seed)
    for question, row in enumerate(rows):
        page = page_of(table, row)
        asked = batch["mask_position"][question]
        assert identities(batch["text_embeddings"][question])[: len(page)] == [
            None if slot == asked else panel for slot, panel in enumerate(page)
        ]
        right = batch["candidate_text_embeddings"][question, batch["labels"][question]]
        for seen in ("text_embeddings", "panel_embeddings", "visual_embedding"):
            vectors = batch[seen][question].reshape(-1, batch[seen].shape[-1])
            assert not (vectors == right).all(1).any()
        # The fused vector holds the text too.
        assert page[asked] not in identities(batch["panel_embeddings"][question])


@pytest.mark.parametrize("target", ["adjacency", "precedence"])
@settings(max_examples=30, deadline=None)
@given(table=TABLES, seed=SEEDS)
def test_order_views_carry_no_position(target, table, seed):
    rows, batch = ask(table, "reading_order", seed, reading_order_target=target)
    assert set(batch) <= {"panel_embeddings", "attention_mask", "labels"}
    for question, row in enumerate(rows):
        page = page_of(table, row)
        shown = identities(batch["panel_embeddings"][question])
        count = len(page)
        assert sorted(shown[:count]) == sorted(page) and set(shown[count:]) <= {None}
        assert batch["attention_mask"][question].tolist() == [slot < count for slot in range(len(shown))]
        place = np.array([page.index(panel) for panel in shown[:count]])
        step = place[None, :] - place[:, None]
        expected = np.full((len(shown), len(shown)), -100)
        expected[:count, :count] = np.where(step == 0, -100, step == 1 if target == "adjacency" else step > 0)
        assert np.array_equal(batch["labels"][question], expected)


@settings(max_examples=30, deadline=None)
@given(table=TABLES, seed=SEEDS)
def test_halves_of_a_page_share_it_out(table, seed):
    rows = np.arange(len(table))
    batch = halves(table, rows, Draws(seed, 0, rows))
    rows = rows[table.num_panels >= 2]
    strips = identities(batch["panel_embeddings"])
    assert batch["attention_mask"].tolist() == [[int(panel is not None) for panel in strip] for strip in strips]
    assert len(strips) == 2 * len(rows) == len(batch["labels"]) == len(batch["book_ids"])
    for number, row in enumerate(rows):
        first, second = ([panel for panel in strips[n] if panel] for n in (number, number + len(rows)))
        page = page_of(table, row)
        assert first and second and sorted(first + second) == page
        assert [sorted(first), sorted(second)] == [first, second]  # in the order of the page
        assert abs(len(first) - len(second)) <= 1
        assert batch["labels"][number] == batch["labels"][number + len(rows)] == table.pages[row]
    for row, strip in zip(rows, identities(pages(table, rows)["panel_embeddings"]), strict=True):
        assert [panel for panel in strip if panel] == page_of(table, row)


@pytest.mark.parametrize("task", [*CHOICE_TASKS, "reading_order"])
@settings(max_examples=15, deadline=None)
@given(table=TABLES, seed=SEEDS, data=st.data())
def test_a_question_depends_on_seed_epoch_and_row_alone(task, table, seed, data):
    """In whatever batch and order, beside whatever other rows."""
    everything = np.arange(len(table))
    rows, batch = ask(table, task, seed)
    if not len(rows):
        return
    order = np.array(data.draw(st.lists(st.sampled_from(everything.tolist()), min_size=1, max_size=8)))
    others, part = ask(table, task, seed, order)
    where = {row: place for place, row in enumerate(rows)}
    for place, row in enumerate(others):
        for key, values in part.items():
            if isinstance(values, np.ndarray):
                alone, beside = values[place], batch[key][where[row]]
                both = tuple(slice(min(lengths)) for lengths in zip(alone.shape, beside.shape, strict=True))
                assert np.array_equal(alone[both], beside[both]), key  # what is cut off is padding


@pytest.mark.parametrize("protocol", ["same_book", "cross_book"])
@pytest.mark.parametrize("task", CHOICE_TASKS)
def test_the_place_of_the_answer_and_the_slot_asked_for_are_uniform(task, protocol):
    table = made_table([[5] * 8, [5] * 8])
    rows = np.tile(np.arange(16), 300)
    draws = Draws(0, 0, np.arange(len(rows)))
    for num_candidates in (2, 5):
        batch = build_questions(table, task, rows, draws, num_candidates, protocol)
        labels = batch["labels"]
        places = labels if labels.ndim == 1 else np.argmax(labels == 1, axis=1)
        assert stats.chisquare(np.bincount(places, minlength=num_candidates)).pvalue > 1e-3
        answers = [panels[place][2] for panels, place in zip(offered(batch), places, strict=True)]
        slots = np.bincount(answers, minlength=5)[1 if task in CLOSURES else 0 :]
        assert stats.chisquare(slots).pvalue > 1e-3
        # Where the answer stands says nothing about which panel it is.
        assert stats.chi2_contingency(np.histogram2d(places, answers, (num_candidates, len(slots)))[0]).pvalue > 1e-3
