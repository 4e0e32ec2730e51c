from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score

from modeling_comicseq.evaluation.metrics import (
    BookBootstrap,
    bootstrap_mean,
    chance_level,
    chance_reciprocal_rank,
    few_books,
    kendall_tau,
    pairwise_accuracy,
    perfect_match,
    reciprocal_rank,
    top1_accuracy,
)


def test_choice_metrics_are_scikit_learn_s():
    generator = np.random.default_rng(0)
    scores, answers = generator.standard_normal((200, 5)), generator.integers(0, 5, 200)
    assert top1_accuracy(scores, answers).mean() == pytest.approx(top_k_accuracy_score(answers, scores, k=1))
    # With one right label, the average precision of its ranking is its reciprocal rank.
    expected = label_ranking_average_precision_score(np.eye(5)[answers], scores)
    assert reciprocal_rank(scores, answers).mean() == pytest.approx(expected)


def test_ties_share_the_point():
    scores, answers = np.asarray([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), np.asarray([1, 1, 2])
    assert top1_accuracy(scores, answers).tolist() == pytest.approx([0.5, 0.0, 1 / 3])
    assert reciprocal_rank(scores, answers).tolist() == pytest.approx(
        [(1 + 1 / 2) / 2, 1 / 2, (1 + 1 / 2 + 1 / 3) / 3]
    )


def test_padded_candidates_rank_behind():
    scores = np.asarray([[0.0, -5.0, -np.inf, -np.inf]])
    assert reciprocal_rank(scores, np.asarray([1])).tolist() == [0.5]


def test_chance_is_what_equal_scores_get():
    mask = np.asarray([[1, 1, 1, 1], [1, 1, 0, 0]])
    equal, answers = np.where(mask == 1, 0.0, -np.inf), np.asarray([2, 0])
    assert chance_level(mask).tolist() == [0.25, 0.5] == top1_accuracy(equal, answers).tolist()
    assert chance_reciprocal_rank(mask).tolist() == pytest.approx([25 / 48, 0.75])
    assert chance_reciprocal_rank(mask).tolist() == pytest.approx(reciprocal_rank(equal, answers).tolist())


@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.integers(0, 1000))
def test_kendall_s_tau_is_scipy_s(lengths, seed):
    generator = np.random.default_rng(seed)
    orders, true_orders = ([generator.permutation(n) for n in lengths] for _ in range(2))
    expected = [
        stats.kendalltau(np.argsort(a), np.argsort(b)).statistic for a, b in zip(orders, true_orders, strict=True)
    ]
    assert kendall_tau(orders, true_orders) == pytest.approx(expected)
    assert pairwise_accuracy(orders, true_orders) == pytest.approx((1 + np.asarray(expected)) / 2)


def test_order_metrics_by_hand():
    truth = [np.asarray([0, 1, 2]), np.asarray([1, 0]), np.asarray([0, 1, 2])]
    orders = [np.asarray([1, 0, 2]), np.asarray([1, 0]), np.asarray([2, 1, 0])]
    assert pairwise_accuracy(orders, truth).tolist() == pytest.approx([2 / 3, 1, 0])
    assert perfect_match(orders, truth).tolist() == [0, 1, 0]
    assert kendall_tau(orders, truth).tolist() == pytest.approx([1 / 3, 1, -1])


def test_bootstrap_resamples_books_not_questions():
    # Questions of a book are copies of each other: the interval must be that of 30 books, not of 3,000 questions.
    generator = np.random.default_rng(0)
    right = generator.integers(0, 2, 30).astype(float)
    mean, low, high = bootstrap_mean(np.repeat(right, 100), np.repeat(np.arange(30), 100))
    assert mean == pytest.approx(right.mean())
    error = right.std(ddof=1) / np.sqrt(30)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 29) * error, rel=0.1)


