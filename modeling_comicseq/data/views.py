"""Views of pages, as numbers of panels; `materialise` reads their vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ..stores.stage3 import BOX_ARRAY
from .draws import Draws
from .panels import BOTH, PICTURES, TEXTS, PanelTable

Batch = dict[str, Any]  # by the names of a class's inputs: arrays, `Vectors` to be read, or the name of a modality


class Vectors(NamedTuple):
    """Vectors that have yet to be read: those of `column` for the numbers `panels` (...), zeros where it is -1; of panels, in
    part where `shown` says so."""

    column: str
    panels: np.ndarray
    shown: np.ndarray | None = None


def box_inputs(table: PanelTable, panels: np.ndarray) -> Batch:
    """Where `panels` (B, N) stand, -1 for padding, as models take it; nothing where the table does not tell."""
    return {BOX_ARRAY: Vectors(BOX_ARRAY, panels)} if BOX_ARRAY in table else {}


def without_boxes(batch: Batch) -> Batch:
    """The batch, and batches within it, for a model that cannot read where panels stand."""
    return {
        name: without_boxes(value) if isinstance(value, dict) else value
        for name, value in batch.items()
        if name != BOX_ARRAY
    }


def modality_dropout(batch: Batch, draws: Draws, share: float, purpose: str = "modality", size: int = 1) -> Batch:
    """The view with a `share` of its questions shown by pictures or by texts alone, half and half, see `shown_in_part`.

    Args:
        batch: Questions, one for each of the rows of `draws`; or `size` strips of each, the first of all rows before the second.
        draws: Random numbers.
        share: How many of them; with 0 the view is left as it is.
        purpose: What to draw them for.
        size: Strips of each row, of which each is drawn by itself.
    """
    if share == 0:
        return batch
    uniform = draws.uniform(purpose, size).T.ravel()
    return shown_in_part(batch, np.where(uniform < share / 2, PICTURES, np.where(uniform < share, TEXTS, BOTH)))


def shown_in_part(batch: Batch, shown: np.ndarray) -> Batch:
    """The questions (or strips) of a view, each shown by `PICTURES`, by `TEXTS` or by `BOTH`, as `shown` (B,) says.

    Panels of the context and candidate panels alike lose what is not shown. What is asked for stays: the candidate texts of
    text-cloze, of which pictures alone take the texts around and texts alone the asked panel's picture; the caption; the
    vectors that masked panels are told by; and closure by vectors of one modality, which are not those of panels.
    """
    hides = {"text_embeddings": PICTURES, "visual_embedding": TEXTS}

    def show(name: str, value: Any) -> Any:
        if not isinstance(value, Vectors) or name == "target_embeddings":
            return value
        if value.column == "panel_embeddings":
            return value._replace(shown=shown)
        if name not in hides:
            return value
        is_hidden = (shown == hides[name]).reshape(-1, *[1] * (value.panels.ndim - 1))
        return value._replace(panels=np.where(is_hidden, -1, value.panels))

    return {name: show(name, value) for name, value in batch.items()}


def materialise(batch: Batch, table: PanelTable) -> Batch:
    """The batch, and batches within it, with vectors `(..., width)` in the place of `Vectors`."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return materialise(value, table)
        return table.gather(*value) if isinstance(value, Vectors) else value

    return {name: read(value) for name, value in batch.items()}


