from __future__ import annotations

import numpy as np
import pytest
from datasets import List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.data.distractors import draw_distractors
from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.task import cumulative_odds, draw_tasks
from modeling_comicseq.data.views import masked_panels, materialise
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.tasks import TASKS

from ..tasks.questions import CHOICE_TASKS, build_questions, check_servable, halves, servable
from .made_dataset import identities, made_dataset, made_table, vector

BOOKS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=1, max_size=4)


def shown(task: str, batch: dict) -> list[set]:
    """The panels that each question's context shows."""
    if task == "caption_relevance":
        return [set() for _ in batch["labels"]]
    mask = batch["attention_mask"].astype(bool)
    if "mask_position" in batch:
        mask = mask & (np.arange(mask.shape[1]) != batch["mask_position"][:, None])
    return [
        {panel for panel, is_shown in zip(page, real, strict=True) if is_shown}
        for page, real in zip(identities(batch["panel_embeddings"]), mask, strict=True)
    ]


def candidates(batch: dict) -> list[list]:
    name = "candidate_text_embeddings" if "candidate_text_embeddings" in batch else "candidate_embeddings"
    return identities(batch[name])


def answers(batch: dict) -> np.ndarray:
    labels = batch["labels"]
    return labels if labels.ndim == 1 else (labels == 1).argmax(1)


@pytest.mark.parametrize("task", CHOICE_TASKS)
@pytest.mark.parametrize("protocol", ["same_book", "cross_book", "in_page"])
@settings(max_examples=10, deadline=None)
@given(books=BOOKS, seed=st.integers(0, 1000), num_candidates=st.integers(2, 6))
def test_questions_are_honest(task, protocol, books, seed, num_candidates):
    table = made_table(books)
    rows = np.arange(len(table))
    rows = rows[servable(table, task, rows)]
    if not len(rows):
        return
    batch = build_questions(table, task, rows, Draws(seed, 0, rows), num_candidates, protocol)
    pages = [(book, page) for book, counts in enumerate(books) for page in range(len(counts))]
    for question, row in enumerate(rows):
        book, page = pages[row]
        mask = batch["candidate_mask"][question].astype(bool)
        offered = candidates(batch)[question]
        real = [panel for panel, is_real in zip(offered, mask, strict=True) if is_real]
        assert len(offered) == num_candidates
        assert None not in real and all(panel is None for panel, m in zip(offered, mask, strict=True) if not m)
        assert mask.tolist() == sorted(mask, reverse=True)  # padding stands behind
        assert len(set(real)) == len(real)  # no candidate twice
        answer = answers(batch)[question]
        assert mask[answer]
        right = offered[answer]
        assert right[:2] == (book, page)
        context = shown(task, batch)[question]
        assert right not in context
        wrong = [panel for place, panel in enumerate(real) if place != answer]
        if protocol == "same_book":
            assert all(b == book and p != page for b, p, _ in wrong)
            assert len(wrong) == min(num_candidates - 1, sum(books[book]) - books[book][page])
        elif protocol == "cross_book":
            assert all(b != book for b, _, _ in wrong)
            assert len(wrong) == min(num_candidates - 1, sum(map(sum, books)) - sum(books[book]))
        else:
            assert all((b, p) == (book, page) for b, p, _ in wrong)
        if protocol != "in_page":
            assert not context & set(wrong)  # no answer by elimination


@settings(max_examples=15, deadline=None)
@given(pages=st.lists(st.integers(1, 3), min_size=2, max_size=8), seed=st.integers(0, 1000))
def test_same_book_takes_the_nearest_pages_first(pages, seed):
    table = made_table([pages])
    rows = np.arange(len(pages))
    distractors = draw_distractors(table, "same_book", rows, np.zeros_like(rows), 4, Draws(seed, 0, rows))
    for page, chosen in enumerate(identities(table.gather("panel_embeddings", distractors))):
        distance = [abs(panel[1] - page) for panel in chosen if panel]
        others = sorted(abs(other - page) for other in range(len(pages)) if other != page)
        first_round = distance[: min(4, len(others))]
        assert first_round == others[:4]


def test_later_panels_stand_behind_the_gap():
    table = made_table([[6, 2]])
    rows = np.repeat(0, 200)
    gap = np.full(200, 2)
    distractors = draw_distractors(table, "later_panels", rows, gap, 4, Draws(0, 0, np.arange(200)))
    chosen = identities(table.gather("panel_embeddings", distractors))
    assert {panel for question in chosen for panel in question} == {(0, 0, 3), (0, 0, 4), (0, 0, 5), None}


