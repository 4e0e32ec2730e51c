"""Refines the reading order of pages: the panels of a page in, their permutation with a confidence out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console

from ..checkpoints.opening import Checkpoint, open_checkpoint
from ..errors import ComicSeqDataError
from ..files import write_text
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.ordering_comicseq import best_orders
from ..model.pipeline_comicseq import ask, order_confidence, pad, take_vectors
from ..model.tasks_comicseq import READING_ORDER
from ..outputs import check_output, has_words
from ..pages.json_list import iter_entries
from ..progress import progress_bar
from ..stores.metadata import parse_entry
from ..stores.origin import read_origin
from ..stores.pages import read_pages
from ..stores.stage3 import PANEL_ARRAYS, Stage3Store
from .reading import read_panels

__all__ = ["OrderSummary", "PageOrder", "order_json", "order_pages", "order_store"]

_is_own = has_words(*(f'"{field}": ' for field in ("order", "confidence", "given_confidence", "agreement")))
_BATCH = 64  # pages that the model reads at a time
_SORTED = 4 * _BATCH  # pages that are sorted by length
_PART = 2048  # pages whose panels are in memory at a time


class PageOrder(NamedTuple):
    """The reading order of one page.

    Attributes:
        order: Places of its panels in the order that they are read.
        confidence: `order_confidence` of this order; None where the page was left as it is.
        given_confidence: That of the order in which the panels came.
        agreement: Share of the statements of this order that the given order makes, too. If most given orders are
            right, its mean over the pages is what the mean confidence should be.
    """

    order: list[int]
    confidence: float | None
    given_confidence: float | None
    agreement: float | None


class OrderSummary(NamedTuple):
    """What became of the pages.

    Attributes:
        pages: Number of pages.
        changed: Those whose panels now stand in another order.
        too_long: Those with more panels than the model takes, which keep their order.
        mean_confidence: Over the pages that were ordered; None where there are none.
        mean_agreement: Over the same pages.
        least_sure: The five lowest confidences, each with the page's name.
    """

    pages: int
    changed: int
    too_long: int
    mean_confidence: float | None
    mean_agreement: float | None
    least_sure: list[tuple[float, str]]


def _ready(checkpoint: Checkpoint) -> ComicSeqForPreTraining:
    """The model in evaluation mode on the GPU where there is one; its reading-order head must have been trained."""
    if READING_ORDER.name in checkpoint.untrained:
        raise ComicSeqDataError(
            f"{checkpoint.name} has no head for reading order: name a pretrained checkpoint or a ComicSeqForReadingOrder."
        )
    return checkpoint.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]


@torch.inference_mode()
def order_pages(model: ComicSeqForPreTraining, pages: Sequence[torch.Tensor]) -> list[PageOrder]:
    """Orders pages of any numbers of panels.

    The order is the one with the highest total score under the model's pairwise scores: exact up to 12 panels, the
    best of a beam beyond. A page with more panels than `max_position_embeddings` keeps its order, and so does one
    without panels; their confidences are None.

    Args:
        model: A model with a trained reading-order head.
        pages: Panel vectors of each page `(panels, P)`, in any order.
    """
    results = [PageOrder(list(range(len(page))), None, None, None) for page in pages]
    target, limit = model.config.reading_order_target, model.config.max_position_embeddings
    # Pages of one length need no padding and are searched together.
    chosen = sorted((place for place, page in enumerate(pages) if 0 < len(page) <= limit), key=lambda p: len(pages[p]))
    for start in range(0, len(chosen), _BATCH):
        places = chosen[start : start + _BATCH]
        panels, mask = pad([pages[place].to(model.device) for place in places])
        logits = ask(model, READING_ORDER, {"panel_embeddings": panels, "attention_mask": mask}).float().cpu()
        try:
            orders = best_orders(logits, mask.cpu(), target)
        except ValueError as error:
            raise ComicSeqDataError(str(error)) from None
        for place, scores, order in zip(places, logits, orders, strict=True):
            count = len(pages[place])
            scores, order = scores[:count, :count], order[:count]
            results[place] = PageOrder(
                order.tolist(),
                order_confidence(scores, order, target),
                order_confidence(scores, torch.arange(count), target),
                share_kept(order, target),
            )
    return results


def share_kept(order: torch.Tensor, target: str) -> float:
    """Share of the statements of an order that the given order 0, 1, 2, … makes, too; 1 for a page of one panel."""
    if len(order) < 2:
        return 1.0
    if target == "adjacency":
        return float((order.diff() == 1).float().mean())
    earlier, later = torch.triu_indices(len(order), len(order), 1)
    return float((order[earlier] < order[later]).float().mean())


def order_store(
    model_name: str,
    embeddings: str,
    metadata: str,
    output: Path,
    progress: bool = True,
    overwrite: bool = False,
    other_origin: bool = False,
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

    Raises:
        ComicSeqDataError: The model cannot order, the store or its metadata has a fault, they do not fit, or `output`
            cannot be written.
    """
    check_output(output, [model_name, embeddings, metadata], overwrite, is_own=_is_own)
    store = Stage3Store.open(embeddings)
    store = replace(store, arrays={"panel_embeddings": store.arrays["panel_embeddings"]})
    origin = read_origin(store, metadata)
    checkpoint = open_checkpoint(model_name, store, embeddings, origin=origin, other_origin=other_origin)
    model = _ready(checkpoint)
    for note in checkpoint.notes:
        Console(stderr=True).print(f"Warning: {note}", style="yellow", soft_wrap=True)
    pages = read_pages(metadata, store.pages)
    results: list[PageOrder] = []
    with progress_bar("Ordering pages", len(pages), progress) as advance:
        for lo in range(0, len(pages), _PART):
            counts = pages.counts[lo : lo + _PART]
            vectors = read_panels(store, pages, lo, lo + len(counts)).astype(np.float32)
            panels = torch.from_numpy(vectors).split(counts.tolist())
            for start in range(0, len(panels), _SORTED):
                results += order_pages(model, panels[start : start + _SORTED])
                advance(len(panels[start : start + _SORTED]))

    def answers() -> Iterator[tuple[dict[str, Any], str, PageOrder]]:
        for page in map(parse_entry, iter_entries(metadata)):
            identity = {name: getattr(page, name) for name in ("canonical_id", "book_id", "page_name")}
            result = results[int(np.searchsorted(pages.rows, page.row))]
            yield {"sequence_index": page.row, **identity}, page.canonical_id, result

    return _write(output, answers())


