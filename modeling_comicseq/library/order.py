"""Refines the reading order of pages: panels, their boxes or both in, their permutation with a confidence out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console

from ..checkpoints.opening import Checkpoint, open_checkpoint, read_config
from ..errors import ComicSeqDataError
from ..files import write_text
from ..layouts.boxes import mirror
from ..layouts.predictor import PageOrder, order_pages
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.pipeline_comicseq import take_vectors
from ..model.tasks_comicseq import READING_ORDER
from ..outputs import check_output, has_words
from ..pages.annotations import read_direction
from ..pages.json_list import iter_entries
from ..progress import progress_bar
from ..stores.boxed_pages import read_boxed_pages
from ..stores.boxes import LostBoxes, slot_boxes
from ..stores.metadata import parse_entry
from ..stores.origin import read_origin
from ..stores.pages import read_pages
from ..stores.stage3 import PANEL_ARRAYS, Stage3Store
from .reading import read_panels

__all__ = ["OrderSummary", "is_own", "no_boxes", "order_json", "order_store", "ready_to_order", "write_orders"]

is_own = has_words(*(f'"{field}": ' for field in ("order", "confidence", "given_confidence", "agreement")))
_SORTED = 256  # pages that are sorted by length
_PART = 2048  # pages whose panels are in memory at a time


class OrderSummary(NamedTuple):
    """What became of the pages.

    Attributes:
        pages: Number of pages.
        changed: Those whose panels now stand in another order.
        left: Those that keep their order: with more panels than the model takes, or with a box that is not known.
        mean_confidence: Over the pages that were ordered; None where there are none.
        mean_agreement: Over the same pages.
        least_sure: The five lowest confidences, each with the page's name.
        notes: Sentences about the direction of books.
    """

    pages: int
    changed: int
    left: int
    mean_confidence: float | None
    mean_agreement: float | None
    least_sure: list[tuple[float, str]]
    notes: Sequence[str] = ()


def ready_to_order(checkpoint: Checkpoint) -> ComicSeqForPreTraining:
    """The model in evaluation mode on the GPU where there is one; its reading-order head must have been trained."""
    if READING_ORDER.name in checkpoint.untrained:
        raise ComicSeqDataError(
            f"{checkpoint.name} has no head for reading order: name a pretrained checkpoint or a ComicSeqForReadingOrder."
        )
    return checkpoint.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]


def order_store(
    model_name: str,
    embeddings: str,
    metadata: str,
    output: Path,
    progress: bool = True,
    overwrite: bool = False,
    other_origin: bool = False,
    boxes: str | None = None,
    reading_direction: str | None = None,
) -> OrderSummary:
    """Orders the pages of a Stage 3 store and writes one JSON object a page, in the order of the metadata.

    Args:
        model_name: Checkpoint folder or model on the Hub.
        embeddings: Stage 3 store, path or URL.
        metadata: Its metadata, path or URL.
        output: JSON file to write; it appears complete or not at all.
        progress: Whether to show a progress bar.
        overwrite: Whether to replace a file that is there and holds no reading orders.
        other_origin: Whether vectors of another origin than the model's training are meant.
        boxes: See `read_boxed_pages`: a model that reads boxes is shown those that are known.
        reading_direction: As `boxes`.

    Raises:
        ComicSeqDataError: The model cannot order, the store or its metadata has a fault, they do not fit, or `output`
            cannot be written.
    """
    check_output(output, [model_name, embeddings, metadata, boxes], overwrite, is_own=is_own)
    store = Stage3Store.open(embeddings).with_streams(read_config(model_name).streams)
    origin = read_origin(store, metadata)
    checkpoint = open_checkpoint(model_name, store, embeddings, origin=origin, other_origin=other_origin)
    model = ready_to_order(checkpoint)
    for note in checkpoint.notes:
        Console(stderr=True, markup=False).print(f"Warning: {note}", style="yellow", soft_wrap=True)
    if model.config.box_embedding:
        pages = read_boxed_pages(store, metadata, boxes=boxes, reading_direction=reading_direction)
    else:
        if boxes is not None or reading_direction is not None:
            raise ComicSeqDataError(no_boxes(model_name))
        pages = read_pages(metadata, store.pages)
    results: list[PageOrder] = []
    with progress_bar("Ordering pages", len(pages), progress) as advance:
        for lo in range(0, len(pages), _PART):
            counts = pages.counts[lo : lo + _PART]
            vectors = read_panels(store, pages, lo, lo + len(counts)).astype(np.float32)
            panels = [{"panel_embeddings": page} for page in torch.from_numpy(vectors).split(counts.tolist())]
            places = pages.boxes(np.arange(lo, lo + len(counts)), as_read=True)
            if places is not None:
                for page, page_boxes in zip(panels, torch.from_numpy(places).split(counts.tolist()), strict=True):
                    page["panel_boxes"] = page_boxes
            for start in range(0, len(panels), _SORTED):
                results += order_pages(model, panels[start : start + _SORTED])
                advance(len(panels[start : start + _SORTED]))

    def answers() -> Iterator[tuple[dict[str, Any], str, PageOrder]]:
        for page in map(parse_entry, iter_entries(metadata)):
            identity = {name: getattr(page, name) for name in ("canonical_id", "book_id", "page_name")}
            result = results[int(np.searchsorted(pages.rows, page.row))]
            yield {"sequence_index": page.row, **identity}, page.canonical_id, result

    return write_orders(output, answers())


def order_json(
    model_name: str, pages: Path, output: Path, progress: bool = True, overwrite: bool = False
) -> OrderSummary:
    """Orders the pages of a JSON file: a list of objects with `panel_embeddings`, a list of vectors.

    The other fields of each object are carried along, but for further vectors. A model that reads boxes is shown those that
    stand in the objects, see `slot_boxes`.

    Args:
        model_name: Checkpoint folder or model on the Hub.
        pages: The JSON file.
        output: JSON file to write; it appears complete or not at all.
        progress: Whether to show a progress bar.
        overwrite: Whether to replace a file that is there and holds no reading orders.

    Raises:
        ComicSeqDataError: The model cannot order, the file is not such a list, or `output` cannot be written.
    """
    check_output(output, [model_name, pages], overwrite, is_own=is_own)
    model = ready_to_order(open_checkpoint(model_name))
    width, lost = model.config.panel_embedding_dim, LostBoxes(str(pages))

    def answers(advance: Callable[[int], None]) -> Iterator[tuple[dict[str, Any], str, PageOrder]]:
        entries = enumerate(iter_entries(str(pages)))
        while batch := list(islice(entries, _SORTED)):
            panels = []
            names = [str(e.get("canonical_id") or e.get("page_name") or f"entry {number}") for number, e in batch]
            for (number, entry), name in zip(batch, names, strict=True):
                try:
                    page = {"panel_embeddings": take_vectors(entry, "panel_embeddings", width)}
                    if model.config.box_embedding:
                        boxes = slot_boxes(entry, len(page["panel_embeddings"]), None, name, lost)
                        if boxes is not None:
                            boxes = boxes.reshape(-1, 4)
                            page["panel_boxes"] = torch.from_numpy(
                                mirror(boxes) if read_direction(entry) == "rtl" else boxes
                            )
                    panels.append(page)
                except ValueError as error:
                    raise ComicSeqDataError(f"{pages}: entry {number}: {error}") from None
            for (_, entry), name, result in zip(batch, names, order_pages(model, panels), strict=True):
                yield {field: value for field, value in entry.items() if field not in PANEL_ARRAYS}, name, result
            advance(len(batch))

    with progress_bar("Ordering pages", None, progress) as advance:
        summary = write_orders(output, answers(advance))
    lost.tell()
    return summary


def no_boxes(model_name: str | None) -> str:
    """What is said where boxes are given to a model that reads none."""
    return (
        f"{model_name} reads no boxes (`box_embedding` of its configuration is False): name a checkpoint that was trained"
        " with boxes, or leave out the boxes."
    )


def write_orders(output: Path, answers: Iterable[tuple[dict[str, Any], str, PageOrder]]) -> OrderSummary:
    """Writes one object a page: what is said of it, and its order; its name is for the summary."""
    lines, known, names = [], [], []
    changed = left = 0
    for entry, name, result in answers:
        lines.append(json.dumps({**entry, **result._asdict()}))
        changed += result.order != sorted(result.order)
        left += bool(result.order) and result.confidence is None
        if result.confidence is not None and result.agreement is not None:
            known.append((result.confidence, result.agreement))
            names.append(name)
    write_text(output, "[\n" + ",\n".join(lines) + "\n]\n")
    mean_confidence, mean_agreement = np.mean(known, axis=0).tolist() if known else (None, None)
    least_sure = sorted((confidence, name) for (confidence, _), name in zip(known, names, strict=True))[:5]
    return OrderSummary(len(lines), changed, left, mean_confidence, mean_agreement, least_sure)
