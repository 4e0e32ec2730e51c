"""What COMICS text-cloze answers without ComicSeq: chance, length, shared words, frozen cosine, and a ranker on all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from .ranker import fit_conditional_logit
from .texts import Choices, TextBank, unit


def longest(choices: Choices, bank: TextBank) -> np.ndarray:
    """Number of words of each candidate `(Q, K)`."""
    return bank.num_words[choices.candidates].astype(np.float64)


def word_overlap(choices: Choices, bank: TextBank) -> np.ndarray:
    """Share of a candidate's distinct words that the context has, too `(Q, K)`."""
    sets = [set(text.split()) for text in bank.texts] + [set()]
    scores = np.zeros(choices.candidates.shape)
    for question, (shown, candidates) in enumerate(zip(choices.contexts, choices.candidates, strict=True)):
        context = set().union(*(sets[row] for row in shown))
        scores[question] = [len(sets[row] & context) / max(1, len(sets[row])) for row in candidates]
    return scores


def context_cosine(choices: Choices, vectors: np.ndarray) -> np.ndarray:
    """Cosine of each candidate to the mean of the context's vectors `(Q, K)`; `vectors` (texts + 1, dim) end in zeros."""
    mean = unit(vectors[choices.contexts].sum(1))
    return np.einsum("qd,qkd->qk", mean, unit(vectors[choices.candidates]))


def with_zeros(vectors: np.ndarray) -> np.ndarray:
    """`vectors` (texts, dim) with a row of zeros behind, which row -1 finds."""
    return np.concatenate((vectors, np.zeros((1, vectors.shape[1]), vectors.dtype)))


def ranker_features(choices: Choices, bank: TextBank, training: np.ndarray, context: bool = True) -> np.ndarray:
    """What the ranker weighs `(Q, K, F)`: likeness to each context panel and to all, by meaning and words; length.

    Args:
        choices: The questions.
        bank: Their texts.
        training: Rows of the texts that means and word weights may be taken from.
        context: Whether to tell anything but what can be seen from the candidate alone.
    """
    length = np.log1p(longest(choices, bank))
    unknown = np.asarray([text.split().count("UNK") for text in bank.texts])[choices.candidates]
    features = [length, length**2, unknown / np.maximum(1, bank.num_words[choices.candidates])]
    features += [
        np.asarray([mark in text for text in bank.texts], dtype=float)[choices.candidates] for mark in "?!.,'"
    ]
    if context:
        for block in bank.blocks:
            vectors = with_zeros(unit(block - block[training].mean(0)))
            features += _likeness(choices, lambda a, b, v=vectors: np.einsum("nd,nd->n", v[a], v[b]))
            features.append(context_cosine(choices, vectors))
        weighted = bank.tf_idf(training)
        matrix = sparse.vstack([weighted, sparse.csr_matrix((1, weighted.shape[1]), dtype=weighted.dtype)]).tocsr()
        features += _likeness(choices, lambda a, b: np.asarray(matrix[a].multiply(matrix[b]).sum(1)).ravel())
        features.append(word_overlap(choices, bank))
    return np.stack(features, axis=-1).astype(np.float32)


def _likeness(choices: Choices, compare) -> list[np.ndarray]:
    """`compare` (rows, rows) of each candidate with each context panel, three arrays `(Q, K)`, and their sum."""
    num_candidates = choices.candidates.shape[1]
    parts = []
    for panel in range(choices.contexts.shape[1]):
        shown = np.repeat(choices.contexts[:, panel], num_candidates)
        parts.append(compare(shown, choices.candidates.ravel()).reshape(-1, num_candidates))
    return [*parts, sum(parts)]


def rank(
    train: Choices, tests: Sequence[Choices], bank: TextBank, training: np.ndarray, context: bool = True
) -> list[np.ndarray]:
    """Scores `(Q, K)` of the questions of each of `tests` by a ranker fitted on the questions `train`."""
    features, real = ranker_features(train, bank, training, context), train.candidates >= 0
    mean, spread = features[real].mean(0), np.maximum(features[real].std(0), 1e-6)
    weights = fit_conditional_logit((features - mean) / spread, train.answers, real) / spread
    return [ranker_features(test, bank, training, context) @ weights for test in tests]
