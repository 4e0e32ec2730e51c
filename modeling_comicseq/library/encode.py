"""A library of comics through the encoder: Stage 3 store in, Stage 5 store out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from ..checkpoints.opening import open_checkpoint, read_config, without_boxes
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..model.tasks_comicseq import STRIP_EMBEDDING
from ..outputs import check_output
from ..stores.arrays import Part, metadata_beside, write_part
from ..stores.boxed_pages import describe_boxes, read_boxed_pages
from ..stores.origin import read_origin
from ..stores.output import Output, read_attributes
from ..stores.pages import Pages, read_pages
from ..stores.stage3 import BOX_ARRAY, Stage3Store, find_bad_vectors, work_ahead
from ..stores.stage5 import stage5_layout
from ..stores.vectors import metadata_version
from .encoder import PageEncoder, encoder_of, model_fingerprint
from .making import Processes
from .reading import hash_panels, read_panels

__all__ = ["encode_store"]

logger = logging.getLogger(__name__)

# Another number when the same input gives another store: it is part of the fingerprint.
_FORMAT = 1


def encode_store(
    model: str,
    embeddings: str | os.PathLike,
    metadata: str | os.PathLike,
    output: str | os.PathLike,
    *,
    dtype: str = "float32",
    zarr_format: int = 3,
    batch_size: int | None = None,
    boxes: str | os.PathLike | None = None,
    reading_direction: str | None = None,
    overwrite: bool = False,
    other_origin: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Encodes all pages of a Stage 3 store that the metadata names.

    The output has one row for each page of the metadata, in the order of the store's rows, and beside it stands its own
    metadata: the same entries in that order, `sequence_index` being the row of the output, all else as it came. Empty
    slots are zeros; a page without panels keeps its row, all zeros, with an empty mask.

    **Long pages.** The model takes `max_position_embeddings` panels. A page with more is encoded in windows of that
    length, each beginning half a window after the one before, the last one ending with the page. A panel that stands in
    several windows gets the mean of its contextualised vectors. The strip vector is not put together from windows: the
    strip query attends to the contextualised vectors of all panels of the page.

    **Boxes.** A model that reads where panels stand is told so, where the store, its metadata or `boxes` tell it.

    Started by `accelerate launch`, every process encodes a run of parts (shards in format 3) of its own; the result does
    not depend on how many there are. After an interrupt the same call goes on with the parts that are not finished; with
    `output` complete it does nothing.

    Args:
        model: Any ComicSeq checkpoint: a folder or a model on the Hub.
        embeddings: Stage 3 Zarr store, a local path or an fsspec URL.
        metadata: Its metadata, a JSON list with one object a page; path or URL. It may name some of the rows only.
        output: Stage 5 Zarr store to write, a local path or an fsspec URL, see `Output`. `NAME_metadata.json` is
            written beside `NAME.zarr` or `NAME_embeddings.zarr`.
        dtype: "float32" or "float16" for the vectors; the computation is float32.
        zarr_format: 3, or 2 for older readers.
        batch_size: Pages that are encoded together; 256 on the processor and 2,048 on a GPU where none is given.
        boxes: A file or folder that says where panels stand, see `read_boxed_pages`.
        reading_direction: "ltr" or "rtl", how pages are read of which nothing else tells it.
        overwrite: Replace an output that was made from other input or with other options.
        other_origin: Whether vectors of another origin than the model's training are meant.
        progress: Show a progress bar on the terminal.

    Returns:
        The attributes of the output: its model, source, versions and counts.

    Raises:
        ComicSeqArgumentError: An option is not possible.
        ComicSeqDataError: The input has a fault, or `output` holds something else.
    """
    metadata, target = os.fspath(metadata), os.fspath(output)
    _check_options(dtype, zarr_format, batch_size)
    for each, is_folder in ((target, True), (metadata_beside(target), False)):
        inputs = [model, embeddings, metadata, *([] if boxes is None else [os.fspath(boxes)])]
        check_output(each, inputs, overwrite=True, folder=is_folder, remote=True)
    processes = Processes(progress)
    batch_size = batch_size or (256 if processes.device.type == "cpu" else 2048)
    store = Stage3Store.open(embeddings).with_streams(read_config(model).streams)
    origin = read_origin(store, metadata)
    checkpoint = open_checkpoint(model, store, store.url, origin=origin, other_origin=other_origin)
    if STRIP_EMBEDDING.name in checkpoint.untrained:
        raise ComicSeqDataError(
            f"{model} is a checkpoint of one task, which has no strip vectors: name a pretrained checkpoint or a"
            " ComicSeqModel."
        )
    encoder = encoder_of(checkpoint.model)
    reads_boxes = encoder.config.box_embedding
    for name, value in (("boxes", boxes and os.fspath(boxes)), ("reading_direction", reading_direction)):
        if value is not None and not reads_boxes:
            raise ComicSeqArgumentError(f"{name} {value!r} is given, but {model} reads no boxes; leave it out")
    weights = model_fingerprint(encoder)
    made_of = [_FORMAT, store.url, store.fingerprint(), metadata, metadata_version(metadata)]
    made_of += [weights, dtype, zarr_format]
    if reads_boxes:
        made_of += [] if boxes is None else [os.fspath(boxes), *describe_boxes(boxes)]
        made_of += [reading_direction]
    place = Output(target, hashlib.sha256(json.dumps(made_of).encode()).hexdigest())
    if processes.is_done(place, overwrite):
        return read_attributes(place.target, 5) or {}

    for note in checkpoint.notes if processes.is_main else []:
        logger.warning(note)
    with processes.at_work(place), tempfile.TemporaryDirectory() as folder:
        with processes.console.status("Reading the metadata"):
            text = "entry" if processes.is_main else None
            file = Path(folder) / "pages.arrow"
            if reads_boxes:
                pages = read_boxed_pages(store, metadata, file, text, None, boxes, reading_direction)
                if processes.is_main and not pages.has(BOX_ARRAY):
                    logger.warning(without_boxes(model, store.url))
            else:
                pages = read_pages(metadata, store.pages, file, text)
        layout = stage5_layout(len(pages), store.slots, encoder.config.hidden_size, dtype, zarr_format)
        encode = PageEncoder(encoder, processes.device, getattr(torch, dtype))

        def work(todo: Sequence[Part], arrays: Mapping[str, zarr.Array], advance: Callable[[int], None]) -> Iterator:
            reads = work_ahead(lambda part: read_panels(store, pages, part.lo, part.hi), todo)
            for part, read in zip(todo, reads, strict=True):
                read_boxes = pages.boxes(np.arange(part.lo, part.hi), as_read=True) if reads_boxes else None
                counts = pages.counts[part.lo : part.hi]
                encoded = _encode_part(encode, read, counts, read_boxes, batch_size, advance)
                yield part, partial(write, arrays, part, read, *encoded)

        def write(
            arrays: Mapping[str, zarr.Array], part: Part, read: np.ndarray, panels: torch.Tensor, strips: torch.Tensor
        ) -> dict[str, Any]:
            counts, rows = pages.counts[part.lo : part.hi], pages.rows[part.lo : part.hi]
            vectors = {"contextualized_panels": panels.cpu().numpy(), "strip_embeddings": strips.cpu().numpy()}
            for values, owners in zip(vectors.values(), (np.repeat(rows, counts), rows), strict=True):
                _check_finite(values, owners, pages, model, dtype)
            mask = np.arange(store.slots) < counts[:, None]
            write_part(arrays, part, mask, vectors | {"panel_masks": mask})
            return {"panels": len(read), "digest": f"{hash_panels(read, counts, rows):032x}"}

        processes.write_parts(place, layout, "Encoding pages", work)
        if processes.is_main:
            described = {"name": model, "fingerprint": weights, "window": encode.window, "stride": encode.stride}
            attributes = _attributes(place, store, origin, metadata, pages, dtype, described)
            place.complete(pages.write_metadata, attributes)
        processes.wait()
    return read_attributes(place.target, 5) or {}


