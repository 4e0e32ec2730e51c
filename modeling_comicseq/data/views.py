"""Questions and views: from rows of a `PanelTable` to the inputs and labels of a task's class, vectorised over the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .distractors import draw_distractors
from .draws import Draws
from .errors import ComicSeqDataError
from .panels import PanelTable

Batch = dict[str, np.ndarray]
NEEDED_COLUMN = {"caption_relevance": "caption_embeddings", "text_cloze": "text_embeddings"}


def servable(table: PanelTable, task: str, rows: np.ndarray) -> np.ndarray:
    """Which of `rows` can ask a question of `task` `(B,)`: the vectors are there, and so is a context."""
    if task in NEEDED_COLUMN and NEEDED_COLUMN[task] not in table:
        return np.zeros(len(rows), dtype=bool)
    return table.num_panels[rows] >= (1 if task == "caption_relevance" else 2)


def check_servable(table: PanelTable, task: str) -> None:
    """Raises a `ComicSeqDataError` that says what is missing if no page can serve `task`."""
    if servable(table, task, np.arange(len(table))).any():
        return
    if task in NEEDED_COLUMN and NEEDED_COLUMN[task] not in table:
        missing = f"the data set has no `{NEEDED_COLUMN[task]}`"
    else:
        missing = "no page of the data set has two panels"
    raise ComicSeqDataError(
        f"The task {task} cannot be asked: {missing}. Set its weight to 0 or convert a store that has."
    )


def draw_tasks(table: PanelTable, rows: np.ndarray, weights: dict[str, float], draws: Draws) -> np.ndarray:
    """Name of the task of each row `(B,)`, by weight among those its page can serve; "" where it can serve none."""
    tasks = [task for task, weight in weights.items() if weight > 0]
    odds = np.stack([weights[task] * servable(table, task, rows) for task in tasks], axis=1)
    cumulative = np.cumsum(odds, axis=1)
    total = cumulative[:, -1:]
    choice = (draws.uniform("task")[:, None] * total >= cumulative).sum(1)
    return np.where(total[:, 0] > 0, np.asarray([*tasks, ""])[np.minimum(choice, len(tasks))], "")


def panel_picking(
    table: PanelTable, rows: np.ndarray, draws: Draws, num_candidates: int, protocol: str | Sequence[str]
) -> Batch:
    """A uniformly drawn panel is taken out of the page."""
    asked = draws.integer("asked", table.num_panels[rows])
    panels, mask = _page(table, rows, without=asked)
    candidates, labels = _candidates(table, protocol, rows, asked, num_candidates, draws)
    return {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": mask.astype(np.int64),
        "mask_position": asked,
        "candidate_embeddings": table.gather("panel_embeddings", candidates),
        "candidate_mask": (candidates >= 0).astype(np.int64),
        "labels": labels,
    }


def character_coherence(
    table: PanelTable, rows: np.ndarray, draws: Draws, num_candidates: int, protocol: str | Sequence[str]
) -> Batch:
    """A held-out panel of the page against panels of other pages, each judged by itself."""
    asked = draws.integer("asked", table.num_panels[rows])
    panels, _ = _page(table, rows, without=asked)
    candidates, answer = _candidates(table, protocol, rows, asked, num_candidates, draws)
    labels = np.where(candidates >= 0, np.arange(candidates.shape[1]) == answer[:, None], -100)
    return {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": (panels >= 0).astype(np.int64),
        "candidate_embeddings": table.gather("panel_embeddings", candidates),
        "candidate_mask": (candidates >= 0).astype(np.int64),
        "labels": labels.astype(np.int64),
    }


def visual_closure(
    table: PanelTable, rows: np.ndarray, draws: Draws, num_candidates: int, protocol: str | Sequence[str]
) -> Batch:
    """The panels before a uniformly drawn gap; the picture behind it is asked for."""
    return _closure(table, rows, draws, num_candidates, protocol, "visual")


def text_closure(
    table: PanelTable, rows: np.ndarray, draws: Draws, num_candidates: int, protocol: str | Sequence[str]
) -> Batch:
    """The panels before a uniformly drawn gap; the text behind it is asked for."""
    return _closure(table, rows, draws, num_candidates, protocol, "text")


def _closure(
    table: PanelTable,
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int,
    protocol: str | Sequence[str],
    modality: str,
) -> Batch:
    gap = 1 + draws.integer("gap", table.num_panels[rows] - 1)
    panels, mask = _page(table, rows, end=gap)
    candidates, labels = _candidates(table, protocol, rows, gap, num_candidates, draws)
    column = f"{modality}_embeddings"
    has_column = column in table
    column = column if has_column else "panel_embeddings"
    return {
        "panel_embeddings": table.gather(column, panels),
        "attention_mask": mask.astype(np.int64),
        "candidate_embeddings": table.gather(column, candidates),
        "candidate_mask": (candidates >= 0).astype(np.int64),
        "modality": modality if has_column else "panel",  # type: ignore[dict-item]
        "labels": labels,
    }


def caption_relevance(
    table: PanelTable, rows: np.ndarray, draws: Draws, num_candidates: int, protocol: str | Sequence[str]
) -> Batch:
    """The caption of a uniformly drawn panel; the panel is asked for."""
    asked = draws.integer("asked", table.num_panels[rows])
    candidates, labels = _candidates(table, protocol, rows, asked, num_candidates, draws)
    return {
        "caption_embeddings": table.gather("caption_embeddings", table.panel(rows, asked)),
        "candidate_embeddings": table.gather("panel_embeddings", candidates),
        "candidate_mask": (candidates >= 0).astype(np.int64),
        "labels": labels,
    }


def text_cloze(
    table: PanelTable, rows: np.ndarray, draws: Draws, num_candidates: int, protocol: str | Sequence[str]
) -> Batch:
    """The text of a uniformly drawn panel is taken out; its picture stays where there are picture-only vectors."""
    asked = draws.integer("asked", table.num_panels[rows])
    panels, mask = _page(table, rows, without=asked)
    candidates, labels = _candidates(table, protocol, rows, asked, num_candidates, draws)
    batch = {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": mask.astype(np.int64),
        "mask_position": asked,
        "text_embeddings": table.gather("text_embeddings", panels),
        "candidate_text_embeddings": table.gather("text_embeddings", candidates),
        "candidate_mask": (candidates >= 0).astype(np.int64),
        "labels": labels,
    }
    if "visual_embeddings" in table:
        batch["visual_embedding"] = table.gather("visual_embeddings", table.panel(rows, asked))
    return batch


def reading_order(table: PanelTable, rows: np.ndarray, draws: Draws, target: str) -> Batch:
    """The panels of the page in random order. Labels `(B, N, N)` say which follows which."""
    panels, mask = _page(table, rows)
    # A random sort key per panel; padding sorts behind.
    order = np.argsort(np.where(mask, draws.uniform("order", mask.shape[1]), 2.0), axis=1)
    step = order[:, None, :] - order[:, :, None]
    follows = step == 1 if target == "adjacency" else step > 0
    counted = mask[:, :, None] & mask[:, None, :] & (step != 0)
    return {
        "panel_embeddings": table.gather("panel_embeddings", np.take_along_axis(panels, order, 1)),
        "attention_mask": mask.astype(np.int64),
        "labels": np.where(counted, follows, -100),
    }


def half_page_views(table: PanelTable, rows: np.ndarray, draws: Draws) -> Batch:
    """Two strips per page, which share out its panels at random and keep their order. Pages of one panel are left out."""
    keep = table.num_panels[rows] >= 2
    rows, halves = rows[keep], []
    panels, mask = _page(table, rows)
    rank = np.argsort(np.argsort(np.where(mask, draws.uniform("half", mask.shape[1])[keep], 2.0), axis=1), axis=1)
    in_first = rank < (table.num_panels[rows] // 2)[:, None]
    for chosen in (mask & in_first, mask & ~in_first):
        order = np.argsort(~chosen, axis=1, kind="stable")
        halves.append(np.take_along_axis(np.where(chosen, panels, -1), order, 1))
    strips = np.concatenate(halves)
    strips = strips[:, : max((strips >= 0).sum(1).max(), 1)]
    return _strips(table, strips, np.tile(rows, 2))


def whole_pages(table: PanelTable, rows: np.ndarray) -> Batch:
    """Every page as one strip."""
    return _strips(table, _page(table, rows)[0], rows)


def _strips(table: PanelTable, panels: np.ndarray, rows: np.ndarray) -> Batch:
    return {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": (panels >= 0).astype(np.int64),
        "labels": table.pages[rows],
        "book_ids": table.books[rows],
    }


def _page(
    table: PanelTable, rows: np.ndarray, without: np.ndarray | None = None, end: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Panel numbers `(B, N)` of the pages, -1 for padding and for the slot `without`, and the mask of real slots."""
    count = table.num_panels[rows] if end is None else end
    slots = np.arange(count.max(initial=1))[None]
    mask = slots < count[:, None]
    given = mask if without is None else mask & (slots != without[:, None])
    return np.where(given, table.panel(rows[:, None], slots), -1), mask


