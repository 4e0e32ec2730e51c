"""Reads the vectors of a Stage 5 store, or of a Stage 3 store beside it for comparison, together with their pages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from ..errors import ComicSeqDataError
from ..urls import file_system, is_url
from .arrays import metadata_beside
from .metadata import describe_file
from .stage3 import MASK_ARRAYS, PANEL_ARRAYS, Stage3Store, files_fingerprint, get_array, open_group, read_rows
from .stage5 import ARRAYS

__all__ = [
    "VectorStore",
    "find_metadata",
    "folder_beside",
    "mean_panels",
    "metadata_version",
]

_BLOCK_BYTES = 1 << 26  # a block of vectors that is read at once has about so many


@dataclass(frozen=True)
class VectorStore:
    """The panel and strip vectors of a store.

    Attributes:
        url: Where it was opened from, a local path or an fsspec URL.
        stage: 5, or 3 where the strip vector of a page is the mean of its panels.
        panels: Panel vectors (pages, slots, D).
        strips: Strip vectors (pages, D), None in Stage 3.
        mask: Which slots hold panels (pages, slots).
    """

    url: str
    stage: int
    panels: zarr.Array
    strips: zarr.Array | None
    mask: zarr.Array

    @classmethod
    def open(cls, url: str | os.PathLike) -> VectorStore:
        """Opens a store of Zarr format 2 or 3, and checks that its arrays belong together.

        Raises:
            ComicSeqDataError: It is no such store, is empty, lacks an array, or their shapes disagree.
        """
        url = os.fspath(url)
        group = open_group(url, "give a store of `comicseq encode` or of Stage 3")
        panels, strips, stage3 = (get_array(group, name, url) for name in (*ARRAYS[:2], PANEL_ARRAYS[0]))
        if panels is None:
            if stage3 is None:
                raise ComicSeqDataError(
                    f"{url} has neither 'contextualized_panels' (Stage 5) nor 'panel_embeddings' (Stage 3); "
                    "give a store of `comicseq encode` or of Stage 3"
                )
            return cls(url, 3, stage3, None, Stage3Store.open(url).mask)
        mask = next((array for name in MASK_ARRAYS if (array := get_array(group, name, url)) is not None), None)
        if mask is None or strips is None:
            lacking = "panel_masks" if mask is None else "strip_embeddings"
            raise ComicSeqDataError(f"{url} has no array {lacking!r}; encode the corpus again")
        shape = panels.shape
        if len(shape) != 3 or 0 in shape:
            raise ComicSeqDataError(
                f"{url} is empty: contextualized_panels has shape {shape}, which must be (pages, slots, width)"
            )
        for array, wanted in ((mask, shape[:2]), (strips, (shape[0], shape[2]))):
            if array.shape != wanted:
                raise ComicSeqDataError(
                    f"{url}: {array.basename} has shape {array.shape} but contextualized_panels {shape}; "
                    f"it must be {wanted}"
                )
        for array in (panels, strips):
            if array.dtype.kind != "f":
                raise ComicSeqDataError(
                    f"{url}: {array.basename} has dtype {array.dtype}; store vectors as float16 or float32"
                )
        return cls(url, 5, panels, strips, mask)

    @property
    def pages(self) -> int:
        """Rows of the store."""
        return self.panels.shape[0]

    @property
    def slots(self) -> int:
        """Panel slots of each row."""
        return self.panels.shape[1]

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return self.panels.shape[2]

    def blocks(self, level: str) -> Iterator[tuple[int, int]]:
        """Row ranges to read one after the other, in whole chunks as far as memory allows."""
        array = self.strips if level == "strip" and self.strips is not None else self.panels
        row_bytes = 4 * int(np.prod(array.shape[1:]))
        chunk = array.chunks[0]
        step = max(chunk, _BLOCK_BYTES // row_bytes // chunk * chunk)
        for lo in range(0, self.pages, step):
            yield lo, min(lo + step, self.pages)

    def read_panels(self, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """Panel vectors of rows lo to hi `(rows, slots, D)` and which of them are real `(rows, slots)`."""
        return self._read(self.panels, lo, hi), self.read_mask(lo, hi)

    def read_mask(self, lo: int, hi: int) -> np.ndarray:
        """Which slots of rows lo to hi hold a panel `(rows, slots)`.

        Raises:
            ComicSeqDataError: The mask says something else than 0 or 1.
        """
        mask = self._read(self.mask, lo, hi)
        rows, slots = np.nonzero((mask != 0) & (mask != 1))
        if len(rows):
            raise ComicSeqDataError(
                f"{self.url}: row {lo + rows[0]}: the mask holds {mask[rows[0], slots[0]]}; write 1 for real panels and 0"
                " for empty slots"
            )
        return mask != 0

    def read_strips(self, lo: int, hi: int) -> np.ndarray:
        """Strip vectors of rows lo to hi as float32 `(rows, D)`; NaN for a page without panels."""
        if self.strips is not None:
            strips = self._read(self.strips, lo, hi).astype(np.float32)
            strips[~self.read_mask(lo, hi).any(axis=1)] = np.nan
            return strips
        return mean_panels(*self.read_panels(lo, hi))

    def read_chosen(self, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """The pages at ascending `rows` (n,), a block at a time.

        Yields:
            Which of `rows` a block holds, their panel vectors `(pages, slots, D)`, which of these are real
            `(pages, slots)`, and their strip vectors `(pages, D)`.
        """
        for lo, hi in self.blocks("panel"):
            first, last = np.searchsorted(rows, (lo, hi)).tolist()
            if first == last:
                continue
            start, stop = int(rows[first]), int(rows[last - 1]) + 1
            panels, real = self.read_panels(start, stop)
            strips = mean_panels(panels, real) if self.strips is None else self.read_strips(start, stop)
            inside = rows[first:last] - start
            yield slice(first, last), panels[inside], real[inside], strips[inside]

    def _read(self, array: zarr.Array, lo: int, hi: int) -> np.ndarray:
        values, failures = read_rows(array, lo, hi)
        for failure in failures:
            remedy = "encode the corpus again" if self.stage == 5 else "restore the store's file"
            raise ComicSeqDataError(f"{self.url}: rows {failure.lo} to {failure.hi - 1}: {failure.found}; {remedy}")
        return values

    def fingerprint(self) -> str:
        """Hash of the names, sizes and times of all files of the store: changes when the store is written to."""
        arrays = {"panels": self.panels} | ({"strips": self.strips} if self.strips else {})
        return files_fingerprint(self.url, arrays, self.mask)


def mean_panels(panels: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean of the real ones of `panels` (rows, slots, D) as float32 `(rows, D)`; NaN where there is none."""
    sums = np.where(real[..., None], panels, 0).sum(axis=1, dtype=np.float32)
    counts = real.sum(axis=1)[:, None]
    return np.where(counts, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def find_metadata(store: VectorStore, metadata: str | None) -> str:
    """The metadata of a store: as given, or the file beside it that `metadata_beside` names.

    Raises:
        ComicSeqDataError: None was given and none is there.
    """
    if metadata is not None:
        return metadata
    path = metadata_beside(store.url)
    system, inside = file_system(path)
    if not system.exists(inside):
        raise ComicSeqDataError(f"{store.url} has no {path} beside it: name its metadata with --metadata")
    return path


def metadata_version(path: str) -> str:
    """What tells a rewritten metadata file from the old one: its size and time, as its storage states them."""
    return hashlib.sha256(str(list(describe_file(path).items())).encode()).hexdigest()


def folder_beside(store: VectorStore, ending: str, option: str) -> Path:
    """`STORE` without `.zarr` and with `ending`, the default place of what is made from a store.

    Raises:
        ComicSeqDataError: The store is remote, and `option` must name a local folder.
    """
    if is_url(store.url):
        raise ComicSeqDataError(f"{store.url} is not on this machine: name a local folder with {option}")
    path = Path(os.path.abspath(store.url))
    return path.with_name(path.name.removesuffix(".zarr") + ending)