def order_json(
    model_name: str, pages: Path, output: Path, progress: bool = True, overwrite: bool = False
) -> OrderSummary:
    """Orders the pages of a JSON file: a list of objects with `panel_embeddings`, a list of vectors.

    The other fields of each object are carried along, but for further vectors.

    Args:
        model_name: Checkpoint folder or model on the Hub.
        pages: The JSON file.
        output: JSON file to write; it appears complete or not at all.
        progress: Whether to show a progress bar.
        overwrite: Whether to replace a file that is there and holds no reading orders.

    Raises:
        ComicSeqDataError: The model cannot order, the file is not such a list, or `output` cannot be written.
    """
    check_output(output, [model_name, pages], overwrite, is_own=_is_own)
    model = _ready(open_checkpoint(model_name))
    width = model.config.panel_embedding_dim

    def answers(advance: Callable[[int], None]) -> Iterator[tuple[dict[str, Any], str, PageOrder]]:
        entries = enumerate(iter_entries(str(pages)))
        while batch := list(islice(entries, _SORTED)):
            panels = []
            for number, entry in batch:
                try:
                    panels.append(take_vectors(entry, "panel_embeddings", width))
                except ValueError as error:
                    raise ComicSeqDataError(f"{pages}: entry {number}: {error}") from None
            for (number, entry), result in zip(batch, order_pages(model, panels), strict=True):
                name = entry.get("canonical_id") or entry.get("page_name") or f"entry {number}"
                kept = {field: value for field, value in entry.items() if field not in PANEL_ARRAYS}
                yield kept, str(name), result
            advance(len(batch))

    with progress_bar("Ordering pages", None, progress) as advance:
        return _write(output, answers(advance))


def _write(output: Path, answers: Iterable[tuple[dict[str, Any], str, PageOrder]]) -> OrderSummary:
    """Writes one line a page."""
    lines, known, names = [], [], []
    changed = too_long = 0
    for entry, name, result in answers:
        lines.append(json.dumps({**entry, **result._asdict()}))
        changed += result.order != sorted(result.order)
        too_long += bool(result.order) and result.confidence is None
        if result.confidence is not None and result.agreement is not None:
            known.append((result.confidence, result.agreement))
            names.append(name)
    write_text(output, "[\n" + ",\n".join(lines) + "\n]\n")
    mean_confidence, mean_agreement = np.mean(known, axis=0).tolist() if known else (None, None)
    least_sure = sorted((confidence, name) for (confidence, _), name in zip(known, names, strict=True))[:5]
    return OrderSummary(len(lines), changed, too_long, mean_confidence, mean_agreement, least_sure)