def page_panels(
    table: PanelTable, rows: np.ndarray, without: np.ndarray | None = None, end: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Panel numbers `(B, N)` of the pages, -1 for padding and for the slot `without`, and the mask of real slots."""
    count = table.num_panels[rows] if end is None else end
    slots = np.arange(count.max(initial=1))
    mask = slots < count[:, None]
    panels = np.where(mask, table.panel(rows[:, None], slots), -1)
    if without is not None:
        panels[np.arange(len(rows)), without] = -1
    return panels, mask


def half_pages(panels: np.ndarray, draws: Draws) -> np.ndarray:
    """Two strips `(2 B, M)` per page of `panels` (B, N), which share out its panels at random and keep their order.

    The first halves of all pages stand before the second ones. Numbers of -1 are padding; every page has two panels.
    """
    mask = panels >= 0
    keys = np.where(mask, draws.uniform("half", mask.shape[1]), 2.0)
    # The panels with the smaller keys are the first half, those from the middle key on are the second.
    count = mask.sum(1)
    middle = np.sort(keys, axis=1)[np.arange(len(panels)), count // 2]
    is_first = keys < middle[:, None]
    is_second = mask & ~is_first
    sizes = np.concatenate((count // 2, count - count // 2))
    strips = np.full((2 * len(panels), (mask.shape[1] + 1) // 2), -1)
    strips[np.arange(strips.shape[1]) < sizes[:, None]] = np.concatenate((panels[is_first], panels[is_second]))
    return strips


def half_page_views(table: PanelTable, rows: np.ndarray, draws: Draws, dropout: float = 0.0) -> Batch:
    """The `half_pages` of rows as strips. Pages of one panel are left out. With `modality_dropout` of the share `dropout`, one
    half may be shown by pictures and the other by texts.

    They come without boxes: the halves of a page fit each other like the parts of a puzzle, and none overlaps the other.
    Which two belong together could be told from that alone, without reading a panel.
    """
    keep = table.num_panels[rows] >= 2
    panels, _ = page_panels(table, rows[keep])
    strips = strip_inputs(half_pages(panels, draws[keep])) | _owners(table, np.tile(rows[keep], 2))
    return modality_dropout(strips, draws[keep], dropout, "modality.strips", 2)


def neighbour_views(table: PanelTable, rows: np.ndarray, draws: Draws, dropout: float = 0.0) -> Batch:
    """As `half_page_views`, but of every second page, drawn at random, the whole page and the one before or after it in its
    book, where there is one. A page of one panel cannot be halved: it is always shown so, and left out where its book has no
    other. Of a neighbour in several windows one is shown.
    """
    count, page, book = table.num_panels[rows], table.pages[rows], table.books[rows]
    has_earlier, has_later = page > table.book_pages[book], page + 1 < table.book_pages[book + 1]
    takes_later = has_later & (~has_earlier | (draws.uniform("views.side") < 0.5))
    is_whole = (has_earlier | has_later) & ((draws.uniform("views") < 0.5) | (count < 2))
    keep = is_whole | (count >= 2)
    is_halved = keep & ~is_whole
    neighbours = table.first_rows[(page + np.where(takes_later, 1, -1))[is_whole]]
    whole = [page_panels(table, each)[0] for each in (rows[is_whole], neighbours)]
    halves = np.split(half_pages(page_panels(table, rows[is_halved])[0], draws[is_halved]), 2)
    strips = np.full((2, len(rows), max(each.shape[1] for each in (*whole, *halves))), -1)
    for view in range(2):
        strips[view, is_whole, : whole[view].shape[1]] = whole[view]
        strips[view, is_halved, : halves[view].shape[1]] = halves[view]
    inputs = strip_inputs(np.concatenate(strips[:, keep])) | _owners(table, np.tile(rows[keep], 2))
    return modality_dropout(inputs, draws[keep], dropout, "modality.strips", 2)


def masked_panels(
    table: PanelTable, rows: np.ndarray, draws: Draws, share: float = 0.15, dropout: float = 0.0
) -> Batch:
    """Pages with some of their panels masked, for an objective that predicts the masked panels from the others.

    Every page masks the same share of its panels, rounded up or down at random, but at least one panel, and keeps at least
    one; pages of one panel are left out. Targets stand in the order of `masked_panels`, row by row. They are vectors alone,
    so that boxes (of the masked slots only with `show_asked_box`) say where something is missing, not what. With
    `modality_dropout` of the share `dropout`, the panels that are left may be shown by pictures or by texts alone.

    Returns:
        `panel_embeddings` (B, N, P) with masked slots zero, `attention_mask` (B, N), in which masked slots count as real,
        `masked_panels` (B, N) bool, `target_embeddings` (M, P) and `labels` (M,), their panel numbers.
    """
    keep = table.num_panels[rows] >= 2
    rows = rows[keep]
    panels, mask = page_panels(table, rows)
    count = table.num_panels[rows]
    num_masked = np.clip((share * count + draws.uniform("masked.count")[keep]).astype(np.int64), 1, count - 1)
    keys = np.where(mask, draws.uniform("masked", mask.shape[1])[keep], 2.0)
    masked = np.argsort(np.argsort(keys, axis=1), axis=1) < num_masked[:, None]
    batch = {
        "panel_embeddings": Vectors("panel_embeddings", np.where(masked, -1, panels)),
        "attention_mask": mask.astype(np.int64),
        "masked_panels": masked,
        **box_inputs(table, panels),
        "target_embeddings": Vectors("panel_embeddings", panels[masked]),
        "labels": panels[masked],
    }
    return modality_dropout(batch, draws[keep], dropout, "modality.masked")


def whole_pages(table: PanelTable, rows: np.ndarray) -> Batch:
    """Every page as one strip."""
    panels, _ = page_panels(table, rows)
    return strip_inputs(panels) | box_inputs(table, panels) | _owners(table, rows)


def _owners(table: PanelTable, rows: np.ndarray) -> Batch:
    return {"labels": table.pages[rows], "book_ids": table.books[rows]}


def strip_inputs(panels: np.ndarray) -> Batch:
    """Strips of `panels` (B, N), -1 for padding, as the encoder takes them."""
    return {
        "panel_embeddings": Vectors("panel_embeddings", panels),
        "attention_mask": (panels >= 0).astype(np.int64),
    }


def to_tensors(batch: Batch, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The batch as tensors on `device`; what is no array (the modality) stays."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(value)).to(device) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }
