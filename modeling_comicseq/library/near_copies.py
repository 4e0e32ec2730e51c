"""Pages that are nearly the same: the panels of one are nearly those of another, in order.

All panels of a page, one after the other and less the mean of their slots, are projected to a few numbers at random, which
keeps angles (Johnson and Lindenstrauss). Pages of as many panels are compared by these sketches: all with all where they are
few, else those that fall on one side of a dozen random planes each (Charikar's hashing), some dozen times over. What is left
is compared by its vectors.
"""

from __future__ import annotations

import numpy as np

from ..stores.vectors import VectorStore
from ..vectors import unit

__all__ = ["NEAR", "PageSketches", "compare_pages", "nearest_before"]

# Cosine of the least alike of the panels, less the mean vector of their slots. Different pages of real and synthetic comics
# stay below 0.81; a page that was scanned, scaled or compressed again is above.
NEAR = 0.9
_WIDTH = 64  # of a sketch: the cosine of two of them is off by 0.03 where it is 0.9
_SLACK = 0.1  # so much less in the sketches does not rule out a copy
_FEW = 16_384  # pages that are compared all with all
_BUCKET = 512  # pages that share their hash, about
_MISSED = (
    0.01  # copies at the threshold that hashing may miss; of copies at a cosine of 0.97, it misses one in 100,000
)
_PRIOR = 20  # panels that the mean of a slot is drawn to the mean of all by
_BLOCK = 2048  # pages that are compared at a time
_PAGES = 8_000  # pages whose panels are in memory at a time


class PageSketches:
    """Takes the panels of pages, and gives a sketch of each page and the mean of each slot.

    Memory: 256 bytes a page, and `64 x slots x width` numbers.

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
        self.sums, self.panels = np.zeros((slots, width)), np.zeros(slots, np.int64)

    def add(self, first: int, vectors: np.ndarray, page: np.ndarray, slot: np.ndarray) -> None:
        """Takes finite vectors `(n, D)` of the pages `first + page` (n,), each the panel `slot` (n,) of its page."""
        for number in np.unique(slot).tolist():
            own = slot == number
            values = vectors[own].astype(np.float32)
            self.raw[first + page[own]] += values @ self.projections[number]
            self.sums[number] += values.sum(axis=0, dtype=np.float64)
            self.panels[number] += own.sum()
        self.counts[first : first + page.max(initial=-1) + 1] += np.bincount(page)

    def means(self) -> np.ndarray:
        """Mean vector of each slot `(slots, D)`, drawn to that of all where a slot has few panels."""
        overall = self.sums.sum(axis=0) / max(self.panels.sum(), 1)
        return ((self.sums + _PRIOR * overall) / (self.panels + _PRIOR)[:, None]).astype(np.float32)

    def finish(self) -> np.ndarray:
        """The sketches `(pages, 64)` of unit length, zeros for pages without a panel."""
        shifts = np.einsum("sd,sdk->sk", self.means(), self.projections)
        shifts = np.concatenate((np.zeros((1, _WIDTH), np.float32), np.cumsum(shifts, axis=0)))
        return unit(self.raw - shifts[self.counts])


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
        means: Mean vector of each slot `(slots, D)`.

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
        less = [unit((panels[each] - means).reshape(-1, panels.shape[2])) for each in (first, second)]
        as_is = [unit(panels[each].reshape(-1, panels.shape[2])) for each in (first, second)]
        for cosines, (one, other) in ((centred, less), (plain, as_is)):
            each = np.einsum("nd,nd->n", one, other).reshape(both.shape)
            cosines[part] = np.where(both, each, 1).min(axis=1)
    return centred, plain


def _read_rows(store: VectorStore, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Panels `(rows, slots, D)` as float32, zeros where there is none, and which slots hold one `(rows, slots)`."""
    panels = np.zeros((len(rows), store.slots, store.width), np.float32)
    real = np.zeros((len(rows), store.slots), bool)
    for lo, hi in store.blocks("panel"):
        first, last = np.searchsorted(rows, (lo, hi))
        if first == last:
            continue
        start, stop = int(rows[first]), int(rows[last - 1]) + 1
        block, mask = store.read_panels(start, stop)
        inside = rows[first:last] - start
        real[first:last] = mask[inside]
        panels[first:last][real[first:last]] = block[inside][mask[inside]]
    return panels, real
