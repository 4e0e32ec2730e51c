from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import top_k_accuracy_score

from modeling_comicseq.evaluation.metrics import bootstrap_mean, chance_level, pairwise_accuracy, top1_accuracy


def test_top1_accuracy_is_scikit_learn_s():
    generator = np.random.default_rng(0)
    scores, answers = generator.standard_normal((200, 5)), generator.integers(0, 5, 200)
    assert top1_accuracy(scores, answers).mean() == pytest.approx(top_k_accuracy_score(answers, scores, k=1))


def test_ties_share_the_point():
    assert top1_accuracy(np.asarray([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), np.asarray([1, 1])).tolist() == [0.5, 0.0]


def test_pairwise_accuracy_is_kendall_s_tau_rescaled():
    generator = np.random.default_rng(0)
    orders = [generator.permutation(n) for n in (2, 3, 7, 9)]
    true_orders = [generator.permutation(n) for n in (2, 3, 7, 9)]
    expected = [
        (1 + stats.kendalltau(np.argsort(a), np.argsort(b)).statistic) / 2
        for a, b in zip(orders, true_orders, strict=True)
    ]
    assert pairwise_accuracy(orders, true_orders) == pytest.approx(expected)


def test_chance_is_one_over_the_candidates():
    assert chance_level(np.asarray([[1, 1, 1, 1], [1, 1, 0, 0]])).tolist() == [0.25, 0.5]


def test_bootstrap_resamples_books_not_questions():
    # Questions of a book are copies of each other: the interval must be that of 30 books, not of 3,000 questions.
    generator = np.random.default_rng(0)
    right = generator.integers(0, 2, 30).astype(float)
    books = np.repeat(np.arange(30), 100)
    mean, low, high = bootstrap_mean(np.repeat(right, 100), books)
    assert mean == pytest.approx(right.mean())
    error = right.std() / np.sqrt(30)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_bootstrap_interval_covers_at_its_nominal_rate():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        book_means = generator.normal(0.5, 0.2, 40)
        sizes = generator.integers(5, 15, 40)
        books = np.repeat(np.arange(40), sizes)
        values = generator.normal(book_means[books], 0.3)
        _, low, high = bootstrap_mean(values, books, resamples=300, seed=trial)
        covered += low <= 0.5 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_one_book_has_no_interval():
    mean, low, high = bootstrap_mean(np.asarray([1.0, 0.0]), np.asarray(["a", "a"]))
    assert mean == 0.5 and np.isnan(low) and np.isnan(high)
