"""A data set of pages through a panel encoder: pictures and texts in, Stage 3 store out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import zarr
from PIL.Image import Image

from ..encoders.panel_encoder import OFFLINE_ENCODER, PanelEncoder, load_panel_encoder
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..outputs import check_output
from ..pages.annotations import PanelAnnotation
from ..pages.page_set import Page, PageSet
from ..stores.arrays import Part, metadata_beside, write_part
from ..stores.output import Output, read_attributes
from ..stores.page_metadata import text_of, write_metadata
from ..stores.stage3 import BOX_ARRAY, NEVER_ZERO, PANEL_ARRAYS, find_bad_vectors, work_ahead
from ..stores.stage3_layout import stage3_layout
from .making import Processes

__all__ = ["embed_pages"]

# Another number when the same input gives another store: it is part of the fingerprint.
_FORMAT = 1
FUSED, VISUAL, TEXT, CAPTION = PANEL_ARRAYS
MASKS = "panel_masks"


def embed_pages(
    pages: str | os.PathLike,
    output: str | os.PathLike,
    *,
    encoder: str | PanelEncoder = OFFLINE_ENCODER,
    dtype: str = "float32",
    zarr_format: int = 3,
    batch_size: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Encodes all panels of a data set of pages.

    The output has one row for each page, in their order: `panel_embeddings`, which fuse picture and text,
    `visual_embeddings`, `text_embeddings` and, where pages have captions, `caption_embeddings`; `panel_masks` and
    `panel_boxes`. A panel without text or caption has zeros there; an array of which no panel would have anything is left
    out, as are those that the encoder cannot give. A page without panels keeps its row, all zeros, with an empty mask.
    Beside the store stands its metadata, one entry a page, with the texts.

    Pages are read one after the other while others are encoded, so memory does not grow with their number. The store is
    made in parts of some dozen pages. Started by `accelerate launch`, every process makes a run of parts of its own; the
    result does not depend on how many there are. After an interrupt the same call goes on with the parts that are not
    finished; with `output` complete it does nothing.

    Args:
        pages: A data set of pages: a folder that `comicseq ingest` wrote, or what `datasets` opens with its columns.
        output: Stage 3 Zarr store to write, a local path or an fsspec URL, see `Output`. `NAME_metadata.json` is
            written beside `NAME.zarr` or `NAME_embeddings.zarr`.
        encoder: A panel encoder, or what `load_panel_encoder` loads one by.
        dtype: "float32" or "float16" for the vectors; the computation is float32.
        zarr_format: 3, or 2 for older readers.
        batch_size: Pictures that are encoded together.
        overwrite: Replace an output that was made from other pages or with other options.
        progress: Show a progress bar on the terminal.

    Returns:
        The attributes of the output: the origin of the vectors, the pages, versions and counts.

    Raises:
        ComicSeqArgumentError: An option is not possible.
        ComicSeqDataError: A page has a fault, there is no such encoder, or `output` holds something else.
    """
    source, target = os.fspath(pages), os.fspath(output)
    check_vector_options(dtype, zarr_format, batch_size)
    named = encoder if isinstance(encoder, str) else None
    for each, is_folder in ((target, True), (metadata_beside(target), False)):
        check_output(each, [source, named], overwrite=True, folder=is_folder, remote=True)
    processes = Processes(progress)
    data = PageSet.open(source)
    if not data.counts.any():
        raise ComicSeqDataError(f"{source} holds no panel on any of its pages; ingest them with --panels auto")
    with processes.console.status("Loading the encoder"):
        loaded = encoder
        if isinstance(loaded, str):
            loaded = load_panel_encoder(loaded, device=processes.device, batch_size=batch_size)
    made_of = [_FORMAT, data.fingerprint, loaded.fingerprint, loaded.width, dtype, zarr_format]
    place = Output(target, hashlib.sha256(json.dumps(made_of).encode()).hexdigest(), 3)
    if processes.is_done(place, overwrite):
        return read_attributes(place.target, 3) or {}
    names = arrays_of(loaded, data.tells("texts"), data.tells("captions"))
    if FUSED not in names:
        raise ComicSeqDataError(
            f"{source} has no texts, and {loaded.name} reads nothing else; name one that sees pictures"
        )
    with processes.at_work(place):
        slots = int(data.counts.max())
        widths = dict.fromkeys(names, loaded.width)
        layout = stage3_layout(len(data), slots, widths, (MASKS, BOX_ARRAY), dtype, zarr_format)

        def work(todo: Sequence[Part], arrays: Mapping[str, zarr.Array], advance: Callable[[int], None]) -> Iterator:
            for part in todo:
                read = [data.page(number) for number in range(part.lo, part.hi)]
                panels = [panel for page in read for panel in page.annotation.panels]
                vectors = encode_panels(loaded, names, panels, _crops(data, part, read, advance))
                if VISUAL not in names:
                    advance(len(read))
                yield part, partial(write, arrays, part, read, vectors)

        def write(
            arrays: Mapping[str, zarr.Array], part: Part, read: Sequence[Page], vectors: Mapping[str, np.ndarray]
        ) -> dict[str, Any]:
            panels = [panel for page in read for panel in page.annotation.panels]
            counts = np.array([len(page.annotation.panels) for page in read])
            mask = np.arange(slots) < counts[:, None]
            owners = [
                (page.canonical_id, slot) for page, count in zip(read, counts, strict=True) for slot in range(count)
            ]
            check_vectors(vectors, dtype, owners, source, loaded.name)
            boxes = np.array([panel.box or (0, 0, 0, 0) for panel in panels], np.float32).reshape(-1, 4)
            write_part(arrays, part, mask, {**vectors, MASKS: mask, BOX_ARRAY: boxes})
            said: dict[str, list] = {
                "texts": [text_of(panel) for panel in panels],
                "captions": [panel.caption for panel in panels],
            }
            counted = {name: sum(map(bool, each)) for name, each in said.items()}
            return {"panels": len(panels), "pages_without_panels": int((counts == 0).sum()), **counted}

        processes.write_parts(place, layout, "Embedding pages", work)
        if processes.is_main:
            place.complete(partial(write_metadata, data), _attributes(place, data, loaded, dtype))
        processes.wait()
    return read_attributes(place.target, 3) or {}


