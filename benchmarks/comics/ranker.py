"""A logistic ranker on cosines: what a question gives away to a linear model that sees nothing but likeness."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import optimize, special

from modeling_comicseq.data.views import Batch
from modeling_comicseq.evaluation.baselines import _context
from modeling_comicseq.tasks.multiple_choice import right_candidates
from modeling_comicseq.vectors import unit

FEATURES = (
    "context mean",
    "nearest before",
    "nearest after",
    "first panel",
    "most alike panel",
    "least alike panel",
    "other candidates",
)


def cosine_features(batch: Batch) -> np.ndarray:
    """Cosines of each candidate to what the question shows `(Q, K, 7)`, one for each of `FEATURES`; 0 where there is none."""
    context, shown = _context(batch)
    name = "candidate_text_embeddings" if "candidate_text_embeddings" in batch else "candidate_embeddings"
    context, candidates = unit(context) * shown[..., None], unit(batch[name])
    there = batch["candidate_mask"].astype(bool)
    candidates = candidates * there[..., None]
    cosines = np.einsum("qnd,qkd->qnk", context, candidates)
    slots = np.arange(shown.shape[1])
    asked = batch["mask_position"] if "mask_position" in batch else np.full(len(shown), shown.shape[1])
    before = shown & (slots < asked[:, None])
    after = shown & (slots > asked[:, None])
    questions = np.arange(len(shown))

    def at(slot: np.ndarray, exists: Any) -> np.ndarray:
        return cosines[questions, slot] * exists[:, None]

    likeness = np.einsum("qjd,qkd->qkj", candidates, candidates) * (1 - np.eye(candidates.shape[1]))
    return np.stack(
        [
            np.einsum("qd,qkd->qk", unit(context.sum(1)), candidates),
            at(shown.shape[1] - 1 - np.argmax(before[:, ::-1], axis=1), before.any(1)),
            at(np.argmax(after, axis=1), after.any(1)),
            at(np.argmax(shown, axis=1), shown.any(1)),
            np.where(shown[..., None], cosines, -1.0).max(1),
            np.where(shown[..., None], cosines, 1.0).min(1),
            likeness.sum(-1) / np.maximum(there.sum(1) - 1, 1)[:, None],
        ],
        axis=-1,
    )


def fit_conditional_logit(
    features: np.ndarray, answers: np.ndarray, real: np.ndarray, penalty: float = 1e-3
) -> np.ndarray:
    """Weights `(F,)` of a conditional logistic regression (McFadden, 1974): the score of a candidate is linear in its
    features, and the softmax over the candidates says which is right.

    Args:
        features: `(Q, K, F)`, standardised.
        answers: The right candidates `(Q,)`.
        real: Which candidates count `(Q, K)`.
        penalty: Weight of the squared coefficients beside the mean loss of a question.
    """
    features, questions = features.astype(np.float64), np.arange(len(features))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.where(real, features @ weights, -np.inf)
        probability = special.softmax(scores, axis=1)
        value = -special.log_softmax(scores, axis=1)[questions, answers].mean()
        gradient = (np.einsum("qk,qkf->qf", probability, features) - features[questions, answers]).mean(0)
        return value + penalty * weights @ weights, gradient + 2 * penalty * weights

    return optimize.minimize(loss, np.zeros(features.shape[-1]), jac=True, method="L-BFGS-B").x


class LogisticRanker:
    """A conditional logistic regression on `FEATURES`.

    Args:
        penalty: See `fit_conditional_logit`.
        without: Those that it does not see, as "other candidates", which no candidate of ComicSeq sees either.
    """

    def __init__(self, penalty: float = 1e-3, without: Iterable[str] = ()):
        self.penalty = penalty
        self.seen = ~np.isin(FEATURES, list(without))

    def fit(self, batches: Iterable[Batch]) -> LogisticRanker:
        """Fits the weights to questions whose number of candidates may differ."""
        features, masks, answers = [], [], []
        for batch in batches:
            features.append(cosine_features(batch) * self.seen)
            masks.append(batch["candidate_mask"].astype(bool))
            answers.append(right_candidates(batch))
        width = max(mask.shape[1] for mask in masks)
        x = np.concatenate([np.pad(f, ((0, 0), (0, width - f.shape[1]), (0, 0))) for f in features])
        real = np.concatenate([np.pad(m, ((0, 0), (0, width - m.shape[1]))) for m in masks])
        self.scale = np.maximum(x[real].std(0), 1e-9)
        self.weights = fit_conditional_logit(x / self.scale, np.concatenate(answers), real, self.penalty)
        return self

    def scores(self, batch: Batch) -> np.ndarray:
        """Scores of the candidates `(Q, K)`; padded ones are lowest."""
        scores = cosine_features(batch) * self.seen / self.scale @ self.weights
        return np.where(batch["candidate_mask"].astype(bool), scores, -np.inf)
