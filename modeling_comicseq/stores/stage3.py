"""Stage 3 stores: opening one, reading it in whole rows of chunks, and checking what was read."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import lzma
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any, NamedTuple, TypeVar

import numpy as np
import zarr
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from ..errors import ComicSeqDataError, in_words
from ..urls import file_system, is_url

__all__ = [
    "BOX_ARRAY",
    "PAGE_ARRAYS",
    "PANEL_ARRAYS",
    "PRESENT",
    "STREAM_ARRAYS",
    "Block",
    "ReadFailure",
    "Stage3Store",
    "check_streams",
    "describe_bad_vector",
    "find_bad_pages",
    "find_bad_vectors",
    "get_array",
    "list_files",
    "open_group",
    "read_rows",
    "work_ahead",
]

PANEL_ARRAYS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")
PAGE_ARRAYS = ("page_caption_embeddings",)
# What stands side by side in the panel vectors of a model with separate streams, in this order.
STREAM_ARRAYS = ("visual_embeddings", "text_embeddings")
MASK_ARRAYS = ("panel_masks", "panel_mask")
BOX_ARRAY = "panel_boxes"
# A panel always has a fused and a picture vector; one without text has no text vector, which Stage 3 writes as zeros.
NEVER_ZERO = ("panel_embeddings", "visual_embeddings")
# Columns of the data set that tell for each panel whether it has a vector of this array.
PRESENT = {"has_text": "text_embeddings", "has_caption": "caption_embeddings"}
_BLOSC_HEADER = 16  # bytes
# What else comes from a storage: an answer that is no answer of a server, in an exception of its driver.
_FROM_DECODERS = (ValueError, TypeError, RuntimeError, SystemError, EOFError, zlib.error, lzma.LZMAError, struct.error)
_Item = TypeVar("_Item")


class ReadFailure(NamedTuple):
    """A part of a store that could not be read.

    Attributes:
        lo: First row that is lost.
        hi: Row after the last one that is lost.
        found: What is wrong, for the message.
    """

    lo: int
    hi: int
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
        boxes: Where the panels stand, shape (pages, slots, 4), see `layouts.boxes`; None where it does not say.
        streams: Of what its panel vectors are read, see `with_streams`.
    """

    url: str
    arrays: dict[str, zarr.Array]
    mask: zarr.Array
    attributes: dict[str, Any]
    boxes: zarr.Array | None = None
    streams: str = "fused"

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
        store = cls(url, arrays, mask, dict(group.attrs), get_array(group, BOX_ARRAY, url))
        store._check_shapes()
        return store

    def _check_shapes(self) -> None:
        shape = self.arrays["panel_embeddings"].shape
        if len(shape) != 3 or 0 in shape or max(shape) >= 2**31:
            raise ComicSeqDataError(
                f"{self.url}: panel_embeddings has shape {shape}; it must be (pages, slots, width), each at least 1 and"
                f" below {2**31}"
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
        if self.boxes is not None and (self.boxes.shape != (*shape[:2], 4) or self.boxes.dtype.kind != "f"):
            raise ComicSeqDataError(
                f"{self.url}: {BOX_ARRAY} has shape {self.boxes.shape} and dtype {self.boxes.dtype}; it must be"
                f" {(*shape[:2], 4)} of float32, shares of the page's width and height"
            )

    @property
    def pages(self) -> int:
        """Rows of the store."""
        return self.mask.shape[0]

    @property
    def slots(self) -> int:
        """Panel slots of each row."""
        return self.mask.shape[1]

    def with_streams(self, streams: str) -> Stage3Store:
        """The store with nothing but the panel vectors that a model with these `streams` reads, as `panel_embeddings`.

        Raises:
            ComicSeqDataError: They are separate, and the store lacks the vectors of pictures or of texts.
        """
        names = STREAM_ARRAYS if streams == "separate" else ("panel_embeddings",)
        check_streams(streams, self.arrays, self.url)
        return replace(self, arrays={name: self.arrays[name] for name in names}, streams=streams)

    @property
    def widths(self) -> dict[str, int]:
        """Width of each vector array."""
        widths = {name: array.shape[-1] for name, array in self.arrays.items()}
        return widths if self.streams == "fused" else {"panel_embeddings": sum(widths.values())}

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
            arrays[name], lost = read_rows(array, lo, hi)
            failures += lost
        if self.streams == "separate":
            arrays["panel_embeddings"] = np.concatenate([arrays[name] for name in STREAM_ARRAYS], axis=-1)
        return Block(lo, hi, arrays, failures)

    def fingerprint(self) -> str:
        """Hash of the names, sizes and times of all files of the store: changes when the store is written to."""
        arrays = self.arrays if self.boxes is None else self.arrays | {BOX_ARRAY: self.boxes}
        return files_fingerprint(self.url, arrays, self.mask)


def check_streams(streams: str, arrays: Container[str], where: str) -> None:
    """Raises a `ComicSeqDataError` if a model with these `streams` cannot read the vectors of `where`, which has these arrays."""
    lacking = [name for name in STREAM_ARRAYS if name not in arrays]
    if streams == "separate" and lacking:
        raise ComicSeqDataError(
            f"{where} has no {lacking[0]!r}, which a model with separate streams reads: make the vectors with `comicseq embed`"
            " and encoders of pictures and of texts, or take a model with fused streams."
        )


def files_fingerprint(url: str, arrays: Mapping[str, zarr.Array], mask: zarr.Array) -> str:
    """Hash of the names, sizes and times of all files of a store, and of its arrays' shapes."""
    digest = hashlib.sha256()
    for line in list_files(url):
        digest.update(line.encode("utf-8", "surrogateescape"))
    for name, array in [*sorted(arrays.items()), ("mask", mask)]:
        digest.update(f"{name} {array.shape} {array.dtype} {array.chunks}\n".encode())
    return digest.hexdigest()


def read_rows(array: zarr.Array, lo: int, hi: int) -> tuple[np.ndarray, list[ReadFailure]]:
    """Reads what can be read of rows lo to hi; what cannot be is listed, and its values mean nothing.

    A chunk without a file is no failure: Zarr writes none that holds the fill value alone. Files are looked at before they
    are read: Zarr reads a folder in the place of one and an empty shard as fill values, and Blosc one that was cut off as
    noise, without a word, or it reads behind the end of the memory and the process is gone.

    Raises:
        OSError: The storage itself failed.
    """
    files = list(_chunk_files(array, lo, hi))
    failures, unsafe = [], np.zeros(hi - lo, bool)
    for damage, (key, first, last) in zip(sync(_find_damage(array, files)), files, strict=True):
        if damage:  # then the other chunks of these rows are not read either: sound slots of pages that are lost
            failures.append(ReadFailure(first, last, f"chunk {key} is damaged ({damage})"))
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
            failures.append(ReadFailure(first, last, f"chunk {key} is damaged ({_describe(error)})"))
    return values, failures


async def _find_damage(array: zarr.Array, files: list[tuple[str, int, int]]) -> list[str]:
    """What is wrong with each file as far as its size tells, in words; nothing for a sound one or none."""
    store: Any = array.store
    is_blosc = not array.shards and "blosc" in str(array.compressors[-1:]).lower()

    async def damage(key: str) -> str:
        try:
            if isinstance(store, LocalStore):  # whose `get` costs as much for the header as for the whole chunk
                with open(store.root / key, "rb") as file:
                    size, header = os.fstat(file.fileno()).st_size, file.read(_BLOSC_HEADER)
            elif is_blosc or array.shards:
                size = await store.getsize(key)
                part = await store.get(key, default_buffer_prototype(), RangeByteRequest(0, _BLOSC_HEADER))
                header = part.to_bytes()
            else:  # whose decoder notices
                return ""
        except FileNotFoundError:
            return ""
        except (IsADirectoryError, NotADirectoryError) as error:
            return str(error.strerror).lower()
        # A Blosc buffer states its length in bytes 12 to 15; the decoder does not check it.
        stated = int.from_bytes(header[12:], "little")
        return "it is empty" if not size else f"it has {size} of {stated} bytes" if is_blosc and size != stated else ""

    return list(await asyncio.gather(*(damage(key) for key, *_ in files)))


def _describe(error: BaseException) -> str:
    return shorten(in_words(error), 300)


def open_group(url: str, remedy: str) -> zarr.Group:
    """The Zarr group at a local path or fsspec URL.

    Raises:
        ComicSeqDataError: There is none; `remedy` says what to do.
    """
    file_system(url)
    if os.path.isfile(url):
        remedy = f"name an archive as zip://::{url}" if url.endswith(".zip") else remedy
        raise ComicSeqDataError(f"{url} is a file and no Zarr group, which is a folder; {remedy}")
    try:
        # What was consolidated does not know an array that was added later.
        return zarr.open_group(url, mode="r", use_consolidated=False)
    except Exception as error:  # zarr, fsspec and its back ends each have exceptions of their own
        raise ComicSeqDataError(f"{url} cannot be opened as a Zarr group ({_describe(error)}); {remedy}") from error


def get_array(group: zarr.Group, name: str, url: str) -> zarr.Array | None:
    """An array of a group; None where there is none. It is asked by name: stores behind plain HTTP cannot be listed.

    Raises:
        ComicSeqDataError: The array's metadata are damaged, or it is a group.
    """
    try:
        found = group[name]
    except Exception as error:
        # Zarr raises a KeyError also where the metadata are there, but lack a key.
        is_absent = isinstance(error, KeyError) and isinstance(error.__cause__, FileNotFoundError)
        if is_absent and not os.path.isdir(os.path.join(url, name)):
            return None
        raise ComicSeqDataError(
            f"{url}: array {name!r} cannot be opened ({_describe(error.__cause__ or error)}); write it again"
        ) from error
    if isinstance(found, zarr.Array):
        return found
    raise ComicSeqDataError(f"{url}: {name!r} is a group and no array; write it again")


def _raise_if_not_data(error: Exception) -> None:
    """Raises what no damaged chunk causes: skipping pages for a lost connection would lose data silently."""
    if isinstance(error, OSError):
        if error.errno is not None or isinstance(error, (ConnectionError, TimeoutError)):
            raise error
    elif not isinstance(error, _FROM_DECODERS):
        if isinstance(error, MemoryError):
            raise ComicSeqDataError(
                f"a row of chunks does not fit into memory ({error}); write smaller chunks"
            ) from error
        raise OSError(_describe(error)) from error


def _chunk_files(array: zarr.Array, lo: int, hi: int) -> Iterator[tuple[str, int, int]]:
    """The files that hold rows lo to hi: key in the store, and which of these rows, first and after the last."""
    size = array.shards or array.chunks
    grid = [range(lo // size[0], -(-hi // size[0]))]
    grid += [range(-(-length // step)) for length, step in zip(array.shape[1:], size[1:], strict=True)]
    for place in itertools.product(*grid):
        key = array.metadata.encode_chunk_key(place)
        yield f"{array.path}/{key}", max(lo, place[0] * size[0]), min(hi, (place[0] + 1) * size[0])


def list_files(url: str) -> Iterator[str]:
    """One line a file: path, size and whatever tells a rewritten file from the old one."""
    if not is_url(url):
        for folder, folders, files in os.walk(url):
            folders.sort()
            inside = os.path.relpath(folder, url)
            for name in sorted(files):
                status = os.stat(os.path.join(folder, name))
                yield f"{inside}/{name} {status.st_size} {status.st_mtime_ns}\n"
        return
    system, root = file_system(url)
    try:
        found = system.find(root, detail=True)
    except Exception:  # plain HTTP servers cannot be listed, and say so in many ways
        return
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


def describe_bad_vector(vector: np.ndarray) -> tuple[str, str]:
    """What is wrong with a vector that is not finite or all zero, and the remedy."""
    values = vector[~np.isfinite(vector)]
    if len(values):
        return f"holds {values[0]}", "compute this vector again"
    return "is all zero", "compute this vector again, restore its chunk if that was lost, or correct the mask"


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
        lost = (rows >= failure.lo) & (rows < failure.hi) & (num_panels > 0)
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
