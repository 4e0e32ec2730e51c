"""Questions of a split, drawn once from a seed: the same for every model that is asked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..data.draws import Draws
from ..data.panels import PanelTable
from ..data.views import Batch, build_questions, select_questions, servable


def iterate_questions(
    table: PanelTable,
    task: str,
    *,
    protocol: str = "same_book",
    num_candidates: int = 5,
    reading_order_target: str = "adjacency",
    seed: int = 0,
    repeats: int = 1,
    batch_size: int = 256,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yields `(rows (B,), batch)`, where `batch` holds the inputs and labels of the task's class.

    Every page that can serve the task asks `repeats` questions. A page without a single distractor asks none.
    """
    rows = np.arange(len(table))
    rows = rows[servable(table, task, rows)]
    rows = rows[np.argsort(table.num_panels[rows], kind="stable")]  # pages of one length in a batch: little padding
    for repeat in range(repeats):
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            draws = Draws(seed, repeat, chunk)
            batch = build_questions(table, task, chunk, draws, num_candidates, protocol, reading_order_target)
            if "candidate_mask" in batch:
                is_question = batch["candidate_mask"].sum(1) > 1
                chunk, batch = chunk[is_question], select_questions(batch, is_question)
            if len(chunk):
                yield chunk, batch


def right_candidates(batch: Batch) -> np.ndarray:
    """Index of the right candidate of each question `(B,)`, also where every candidate has a label of its own."""
    labels = batch["labels"]
    return labels if labels.ndim == 1 else np.argmax(labels == 1, axis=1)
