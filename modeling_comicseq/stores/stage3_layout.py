"""How the arrays of a Stage 3 store that is made here are cut into files."""

from __future__ import annotations

from collections.abc import Sequence

from .arrays import ArraySpec, Layout
from .stage3 import BOX_ARRAY, MASK_ARRAYS

__all__ = ["stage3_layout"]

# Pages of a part, which is what an interrupt can cost: encoding takes about a tenth of a second a page on a processor. A
# small data set has so many parts that several processes have their share.
_LEAST_ROWS, _MOST_ROWS = 32, 256
_PARTS = 64


def stage3_layout(
    pages: int, slots: int, widths: dict[str, int], others: Sequence[str], dtype: str, zarr_format: int
) -> Layout:
    """The arrays of a Stage 3 store, a chunk a part.

    Args:
        pages: Rows.
        slots: Panel slots of a row.
        widths: Width of each array of vectors.
        others: Which of `panel_masks` and `panel_boxes` there are.
        dtype: "float32" or "float16" for the vectors.
        zarr_format: 3, or 2 for older readers.
    """
    rows = min(pages, max(_LEAST_ROWS, min(_MOST_ROWS, pages // _PARTS)))
    arrays = {
        name: ArraySpec((pages, slots, width), dtype, ("page", "slot", "dimension")) for name, width in widths.items()
    }
    if MASK_ARRAYS[0] in others:
        arrays[MASK_ARRAYS[0]] = ArraySpec((pages, slots), "bool", ("page", "slot"))
    if BOX_ARRAY in others:
        arrays[BOX_ARRAY] = ArraySpec((pages, slots, 4), "float32", ("page", "slot", "corner"))
    return Layout(arrays, zarr_format, rows, rows)
