from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity

from benchmarks.book_ranking import book_ranking

from ..evaluation.test_retrieval import made_pages


def test_average_precision_is_scikit_learn_s_and_r_precision_counts():
    vectors, books = made_pages()
    vectors = np.concatenate((vectors, vectors[:20]))  # ties
    books = np.concatenate((books, np.roll(books[:20], 3)))
    r_precision, average_precision = book_ranking(vectors, books)
    cosines = cosine_similarity(vectors).round(6)
    for page in np.flatnonzero([np.sum(books == book) > 1 for book in books]):
        others = np.arange(len(books)) != page
        right = books[others] == books[page]
        assert average_precision[page] == pytest.approx(
            average_precision_score(right, cosines[page][others]), abs=1e-3
        )
        # Ties in random order, many times, average to the expected value.
        generator = np.random.default_rng(page)
        shares = []
        for _ in range(200):
            order = np.lexsort((generator.random(right.size), -cosines[page][others]))
            shares.append(right[order][: right.sum()].mean())
        assert r_precision[page] == pytest.approx(np.mean(shares), abs=5 * np.std(shares) / np.sqrt(200) + 1e-3)
    alone = np.flatnonzero([np.sum(books == book) == 1 for book in books])
    assert np.isnan(r_precision[alone]).all() and np.isnan(average_precision[alone]).all()