def arrays_of(encoder: PanelEncoder, has_texts: bool, has_captions: bool) -> list[str]:
    """The arrays that an encoder makes of pages with or without texts and captions."""
    sees, reads = encoder.reads_images, encoder.reads_texts
    wanted = {FUSED: sees or (reads and has_texts), VISUAL: sees, TEXT: reads and has_texts}
    wanted[CAPTION] = reads and has_captions
    return [name for name, is_wanted in wanted.items() if is_wanted]


def encode_panels(
    encoder: PanelEncoder, names: Sequence[str], panels: Sequence[PanelAnnotation], crops: Iterable[Image]
) -> dict[str, np.ndarray]:
    """The vectors of panels `(panels, width)`, of each of the arrays; zeros where there is no text or caption.

    Args:
        encoder: The encoder.
        names: The arrays.
        panels: What is known of the panels.
        crops: Their pictures, which are read as they are encoded.
    """
    vectors = {}
    if VISUAL in names:
        vectors[VISUAL] = encoder.encode_images(crops)
    if TEXT in names:
        vectors[TEXT] = encoder.encode_texts([text_of(panel) for panel in panels])
    if FUSED in names:
        vectors[FUSED] = encoder.fuse(vectors.get(VISUAL), vectors.get(TEXT))
    if CAPTION in names:
        vectors[CAPTION] = encoder.encode_captions([panel.caption or "" for panel in panels])
    return vectors


def check_vector_options(dtype: str, zarr_format: int, batch_size: int | None) -> None:
    """Raises a `ComicSeqArgumentError` where vectors cannot be made or stored so."""
    if dtype not in ("float16", "float32"):
        raise ComicSeqArgumentError(f"dtype {dtype!r} is not possible; give float32 or float16")
    if zarr_format not in (2, 3):
        raise ComicSeqArgumentError(f"zarr_format {zarr_format} is not possible; give 3 or 2")
    if batch_size is not None and batch_size < 1:
        raise ComicSeqArgumentError(f"batch_size {batch_size} encodes nothing; give 1 or more")


def _crops(data: PageSet, part: Part, read: Sequence[Page], advance: Callable[[int], None]) -> Iterator[Image]:
    """The pictures of all panels of a part, page by page; some pages are read ahead."""

    def crops(page: int) -> list[Image]:
        return data.crops(part.lo + page, read[page].annotation.panels)

    for of_page in work_ahead(crops, range(len(read))):
        yield from of_page
        advance(1)


def check_vectors(
    vectors: Mapping[str, np.ndarray], dtype: str, owners: Sequence[tuple[str, int]], source: str, encoder: str
) -> None:
    """Checks the vectors of panels, of these pages and slots.

    Raises:
        ComicSeqDataError: One is not finite in `dtype`, or all zero where none may be.
    """
    for name, values in vectors.items():
        not_finite, zero = find_bad_vectors(values.astype(dtype))
        bad = not_finite | zero if name in NEVER_ZERO else not_finite
        if not bad.any():
            continue
        page, slot = owners[int(bad.argmax())]
        found = f"panel {slot} has no text, and {encoder} reads nothing else; name an encoder that sees pictures, too"
        if not_finite[bad.argmax()]:
            found = f"{encoder} makes {name} that are not finite in {dtype} of panel {slot}; check its weights"
        raise ComicSeqDataError(f"{source}: page {page!r}: {found}")


def _attributes(place: Output, data: PageSet, encoder: PanelEncoder, dtype: str) -> dict[str, Any]:
    """What the store says about itself; nothing in it depends on the place, the time or the processes."""
    reports = list(place.finished_parts().values())
    return {
        "stage": 3,
        "fingerprint": place.fingerprint,
        "metadata": place.metadata.rpartition("/")[2],
        "pages": len(data),
        **{name: sum(report[name] for report in reports) for name in reports[0]},
        "dtype": dtype,
        "origin": dict(encoder.origin),
        "source": {"pages": data.source, "fingerprint": data.fingerprint},
        "versions": {name: version(name) for name in ("comicseq", "torch", "transformers", "zarr")},
    }
