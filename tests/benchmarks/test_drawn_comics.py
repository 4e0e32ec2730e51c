"""Drawn comics can be understood: who knows what is drawn finds the panel that was taken out, and the one that follows."""

import numpy as np
import pytest

from benchmarks.drawn_comics import oracle, questions, share_right
from modeling_comicseq.pages.drawn.book import draw_book


@pytest.fixture(scope="module")
def books():
    return [[entry["panels"] for _, entry in draw_book(0, book, 6, 64)] for book in range(8)]


@pytest.mark.parametrize("closure", [False, True])
def test_the_oracle_is_mostly_right(books, closure):
    right = [share_right(oracle(*question)) for _, *question in questions(books, closure)]
    assert len(right) > 20 and np.mean(right) > 0.85


def test_candidates_are_of_five_pages_and_the_right_one_of_the_asked(books):
    for number, before, after, candidates in questions(books, closure=False):
        pages = [
            next(i for i, page in enumerate(books[number]) if any(each is panel for each in page))
            for panel in candidates
        ]
        assert len(set(pages)) == 5
        assert all(any(each is panel for each in books[number][pages[0]]) for panel in before + after)


def test_ties_are_shared():
    assert [share_right(scores) for scores in ([1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1, 1])] == [1, 0, 0.5, 0.25]
