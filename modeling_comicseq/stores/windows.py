"""Pages with more panels than the model takes, as overlapping windows."""

from __future__ import annotations

import numpy as np

from ..errors import ComicSeqDataError

__all__ = ["check_window", "expand_windows", "window_counts"]


def check_window(window: int, stride: int | None) -> tuple[int, int]:
    """Returns the window and its stride in panels (half a window where none is given).

    Raises:
        ComicSeqDataError: The window is below 1, or the stride would leave panels between two windows.
    """
    if window < 1:
        raise ComicSeqDataError(f"window {window} holds no panel; give at least 1")
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= stride <= window:
        raise ComicSeqDataError(f"stride {stride} would lose panels between windows of {window}; give 1 to {window}")
    return window, stride


def window_counts(num_panels: np.ndarray, window: int, stride: int) -> np.ndarray:
    """How many windows each page needs: 1 up to `window` panels, 0 for a page without panels.

    Args:
        num_panels: Panels of each page, shape (pages,).
        window: Panels of a window.
        stride: Panels from one window's start to the next.
    """
    panels = np.asarray(num_panels, dtype=np.int64)
    extra = -(-np.maximum(panels - window, 0) // stride)
    return np.where(panels > 0, 1 + extra, 0)


def expand_windows(num_panels: np.ndarray, window: int, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All windows of all pages, page by page; the last window ends with its page, so all are full on a long page.

    >>> expand_windows(np.array([20]), 16, 8)[1].tolist()
    [0, 4]

    Args:
        num_panels: Panels of each page, shape (pages,).
        window: Panels of a window.
        stride: Panels from one window's start to the next.

    Returns:
        Three arrays of shape (windows,): the page each window belongs to, its first panel, its number of panels.
    """
    panels = np.asarray(num_panels, dtype=np.int64)
    counts = window_counts(panels, window, stride)
    page = np.repeat(np.arange(len(panels)), counts)
    first = np.concatenate(([0], np.cumsum(counts)))[page]
    start = np.minimum((np.arange(len(page)) - first) * stride, np.maximum(panels[page] - window, 0))
    return page, start, np.minimum(panels[page] - start, window)