def test_the_place_of_the_answer_and_the_asked_slot_are_uniform():
    table = made_table([[4] * 10, [4] * 10])
    rows = np.tile(np.arange(20), 200)
    draws = Draws(0, 0, np.arange(4000))
    batch = build_questions(table, "panel_picking", rows, draws, 5, "same_book")
    for counts in (np.bincount(batch["labels"]), np.bincount(batch["mask_position"])):
        assert np.abs(counts / 4000 - 1 / len(counts)).max() < 0.03


def test_cross_book_reaches_every_panel_of_other_books():
    table = made_table([[2, 2], [3], [1, 2]])
    rows = np.zeros(500, dtype=int)
    chosen = draw_distractors(table, "cross_book", rows, rows, 2, Draws(0, 0, np.arange(500)))
    assert set(chosen.ravel()) == set(range(4, 10))


def test_windows_never_offer_a_panel_of_the_same_page():
    table = made_table([[9, 3, 9], [4]], window=4)
    rows = np.arange(len(table))
    for protocol in ("same_book", "cross_book"):
        batch = build_questions(table, "panel_picking", rows, Draws(0, 0, rows), 5, protocol)
        for row, offered in enumerate(candidates(batch)):
            page = offered[batch["labels"][row]][:2]
            wrong = [panel for place, panel in enumerate(offered) if panel and place != batch["labels"][row]]
            assert all(panel[:2] != page for panel in wrong) and len(set(wrong)) == len(wrong)


def test_closure_shows_what_is_before_the_gap_and_asks_for_what_is_behind():
    table = made_table([[5, 5, 5]])
    rows = np.tile(np.arange(3), 50)
    for task, column in (("visual_closure", "visual_embeddings"), ("text_closure", "text_embeddings")):
        batch = build_questions(table, task, rows, Draws(0, 0, np.arange(150)))
        assert batch["modality"] == task.split("_")[0]
        context = shown(task, batch)
        for question, row in enumerate(rows):
            right = candidates(batch)[question][batch["labels"][question]]
            assert context[question] == {(0, row, panel) for panel in range(right[2])} and right[2] > 0
        assert np.array_equal(batch["panel_embeddings"][0, 0], vector(column, 0, 0, 0))


def test_text_cloze_never_holds_the_asked_panel_s_text():
    table = made_table([[4, 3, 2], [5]])
    rows = np.arange(len(table))
    batch = build_questions(table, "text_cloze", rows, Draws(0, 0, rows))
    for question, row in enumerate(rows):
        asked = batch["mask_position"][question]
        assert not batch["text_embeddings"][question, asked].any()
        assert not batch["panel_embeddings"][question, asked].any()
        right = batch["candidate_text_embeddings"][question, batch["labels"][question]]
        seen = np.concatenate((batch["text_embeddings"][question], batch["visual_embedding"][question][None]))
        assert not (seen == right).all(1).any()
        assert batch["visual_embedding"][question][0] == 2 and identities(right)[2] == asked, row


def test_reading_order_shuffles_and_labels_say_the_order():
    table = made_table([[4, 2, 6]])
    rows = np.arange(3)
    for target in ("adjacency", "precedence"):
        batch = build_questions(table, "reading_order", rows, Draws(0, 0, rows), reading_order_target=target)
        assert set(batch) == {"panel_embeddings", "attention_mask", "labels"}  # no positions
        for question, page in enumerate(identities(batch["panel_embeddings"])):
            for i, left in enumerate(page):
                for j, right in enumerate(page):
                    label = batch["labels"][question, i, j]
                    if left is None or right is None or i == j:
                        assert label == -100
                    else:
                        step = right[2] - left[2]
                        assert label == (step == 1 if target == "adjacency" else step > 0)


def test_halves_of_a_page_are_disjoint_and_complete():
    table = made_table([[5, 1, 2], [4]])
    rows = np.arange(4)
    batch = halves(table, rows, Draws(0, 0, rows))
    assert batch["labels"].tolist() == [0, 2, 3] * 2 and batch["book_ids"].tolist() == [0, 0, 1] * 2
    strips = [[panel for panel in strip if panel] for strip in identities(batch["panel_embeddings"])]
    for half, other, count in zip(strips[:3], strips[3:], (5, 2, 4), strict=True):
        assert half == sorted(half) and other == sorted(other) and half and other
        assert sorted(half + other) == [(*half[0][:2], panel) for panel in range(count)]


