"""Questions of a task by its name, with their vectors, as many tests look at them."""

from __future__ import annotations

import numpy as np

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.views import Batch, half_page_views, masked_panels, materialise, whole_pages
from modeling_comicseq.evaluation import questions
from modeling_comicseq.tasks import TASKS

CHOICE_TASKS = sorted(name for name, task in TASKS.items() if task.protocols)


def servable(table: PanelTable, task: str, rows: np.ndarray) -> np.ndarray:
    return TASKS[task].servable(table, rows)


def check_servable(table: PanelTable, task: str, protocol) -> None:
    TASKS[task].check_servable(table, protocol)


def build_questions(
    table: PanelTable,
    task: str,
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int = 5,
    protocol="same_book",
    reading_order_target: str = "adjacency",
) -> Batch:
    drawn = TASKS[task].draw(table, rows, draws, num_candidates, protocol)
    return materialise(TASKS[task].view(table, rows, drawn, reading_order_target), table)


def halves(table: PanelTable, rows: np.ndarray, draws: Draws) -> Batch:
    return materialise(half_page_views(table, rows, draws), table)


def pages(table: PanelTable, rows: np.ndarray) -> Batch:
    return materialise(whole_pages(table, rows), table)


def masked(table: PanelTable, rows: np.ndarray, draws: Draws) -> Batch:
    return materialise(masked_panels(table, rows, draws), table)


def draw_question_set(table: PanelTable, task: str, *args, **kwargs) -> questions.QuestionSet:
    return questions.draw_question_set(table, TASKS[task], *args, **kwargs)


def iterate_questions(table: PanelTable, task: str, batch_size: int = 256, **kwargs):
    """Yields the rows and the batch of some questions at a time."""
    drawn = draw_question_set(table, task, **kwargs)
    for chosen, batch in drawn.batches(table, batch_size):
        yield drawn.rows[chosen], batch


def judge(task: str, batch: Batch, scores: np.ndarray, reading_order_target: str = "adjacency") -> np.ndarray:
    """The value of the task's first metric."""
    return TASKS[task].judge(batch, scores, reading_order_target)[TASKS[task].metrics[0]]
