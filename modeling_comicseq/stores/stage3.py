"""Stage 3 stores: opening one, reading it in whole rows of chunks, and checking what was read."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import fsspec
import numpy as np
import zarr
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from ..errors import ComicSeqDataError

__all__ = [
    "PAGE_ARRAYS",
    "PANEL_ARRAYS",
    "PRESENT",
    "Block",
    "ReadFailure",
    "Stage3Store",
    "find_bad_pages",
    "find_bad_vectors",
    "get_array",
    "open_group",
    "work_ahead",
]

PANEL_ARRAYS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")
PAGE_ARRAYS = ("page_caption_embeddings",)
MASK_ARRAYS = ("panel_masks", "panel_mask")
# A panel always has a fused and a picture vector; one without text has no text vector, which Stage 3 writes as zeros.
NEVER_ZERO = ("panel_embeddings", "visual_embeddings")
# Columns of the data set that tell for each panel whether it has a vector of this array.
PRESENT = {"has_text": "text_embeddings", "has_caption": "caption_embeddings"}
_BLOSC_HEADER = 16  # bytes
_Item = TypeVar("_Item")


class ReadFailure(NamedTuple):
    """A part of a store that could not be read.

    Attributes:
        lo: First row that is lost.
        hi: Row after the last one that is lost.
        first_slot: Pages whose panels all stand before this slot lost nothing.
        found: What is wrong, for the message.
    """

    lo: int
    hi: int
    first_slot: int
    found: str


class Block(NamedTuple):
    """Whole rows of a store.

    Attributes:
        lo: First row.
        hi: Row after the last.
        arrays: The store's vector arrays and "mask", of shape (hi - lo, …).
        failures: What could not be read; the values there mean nothing.
    """

    lo: int
    hi: int
    arrays: dict[str, np.ndarray]
    failures: list[ReadFailure]


@dataclass(frozen=True)
class Stage3Store:
    """An opened Stage 3 store whose arrays agree with each other.

    Attributes:
        url: Where it was opened from, a local path or an fsspec URL.
        arrays: The vector arrays that it holds, by name.
        mask: The array that marks the real panels, shape (pages, slots).
        attributes: What the store's own attributes say, for example its encoders.
    """

    url: str
    arrays: dict[str, zarr.Array]
    mask: zarr.Array
    attributes: dict[str, Any]

    @classmethod
    def open(cls, embeddings: str | os.PathLike) -> Stage3Store:
        """Opens a Zarr store of format 2 or 3 and checks its arrays' names, shapes and dtypes.

        Args:
            embeddings: Local path of the Zarr group or any fsspec URL.

        Raises:
            ComicSeqDataError: It is no such store, an array is missing, or shapes disagree.
        """
        url = os.fspath(embeddings)
        inside = os.path.join(url, "stage3_embeddings.zarr")
        is_inside = os.path.isdir(inside)
        group = open_group(url, f"did you mean {inside}?" if is_inside else "check the path of the Stage 3 store")
        found = {name: get_array(group, name, url) for name in PANEL_ARRAYS + PAGE_ARRAYS}
        arrays = {name: array for name, array in found.items() if array is not None}
        if "panel_embeddings" not in arrays:
            raise ComicSeqDataError(f"{url} has no array 'panel_embeddings'; write the panel vectors under this name")
        mask = next((array for name in MASK_ARRAYS if (array := get_array(group, name, url)) is not None), None)
        if mask is None:
            raise ComicSeqDataError(
                f"{url} has no array 'panel_masks' (or 'panel_mask'); write the mask of the real panels"
            )
        store = cls(url, arrays, mask, dict(group.attrs))
        store._check_shapes()
        return store

    def _check_shapes(self) -> None:
        shape = self.arrays["panel_embeddings"].shape
        if len(shape) != 3 or 0 in shape:
            raise ComicSeqDataError(
                f"{self.url}: panel_embeddings has shape {shape}; it must be (pages, slots, width), none 0"
            )
        for name, array in self.arrays.items():
            leading = shape[:1] if name in PAGE_ARRAYS else shape[:2]
            if array.shape[:-1] != leading or array.shape[-1] == 0:
                raise ComicSeqDataError(
                    f"{self.url}: {name} has shape {array.shape} but panel_embeddings {shape}; "
                    f"it must be ({', '.join(map(str, leading))}, width)"
                )
            if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4):
                raise ComicSeqDataError(
                    f"{self.url}: {name} has dtype {array.dtype}; store vectors as float16 or float32"
                )
        if self.mask.shape != shape[:2]:
            raise ComicSeqDataError(
                f"{self.url}: {self.mask.basename} has shape {self.mask.shape} but panel_embeddings {shape}; "
                f"it must be {shape[:2]}"
            )
        if self.mask.dtype.kind not in "biuf":
            raise ComicSeqDataError(f"{self.url}: {self.mask.basename} has dtype {self.mask.dtype}; store it as bool")

    @property
    def pages(self) -> int:
        """Rows of the store."""
        return self.mask.shape[0]

    @property
    def slots(self) -> int:
        """Panel slots of each row."""
        return self.mask.shape[1]

    @property
    def widths(self) -> dict[str, int]:
        """Width of each vector array."""
        return {name: array.shape[-1] for name, array in self.arrays.items()}

    @property
    def bytes_per_page(self) -> int:
        """Uncompressed bytes of one row over all arrays, padded slots included."""
        arrays = [*self.arrays.values(), self.mask]
        return sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays)

    @property
    def chunk_rows(self) -> int:
        """Rows that can be read without decoding a chunk twice."""
        # Masks and page vectors are small: decoding their chunks again costs little.
        rows = [array.chunks[0] for name, array in self.arrays.items() if name in PANEL_ARRAYS]
        multiple = int(np.lcm.reduce(rows))
        return multiple if multiple <= 16 * max(rows) else rows[0]

    def read(self, lo: int, hi: int) -> Block:
        """Reads whole rows of all arrays; parts that cannot be read are listed, not raised.

        Args:
            lo: First row, a multiple of `chunk_rows` for speed.
            hi: Row after the last.

        Returns:
            The block.

        Raises:
            OSError: The storage itself failed (a lost connection, no permission), which is no fault of the data.
        """
        arrays: dict[str, np.ndarray] = {}
        failures: list[ReadFailure] = []
        for name, array in [("mask", self.mask), *self.arrays.items()]:
            arrays[name], lost = _read_rows(array, lo, hi, has_slots=name not in PAGE_ARRAYS)
            failures += lost
        return Block(lo, hi, arrays, failures)

    def fingerprint(self) -> str:
        """Hash of the names, sizes and times of all files of the store: changes when the store is written to."""
        return files_fingerprint(self.url, self.arrays, self.mask)


def files_fingerprint(url: str, arrays: Mapping[str, zarr.Array], mask: zarr.Array) -> str:
    """Hash of the names, sizes and times of all files of a store, and of its arrays' shapes."""
    digest = hashlib.sha256()
    for line in _list_files(url):
        digest.update(line.encode("utf-8", "surrogateescape"))
    for name, array in [*sorted(arrays.items()), ("mask", mask)]:
        digest.update(f"{name} {array.shape} {array.dtype} {array.chunks}\n".encode())
    return digest.hexdigest()