def test_questions_depend_on_seed_epoch_and_row_alone():
    table = made_table([[4] * 6, [3] * 6])
    rows = np.arange(12)
    for task in (*CHOICE_TASKS, "reading_order"):
        whole = build_questions(table, task, rows, Draws(5, 1, rows))
        part = build_questions(table, task, rows[6:8], Draws(5, 1, rows[6:8]))
        width = part["candidate_mask" if "candidate_mask" in part else "attention_mask"].shape[1]
        assert np.array_equal(
            whole["labels"][6:8].reshape(2, -1)[:, :width][:, 0], part["labels"].reshape(2, -1)[:, 0]
        )
        other = build_questions(table, task, rows, Draws(5, 2, rows))
        assert any(
            whole[name].shape != other[name].shape or not np.array_equal(whole[name], other[name])
            for name in whole
            if name != "modality"
        )


def test_tasks_are_drawn_by_weight_among_those_the_page_can_serve():
    table = made_table([[1, 3]], columns=("panel_embeddings", "caption_embeddings"))
    weights = {"panel_picking": 1.0, "caption_relevance": 0.5, "text_cloze": 1.0, "reading_order": 0.5}
    rows = np.repeat([0, 1], 4000)
    odds = cumulative_odds(table, rows, {TASKS[name]: weight for name, weight in weights.items()})
    tasks = dict(zip(weights, draw_tasks(odds, Draws(0, 0, np.arange(8000))), strict=True))
    assert np.array_equal(np.sort(np.concatenate([*tasks.values()])), np.arange(8000))
    assert [task for task, places in tasks.items() if (places < 4000).any()] == ["caption_relevance"]
    share = {task: np.mean(places >= 4000) * len(places) / 4000 for task, places in tasks.items() if len(places)}
    assert "text_cloze" not in share
    assert abs(share["panel_picking"] - 0.5) < 0.03 and abs(share["reading_order"] - 0.25) < 0.03
    odds = cumulative_odds(table, rows, {TASKS["panel_picking"]: 1.0})
    assert draw_tasks(odds, Draws(0, 0, rows))[0].tolist() == [*range(4000, 8000)]


def test_a_task_that_no_page_can_serve_is_an_error_that_says_why():
    table = made_table([[1, 1]], columns=("panel_embeddings",))
    with pytest.raises(ComicSeqDataError, match="text_cloze cannot be asked: the data set has no `text_embeddings`"):
        check_servable(table, "text_cloze", "same_book")
    with pytest.raises(ComicSeqDataError, match="no page of the data set has two panels"):
        check_servable(table, "panel_picking", "same_book")
    check_servable(made_table([[2, 1]]), "panel_picking", "same_book")


def test_a_protocol_without_a_distractor_is_an_error_that_says_why():
    one_page_books = made_table([[3], [2]])
    check_servable(one_page_books, "panel_picking", "cross_book")
    check_servable(one_page_books, "reading_order", "same_book")  # needs none
    check_servable(one_page_books, "visual_closure", "later_panels")
    with pytest.raises(ComicSeqDataError, match="under the protocol same_book: no book of the split has another page"):
        check_servable(one_page_books, "panel_picking", ["cross_book", "same_book"])
    with pytest.raises(ComicSeqDataError, match="the split has a single book"):
        check_servable(made_table([[3, 2]]), "caption_relevance", "cross_book")
    with pytest.raises(ComicSeqDataError, match="no page of the split has three panels"):
        check_servable(made_table([[2, 2]]), "text_closure", "later_panels")


def test_later_panels_is_refused_outside_closure():
    table = made_table([[4, 4], [4]])
    rows = np.arange(3)
    for ask in (
        lambda: check_servable(table, "panel_picking", "later_panels"),
        lambda: build_questions(table, "panel_picking", rows, Draws(0, 0, rows), 5, ["same_book", "later_panels"]),
    ):
        with pytest.raises(ComicSeqArgumentError, match="later_panels makes no sense for the task panel_picking"):
            ask()


CHARACTERS = st.lists(st.lists(st.sampled_from("abcd"), max_size=2), min_size=1, max_size=4)
CAST = st.lists(st.lists(st.none() | CHARACTERS, min_size=1, max_size=6), min_size=1, max_size=3)


