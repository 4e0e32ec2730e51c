from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modeling_comicseq.evaluation.embedding_space import effective_rank, mean_cosine_between


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 10**6))
def test_effective_rank_is_the_entropy_of_the_spectrum(count, width, seed):
    covariance = np.cov(np.random.default_rng(seed).normal(size=(count, width)).T)
    eigenvalues = np.clip(np.linalg.eigvalsh(covariance), 0, None)
    assert effective_rank(covariance) == pytest.approx(math.exp(stats.entropy(eigenvalues)), rel=1e-6)
    assert effective_rank(3 * covariance) == pytest.approx(effective_rank(covariance), rel=1e-6)


def test_effective_rank_of_known_spaces():
    assert effective_rank(np.zeros((5, 5))) == 1.0, "all vectors equal"
    assert effective_rank(np.ones((5, 5))) == pytest.approx(1.0)
    assert effective_rank(np.eye(4)) == pytest.approx(4.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 10**6))
def test_mean_cosine_between_groups_by_loops(groups, seed):
    vectors = np.random.default_rng(seed).normal(size=(len(groups), 4))
    cosines = [
        vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
        for i in range(len(groups))
        for j in range(len(groups))
        if groups[i] != groups[j]
    ]
    mean = mean_cosine_between(vectors, np.asarray(groups))
    assert mean == pytest.approx(np.mean(cosines)) if cosines else math.isnan(mean)
