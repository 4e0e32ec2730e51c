"""Random access to the panels of one split of the Arrow data set, by (row, slot), straight from the mapped file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.lib.stride_tricks import as_strided

from ..errors import ComicSeqDataError
from .characters import CharacterLabels

VECTOR_COLUMNS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")


class PanelTable:
    """The panels of a split.

    Attributes:
        num_panels: Panels of each row `(R,)`.
        books: Number of the book of each row `(R,)`.
        book_ids: Names of the books, by that number.
        pages: Number of the page of each row `(R,)`; the windows of a long page share it. Pages are numbered in the
            order of their book, books one after the other.
        book_pages: First page of each book, and the number of pages `(books + 1,)`.
        pool: Every panel, page by page. A panel's number is that of its row's first panel plus its slot.
        with_text: Those that have a text, where some have none; else None.
        with_caption: Those that have a caption, likewise.
        columns: The vector columns that are present.
        widths: Width of each.
        characters: Who is seen in which panel, None where the data set does not tell.
    """

    def __init__(self, dataset: Dataset):
        if len(dataset) == 0:
            raise ComicSeqDataError(
                "The split holds no page: convert more books, or give this split a larger fraction."
            )
        self.dataset = dataset
        if dataset._indices is not None:  # a selection or shuffle: rows are not where the file has them
            dataset = dataset.flatten_indices()
        table = dataset.data.table
        self.num_panels = table["num_panels"].to_numpy().astype(np.int64)
        self.offsets = np.concatenate(([0], np.cumsum(self.num_panels)))
        book_names = np.asarray(table["book_id"].to_pylist(), dtype=object)
        self.book_ids, self.books = np.unique(book_names.astype(str), return_inverse=True)
        self._number_pages(table["page_index"].to_numpy(), table["window_start"].to_numpy())

        self.columns: dict[str, VectorColumn] = {}
        self._pieces: dict[bytes, np.ndarray] = {}
        self.widths: dict[str, int] = {}
        for name in VECTOR_COLUMNS:
            if name in table.column_names:
                self.columns[name] = self._open(name, table[name])
                self.widths[name] = self.columns[name].width
        self.with_text, self.with_caption = (
            self._subset(table[name]) if name in table.column_names else None for name in ("has_text", "has_caption")
        )
        self.characters = None
        if "character_ids" in table.column_names:
            self.characters = CharacterLabels(table["character_ids"], self.num_panels, self.pages)

    def __reduce__(self):  # a worker process maps the files anew
        return PanelTable, (self.dataset,)

    def _number_pages(self, page_index: np.ndarray, window_start: np.ndarray) -> None:
        order = np.lexsort((window_start, page_index, self.books))
        books, index = self.books[order], page_index[order]
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = (books[1:] != books[:-1]) | (index[1:] != index[:-1])
        page_in_order = np.cumsum(is_new) - 1
        self.pages = np.empty(len(order), dtype=np.int64)
        self.pages[order] = page_in_order
        self.book_pages = np.searchsorted(books[is_new], np.arange(len(self.book_ids) + 1))

        # Of overlapping windows, each panel counts in the first window that holds it.
        start, count = window_start[order].astype(np.int64), self.num_panels[order]
        seen = np.zeros(len(order), dtype=np.int64)
        seen[1:] = np.where(is_new[1:], 0, np.clip(start[:-1] + count[:-1] - start[1:], 0, count[1:]))
        fresh = count - seen
        first = np.cumsum(fresh) - fresh
        panels = np.repeat(self.offsets[order] + seen - first, fresh) + np.arange(fresh.sum())
        self.pool = PanelPool(panels, np.concatenate((first[is_new], [len(panels)])))

    def _subset(self, flags: pa.ChunkedArray) -> PanelSubset | None:
        is_member = pa.concat_arrays(flags.chunks).flatten().to_numpy(zero_copy_only=False)
        if is_member.all():
            return None
        chosen = is_member[self.pool.panels]
        starts = np.concatenate(([0], np.cumsum(chosen)))[self.pool.page_starts]
        members = np.flatnonzero(is_member)
        return PanelSubset(
            PanelPool(self.pool.panels[chosen], starts),
            members,
            np.searchsorted(members, np.arange(self.offsets[-1] + 1)),
        )

    def _open(self, name: str, column: pa.ChunkedArray) -> VectorColumn:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        panel_starts = self.offsets[np.cumsum([0, *map(len, chunks)])]
        values = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in chunks]
        width, rest = divmod(sum(map(len, values)), self.offsets[-1])
        sizes = np.diff(panel_starts)
        if rest or any(len(v) != n * width for v, n in zip(values, sizes, strict=True)):
            raise ComicSeqDataError(f"Column `{name}` does not hold one vector per panel: convert the store again.")
        return VectorColumn(values, panel_starts[:-1], int(width), self._pieces_of(panel_starts))

    def _pieces_of(self, panel_starts: np.ndarray) -> np.ndarray:
        """The piece of each panel, and -1 for panel -1; columns that lie in equal pieces share it."""
        key = panel_starts.tobytes()
        if key not in self._pieces:
            pieces = np.arange(len(panel_starts) - 1, dtype=np.int32)
            self._pieces[key] = np.append(np.repeat(pieces, np.diff(panel_starts)), np.int32(-1))
        return self._pieces[key]

    def __len__(self) -> int:
        return len(self.num_panels)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def panel(self, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Numbers of the panels at `slots` of `rows`; any shapes that broadcast."""
        return self.offsets[rows] + slots

    def gather(self, column: str, panels: np.ndarray) -> np.ndarray:
        """Vectors `(..., width)` of `column` for panel numbers `(...)`, zeros where the number is -1."""
        return self.columns[column].read(panels.ravel()).reshape(*panels.shape, self.widths[column])


