from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from benchmarks.comics.ranker import FEATURES, LogisticRanker, cosine_features


def made_batch(seed: int = 0, questions: int = 40, candidates: int = 3, panels: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.arange(panels) < rng.integers(2, panels + 1, questions)[:, None]
    there = np.arange(candidates) < rng.integers(2, candidates + 1, questions)[:, None]
    return {
        "panel_embeddings": rng.normal(size=(questions, panels, 6)).astype(np.float32),
        "attention_mask": mask.astype(np.int64),
        "mask_position": (rng.random(questions) * mask.sum(1)).astype(np.int64),
        "candidate_embeddings": rng.normal(size=(questions, candidates, 6)).astype(np.float32),
        "candidate_mask": there.astype(np.int64),
        "labels": (rng.random(questions) * there.sum(1)).astype(np.int64),
    }


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_features_by_loops(seed):
    batch = made_batch(seed, questions=5)
    features = cosine_features(batch)
    for q in range(5):
        asked = batch["mask_position"][q]
        shown = {n: batch["panel_embeddings"][q, n] for n in range(batch["attention_mask"][q].sum()) if n != asked}
        real = range(batch["candidate_mask"][q].sum())
        for k in real:
            candidate = batch["candidate_embeddings"][q, k]
            likeness = {n: cosine(panel, candidate) for n, panel in shown.items()}
            mean = sum(panel / np.linalg.norm(panel) for panel in shown.values())
            others = [cosine(batch["candidate_embeddings"][q, j], candidate) for j in real if j != k]
            expected = {
                "context mean": cosine(mean, candidate),
                "nearest before": next((likeness[n] for n in sorted(shown, reverse=True) if n < asked), 0.0),
                "nearest after": next((likeness[n] for n in sorted(shown) if n > asked), 0.0),
                "first panel": likeness[min(shown)],
                "most alike panel": max(likeness.values()),
                "least alike panel": min(likeness.values()),
                "other candidates": np.mean(others),
            }
            assert dict(zip(FEATURES, features[q, k], strict=True)) == pytest.approx(expected, rel=1.3e-6, abs=1e-5)


def test_of_two_candidates_it_is_logistic_regression_on_the_difference():
    batch = made_batch(questions=300, candidates=2)
    batch["candidate_mask"][:] = 1
    ranker = LogisticRanker(penalty=1e-3).fit([batch])
    features = cosine_features(batch) / ranker.scale
    difference = features[:, 1] - features[:, 0]
    reference = LogisticRegression(C=1 / (2 * 1e-3 * 300), fit_intercept=False, tol=1e-8).fit(
        difference, batch["labels"]
    )
    assert ranker.weights == pytest.approx(reference.coef_[0], abs=1e-3)


def test_it_learns_what_decides_and_leaves_padding_last():
    batch = made_batch(questions=400)
    batch["labels"] = np.where(batch["candidate_mask"] > 0, cosine_features(batch)[..., 0], -np.inf).argmax(1)
    ranker = LogisticRanker(penalty=1e-5).fit([batch])
    test = made_batch(seed=1, questions=400)
    answers = np.where(test["candidate_mask"] > 0, cosine_features(test)[..., 0], -np.inf).argmax(1)
    scores = ranker.scores(test)
    assert (scores.argmax(1) == answers).mean() > 0.95
    assert np.isneginf(scores[test["candidate_mask"] == 0]).all()


def test_what_it_does_not_see_changes_nothing():
    batch = made_batch(questions=60)
    ranker = LogisticRanker(without=["other candidates"]).fit([batch])
    assert ranker.weights[FEATURES.index("other candidates")] == 0 and (ranker.weights != 0).sum() == len(FEATURES) - 1
    alone = batch | {name: batch[name][:, :1] for name in ("candidate_embeddings", "candidate_mask")}
    np.testing.assert_allclose(ranker.scores(alone)[:, 0], ranker.scores(batch)[:, 0], rtol=1e-5, atol=1e-6)
