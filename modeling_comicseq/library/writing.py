"""Writes what the encoder returns, part by part, beside its work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np
import torch
import zarr

from ..errors import ComicSeqDataError
from ..stores.pages import Pages
from ..stores.stage3 import find_bad_vectors
from ..stores.stage5 import Layout, Part
from .reading import PageBatch

__all__ = ["PartWriter", "not_finite_fault"]

_WAITING = 4  # batches that may wait for the disk


class PartWriter:
    """Fills the empty slots with zeros, checks the vectors and writes each part when its last batch is there.

    Args:
        arrays: The arrays of the store.
        layout: Its shapes and parts.
        fault: Called with a page whose vectors are not finite; raises.
        finished: Called with the number of each part that is on the disk, and its report: `panels` and `digest`.
        advance: Called with the number of pages of each batch that is done.
    """

    def __init__(
        self,
        arrays: Mapping[str, zarr.Array],
        layout: Layout,
        fault: Callable[[int], NoReturn],
        finished: Callable[[int, dict[str, Any]], None],
        advance: Callable[[int], None],
    ):
        self._arrays, self._layout = arrays, layout
        self._fault, self._finished, self._advance = fault, finished, advance
        rows = min(layout.part_rows, layout.pages)
        self._buffers = {name: np.zeros((rows, *array.shape[1:]), array.dtype) for name, array in arrays.items()}
        self._panels, self._digest = 0, 0
        # One thread, so that batches and parts come to the disk in their order and one buffer is enough.
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def add(self, part: Part, batch: PageBatch, panels: torch.Tensor, strips: torch.Tensor) -> None:
        """Takes the vectors of a batch of a part: contextualised panels (panels, D) and strip vectors (pages, D)."""
        self._waiting.append(self._thread.submit(self._place, part, batch, panels, strips))
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def _place(self, part: Part, batch: PageBatch, panels: torch.Tensor, strips: torch.Tensor) -> None:
        rows = slice(batch.lo - part.lo, batch.hi - part.lo)
        counts = batch.packed.counts
        mask = np.arange(self._layout.slots) < counts[:, None]
        values, strip_values = panels.cpu().numpy(), strips.cpu().numpy()
        self._check(values, np.repeat(np.arange(batch.lo, batch.hi), counts))
        self._check(strip_values, np.arange(batch.lo, batch.hi))
        target = self._buffers["contextualized_panels"][rows]
        target[...] = 0
        target[mask] = values
        self._buffers["strip_embeddings"][rows] = strip_values
        self._buffers["panel_masks"][rows] = mask
        self._panels += len(values)
        self._digest = (self._digest + batch.digest) % 2**128
        if batch.hi == part.hi:
            for name, array in self._arrays.items():
                array[part.lo : part.hi] = self._buffers[name][: part.hi - part.lo]
            self._finished(part.number, {"panels": self._panels, "digest": f"{self._digest:032x}"})
            self._panels = self._digest = 0
        self._advance(batch.hi - batch.lo)

    def _check(self, vectors: np.ndarray, pages: np.ndarray) -> None:
        not_finite, _ = find_bad_vectors(vectors)
        if not_finite.any():
            self._fault(int(pages[not_finite.argmax()]))


def not_finite_fault(model: str, pages: Pages, dtype: str) -> Callable[[int], NoReturn]:
    """What `PartWriter` calls for a page whose vectors are not finite.

    Args:
        model: Name of the checkpoint.
        pages: The pages.
        dtype: Precision of the output.
    """

    def fault(page: int) -> NoReturn:
        row = int(pages.rows[page])
        remedy = "encode with --dtype float32, or " if dtype == "float16" else ""
        raise ComicSeqDataError(
            f"{model} makes vectors that are not finite in {dtype} of page {pages.name(row)!r}"
            f" (sequence_index {row}); {remedy}check the checkpoint's weights"
        )

    return fault
