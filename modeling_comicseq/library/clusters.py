"""Clusters of vectors at several scales, and the nearest of a collection to each of its vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ComicSeqDataError
from ..vectors import unit

__all__ = ["Clusters", "check_analysis", "nearest"]

_FEW = 30_000  # vectors that are compared all with all
_PROBED = 32  # clusters of a larger collection in which neighbours of each are looked for
_BLOCK = 1024  # vectors that are compared at a time


def check_analysis() -> None:
    """Checks that scikit-learn is installed.

    Raises:
        ComicSeqDataError: It is not.
    """
    try:
        import sklearn.cluster  # noqa: F401
    except ImportError:
        raise ComicSeqDataError(
            "clusters need scikit-learn, which is not installed; pip install 'comicseq[analysis]'"
        ) from None


@dataclass(frozen=True)
class Clusters:
    """Centres of k-means at some scale.

    Attributes:
        centres: Unit vectors `(k, D)`, those of the largest clusters of what they were fitted on first.
    """

    centres: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, count: int) -> Clusters:
        """`count` clusters of unit vectors (N, D), or one a vector where there are fewer."""
        from sklearn.cluster import MiniBatchKMeans

        count = min(count, len(np.unique(vectors, axis=0)))
        if count < 1:
            return cls(np.zeros((0, vectors.shape[1]), np.float32))
        found = MiniBatchKMeans(count, batch_size=max(1024, 4 * count), n_init=3, random_state=0).fit(vectors)
        sizes = np.bincount(found.labels_, minlength=count)
        return cls(unit(found.cluster_centers_[np.argsort(-sizes, kind="stable")]))

    def label(self, vectors: np.ndarray) -> np.ndarray:
        """The nearest centre of each of unit `vectors` (n, D) by cosine `(n,)`; -1 where there is none."""
        if not len(self.centres):
            return np.full(len(vectors), -1)
        return (vectors @ self.centres.T).argmax(axis=1)


def nearest(units: np.ndarray, count: int, allowed: np.ndarray, unlike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of a collection that are nearest to each by cosine.

    Few are compared all with all. Of many, each is compared with those of the clusters whose centres are nearest to it, which
    misses some.

    Args:
        units: Unit vectors `(N, D)`, which may be mapped from a file; zeros have no neighbours.
        count: How many are wanted of each.
        allowed: Which may be neighbours `(N,)`.
        unlike: For each another one that must not be its neighbour, or itself `(N,)`.

    Returns:
        Their places, the nearest first, -1 where there are fewer, and their cosines, `(N, count)` each.
    """
    places = np.full((len(units), count), -1)
    cosines = np.full((len(units), count), np.nan, np.float32)
    everyone = np.arange(len(units))
    if len(units) <= _FEW:
        _search(units, everyone, np.flatnonzero(allowed), unlike, places, cosines)
        return places, cosines
    sample = np.linspace(0, len(units) - 1, min(len(units), 2 * _FEW)).astype(int)
    clusters = Clusters.fit(np.asarray(units[sample], np.float32), int(len(units) ** 0.5))
    probed = np.empty((len(units), min(_PROBED, len(clusters.centres))), np.int32)
    for lo in range(0, len(units), _BLOCK):
        likeness = np.asarray(units[lo : lo + _BLOCK], np.float32) @ clusters.centres.T
        probed[lo : lo + _BLOCK] = np.argsort(-likeness, axis=1, kind="stable")[:, : probed.shape[1]]
    order = np.argsort(probed.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(probed.ravel(), minlength=len(clusters.centres)))
    for number, asked in enumerate(np.split(order // probed.shape[1], ends[:-1])):
        others = asked[probed[asked, 0] == number]
        _search(units, asked, others[allowed[others]], unlike, places, cosines)
    return places, cosines


def _search(
    units: np.ndarray,
    asked: np.ndarray,
    others: np.ndarray,
    unlike: np.ndarray,
    places: np.ndarray,
    cosines: np.ndarray,
) -> None:
    """Compares the vectors at `asked` with those at `others`, ascending, and fills in the nearest."""
    if not len(others) or not places.shape[1]:
        return
    candidates = np.asarray(units[others], np.float32)
    count = min(places.shape[1], len(others))
    for lo in range(0, len(asked), _BLOCK):
        own = asked[lo : lo + _BLOCK]
        vectors = np.asarray(units[own], np.float32)
        found = vectors @ candidates.T
        for barred in (own, unlike[own]):
            at = np.searchsorted(others, barred)
            at[at == len(others)] = 0
            is_there = others[at] == barred
            found[np.flatnonzero(is_there), at[is_there]] = -np.inf
        found[~vectors.any(axis=1)] = -np.inf
        best = np.sort(np.argpartition(-found, count - 1, axis=1)[:, :count], axis=1)  # of equal ones the first
        values = np.take_along_axis(found, best, axis=1)
        # With those that were found among others before.
        best = np.concatenate((places[own], np.where(np.isfinite(values), others[best], -1)), axis=1)
        values = np.concatenate((np.nan_to_num(cosines[own], nan=-np.inf), values), axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, : places.shape[1]]
        best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
        places[own], cosines[own] = best, np.where(best >= 0, values, np.nan)