@pytest.mark.parametrize("protocol", ["same_book", "cross_book"])
@settings(max_examples=25, deadline=None)
@given(cast=CAST, seed=st.integers(0, 1000))
def test_character_coherence_asks_for_characters(protocol, cast, seed):
    books = [[3 if page is None else len(page) for page in book] for book in cast]
    table = made_table(books, characters=cast)

    def seen(panel: tuple[int, int, int]) -> set[str]:
        return set((cast[panel[0]][panel[1]] or [[]] * 9)[panel[2]])

    def is_askable(page: list[list[str]] | None) -> bool:
        return any(set(a) & set(b) for i, a in enumerate(page or []) for b in (page or [])[:i])

    rows = np.arange(len(table))
    can_ask = servable(table, "character_coherence", rows)
    assert can_ask.tolist() == [is_askable(page) for book in cast for page in book]
    rows = rows[can_ask]
    if not len(rows):
        return
    batch = build_questions(table, "character_coherence", rows, Draws(seed, 0, rows), 4, protocol)
    for context, offered, labels in zip(
        shown("character_coherence", batch), candidates(batch), batch["labels"], strict=True
    ):
        (right,) = [panel for panel, label in zip(offered, labels, strict=True) if label == 1]
        wrong = [panel for panel, label in zip(offered, labels, strict=True) if label == 0]
        assert seen(right) & {character for panel in context - {None} for character in seen(panel)}
        assert len(set(wrong)) == len(wrong)
        book, page, _ = right
        if protocol == "cross_book":
            assert all(panel[0] != book for panel in wrong)
            continue
        on_page = {character for ids in cast[book][page] for character in ids}
        fit = [
            (book, other, slot)
            for other, panels in enumerate(cast[book])
            for slot, ids in enumerate(panels or [])
            if other != page and not on_page & set(ids)
        ]
        assert set(wrong) <= set(fit) and len(wrong) == min(3, len(fit))
        distances = sorted(abs(other - page) for other in {other for _, other, _ in fit})
        # One of each page first, the nearest pages first.
        assert sorted(abs(other - page) for other in {other for _, other, _ in wrong}) == distances[:3]


def test_spellings_of_a_character_are_one_character():
    cast = [[["Zo\u00e9"], ["Zoe\u0301 "], ["zo\u00e9"]], [["Zoe\u0301"], ["Ann"], ["Ann"]]]
    plain = [[["Zoe"], ["Zoe"], ["zoe"]], [["Zoe"], ["Ann"], ["Ann"]]]
    tables = [made_table([[3, 3]], characters=[each]) for each in (cast, plain)]
    rows = np.repeat([0, 1], 20)
    asked, expected = (
        build_questions(table, "character_coherence", rows, Draws(0, 0, np.arange(40)), 3) for table in tables
    )
    assert tables[0].characters.counts.tolist() == [2, 2]
    assert all(np.array_equal(asked[name], expected[name]) for name in asked)


def test_character_ids_in_windows_and_what_they_refuse():
    cast = [[[["a"], ["b"], [], ["a"], ["c"], ["c"]], [["b"], ["d"]]]]
    table = made_table([[6, 2]], characters=cast, window=4)
    # The windows are panels 0-3 and 2-5: `a` comes twice in the first, `c` in the second.
    assert table.characters.counts.tolist() == [2, 2, 0]
    rows = np.repeat([0, 1], 20)
    batch = build_questions(table, "character_coherence", rows, Draws(0, 0, np.arange(40)), 3, "same_book")
    wrong = {
        p
        for offered, labels in zip(candidates(batch), batch["labels"], strict=True)
        for p, label in zip(offered, labels, strict=True)
        if label == 0
    }
    assert wrong == {(0, 1, 1)}  # `b` is on the page, though not in the second window
    with pytest.raises(ComicSeqArgumentError, match="in_page makes no sense for the task character_coherence"):
        check_servable(table, "character_coherence", "in_page")
    with pytest.raises(ComicSeqDataError, match="name no character twice on a page"):
        check_servable(made_table([[2, 2]], characters=[[[["a"], ["b"]], None]]), "character_coherence", "same_book")
    nobody_else = made_table([[2, 2]], characters=[[[["a"], ["a"]], [["a"], ["a"]]]])
    with pytest.raises(ComicSeqDataError, match="no book of the split has another page with a panel that could be"):
        check_servable(nobody_else, "character_coherence", "same_book")
    with pytest.raises(ComicSeqDataError, match="Row 0 has 1 lists in `character_ids` but 2 panels"):
        made_table([[2]], characters=[[[["a"]]]])


