"""The arrays of a store that is made here: how their rows are cut into files, and writing them part by part."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec

__all__ = [
    "ArraySpec",
    "Layout",
    "Part",
    "consolidate",
    "create_arrays",
    "finish_store",
    "metadata_beside",
    "open_for_writing",
    "part_files",
    "write_part",
]


class Part(NamedTuple):
    """Rows lo to hi of the store, written at a time."""

    number: int
    lo: int
    hi: int


class ArraySpec(NamedTuple):
    """An array of a store.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
        dimensions: The names of its dimensions, the first being "page".
    """

    shape: tuple[int, ...]
    dtype: str
    dimensions: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """The arrays of a store and the parts in which they are written.

    Attributes:
        arrays: The arrays by name, all with one row a page.
        zarr_format: 3, or 2 for older readers.
        chunk_rows: Rows of a chunk of the panels' vectors: what is read at least.
        part_rows: Rows of a part, a multiple of `chunk_rows`: a shard of format 3; no file belongs to two parts.
    """

    arrays: Mapping[str, ArraySpec]
    zarr_format: int
    chunk_rows: int
    part_rows: int

    @property
    def pages(self) -> int:
        """Rows of the store."""
        return next(iter(self.arrays.values())).shape[0]

    def parts(self) -> Iterator[Part]:
        """All parts in the order of their rows."""
        for number, lo in enumerate(range(0, self.pages, self.part_rows)):
            yield Part(number, lo, min(self.pages, lo + self.part_rows))


def metadata_beside(store: str) -> str:
    """Path or URL of the metadata of the store `store`.

    >>> metadata_beside("library/stage5_embeddings.zarr"), metadata_beside("s3://bucket/comics.zarr")
    ('library/stage5_metadata.json', 's3://bucket/comics_metadata.json')
    """
    return store.rstrip("/").removesuffix(".zarr").removesuffix("_embeddings") + "_metadata.json"


def create_arrays(root: str, layout: Layout) -> None:
    """Creates the group and its empty arrays.

    Format 3 has chunks in shards of a whole part; in format 2, where each chunk is a file, those of the small arrays hold a
    whole part. Blosc with lz4 takes hardly more time than no compression, and makes nothing of the zeros in empty slots;
    vectors proper hardly get smaller with any compressor.

    Args:
        root: Local path or URL of the group.
        layout: Its arrays.
    """
    group = zarr.create_group(root, zarr_format=layout.zarr_format)  # type: ignore[arg-type]
    for name, (shape, dtype, dimensions) in layout.arrays.items():
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


def open_for_writing(root: str, names: Iterable[str]) -> dict[str, zarr.Array]:
    """Arrays of a store that `create_arrays` made, by name."""
    # A chunk of zeros is written, too: a file that is missing is then always a loss.
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(root, mode="r+", use_consolidated=False)
        return {name: cast(zarr.Array, group[name]) for name in names}


def write_part(
    arrays: Mapping[str, zarr.Array], part: Part, mask: np.ndarray, values: Mapping[str, np.ndarray]
) -> None:
    """Writes the rows of a part; empty slots become zeros.

    Args:
        arrays: The arrays of the store.
        part: The part.
        mask: Which slots of its pages hold a panel `(pages, slots)`.
        values: Of each array `(pages, slots, …)` what belongs to the panels, page by page `(panels, …)`; of any other array
            the rows.
    """
    for name, rows in values.items():
        if arrays[name].ndim == 3:
            slots = np.zeros((*mask.shape, rows.shape[1]), arrays[name].dtype)
            slots[mask] = rows
            rows = slots
        arrays[name][part.lo : part.hi] = rows


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
    consolidate(root, group.metadata.zarr_format)


def consolidate(root: str, zarr_format: int) -> None:
    """Writes the metadata of all arrays into one file of the group, which readers at a distance open alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(root, zarr_format=zarr_format)  # type: ignore[arg-type]
