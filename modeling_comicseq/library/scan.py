"""Reads all pages of a store once: measures of a sample of them, and of each page what tells copies and damage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..evaluation.probe import MOST_PAGES, spread
from ..progress import progress_bar
from ..stores.stage3 import find_bad_vectors
from ..stores.twins import hash_spans
from ..stores.vectors import VectorStore
from .near_copies import PageSketches
from .space import Space, SpaceGatherer

__all__ = ["Scan", "scan_pages"]


@dataclass(frozen=True)
class Scan:
    """What was read of pages that have panels.

    Attributes:
        panels: Measures of the panel vectors of the sample.
        strips: Measures of its strip vectors.
        vectors: Its strip vectors `(sample, D)`.
        probed: Places among the pages of those whose panels are kept to be probed, ascending `(probed,)`.
        probed_panels: Their panel vectors `(n, D)`, page by page.
        probed_counts: Their panels `(probed,)`.
        hashes: Of the panel vectors of every page `(pages,)`.
        is_usable: Which pages have vectors that all are finite and not zero `(pages,)`.
        sketches: Of every page `(pages, 64)`, see `PageSketches`.
        means: Mean vectors `(slots + 1, slots, D)`, see `PageSketches`.
    """

    panels: Space
    strips: Space
    vectors: np.ndarray
    probed: np.ndarray
    probed_panels: np.ndarray
    probed_counts: np.ndarray
    hashes: np.ndarray
    is_usable: np.ndarray
    sketches: np.ndarray
    means: np.ndarray


def scan_pages(
    store: VectorStore, rows: np.ndarray, books: np.ndarray, sample: np.ndarray, progress: bool = False
) -> Scan:
    """Reads pages in their order.

    Args:
        store: The store.
        rows: The row of each page, ascending `(pages,)`.
        books: The number of its book `(pages,)`.
        sample: Places among the pages of those that are measured, ascending `(sample,)`.
        progress: Show progress on stderr.
    """
    panels, strips = SpaceGatherer(store.width), SpaceGatherer(store.width)
    sketches = PageSketches(len(rows), store.slots, store.width)
    probed = spread(len(sample), MOST_PAGES)
    probe: list[tuple[np.ndarray, np.ndarray]] = []
    vectors = np.empty((len(sample), store.width), np.float32)
    hashes, is_usable = np.empty(len(rows), np.uint64), np.ones(len(rows), bool)
    with progress_bar(f"Reading pages of {Path(store.url).name}", len(rows), progress) as advance:
        for places, block, real, means in store.read_chosen(rows):
            first, last = places.start, places.stop
            page, slot = np.nonzero(real)
            real_panels = block[real]
            hashes[first:last] = hash_spans(real_panels, np.searchsorted(page, np.arange(last - first + 1)))
            is_usable[first:last] = ~np.logical_or(*find_bad_vectors(means))
            is_usable[first + page[np.logical_or(*find_bad_vectors(real_panels))]] = False
            sound = is_usable[first + page]
            sketches.add(first, real_panels[sound], page[sound], slot[sound])
            low, high = np.searchsorted(sample, (first, last))
            if low < high:
                chosen = sample[low:high] - first
                vectors[low:high] = means[chosen]
                strips.add(vectors[low:high], rows[sample[low:high]], books[sample[low:high]])
                is_chosen = np.zeros(last - first, bool)
                is_chosen[chosen] = True
                panels.add(*(each[is_chosen[page]] for each in (real_panels, rows[first + page], books[first + page])))
                is_chosen[chosen] = np.isin(np.arange(low, high), probed)
                probe.append((real_panels[is_chosen[page]], np.bincount(page)[is_chosen]))
            advance(last - first)
    probed_panels, counts = (np.concatenate(each) for each in zip(*probe, strict=True))
    return Scan(
        panels=panels.finish(),
        strips=strips.finish(),
        vectors=vectors,
        probed=sample[probed],
        probed_panels=probed_panels,
        probed_counts=counts,
        hashes=hashes,
        is_usable=is_usable,
        sketches=sketches.finish(),
        means=sketches.means(),
    )