def test_many_books_give_scipy_s_percentile_interval():
    generator = np.random.default_rng(1)
    books = generator.integers(0, 400, 3000)
    values = generator.random(3000) + 0.3 * generator.standard_normal(400)[books]
    sums, counts = np.bincount(books, weights=values), np.bincount(books)
    expected = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis) / c.sum(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=generator,
    ).confidence_interval
    mean, low, high = bootstrap_mean(values, books, resamples=4000)
    width = expected.high - expected.low
    assert mean == pytest.approx(values.mean())
    assert abs(low - expected.low) < 0.05 * width and abs(high - expected.high) < 0.05 * width


@pytest.mark.parametrize("num_books", [12, 40])
def test_intervals_cover_at_their_nominal_rate(num_books):
    # Books of very different sizes and difficulty, right or wrong answers: 95 % of the intervals hold the truth.
    generator, trials = np.random.default_rng(num_books), 1500
    books = np.repeat(np.arange(num_books), generator.integers(10, 60, num_books))
    difficulty = generator.beta(6, 4, (num_books, trials))  # mean 0.6
    right = generator.random((len(books), trials)) < difficulty[books]
    bootstrap = BookBootstrap(books)
    for trial in range(trials):
        bootstrap.add(right[:, trial].astype(float))
    intervals = np.asarray(bootstrap.intervals(resamples=1000))
    covered = ((intervals[:, 1] <= 0.6) & (intervals[:, 2] >= 0.6)).mean()
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("num_books", [12, 40])
def test_paired_intervals_cover_at_their_nominal_rate(num_books):
    # Two answerers of the same questions: hard books are hard for both, the gain differs from book to book, and four of
    # five questions depend on the same luck.
    generator, trials = np.random.default_rng(num_books), 1500
    books = np.repeat(np.arange(num_books), generator.integers(10, 60, num_books))
    difficulty = 0.9 * generator.beta(6, 4, (num_books, trials))
    gain = generator.uniform(0.0, 0.1, (num_books, trials))  # mean 0.05
    luck, own = generator.random((2, len(books), trials))
    shared = generator.random(luck.shape) < 0.8
    first, second = luck < (difficulty + gain)[books], np.where(shared, luck, own) < difficulty[books]
    bootstrap = BookBootstrap(books)
    for trial in range(trials):
        bootstrap.add(first[:, trial].astype(float) - second[:, trial])
    intervals = np.asarray(bootstrap.intervals(resamples=1000))
    covered = ((intervals[:, 1] <= 0.05) & (intervals[:, 2] >= 0.05)).mean()
    assert 0.93 <= covered <= 0.97


def test_a_paired_difference_is_narrower_than_its_parts():
    generator = np.random.default_rng(0)
    books = np.repeat(np.arange(30), 20)
    shared = generator.standard_normal(30)[books]
    first, second = shared + 0.1, shared + 0.01 * generator.standard_normal(600)
    mean, low, high = bootstrap_mean(first - second, books)
    alone = bootstrap_mean(first, books)
    assert mean == pytest.approx(0.1, abs=0.01) and low > 0
    assert high - low < (alone.high - alone.low) / 10


def test_chosen_questions_count_alone():
    values, books = np.asarray([1.0, 0.0, np.nan, 1.0]), np.asarray([0, 0, 1, 2])
    bootstrap = BookBootstrap(books)
    bootstrap.add(values, ~np.isnan(values))
    (interval,) = bootstrap.intervals()
    assert interval.mean == pytest.approx(2 / 3) and 0.5 <= interval.low < interval.high <= 1.0


def test_one_book_has_no_interval():
    mean, low, high = bootstrap_mean(np.asarray([1.0, 0.0]), np.asarray(["a", "a"]))
    assert mean == 0.5 and np.isnan(low) and np.isnan(high)


def test_intervals_over_few_books_are_said_to_mean_little():
    assert few_books(10) is None and few_books(9) == (
        "Intervals and bands over 9 books mean little: trust them from 10 books on."
    )
    assert "over 1 book mean" in few_books(1)
