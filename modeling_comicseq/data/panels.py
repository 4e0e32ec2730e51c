"""Random access to the panels of one split of the Arrow data set, straight from the mapped file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ..errors import ComicSeqDataError
from ..layouts.boxes import mirror
from ..stores.stage3 import BOX_ARRAY, STREAM_ARRAYS, check_streams
from ..stores.twins import hash_spans, same_pages
from .characters import CharacterLabels

# What is shown of panels: picture and text, or one of them alone.
BOTH, PICTURES, TEXTS = range(3)
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
        columns: The vectors of each column that is present, as pieces `(panels, width)` of the mapped file.
        widths: Width of each, of the panel vectors as they are read.
        streams: Of what the panel vectors are read, see `with_streams`.
        boxes: Where the panels stand, likewise `(panels, 4)`, as they stand on the page; None where nobody tells.
        is_rtl: Which rows are read from right to left `(R,)`.
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
        self.offsets = _running_count(self.num_panels)
        # First of all, since it tells wrong counts, which would make the rest fill the memory.
        self.columns = {name: self._open(name, table[name]) for name in VECTOR_COLUMNS if name in table.column_names}
        self.widths = {name: pieces[0].shape[1] for name, pieces in self.columns.items()}
        self.streams = "fused"
        self.boxes = self._open(BOX_ARRAY, table[BOX_ARRAY]) if BOX_ARRAY in table.column_names else None
        if self.boxes is not None and self.boxes[0].shape[1] != 4:
            raise ComicSeqDataError(f"Column `{BOX_ARRAY}` does not hold one box per panel: convert the store again.")
        self.is_rtl = np.zeros(len(table), bool)
        if "reading_direction" in table.column_names:
            self.is_rtl = np.asarray(table["reading_direction"].to_pylist(), object) == "rtl"
        book_names = np.asarray(table["book_id"].to_pylist(), dtype=object)
        self.book_ids, self.books = np.unique(book_names.astype(str), return_inverse=True)
        self._number_pages(*(table[name].to_numpy().astype(np.int64) for name in ("page_index", "window_start")))

        self.with_text, self.with_caption = (
            self._subset(table[name]) if name in table.column_names else None for name in ("has_text", "has_caption")
        )
        self._hashes: dict[str, np.ndarray] = {}
        self._names = table["canonical_id"] if "canonical_id" in table.column_names else None
        self.characters = None
        if "character_ids" in table.column_names:
            self.characters = CharacterLabels(table["character_ids"], self.num_panels, self.pages)

    def __reduce__(self):  # a worker process maps the files anew; what was read of all vectors goes with it
        kept = ("_hashes", "twins", "streams", "widths")
        return PanelTable, (self.dataset,), {name: self.__dict__[name] for name in kept if name in self.__dict__}

    def with_streams(self, streams: str) -> Self:
        """The same panels, whose panel vectors are those that a model with these `streams` reads: where these are separate, the
        picture's and the text's side by side. What is told of panels by their vectors (twins, equal candidates) stays the same,
        and so do questions about them.

        Raises:
            ComicSeqDataError: They are separate, and there are no vectors of pictures or of texts.
        """
        if streams == self.streams:
            return self
        check_streams(streams, self.columns, "The data set")
        width = self.columns["panel_embeddings"][0].shape[1]
        if streams == "separate":
            width = sum(self.widths[name] for name in STREAM_ARRAYS)
        changed = object.__new__(type(self))  # not by `copy`, for which a table is what its files hold
        widths = self.widths | {"panel_embeddings": width}
        changed.__dict__ |= self.__dict__ | {"streams": streams, "widths": widths}
        return changed

    @property
    def has_halves(self) -> bool:
        """Whether panels can be shown by their picture or their text alone: there are vectors of both, and where panel vectors are
        fused, as wide as these."""
        if any(name not in self for name in STREAM_ARRAYS):
            return False
        return (
            self.streams == "separate"
            or len({self.widths[name] for name in ("panel_embeddings", *STREAM_ARRAYS)}) == 1
        )

    def hashes(self, column: str) -> np.ndarray:
        """Hash of the vector of each panel `(panels,)`: equal vectors have equal ones. Reads the column, once."""
        if column not in self._hashes:
            each = [hash_spans(piece, range(len(piece) + 1)) for piece in self.columns[column]]
            self._hashes[column] = np.concatenate(each)
        return self._hashes[column]

    @cached_property
    def page_hashes(self) -> np.ndarray:
        """Hash of all panel vectors of each page `(pages,)`."""
        return hash_spans(self.hashes("panel_embeddings")[self.pool.panels], self.pool.page_starts)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """A row of each page, of several windows the first in the file `(pages,)`."""
        return np.unique(self.pages, return_index=True)[1]

    @cached_property
    def twins(self) -> np.ndarray:
        """The first page that each page is the same as, mostly itself `(pages,)`, see `same_pages`."""
        return same_pages(self.page_hashes, self.books[self.first_rows].tolist(), self.page_names)

    @property
    def page_names(self) -> list[str]:
        """`canonical_id` of each page; its number where the data set has none."""
        if self._names is None:
            return list(map(str, range(len(self.pool.page_sizes))))
        return self._names.take(pa.array(self.first_rows)).to_pylist()

    @cached_property
    def page_of(self) -> np.ndarray:
        """Page of each panel `(panels,)`."""
        return np.repeat(self.pages, self.num_panels)

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
        start, count = window_start[order], self.num_panels[order]
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
        pool = PanelPool(self.pool.panels[chosen], _running_count(chosen)[self.pool.page_starts])
        return PanelSubset(pool, np.flatnonzero(is_member), _running_count(is_member))

    def _open(self, name: str, column: pa.ChunkedArray) -> list[np.ndarray]:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        sizes = np.diff(self.offsets[np.cumsum([0, *map(len, chunks)])])
        values = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in chunks]
        width, rest = divmod(sum(map(len, values)), self.offsets[-1])
        if rest or any(len(v) != n * width for v, n in zip(values, sizes, strict=True)):
            raise ComicSeqDataError(f"Column `{name}` does not hold one vector per panel: convert the store again.")
        return [v.reshape(n, width) for v, n in zip(values, sizes.tolist(), strict=True)]

    def __len__(self) -> int:
        return len(self.num_panels)

    def __contains__(self, column: str) -> bool:
        return column in self.columns or (column == BOX_ARRAY and self.boxes is not None)

    def panel(self, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Numbers of the panels at `slots` of `rows`; any shapes that broadcast."""
        return self.offsets[rows] + slots

    def gather(self, column: str, panels: np.ndarray, shown: np.ndarray | None = None) -> np.ndarray:
        """Vectors `(..., width)` of `column` for panel numbers `(...)`, zeros where the number is -1.

        `panel_boxes` are those of the page as it is read from left to right: mirrored, where it is read from right to left.
        `panel_embeddings` are those of pictures and texts, or of one of them alone where `shown` (B,) says so, for each entry
        of the first axis of `panels`.
        """
        if column == "panel_embeddings" and (shown is not None or self.streams == "separate"):
            return self._gather_panels(panels, np.zeros(len(panels), np.int64) if shown is None else shown)
        if column != BOX_ARRAY or self.boxes is None:
            return _gather(self.columns[column], panels)
        boxes = _gather(self.boxes, panels)
        is_rtl = self.is_rtl[np.searchsorted(self.offsets, panels, side="right") - 1] & (panels >= 0)
        return np.where(is_rtl[..., None], mirror(boxes), boxes)

    def _side_by_side(self, panels: np.ndarray, shown: np.ndarray) -> np.ndarray:
        shown = shown.reshape(-1, *[1] * (panels.ndim - 1))
        halves = zip(STREAM_ARRAYS, (PICTURES, TEXTS), strict=True)
        parts = [
            _gather(self.columns[name], np.where((shown == BOTH) | (shown == alone), panels, -1))
            for name, alone in halves
        ]
        return np.concatenate(parts, axis=-1)

    def _gather_panels(self, panels: np.ndarray, shown: np.ndarray) -> np.ndarray:
        if self.streams == "separate":
            return self._side_by_side(panels, shown)
        shown = shown.reshape(-1, *[1] * (panels.ndim - 1))
        halves = zip(STREAM_ARRAYS, (PICTURES, TEXTS), strict=True)
        vectors = _gather(self.columns["panel_embeddings"], np.where(shown == BOTH, panels, -1))
        for name, alone in halves:
            vectors = np.where((shown == alone)[..., None], _gather(self.columns[name], panels), vectors)
        return vectors


