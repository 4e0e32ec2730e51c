from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.book_ranking import book_ranking
from modeling_comicseq.evaluation import retrieval
from modeling_comicseq.evaluation.retrieval import half_page_retrieval, same_book_retrieval
from modeling_comicseq.vectors import unit

from ..closeness import assert_close


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks that do not divide the number of pages."""
    monkeypatch.setattr(retrieval, "_BLOCK", 7)


def made_pages(pages: int = 60, width: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pages of books of unequal size that have something in common."""
    generator = np.random.default_rng(seed)
    books = generator.integers(0, 9, pages)
    books[0] = 99  # a book of one page
    vectors = generator.standard_normal((100, width))[books] + generator.standard_normal((pages, width))
    return vectors, np.asarray([f"book {book}" for book in books])


def test_hits_are_those_of_scikit_learn_s_nearest_neighbour():
    vectors, books = made_pages()
    hits, _ = same_book_retrieval(vectors, books)
    for page in range(1, len(books)):
        others = np.arange(len(books)) != page
        nearest = KNeighborsClassifier(1, metric="cosine").fit(vectors[others], books[others])
        assert hits[page] == (nearest.predict(vectors[[page]])[0] == books[page])
    assert np.isnan(hits[0])


def test_chance_is_the_rate_of_shuffled_pages():
    generator = np.random.default_rng(0)
    vectors, books = made_pages()
    _, chance = same_book_retrieval(vectors, books)
    rates = [np.nanmean(same_book_retrieval(generator.permutation(vectors), books).hits) for _ in range(300)]
    assert np.mean(rates) == pytest.approx(chance, abs=4 * np.std(rates) / np.sqrt(300))


def test_perfect_books_score_one():
    vectors, books = np.repeat(np.eye(4), 3, axis=0), np.repeat(np.arange(4), 3)
    assert same_book_retrieval(vectors, books).hits.tolist() == [1.0] * 12
    for scores in book_ranking(vectors, books):
        assert scores == pytest.approx(np.ones(12))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_a_collapsed_space_scores_chance(num_books, pages_per_book, seed):
    books = np.random.default_rng(seed).permutation(np.repeat(np.arange(num_books), pages_per_book))
    hits, chance = same_book_retrieval(np.full((len(books), 6), 0.3), books)
    assert hits == pytest.approx(np.full(len(books), chance))
    r_precision, average_precision = book_ranking(np.full((len(books), 6), 0.3), books)
    assert r_precision == pytest.approx(np.full(len(books), chance))
    assert average_precision == pytest.approx(np.full(len(books), chance))


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float32, (11, 3), elements=st.floats(-1, 1, width=16)),
    arrays.arrays(np.float32, (11, 3), elements=st.floats(-1, 1, width=16)),
)
def test_half_pages_against_a_plain_count(first, second):
    hits, ranks = half_page_retrieval(first, second)
    cosines = unit(first).astype(float) @ unit(second).astype(float).T
    for page in range(len(first)):
        nearer = np.sum(cosines[page] > cosines[page, page] + 1e-6)
        ties = np.sum(np.abs(cosines[page] - cosines[page, page]) <= 1e-6)
        # A difference that is the tolerance itself may fall on either side.
        if np.any(np.abs(np.abs(cosines[page] - cosines[page, page]) - 1e-6) < 8e-7):
            continue
        assert ranks[page] == nearer + (ties + 1) / 2
        assert hits[page] == (1 / ties if nearer == 0 else 0)


def test_half_pages_that_agree_are_found():
    halves = np.random.default_rng(0).standard_normal((20, 8))
    hits, ranks = half_page_retrieval(halves, 3 * halves)
    assert hits.tolist() == ranks.tolist() == [1.0] * 20


def test_scale_does_not_matter_and_zeros_stay_zeros():
    vectors = np.asarray([[3e30, 4e30], [3e-30, 4e-30], [0, 0]], np.float32)
    assert_close(unit(vectors), [[0.6, 0.8], [0.6, 0.8], [0, 0]])
    assert not unit(vectors)[2].any()


def test_books_of_one_page_and_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="no book has two pages"):
        same_book_retrieval(np.eye(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match="no book has two pages"):
        same_book_retrieval(np.empty((0, 3)), [])
    with pytest.raises(ValueError, match="3 vectors but 2 book ids"):
        book_ranking(np.eye(3), ["a", "a"])
    with pytest.raises(ValueError, match="halves have shapes"):
        half_page_retrieval(np.eye(3), np.eye(2))
