"""Pages that are nearly the same: the panels of one are nearly those of another, in order.

All panels of a page, one after the other and less the mean of their slots, are projected to a few numbers at random, which
keeps angles (Johnson and Lindenstrauss). Pages of as many panels are compared by these sketches: all with all where they are
few, else those that fall on one side of a dozen random planes each (Charikar's hashing), some dozen times over. What is left
is compared by its vectors.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc

from ..stores.vectors import VectorStore
from ..vectors import unit

__all__ = ["NEAR", "PageSketches", "compare_pages", "least_cosines", "nearest_before"]

# Cosine of the least alike of the panels, less the mean vector of their slots. Different pages of real and synthetic comics
# stay below 0.81.
NEAR = 0.9
_WIDTH = 64  # of a sketch: the cosine of two of them is off by 0.03 where it is 0.9
_SLACK = 0.1  # so much less in the sketches does not rule out a copy
_FEW = 16_384  # pages that are compared all with all
_BUCKET = 512  # pages that share their hash, about
_MISSED = (
    0.01  # copies at the threshold that hashing may miss; of copies at a cosine of 0.97, it misses one in 100,000
)
_PRIOR = 4  # panels that the mean of few is drawn to that of more by
_CHANCE = 1e-3  # pairs of pages that are near by chance, at most
_BLOCK = 2048  # pages that are compared at a time
_PAGES = 6_000  # pages whose panels are in memory at a time


class PageSketches:
    """Takes the panels of pages, and gives a sketch of each page and the mean of each slot.

    Encoders that know positions give panels of one place on pages of one length much in common, which says nothing of copies:
    means are by slot and number of panels.

    Memory: 256 bytes a page, and `(64 + slots) x slots x width` numbers.

    Args:
        pages: Number of pages.
        slots: Most panels of a page.
        width: Width of their vectors.
    """

    def __init__(self, pages: int, slots: int, width: int):
        generator = np.random.default_rng(0)
        self.projections = generator.standard_normal((slots, width, _WIDTH), dtype=np.float32) / np.float32(
            _WIDTH**0.5
        )
        self.raw = np.zeros((pages, _WIDTH), np.float32)
        self.counts = np.zeros(pages, np.int64)
        self.sums, self.panels = (
            np.zeros((slots + 1, slots, width), np.float32),
            np.zeros((slots + 1, slots), np.int64),
        )

    def add(self, first: int, vectors: np.ndarray, page: np.ndarray, slot: np.ndarray) -> None:
        """Takes finite vectors `(n, D)` of the pages `first + page` (n,), each the panel `slot` (n,) of its page."""
        counts = np.bincount(page)
        self.counts[first : first + len(counts)] += counts
        for number in np.unique(slot).tolist():
            own = slot == number
            values = vectors[own].astype(np.float32)
            self.raw[first + page[own]] += values @ self.projections[number]
            lengths = counts[page[own]]
            for length in np.unique(lengths).tolist():
                self.sums[length, number] += values[lengths == length].sum(axis=0)
                self.panels[length, number] += (lengths == length).sum()

    def means(self) -> np.ndarray:
        """Mean vector by number of panels and slot `(slots + 1, slots, D)`, drawn to those of more where there are few."""
        overall = self.sums.sum(axis=(0, 1)) / max(self.panels.sum(), 1)
        means = overall
        for sums, panels in ((self.sums.sum(axis=0), self.panels.sum(axis=0)), (self.sums, self.panels)):
            means = (sums + _PRIOR * means) / (panels + _PRIOR)[..., None]
        return means.astype(np.float32)

    def finish(self) -> np.ndarray:
        """The sketches `(pages, 64)` of unit length, zeros for pages without a panel."""
        shifts = np.einsum("csd,sdk->csk", self.means(), self.projections)
        is_real = np.arange(shifts.shape[1]) < np.arange(len(shifts))[:, None]
        return unit(self.raw - (shifts * is_real[..., None]).sum(axis=1)[self.counts])


def least_cosines(pages: np.ndarray, panels: np.ndarray, rank: float) -> np.ndarray:
    """From what cosine on pages are near copies, by their number of panels: 0.9, and more where chance gives as much.

    In a space of few directions, or among very many pages, vectors are near by chance. Of pages at random, less than one pair
    in a thousand stores is as near, if panels lie in half as many directions as the effective rank tells and every second
    panel of a page depends on the others.

    Args:
        pages: How many pages there are of each number of panels `(n,)`.
        panels: The numbers of panels, 1 at least `(n,)`.
        rank: Effective rank of the panel vectors.

    Returns:
        Cosines `(n,)`; infinity where none is high enough.
    """
    cosines = np.linspace(NEAR, 0.9995, 200)
    directions = max(rank / 2, 2)
    by_chance = betainc((directions - 1) / 2, 0.5, 1 - cosines**2) / 2
    expected = np.square(pages)[:, None] / 2 * by_chance ** ((1 + panels)[:, None] / 2)
    is_rare = expected <= _CHANCE
    return np.where(is_rare.any(axis=1), cosines[is_rare.argmax(axis=1)], np.inf)


def nearest_before(sketches: np.ndarray, counts: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """For each page the most alike of the earlier pages with as many panels `(pages,)`; -1 where none is alike enough.

    Args:
        sketches: Of `PageSketches` `(pages, 64)`.
        counts: Panels of each page `(pages,)`.
        usable: Which pages are compared `(pages,)`.
    """
    generator = np.random.default_rng(0)
    best = np.full(len(sketches), NEAR - _SLACK, np.float32)
    nearest = np.full(len(sketches), -1)
    for count in np.unique(counts[usable & (counts > 0)]).tolist():
        pages = np.flatnonzero(usable & (counts == count))
        if len(pages) <= _FEW:
            _compare_all(sketches, pages, best, nearest)
            continue
        planes = int(np.ceil(np.log2(len(pages) / _BUCKET)))
        same_side = (1 - np.arccos(NEAR) / np.pi) ** planes
        for _ in range(int(np.ceil(np.log(_MISSED) / np.log1p(-same_side)))):
            heights = sketches[pages] @ generator.standard_normal((_WIDTH, planes), dtype=np.float32)
            keys = (heights > np.median(heights, axis=0)) @ (1 << np.arange(planes))
            order = np.argsort(keys, kind="stable")
            for bucket in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
                _compare_all(sketches, pages[bucket], best, nearest)
    return nearest


def _compare_all(sketches: np.ndarray, pages: np.ndarray, best: np.ndarray, nearest: np.ndarray) -> None:
    """Compares each of `pages`, ascending, with those before it, and keeps in `best` and `nearest` what is more alike."""
    vectors = sketches[pages]
    for lo in range(0, len(pages), _BLOCK):
        own = pages[lo : lo + _BLOCK]
        for start in range(0, lo + len(own), _BLOCK):
            cosines = vectors[lo : lo + _BLOCK] @ vectors[start : start + _BLOCK].T
            if start == lo:
                cosines[np.triu_indices(len(own))] = -1
            found = cosines.argmax(axis=1)
            highest = np.take_along_axis(cosines, found[:, None], axis=1)[:, 0]
            more = highest > best[own]
            best[own[more]], nearest[own[more]] = highest[more], pages[start + found[more]]


def compare_pages(
    store: VectorStore, rows: np.ndarray, pairs: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the least alike panels of pairs of pages with as many panels, in order.

    Args:
        store: The store.
        rows: Row of each page, ascending `(pages,)`.
        pairs: Two pages each `(pairs, 2)`.
        means: Mean vectors `(slots + 1, slots, D)` of `PageSketches`.

    Returns:
        The cosines less the means, and the cosines of the vectors as they are, `(pairs,)` each.
    """
    centred, plain = np.full((2, len(pairs)), -1, np.float32)
    order = np.argsort(pairs[:, 0], kind="stable")
    for start in range(0, len(pairs), _PAGES // 2):
        part = order[start : start + _PAGES // 2]
        wanted = np.unique(pairs[part])
        panels, real = _read_rows(store, rows[wanted])
        first, second = np.searchsorted(wanted, pairs[part]).T
        both = real[first] & real[second]
        common = means[real[first].sum(axis=1)]
        less = [unit((panels[each] - common).reshape(-1, panels.shape[2])) for each in (first, second)]
        as_is = [unit(panels[each].reshape(-1, panels.shape[2])) for each in (first, second)]
        for cosines, (one, other) in ((centred, less), (plain, as_is)):
            each = np.einsum("nd,nd->n", one, other).reshape(both.shape)
            cosines[part] = np.where(both, each, 1).min(axis=1)
    return centred, plain


def _read_rows(store: VectorStore, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Panels `(rows, slots, D)` as float32, zeros where there is none, and which slots hold one `(rows, slots)`."""
    panels = np.zeros((len(rows), store.slots, store.width), np.float32)
    real = np.zeros((len(rows), store.slots), bool)
    for places, block, mask, _ in store.read_chosen(rows):
        real[places] = mask
        panels[places][mask] = block[mask]
    return panels, real