def _read_rows(array: zarr.Array, lo: int, hi: int, has_slots: bool) -> tuple[np.ndarray, list[ReadFailure]]:
    """Reads what can be read of rows lo to hi; what cannot be is listed, and its values mean nothing.

    Files are looked at before they are read: Zarr reads an absent chunk as fill values, and Blosc one that was cut off as
    noise, without a word, or it reads behind the end of the memory and the process is gone.
    """
    files = list(_chunk_files(array, lo, hi))
    codec = array.compressors[-1] if array.compressors and not array.shards else None
    is_blosc = "blosc" in type(codec).__name__.lower()
    states = sync(_file_states(array.store, [key for key, *_ in files], is_blosc))
    failures, unsafe = [], np.zeros(hi - lo, bool)
    for state, (key, first, last, slot) in zip(states, files, strict=True):
        if state:
            first, last = max(lo, first), min(hi, last)
            found = f"chunk {key} is {state}"
            if state == "missing":
                failures.append(ReadFailure(first, last, slot if has_slots else 0, found))
            else:  # nor are the other chunks of these rows read, which would be the sound slots of some pages
                failures.append(ReadFailure(first, last, 0, found))
                unsafe[first - lo : last - lo] = True
    try:
        if not unsafe.any():
            return np.asarray(array[lo:hi]), failures
    except Exception as error:
        _raise_if_not_data(error)
    values, step = np.zeros((hi - lo, *array.shape[1:]), array.dtype), array.chunks[0]
    for start in range(lo - lo % step, hi, step):
        first, last = max(lo, start), min(hi, start + step)
        try:
            if not unsafe[first - lo : last - lo].any():
                values[first - lo : last - lo] = array[first:last]
        except Exception as error:
            _raise_if_not_data(error)
            key = next(_chunk_files(array, first, last))[0]
            failures.append(ReadFailure(first, last, 0, f"chunk {key} is damaged ({_describe(error)})"))
    return values, failures


