"""Reading order with a model: by the packaged predictor from boxes alone, or by any checkpoint from panels, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqForReadingOrder
from ..model.ordering_comicseq import best_orders
from ..model.pipeline_comicseq import ask, order_confidence, pad
from ..model.tasks_comicseq import READING_ORDER
from ..progress import quiet_transformers
from .boxes import READING_DIRECTIONS, as_shares, check_boxes, mirror

__all__ = [
    "PREDICTOR",
    "PageOrder",
    "PanelOrder",
    "book_direction",
    "load_predictor",
    "looks_like",
    "order_both_ways",
    "order_pages",
    "order_panels",
]

PREDICTOR = Path(__file__).parent / "order_predictor"
_BATCH = 64  # pages that the model reads at a time


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


class PanelOrder(NamedTuple):
    """The reading order of the panels of one page, told from their boxes.

    Attributes:
        order: Places of the boxes in the order that they are read.
        confidence: Mean probability that a panel comes before each later one.
        reading_direction: The direction that it is read in: the one that was given, or that the order in which the boxes
            came looks like, or `ltr`.
    """

    order: list[int]
    confidence: float
    reading_direction: str


@cache
def load_predictor() -> ComicSeqForReadingOrder:
    """The packaged predictor, which sees boxes alone and was trained on drawn layouts alone."""
    with quiet_transformers():
        return ComicSeqForReadingOrder.from_pretrained(PREDICTOR).eval()


def order_panels(boxes: Any, reading_direction: str | None = None, size: Sequence[float] | None = None) -> PanelOrder:
    """The order in which the panels of a page are read, by the packaged predictor.

    Boxes alone hardly tell a page that is read from right to left from its mirror image. Without a direction, the one is
    taken in which the order that the boxes came in would be the likelier: give it where it is known.

    Args:
        boxes: `x0 y0 x1 y1` of each panel, (n, 4), as shares of the page, or in pixels with `size`; in any order.
        reading_direction: `ltr` or `rtl`.
        size: Width and height of the page in pixels, where the boxes are in pixels.

    Raises:
        ComicSeqArgumentError: A box is not on the page or has no area, or the direction is another word.
    """
    if reading_direction not in (None, *READING_DIRECTIONS):
        raise ComicSeqArgumentError(f"`reading_direction` is {reading_direction!r} but must be ltr or rtl.")
    try:
        shares = (
            np.asarray(boxes, dtype=np.float64).reshape(-1, 4) if len(boxes) == 0 else np.asarray(boxes, np.float64)
        )
    except (TypeError, ValueError):
        raise ComicSeqArgumentError("`boxes` must be four numbers a panel, x0 y0 x1 y1.") from None
    if size is not None:
        try:
            width, height = map(float, size)
        except (TypeError, ValueError):
            width = height = 0.0
        if not (0 < width < np.inf and 0 < height < np.inf):
            raise ComicSeqArgumentError(f"`size` is {size!r} but must be the page's width and height in pixels.")
        shares = as_shares(shares, (width, height))
    problem = check_boxes(shares) if shares.ndim == 2 else f"boxes have shape {shares.shape} but must be (n, 4)"
    if problem is None and (shares == 0).all(-1).any():
        problem = f"box {np.flatnonzero((shares == 0).all(-1))[0]} is four zeros"
    if problem is not None:
        hint = "" if size is not None else "; boxes in pixels need `size`, the page's width and height"
        raise ComicSeqArgumentError(f"`boxes`: {problem}{hint}.")
    ltr, rtl = (orders[0] for orders in order_both_ways(load_predictor(), [{"panel_boxes": shares}]))
    direction = reading_direction or looks_like(ltr, rtl) or "ltr"
    order = ltr if direction == "ltr" else rtl
    if order.confidence is None and len(order.order):
        raise ComicSeqArgumentError(
            f"`boxes` has {len(shares)} panels but the predictor takes {load_predictor().config.max_position_embeddings}:"
            " take a part of them."
        )
    return PanelOrder(order.order, 1.0 if order.confidence is None else order.confidence, direction)


def looks_like(ltr: PageOrder, rtl: PageOrder) -> str | None:
    """The direction in which the order that the panels came in reads well, and far better than in the other; else None."""
    if ltr.given_confidence is None or rtl.given_confidence is None:
        return None
    more = ltr.given_confidence - rtl.given_confidence
    is_clear = abs(more) > 0.1 and max(ltr.given_confidence, rtl.given_confidence) > 0.8
    return READING_DIRECTIONS[int(more < 0)] if is_clear else None


def book_direction(looks: Sequence[str | None]) -> str | None:
    """The direction that at least three quarters of the pages of a book look like which look like one; else None."""
    known = [direction for direction in looks if direction is not None]
    return next((direction for direction in set(known) if known.count(direction) >= 0.75 * len(known)), None)


def order_both_ways(
    model: ComicSeqForPreTraining | ComicSeqForReadingOrder, pages: Sequence[Mapping[str, Any]]
) -> tuple[list[PageOrder], list[PageOrder]]:
    """Orders pages with `panel_boxes` as if they were read from left to right, and from right to left."""
    mirrored = [{**page, "panel_boxes": mirror(np.asarray(page["panel_boxes"]))} for page in pages]
    return order_pages(model, pages), order_pages(model, mirrored)


@torch.inference_mode()
def order_pages(
    model: ComicSeqForPreTraining | ComicSeqForReadingOrder, pages: Sequence[Mapping[str, Any]]
) -> list[PageOrder]:
    """Orders pages of any numbers of panels.

    The order is the one with the highest total score under the model's pairwise scores: exact up to 12 panels, and
    beyond as far as `long_order` finds it. A page with more panels than `max_position_embeddings` keeps its order, and so does one
    without panels; their confidences are None.

    Args:
        model: A model with a trained reading-order head.
        pages: `panel_embeddings` (panels, P), `panel_boxes` (panels, 4) or both of each page, in any order; the boxes as
            they stand on a page that is read from left to right.
    """
    lengths = [len(next(iter(page.values()))) for page in pages]
    results = [PageOrder(list(range(length)), None, None, None) for length in lengths]
    target, limit = model.config.reading_order_target, model.config.max_position_embeddings
    # Pages of one length need no padding and are searched together; what is not known of a page is not known of a batch.
    chosen = [place for place, length in enumerate(lengths) if 0 < length <= limit]
    chosen.sort(key=lambda place: (sorted(pages[place]), lengths[place]))
    start = 0
    while start < len(chosen):
        names = sorted(pages[chosen[start]])
        places = [place for place in chosen[start : start + _BATCH] if sorted(pages[place]) == names]
        start += len(places)
        batch = {}
        for name in names:
            rows = [torch.as_tensor(pages[place][name], dtype=torch.float32) for place in places]
            batch[name], mask = pad([row.to(model.device) for row in rows])
        logits = ask(model, READING_ORDER, batch | {"attention_mask": mask}).float().cpu()
        try:
            orders = best_orders(logits, mask.cpu(), target)
        except ValueError as error:
            raise ComicSeqDataError(str(error)) from None
        for place, scores, order in zip(places, logits, orders, strict=True):
            count = lengths[place]
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
