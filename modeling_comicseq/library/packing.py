"""Lays the panels of many pages into few rows of one length, so that the encoder computes next to no padding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..model.packing_comicseq import first_fit
from ..stores.windows import expand_windows

__all__ = ["PackedPages", "pack_pages"]

# Measured on the CPU with pages of 1 to 16 panels: as little padding as longer rows, and less attention across pages.
_ROW_LENGTH = 32


class PackedPages(NamedTuple):
    """Pages on their way through the encoder: R rows of L tokens, several pages or windows of pages in each.

    Attributes:
        vectors: Panel vectors of the tokens, zeros where a row is not full `(R, L, P)`.
        positions: Place of each token in its page or window `(R, L)`.
        sequences: Which page or window each token belongs to, -1 where a row is not full `(R, L)`.
        places: The tokens of each panel among the R·L, panels in reading order, page by page `(panels, M)`. A panel
            in more than one window has several tokens; -1 fills up.
        counts: Panels of each page `(pages,)`.
    """

    vectors: np.ndarray
    positions: np.ndarray
    sequences: np.ndarray
    places: np.ndarray
    counts: np.ndarray


def pack_pages(vectors: np.ndarray, counts: np.ndarray, window: int, stride: int) -> PackedPages:
    """Packs pages first-fit; those with more than `window` panels as overlapping windows.

    Args:
        vectors: Panel vectors of all pages, one page after the other `(panels, P)`.
        counts: Panels of each page `(pages,)`, 0 allowed.
        window: Most panels of a window.
        stride: Panels from one window's start to the next.
    """
    page, start, length = expand_windows(counts, window, stride)
    row_length = max(_ROW_LENGTH, int(length.max(initial=0)))
    row_starts, num_rows = first_fit(length.tolist(), row_length)

    sequence = np.repeat(np.arange(len(length)), length)
    position = np.arange(len(sequence)) - np.repeat(np.cumsum(length) - length, length)
    place = np.asarray(row_starts, np.int64)[sequence] + position
    panel = ((np.cumsum(counts) - counts)[page] + start)[sequence] + position

    tokens = num_rows * row_length
    packed = np.zeros((tokens, vectors.shape[1]), vectors.dtype)
    packed[place] = vectors if len(panel) == len(vectors) else vectors[panel]
    positions, sequences = np.zeros(tokens, np.int64), np.full(tokens, -1)
    positions[place], sequences[place] = position, sequence
    shape = (num_rows, row_length)
    return PackedPages(
        packed.reshape(*shape, vectors.shape[1]),
        positions.reshape(shape),
        sequences.reshape(shape),
        _places_of_panels(panel, place, len(vectors)),
        counts,
    )


def _places_of_panels(panel: np.ndarray, place: np.ndarray, num_panels: int) -> np.ndarray:
    """The tokens of each panel `(num_panels, M)`: token i shows panel[i] and stands at place[i]."""
    if len(panel) == num_panels:  # no page needed windows: the tokens stand in the panels' order
        return place[:, None]
    order = np.argsort(panel, kind="stable")
    copies = np.bincount(panel, minlength=num_panels)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(copies) - copies, copies)
    places = np.full((num_panels, int(copies.max())), -1)
    places[panel[order], rank] = place[order]
    return places