async def _file_states(store: Any, keys: list[str], is_blosc: bool) -> list[str]:
    """For each file "missing", "damaged (…)", or "" for a sound one as far as its size tells."""

    async def state(key: str) -> str:
        try:
            size = await store.getsize(key)
            if not is_blosc:
                return ""
            if isinstance(store, LocalStore):  # whose `get` costs as much for the header as for the whole chunk
                with open(store.root / key, "rb") as file:
                    header = file.read(_BLOSC_HEADER)
            else:
                part = await store.get(key, default_buffer_prototype(), RangeByteRequest(0, _BLOSC_HEADER))
                header = part.to_bytes()
        except FileNotFoundError:
            return "missing"
        # A Blosc buffer states its length in bytes 12 to 15; the decoder does not check it.
        stated = int.from_bytes(header[12:], "little")
        return "" if size == stated else f"damaged (it has {size} of {stated} bytes)"

    return list(await asyncio.gather(*map(state, keys)))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def open_group(url: str, remedy: str) -> zarr.Group:
    """The Zarr group at a local path or fsspec URL.

    Raises:
        ComicSeqDataError: There is none; `remedy` says what to do.
    """
    try:
        return zarr.open_group(url, mode="r")
    except Exception as error:  # zarr, fsspec and its back ends each have exceptions of their own
        raise ComicSeqDataError(f"{url} cannot be opened as a Zarr group ({_describe(error)}); {remedy}") from error


def get_array(group: zarr.Group, name: str, url: str) -> zarr.Array | None:
    """An array of a group; None where there is none. It is asked by name: stores behind plain HTTP cannot be listed.

    Raises:
        ComicSeqDataError: The array's metadata are damaged.
    """
    try:
        found = group[name]
    except KeyError:
        return None
    except Exception as error:
        raise ComicSeqDataError(
            f"{url}: array {name!r} cannot be opened ({_describe(error)}); write it again"
        ) from error
    return found if isinstance(found, zarr.Array) else None


def _raise_if_not_data(error: Exception) -> None:
    """Raises what no damaged chunk causes: skipping pages for a lost connection would lose data silently."""
    storage = isinstance(error, OSError) and (
        error.errno is not None or isinstance(error, (ConnectionError, TimeoutError))
    )
    if storage or isinstance(error, MemoryError):
        raise error