class DeferredTable(PanelTable):
    """The same table, which only takes note of the vectors that are asked for, to read those of many views at once.

    A training batch asks some twenty times for a few hundred vectors, and each reading has a price of its own.
    """

    def __init__(self, table: PanelTable):
        vars(self).update(vars(table))
        self.asked: dict[str, list[np.ndarray]] = {column: [] for column in table.columns}
        self.counts = dict.fromkeys(table.columns, 0)

    def gather(self, column: str, panels: np.ndarray) -> DeferredVectors:  # type: ignore[override]
        """What `read` replaces by the vectors `(..., width)` of `column` for panel numbers `(...)`."""
        self.asked[column].append(panels.ravel())
        start = self.counts[column]
        self.counts[column] += panels.size
        return DeferredVectors(column, start, panels.shape)

    def read(self, batch: dict) -> None:
        """Puts the vectors in the place of all that `gather` returned, in `batch` and in batches within it."""
        asked = {column: np.concatenate(panels) for column, panels in self.asked.items() if panels}
        self._fill(batch, {column: PanelTable.gather(self, column, panels) for column, panels in asked.items()})

    def _fill(self, batch: dict, vectors: dict[str, np.ndarray]) -> None:
        for name, value in batch.items():
            if isinstance(value, DeferredVectors):
                some = vectors[value.column][value.start : value.start + math.prod(value.shape)]
                batch[name] = some.reshape(*value.shape, some.shape[-1])
            elif isinstance(value, dict):
                self._fill(value, vectors)


class DeferredVectors(NamedTuple):
    """Vectors that a `DeferredTable` has yet to read: their column, the first of them among all that is asked of it, and shape."""

    column: str
    start: int
    shape: tuple[int, ...]


@dataclass
class PanelPool:
    """Panels, page by page, each panel once, even where windows overlap.

    Attributes:
        panels: Their numbers `(n,)`.
        page_starts: First entry of each page in `panels`, and their number `(pages + 1,)`.
    """

    panels: np.ndarray
    page_starts: np.ndarray


@dataclass
class PanelSubset:
    """Some of the panels of a table.

    Attributes:
        pool: Page by page, each once.
        members: Their numbers in order `(n,)`.
        ranks: How many members have a number below `(panels + 1,)`.
    """

    pool: PanelPool
    members: np.ndarray
    ranks: np.ndarray

    def count(self, first: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Members among the panels from `first` to below `end` `(B,)`."""
        return self.ranks[end] - self.ranks[first]

    def draw(self, first: np.ndarray, end: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One of those members each, drawn with numbers in [0, 1) `(B,)`; `first` where there is none."""
        count = self.count(first, end)
        choice = self.ranks[first] + (uniform * count).astype(np.int64)
        return np.where(count > 0, np.append(self.members, 0)[choice], first)


class VectorColumn:
    """The vectors of one column, which lie in several pieces of memory: a data set has hundreds, a loop would be slow.

    `runs` is one array of all runs of `width` numbers from the first piece in memory to the last, whatever lies between
    them, so that one indexing operation reads from all pieces. Only the starts of vectors may be asked for. One more piece
    is a vector of zeros, for padding. Each run is a single item of raw bytes, which NumPy copies faster than `width`
    numbers.
    """

    def __init__(self, pieces: list[np.ndarray], first_panels: np.ndarray, width: int, piece_of: np.ndarray):
        self.width, self.dtype = width, pieces[0].dtype
        self.piece_of = piece_of  # 4 bytes a panel, shared by the columns; cheaper than a search each time
        self.pieces = [*pieces, np.zeros(width, dtype=self.dtype)]  # holding them keeps them mapped
        addresses = np.asarray([piece.ctypes.data for piece in self.pieces])
        itemsize, lowest = self.dtype.itemsize, int(np.argmin(addresses))
        places = (addresses - addresses[lowest]) // itemsize
        length = int((places + [len(piece) for piece in self.pieces]).max()) - width + 1
        first_run = self.pieces[lowest][:width].view(np.dtype((np.void, width * itemsize)))
        self.runs = as_strided(first_run, (length,), (itemsize,), writeable=False)
        # Panel number -1 is found in piece -1, the zeros.
        self.shifts = places - np.append(first_panels, -1) * width

    def places(self, panels: np.ndarray) -> np.ndarray:
        """Places in `runs` of the vectors of panel numbers `(n,)`, -1 for zeros."""
        return self.shifts[self.piece_of[panels]] + panels * self.width

    def read(self, panels: np.ndarray) -> np.ndarray:
        """Vectors `(n, width)` of panel numbers `(n,)`, zeros for -1."""
        return self.runs[self.places(panels)].view(self.dtype).reshape(len(panels), self.width)
