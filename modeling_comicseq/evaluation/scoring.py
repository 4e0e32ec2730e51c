"""Asks a model: questions in, one score a question out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ..data.task import Task
from ..data.views import Batch, to_tensors
from ..model.modeling_comicseq import ComicSeqForPreTraining


@torch.no_grad()
def model_logits(model: ComicSeqForPreTraining, task: str, batch: Batch) -> np.ndarray:
    """The model's logits for a batch of the task of that name, `(Q, K)` or `(Q, N, N)`."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    was_training = model.training
    model.eval()
    logits = model(**{task: to_tensors(inputs, model.device)}).task_logits[task]
    model.train(was_training)
    return logits.float().cpu().numpy()


def score_model(
    model: ComicSeqForPreTraining, task: Task, questions: Iterable[tuple[np.ndarray, Batch]]
) -> tuple[np.ndarray, np.ndarray]:
    """Asks all `questions`; returns their rows and how right each answer is by the task's first metric, both `(Q,)`."""
    target = model.config.reading_order_target
    rows, results = [], []
    for chunk, batch in questions:
        rows.append(chunk)
        values = task.judge(batch, model_logits(model, task.name, batch), target)
        results.append(values[task.metrics[0]])
    return np.concatenate(rows), np.concatenate(results)
