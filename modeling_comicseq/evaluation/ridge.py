"""Ridge regressions fitted by books: none answers for a book that it was fitted on."""

from __future__ import annotations

import numpy as np

FOLDS = 10
PENALTIES = 10.0 ** np.arange(-6, 4)  # times the mean variance of the inputs' directions


class BookRidge:
    """Ridge regressions without an intercept, each fitted on the books of all folds but one, for which it answers.

    Args:
        inputs: `(n, D)`.
        targets: `(n, T)`.
        books: Book of each `(n,)`, two at least.
        groups: How many groups the rows were centred in: these means are estimated, too.
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, books: np.ndarray, groups: int = 0):
        self.books, place = np.unique(books, return_inverse=True)
        # Drawn, so that books that stand beside one another, as those of a series do, are not left out together.
        number = np.random.default_rng(0).permutation(len(self.books))
        self.folds = number % min(FOLDS, len(self.books))
        fold = self.folds[place]
        parts = []
        for each in range(self.folds.max() + 1):
            x, y = inputs[fold == each].astype(np.float64), targets[fold == each].astype(np.float64)
            parts.append((x.T @ x, x.T @ y, (y**2).sum(0)))
        square, product, energy = (sum(each[1:], each[0]) for each in zip(*parts, strict=True))
        self.weights = []  # (D, T) of each fold
        for each, (x, y, own) in enumerate(parts):
            count = (fold != each).sum() * (1 - groups / len(inputs))
            self.weights.append(fit_ridge(square - x, product - y, energy - own, max(count, 1)))

    def predict(self, inputs: np.ndarray, books: np.ndarray) -> np.ndarray:
        """What is foretold for `inputs` (n, D) of `books` (n,), shape (n, T); of a book that none was fitted on, by any."""
        place = np.searchsorted(self.books, books).clip(max=len(self.books) - 1)
        fold = np.where(self.books[place] == books, self.folds[place], 0)
        found = np.zeros((len(inputs), self.weights[0].shape[1]))
        for each in np.unique(fold):
            found[fold == each] = inputs[fold == each] @ self.weights[each]
        return found


def fit_ridge(square: np.ndarray, product: np.ndarray, energy: np.ndarray, count: float) -> np.ndarray:
    """Weights (D, T) from the sums X'X (D, D), X'Y (D, T) and, for each target, Y² (T,) of `count` rows.

    Each target has the penalty of least generalised cross-validation error (Golub, Heath and Wahba, 1979).
    """
    variances, directions = np.linalg.eigh(square)
    variances = np.maximum(variances, 0)[:, None]
    turned = directions.T @ product
    best, least = np.zeros_like(turned), np.full(len(energy), np.inf)
    for penalty in PENALTIES * max(variances.mean(), 1e-30):
        shrunk = turned / (variances + penalty)
        error = energy - (2 * turned * shrunk - variances * shrunk**2).sum(0)
        used = (variances / (variances + penalty)).sum()
        score = np.maximum(error, 0) / max(count - used, 1e-9) ** 2
        best, least = np.where(score < least, shrunk, best), np.minimum(score, least)
    return directions @ best