def _encode_part(
    encode: PageEncoder,
    vectors: np.ndarray,
    counts: np.ndarray,
    boxes: np.ndarray | None,
    batch_size: int,
    advance: Callable[[int], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Panels and strips of the pages with these panel vectors, numbers of panels and boxes, `batch_size` pages at a time."""
    bounds = np.concatenate(([0], np.cumsum(counts)))
    encoded = []
    for lo in range(0, len(counts), batch_size):
        batch = counts[lo : lo + batch_size]
        panels = slice(bounds[lo], bounds[lo + len(batch)])
        encoded.append(encode(vectors[panels], batch, None if boxes is None else boxes[panels]))
        advance(len(batch))
    of_panels, of_strips = zip(*encoded, strict=True)
    return torch.cat(of_panels), torch.cat(of_strips)


def _check_finite(vectors: np.ndarray, rows: np.ndarray, pages: Pages, model: str, dtype: str) -> None:
    """Raises a `ComicSeqDataError` for the first of the vectors, of pages in these rows, that is not finite."""
    not_finite, _ = find_bad_vectors(vectors)
    if not_finite.any():
        row = int(rows[not_finite.argmax()])
        remedy = "encode with --dtype float32, or " if dtype == "float16" else ""
        raise ComicSeqDataError(
            f"{model} makes vectors that are not finite in {dtype} of page {pages.name(row)!r}"
            f" (sequence_index {row}); {remedy}check the checkpoint's weights"
        )


def _attributes(
    place: Output,
    store: Stage3Store,
    origin: dict[str, Any],
    metadata: str,
    pages: Pages,
    dtype: str,
    model: dict[str, Any],
) -> dict[str, Any]:
    """What the store says about itself; nothing in it depends on the place, the time or the processes."""
    reports = place.finished_parts().values()
    digest = sum(int(report["digest"], 16) for report in reports) % 2**128
    return {
        "stage": 5,
        "fingerprint": place.fingerprint,
        "metadata": place.metadata.rpartition("/")[2],
        "pages": len(pages),
        "panels": sum(report["panels"] for report in reports),
        "dtype": dtype,
        "model": model,
        "source": {
            "embeddings": store.url,
            "metadata": metadata,
            # Of the encoded vectors themselves: the same for a copy, another chunking or compression.
            "fingerprint": f"xxh3:{digest:032x}",
            "origin": origin,
        },
        "versions": {name: version(name) for name in ("comicseq", "torch", "transformers", "zarr")},
    }


def _check_options(dtype: str, zarr_format: int, batch_size: int | None) -> None:
    if dtype not in ("float16", "float32"):
        raise ComicSeqArgumentError(f"dtype {dtype!r} is not possible; give float32 or float16")
    if zarr_format not in (2, 3):
        raise ComicSeqArgumentError(f"zarr_format {zarr_format} is not possible; give 3 or 2")
    if batch_size is not None and batch_size < 1:
        raise ComicSeqArgumentError(f"batch_size {batch_size} encodes no page; give 1 or more")
