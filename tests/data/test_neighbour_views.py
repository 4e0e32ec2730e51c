"""Strips that belong together: halves of a page, and pages beside each other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.views import half_page_views, materialise, neighbour_views

from .made_dataset import identities, made_table

BOOKS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=1, max_size=4)


def pairs(table, rows: np.ndarray, seed: int = 0, epoch: int = 0) -> dict[int, tuple[list, list]]:
    """The panels (book, page, panel) of the two strips of each page number."""
    batch = materialise(neighbour_views(table, rows, Draws(seed, epoch, rows)), table)
    strips = [[panel for panel in strip if panel] for strip in identities(batch["panel_embeddings"])]
    assert [len(strip) for strip in strips] == batch["attention_mask"].sum(1).tolist()
    first, second = np.split(batch["labels"], 2)
    assert (first == second).all() and (table.books[table.first_rows[batch["labels"]]] == batch["book_ids"]).all()
    half = len(first)
    return {page: (strips[at], strips[half + at]) for at, page in enumerate(first.tolist())}


@settings(max_examples=40)
@given(books=BOOKS, seed=st.integers(0, 1000))
def test_two_strips_are_halves_of_a_page_or_pages_beside_each_other(books, seed):
    table = made_table(books)
    found = pairs(table, np.arange(len(table)), seed)
    numbers = [(book, page) for book, counts in enumerate(books) for page in range(len(counts))]
    whole = {
        (b, p): [(b, p, panel) for panel in range(count)] for b, c in enumerate(books) for p, count in enumerate(c)
    }
    for number, own in enumerate(numbers):
        if number not in found:  # nothing belongs to it
            assert len(whole[own]) == 1 and len(books[own[0]]) == 1
            continue
        first, second = found[number]
        if first[0][:2] == second[0][:2]:
            assert sorted(first + second) == whole[own] and abs(len(first) - len(second)) <= 1
        else:
            other = second[0][:2]
            assert first == whole[own] and second == whole[other]
            assert other[0] == own[0] and abs(other[1] - own[1]) == 1


def test_they_follow_from_seed_epoch_and_row():
    table = made_table([[3, 1, 4, 2], [2, 5], [6]])
    rows = np.arange(len(table))
    whole = pairs(table, rows, 7, 3)
    for part in (rows[::-1].copy(), rows[2:5]):
        assert pairs(table, part, 7, 3) == {page: whole[page] for page in part.tolist()}
    assert whole != pairs(table, rows, 7, 4) and whole != pairs(table, rows, 8, 3)


def test_every_second_page_is_shown_with_each_of_its_neighbours_alike():
    table = made_table([[4, 4, 4]] * 300)
    steps = [second[0][1] - first[0][1] for first, second in pairs(table, np.arange(len(table))).values()]
    middle = np.array(steps)[1::3]
    assert abs((middle == 0).mean() - 0.5) < 0.1
    assert abs((middle == 1).mean() - 0.25) < 0.08 and abs((middle == -1).mean() - 0.25) < 0.08


def test_halves_are_those_of_half_pages():
    table = made_table([[4], [5], [1]])  # no page has a neighbour
    rows = np.arange(3)
    mine, halves = neighbour_views(table, rows, Draws(0, 0, rows)), half_page_views(table, rows, Draws(0, 0, rows))
    for name in ("labels", "book_ids", "attention_mask"):
        assert (mine[name] == halves[name]).all()
    assert (mine["panel_embeddings"].panels == halves["panel_embeddings"].panels).all()


def test_of_a_page_in_windows_one_is_shown():
    table = made_table([[7, 7, 7]], window=4)
    rows = np.arange(len(table))
    batch = neighbour_views(table, rows, Draws(0, 0, rows))
    assert batch["attention_mask"].sum(1).max() == 4