def _gather(pieces: list[np.ndarray], panels: np.ndarray) -> np.ndarray:
    numbers, width = panels.ravel(), pieces[0].shape[1]
    vectors = np.zeros((len(numbers), width), pieces[0].dtype)
    starts = np.cumsum([0, *map(len, pieces[:-1])])
    piece_of = np.searchsorted(starts, numbers, side="right") - 1
    for piece in set(piece_of[numbers >= 0].tolist()):
        asked = np.flatnonzero(piece_of == piece)
        vectors[asked] = pieces[piece][numbers[asked] - starts[piece]]
    return vectors.reshape(*panels.shape, width)


def _running_count(counts: np.ndarray) -> np.ndarray:
    """0, and the sums of the first, the first two, … `counts` `(n + 1,)`."""
    return np.concatenate(([0], np.cumsum(counts)))


@dataclass
class PanelPool:
    """Panels, page by page, each panel once, even where windows overlap.

    Attributes:
        panels: Their numbers `(n,)`.
        page_starts: First entry of each page in `panels`, and their number `(pages + 1,)`.
    """

    panels: np.ndarray
    page_starts: np.ndarray

    @property
    def page_sizes(self) -> np.ndarray:
        """Panels of each page `(pages,)`."""
        return np.diff(self.page_starts)

    def of_pages(self, pages: np.ndarray) -> np.ndarray:
        """Panel numbers `(B, N)` of whole `pages` (B,), -1 for padding."""
        count = self.page_sizes[pages][:, None]
        slots = np.arange(count.max(initial=1))
        places = np.where(slots < count, self.page_starts[pages][:, None] + slots, -1)
        return np.where(places < 0, -1, self.panels[places])


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