def _candidates(
    table: PanelTable,
    protocol: str | Sequence[str],
    rows: np.ndarray,
    answer_slots: np.ndarray,
    num_candidates: int,
    draws: Draws,
) -> tuple[np.ndarray, np.ndarray]:
    """The answer among its distractors in random order, padding behind: panel numbers `(B, K)`, place of the answer."""
    distractors = draw_distractors(table, protocol, rows, answer_slots, num_candidates - 1, draws)
    candidates = np.concatenate((table.panel(rows, answer_slots)[:, None], distractors), axis=1)
    keys = np.where(candidates >= 0, draws.uniform("place", num_candidates), 2.0)
    order = np.argsort(keys, axis=1)
    return np.take_along_axis(candidates, order, 1), np.argmin(order, axis=1)


QUESTION_BUILDERS: dict[str, Callable[..., Batch]] = {
    "panel_picking": panel_picking,
    "character_coherence": character_coherence,
    "visual_closure": visual_closure,
    "text_closure": text_closure,
    "caption_relevance": caption_relevance,
    "text_cloze": text_cloze,
}


def build_questions(
    table: PanelTable,
    task: str,
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int = 5,
    protocol: str | Sequence[str] = "same_book",
    reading_order_target: str = "adjacency",
) -> Batch:
    """Builds the inputs and labels of `task`'s class for `rows` (B,), all of which must be servable.

    Args:
        table: The panels.
        task: One of the seven tasks.
        rows: Rows of the table `(B,)`.
        draws: Random numbers of these rows.
        num_candidates: K, the answer included. Not used by reading order.
        protocol: Where wrong candidates come from; one of `modeling_comicseq.data.distractors.PROTOCOLS`.
        reading_order_target: `"adjacency"` or `"precedence"`.
    """
    if task == "reading_order":
        return reading_order(table, rows, draws, reading_order_target)
    return QUESTION_BUILDERS[task](table, rows, draws, num_candidates, protocol)


def to_tensors(batch: Batch, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """The batch as tensors on `device`; what is no array (the modality) stays."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(value)).to(device) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }


def select_questions(batch: Batch, chosen: np.ndarray) -> Batch:
    """The questions of a batch where `chosen` (B,) is true."""
    return {name: value[chosen] if isinstance(value, np.ndarray) else value for name, value in batch.items()}
