"""Views of pages, as numbers of panels; `materialise` reads their vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ..stores.stage3 import BOX_ARRAY
from .draws import Draws
from .panels import PanelTable

Batch = dict[str, Any]  # by the names of a class's inputs: arrays, `Vectors` to be read, or the name of a modality


class Vectors(NamedTuple):
    """Vectors that have yet to be read: those of `column` for the numbers `panels` (...), zeros where it is -1."""

    column: str
    panels: np.ndarray


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


def materialise(batch: Batch, table: PanelTable) -> Batch:
    """The batch, and batches within it, with vectors `(..., width)` in the place of `Vectors`."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return materialise(value, table)
        return table.gather(value.column, value.panels) if isinstance(value, Vectors) else value

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


def half_page_views(table: PanelTable, rows: np.ndarray, draws: Draws) -> Batch:
    """The `half_pages` of rows as strips. Pages of one panel are left out.

    They come without boxes: the halves of a page fit each other like the parts of a puzzle, and none overlaps the other.
    Which two belong together could be told from that alone, without reading a panel.
    """
    keep = table.num_panels[rows] >= 2
    panels, _ = page_panels(table, rows[keep])
    return strip_inputs(half_pages(panels, draws[keep])) | _owners(table, np.tile(rows[keep], 2))


def masked_panels(table: PanelTable, rows: np.ndarray, draws: Draws, share: float = 0.15) -> Batch:
    """Pages with some of their panels masked, for an objective that predicts the masked panels from the others.

    Every page masks the same share of its panels, rounded up or down at random, but at least one panel, and keeps at least
    one; pages of one panel are left out. Targets stand in the order of `masked_panels`, row by row. They are vectors alone,
    so that boxes (of the masked slots only with `show_asked_box`) say where something is missing, not what.

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
    return {
        "panel_embeddings": Vectors("panel_embeddings", np.where(masked, -1, panels)),
        "attention_mask": mask.astype(np.int64),
        "masked_panels": masked,
        **box_inputs(table, panels),
        "target_embeddings": Vectors("panel_embeddings", panels[masked]),
        "labels": panels[masked],
    }


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