@settings(max_examples=20, deadline=None)
@given(books=BOOKS, seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_masked_panels_keep_one_and_hide_one(books, seed, share):
    table = made_table(books)
    rows = np.arange(len(table))
    batch = materialise(masked_panels(table, rows, Draws(seed, 0, rows), share), table)
    masked, real = batch["masked_panels"], batch["attention_mask"].astype(bool)
    counts = table.num_panels[table.num_panels >= 2]
    assert real.sum(1).tolist() == counts.tolist() and not (masked & ~real).any()
    hidden = masked.sum(1)
    assert ((hidden >= 1) & (hidden < counts)).all()
    assert (np.abs(hidden - np.clip(share * counts, 1, counts - 1)) < 1).all()
    assert not batch["panel_embeddings"][masked].any()
    assert batch["panel_embeddings"][real & ~masked].any(-1).all()
    assert np.array_equal(table.gather("panel_embeddings", batch["labels"]), batch["target_embeddings"])
    targets = iter(identities(batch["target_embeddings"]))
    pages = [(book, page) for book, pages in enumerate(books) for page, count in enumerate(pages) if count >= 2]
    for page, slots in zip(pages, masked, strict=True):
        assert [next(targets) for _ in range(slots.sum())] == [(*page, slot) for slot in np.flatnonzero(slots)]


def test_masked_panels_are_drawn_uniformly_at_the_share():
    table = made_table([[10]])
    batch = masked_panels(table, np.zeros(4000, dtype=int), Draws(0, 0, np.arange(4000)), 0.25)
    assert np.abs(batch["masked_panels"].mean(0) - 0.25).max() < 0.03


@pytest.mark.parametrize("protocol", ["same_book", "cross_book", "in_page"])
def test_a_panel_without_text_is_neither_asked_for_its_text_nor_offered(protocol):
    has_text = np.random.default_rng(0).random(60) < 0.6
    dataset = made_dataset([[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 5]])
    flags = has_text.reshape(12, 5).tolist()
    dataset = dataset.add_column("has_text", flags, feature=List(Value("bool")))
    table = PanelTable(dataset)
    for task in ("text_cloze", "text_closure"):
        rows = np.repeat(np.arange(12), 20)
        can_ask = servable(table, task, rows)
        first = 1 if task == "text_closure" else 0
        assert can_ask[::20].tolist() == [any(page[first:]) for page in flags]
        rows = rows[can_ask]
        batch = build_questions(table, task, rows, Draws(0, 0, np.arange(len(rows))), 5, protocol)
        offered = [panel for question in candidates(batch) for panel in question if panel]
        assert offered and all(flags[book * 4 + page][panel] for book, page, panel in offered)
        asked = {question[label] for question, label in zip(candidates(batch), batch["labels"], strict=True)}
        # Every panel with a text comes up sooner or later.
        assert asked == {(r // 4, r % 4, p) for r in range(12) for p in range(first, 5) if flags[r][p]}
    picked = build_questions(table, "panel_picking", rows, Draws(0, 0, rows), 5, protocol)
    offered = [panel for question in candidates(picked) for panel in question if panel]
    assert not all(flags[book * 4 + page][panel] for book, page, panel in offered)


def test_questions_are_the_same_where_every_panel_has_a_text():
    dataset = made_dataset([[4, 3, 5], [2, 4, 3]])
    flagged = dataset.add_column("has_text", [[True] * n for n in dataset["num_panels"]], feature=List(Value("bool")))
    rows = np.arange(6)
    for task in ("text_cloze", "text_closure"):
        plain, other = (build_questions(PanelTable(d), task, rows, Draws(1, 0, rows)) for d in (dataset, flagged))
        assert all(np.array_equal(plain[name], other[name]) for name in plain)


def test_data_without_a_single_text_are_refused_for_text_tasks():
    dataset = made_dataset([[2, 2]])
    table = PanelTable(dataset.add_column("has_text", [[False, False]] * 2, feature=List(Value("bool"))))
    with pytest.raises(
        ComicSeqDataError, match="text_cloze cannot be asked: no page of the split has a panel whose text"
    ):
        check_servable(table, "text_cloze", "same_book")
