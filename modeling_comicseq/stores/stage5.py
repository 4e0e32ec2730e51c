"""The Stage 5 store: what it holds, how its rows are cut into files, and writing it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec

__all__ = [
    "ARRAYS",
    "Layout",
    "Part",
    "create_arrays",
    "finish_store",
    "metadata_beside",
    "open_for_writing",
    "part_files",
    "write_part",
]

ARRAYS = ("contextualized_panels", "strip_embeddings", "panel_masks")
_CHUNK_ROWS = 256  # rows that are read at least
_PART_BYTES = 64 << 20  # uncompressed panel vectors that are written at a time: what an interrupt can cost


class Part(NamedTuple):
    """Rows lo to hi of the store, written at a time."""

    number: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Layout:
    """Shapes of a store and the parts in which it is written.

    Attributes:
        pages: Rows.
        slots: Panel slots of a row.
        width: Width D of the vectors.
        dtype: "float32" or "float16".
        zarr_format: 3, or 2 for older readers.
    """

    pages: int
    slots: int
    width: int
    dtype: str
    zarr_format: int

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk of `contextualized_panels`."""
        return min(_CHUNK_ROWS, self.pages)

    @property
    def part_rows(self) -> int:
        """Rows of a part, a multiple of `chunk_rows`: a shard of format 3, no file belongs to two parts."""
        row_bytes = self.slots * self.width * np.dtype(self.dtype).itemsize
        chunks = min(_PART_BYTES // (row_bytes * self.chunk_rows), -(-self.pages // self.chunk_rows))
        return self.chunk_rows * max(1, chunks)

    def parts(self) -> Iterator[Part]:
        """All parts in the order of their rows."""
        for number, lo in enumerate(range(0, self.pages, self.part_rows)):
            yield Part(number, lo, min(self.pages, lo + self.part_rows))


def metadata_beside(store: str) -> str:
    """Path or URL of the metadata of the Stage 5 store `store`.

    >>> metadata_beside("library/stage5_embeddings.zarr"), metadata_beside("s3://bucket/comics.zarr")
    ('library/stage5_metadata.json', 's3://bucket/comics_metadata.json')
    """
    return store.rstrip("/").removesuffix(".zarr").removesuffix("_embeddings") + "_metadata.json"


def create_arrays(root: str, layout: Layout) -> None:
    """Creates the group and its empty arrays.

    Format 3 has chunks of 256 rows in shards of a whole part; in format 2, where each chunk is a file, those of the
    small arrays hold a whole part. Blosc with lz4 takes hardly more time than no compression, and makes nothing of the
    zeros in empty slots; vectors proper hardly get smaller with any compressor.

    Args:
        root: Local path or URL of the group.
        layout: Its shapes.
    """
    group = zarr.create_group(root, zarr_format=layout.zarr_format)  # type: ignore[arg-type]
    sizes = {"page": layout.pages, "slot": layout.slots, "dimension": layout.width}
    arrays = {
        "contextualized_panels": (("page", "slot", "dimension"), layout.dtype),
        "strip_embeddings": (("page", "dimension"), layout.dtype),
        "panel_masks": (("page", "slot"), "bool"),
    }
    for name, (dimensions, dtype) in arrays.items():
        shape = tuple(sizes[dimension] for dimension in dimensions)
        options: dict[str, Any]
        if layout.zarr_format == 3:
            options = {
                "chunks": (layout.chunk_rows, *shape[1:]),
                "shards": (layout.part_rows, *shape[1:]),
                "compressors": BloscCodec(cname="lz4", clevel=1, shuffle="noshuffle"),
                "dimension_names": dimensions,
            }
        else:
            rows = layout.chunk_rows if len(shape) == 3 else layout.part_rows
            options = {
                "chunks": (rows, *shape[1:]),
                "compressors": Blosc(cname="lz4", clevel=1, shuffle=Blosc.NOSHUFFLE),
            }
        group.create_array(name, shape=shape, dtype=dtype, fill_value=0, **options)


def open_for_writing(root: str) -> dict[str, zarr.Array]:
    """The arrays of a store that `create_arrays` made, by name."""
    # A chunk of zeros is written, too: a file that is missing is then always a loss.
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(root, mode="r+", use_consolidated=False)
        return {name: cast(zarr.Array, group[name]) for name in ARRAYS}


def write_part(
    arrays: Mapping[str, zarr.Array],
    part: Part,
    counts: np.ndarray,
    contextualized_panels: np.ndarray,
    strip_embeddings: np.ndarray,
) -> None:
    """Writes the rows of a part; empty slots become zeros.

    Args:
        arrays: The arrays of the store.
        part: The part.
        counts: Panels of each page `(pages,)`.
        contextualized_panels: Vectors of all panels, page by page `(panels, D)`.
        strip_embeddings: Vectors of the pages `(pages, D)`.
    """
    slots = arrays["panel_masks"].shape[1]
    mask = np.arange(slots) < counts[:, None]
    panels = np.zeros((*mask.shape, contextualized_panels.shape[1]), contextualized_panels.dtype)
    panels[mask] = contextualized_panels
    for name, values in zip(ARRAYS, (panels, strip_embeddings, mask), strict=True):
        arrays[name][part.lo : part.hi] = values


def part_files(arrays: Mapping[str, zarr.Array], lo: int, hi: int) -> Iterator[str]:
    """Keys of the files that hold rows lo to hi, a part."""
    for array in arrays.values():
        rows = (array.shards or array.chunks)[0]
        for place in range(lo // rows, -(-hi // rows)):
            key = array.metadata.encode_chunk_key((place,) + (0,) * (array.ndim - 1))
            yield f"{array.basename}/{key}"


def finish_store(root: str, attributes: dict[str, Any]) -> None:
    """Writes the group's attributes and, last of all, the consolidated metadata: only a complete store has these."""
    group = zarr.open_group(root, mode="r+", use_consolidated=False)
    group.attrs.put(attributes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(root, zarr_format=group.metadata.zarr_format)
