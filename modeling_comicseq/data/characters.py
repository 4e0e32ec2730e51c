"""Who is seen in which panel, as far as the metadata's `character_ids` tell."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ComicSeqDataError
from ..stores.names import normal_form


class CharacterLabels:
    """The characters of the panels of a split. An id is a name within its book: books do not share characters.

    Spellings of one name are one character, see `normal_form`.

    Args:
        column: `character_ids`: for each row one list of ids a panel, or null where nobody has looked.
        num_panels: Panels of each row `(R,)`.
        pages: Number of the page of each row `(R,)`.

    Attributes:
        is_labelled: Whether the characters of a panel are known `(panels,)`.
        counts: Panels of each row that can be held out: they share a character with another panel of the row `(R,)`.

    Raises:
        ComicSeqDataError: A row does not have one list for each of its panels.
    """

    def __init__(self, column: pa.ChunkedArray, num_panels: np.ndarray, pages: np.ndarray):
        rows = pa.concat_arrays(column.chunks)
        row_is_labelled = rows.is_valid().to_numpy(zero_copy_only=False)
        lists = pc.fill_null(pc.list_value_length(rows), 0).to_numpy()
        wrong = np.flatnonzero(lists != np.where(row_is_labelled, num_panels, 0))
        if len(wrong):
            raise ComicSeqDataError(
                f"Row {wrong[0]} has {lists[wrong[0]]} lists in `character_ids` but {num_panels[wrong[0]]} panels: give"
                " one list a panel."
            )
        self.is_labelled = np.repeat(row_is_labelled, num_panels)
        panels = rows.flatten()
        ids_of_panel = pc.fill_null(pc.list_value_length(panels), 0).to_numpy()
        ids = panels.flatten().dictionary_encode()
        forms, code = np.unique([normal_form(each) for each in ids.dictionary.to_pylist()], return_inverse=True)
        self._num_ids = max(len(forms), 1)
        # Each character once a panel, sorted by panel.
        panel = np.repeat(np.flatnonzero(self.is_labelled), ids_of_panel)
        panel, self._codes = np.divmod(np.unique(panel * self._num_ids + code[ids.indices.to_numpy()]), self._num_ids)
        self._starts = np.searchsorted(panel, np.arange(len(self.is_labelled) + 1))

        row = np.repeat(np.arange(len(num_panels)), num_panels)[panel]
        _, character, times = np.unique(row * self._num_ids + self._codes, return_inverse=True, return_counts=True)
        self._first_panels = np.concatenate(([0], np.cumsum(num_panels)))
        self._repeated = np.unique(panel[times[character] > 1])
        self._repeated_starts = np.searchsorted(self._repeated, self._first_panels)
        self.counts = np.diff(self._repeated_starts)
        self._on_page = np.unique(pages[row] * self._num_ids + self._codes)

    def slots(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """A slot of each of `rows` that can be held out, drawn with numbers in [0, 1) `(B,)`; slot 0 where there is none."""
        choice = self._repeated_starts[rows] + (uniform * self.counts[rows]).astype(np.int64)
        found = np.append(self._repeated, 0)[choice] - self._first_panels[rows]
        return np.where(self.counts[rows] > 0, found, 0)

    def show_none_of(self, panels: np.ndarray, pages: np.ndarray) -> np.ndarray:
        """Whether `panels` (n,) show none of the characters of `pages` (n,) of their book; false where nobody knows."""
        count = self._starts[panels + 1] - self._starts[panels]
        owner = np.repeat(np.arange(len(panels)), count)
        place = np.arange(len(owner)) + np.repeat(self._starts[panels] - np.cumsum(count) + count, count)
        key = pages[owner] * self._num_ids + self._codes[place]
        is_on_page = np.append(self._on_page, -1)[np.searchsorted(self._on_page, key)] == key
        shows_none = self.is_labelled[panels]
        shows_none[owner[is_on_page]] = False
        return shows_none
