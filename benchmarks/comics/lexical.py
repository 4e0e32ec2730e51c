"""Which words a text is made of, as vectors: what a sentence encoder blurs, names above all."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

NUM_COLUMNS = 2**18


def words(text: str) -> list[str]:
    """The words of a text in lower case; punctuation and UNK, which stands for many words, are left out."""
    return [word for word in re.findall(r"\w+", text.lower()) if word != "unk"]


def count_words(texts: Sequence[str]) -> sparse.csr_matrix:
    """Dampened counts `(n, 2^18)` of the words of each text, 1 + log(count); a word's column is a hash of it."""
    columns: list[int] = []
    values: list[int] = []
    starts = [0]
    for text in texts:
        counts = Counter(zlib.crc32(word.encode("utf-8", "surrogatepass")) % NUM_COLUMNS for word in words(text))
        columns.extend(counts.keys())
        values.extend(counts.values())
        starts.append(len(columns))
    data = 1 + np.log(np.asarray(values, dtype=np.float32))
    return sparse.csr_matrix((data, np.asarray(columns), np.asarray(starts)), shape=(len(texts), NUM_COLUMNS))


def weight_words(counts: sparse.csr_matrix, training: np.ndarray) -> sparse.csr_matrix:
    """Unit vectors of TF-IDF, `(n, 2^18)`; how rare a word is, is counted on the `training` rows alone.

    Words that no training text has are as rare as can be: two texts that share one are still alike.
    """
    documents = np.asarray((counts[training] > 0).sum(0)).ravel()
    rarity = np.log((1 + len(training)) / (1 + documents)).astype(np.float32) + 1
    weighted = counts.multiply(rarity[None]).tocsr()
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    return sparse.diags(1 / np.maximum(length, 1e-12)).dot(weighted).astype(np.float32).tocsr()


def project_words(weighted: sparse.csr_matrix, width: int, seed: int = 0) -> np.ndarray:
    """Dense vectors `(n, width)` whose cosines are about those of `weighted`, by a fixed Gaussian projection."""
    used, column = np.unique(weighted.indices, return_inverse=True)
    compact = sparse.csr_matrix((weighted.data, column, weighted.indptr), shape=(weighted.shape[0], len(used)))
    directions = np.empty((len(used), width), dtype=np.float32)
    for row, term in enumerate(used):
        # Every column has its own stream, so that a term's direction does not depend on which others occur.
        directions[row] = np.random.default_rng((seed, int(term))).standard_normal(width, dtype=np.float32)
    return np.asarray(compact @ (directions / np.sqrt(width, dtype=np.float32)))
