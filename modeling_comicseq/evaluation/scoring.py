"""Asks a model: questions in, one score a question out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ..data.task import Task
from ..data.views import Batch, to_tensors, without_boxes
from ..model.modeling_comicseq import ComicSeqForPreTraining


@torch.no_grad()
def model_logits(model: ComicSeqForPreTraining, task: str, batch: Batch) -> np.ndarray:
    """The model's logits for a batch of the task of that name, `(Q, K)` or `(Q, N, N)`."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if not model.config.box_embedding:
        inputs = without_boxes(inputs)
    was_training = model.training
    model.eval()
    logits = model(**{task: to_tensors(inputs, model.device)}).task_logits[task]
    model.train(was_training)
    return logits.float().cpu().numpy()


def score_model(model: ComicSeqForPreTraining, task: Task, questions: Iterable[tuple[Any, Batch]]) -> np.ndarray:
    """How right the model's answers are by the task's first metric `(Q,)`, to all `questions` as a `QuestionSet` has them."""
    target = model.config.reading_order_target
    answers = (task.judge(batch, model_logits(model, task.name, batch), target) for _, batch in questions)
    return np.concatenate([values[task.metrics[0]] for values in answers])