def _chunk_files(array: zarr.Array, lo: int, hi: int) -> Iterator[tuple[str, int, int, int]]:
    """The files that hold rows lo to hi: key in the store, first row, row after the last, place on the second axis."""
    size = array.shards or array.chunks
    grid = [range(lo // size[0], -(-hi // size[0]))]
    grid += [range(-(-length // step)) for length, step in zip(array.shape[1:], size[1:], strict=True)]
    for place in itertools.product(*grid):
        key = array.metadata.encode_chunk_key(place)
        yield f"{array.path}/{key}", place[0] * size[0], (place[0] + 1) * size[0], place[1] * size[1]


def _list_files(url: str) -> Iterator[str]:
    """One line a file: path, size and whatever tells a rewritten file from the old one."""
    if "://" not in url and "::" not in url:
        for folder, folders, files in os.walk(url):
            folders.sort()
            inside = os.path.relpath(folder, url)
            for name in sorted(files):
                status = os.stat(os.path.join(folder, name))
                yield f"{inside}/{name} {status.st_size} {status.st_mtime_ns}\n"
        return
    system, root = fsspec.core.url_to_fs(url)
    try:
        found = system.find(root, detail=True)
    except (NotImplementedError, OSError):
        return  # plain HTTP servers cannot be listed
    for path in sorted(found):
        info = found[path]
        version = next(
            (info[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created") if key in info), ""
        )
        yield f"{path} {info.get('size')} {version}\n"


def find_bad_vectors(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows that hold NaN or infinity, and those that are all zero.

    Args:
        vectors: float16 or float32, shape (rows, width), C-contiguous.

    Returns:
        Two boolean arrays of shape (rows,): not finite, all zero.
    """
    native = vectors.astype(vectors.dtype.newbyteorder("="), copy=False)
    unsigned, infinity = (np.uint16, 0x7C00) if native.itemsize == 2 else (np.uint32, 0x7F800000)
    # Without the sign, the bits of floats are ordered as their values are; NaN comes behind infinity. One pass over
    # integers is many times faster than `isfinite` on float16.
    largest = np.left_shift(native.view(unsigned), 1).max(axis=1)
    return largest >= infinity << 1, largest == 0


def find_bad_pages(block: Block, rows: np.ndarray, num_panels: np.ndarray) -> Iterator[tuple[int, str, str]]:
    """Finds pages that could not be read, or whose mask is not a run of ones as long as the page has panels.

    Args:
        block: Where the pages are.
        rows: Their rows of the store, shape (pages,).
        num_panels: Their panels by the metadata, shape (pages,).

    Yields:
        Position of the page, what was found, and the remedy; several times for a page with several faults.
    """
    for failure in block.failures:
        lost = (rows >= failure.lo) & (rows < failure.hi) & (num_panels > failure.first_slot)
        for page in np.flatnonzero(lost).tolist():
            yield page, failure.found, "restore the store's file"
    mask = block.arrays["mask"][rows - block.lo]
    real = mask != 0
    counts = real.sum(axis=1)
    odd = mask != real
    holes = (real[:, 1:] > real[:, :-1]).any(axis=1)
    for page in np.flatnonzero(odd.any(axis=1) | holes | (counts != num_panels)).tolist():
        if odd[page].any():
            yield page, f"the mask holds {mask[page][odd[page]][0]}", "write 1 for real panels and 0 for empty slots"
        elif counts[page] != num_panels[page]:
            found = f"num_panels is {num_panels[page]} but the mask marks {counts[page]}"
            yield page, found, "make the metadata and the mask agree"
        else:
            marks = "".join("1" if one else "0" for one in real[page])
            yield page, f"the mask has a hole ({marks})", "move the panels to the first slots"


def work_ahead(work: Callable[[Any], _Item], places: Iterable[Any], threads: int = 2) -> Iterator[_Item]:
    """Yields what `work` gives for each place, in order, and makes some while one is used; what it raises is raised here."""
    coming: deque[Future[_Item]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for place in places:
            coming.append(pool.submit(work, place))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
