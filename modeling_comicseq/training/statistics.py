"""What a pretraining run logs: losses and accuracies of every task, speed and padding, and the shape of the strip space."""

from __future__ import annotations

import time

import numpy as np
import torch
from accelerate import Accelerator
from transformers import TrainerCallback

from ..data.panels import PanelTable
from ..data.views import materialise, to_tensors, whole_pages
from ..evaluation.embedding_space import effective_rank, mean_cosine_between
from ..evaluation.retrieval import unit
from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqForPreTrainingOutput
from ..tasks import TASKS

OBJECTIVES = ("contrastive_loss", "masked_panel_loss", "padding_share")


class TrainingStatistics(TrainerCallback):
    """Means over the steps since the last log, over all processes.

    Sums stay on the device until they are logged, so that no step waits for another.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.reset()

    def reset(self) -> None:
        # Rows: each task's losses, each task's right answers, the objectives. Columns: total and count.
        self.sums = torch.zeros(2 * len(TASKS) + len(OBJECTIVES), 2, device=self.device)
        self.started = self.left = time.perf_counter()
        self.paused = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        self.left = time.perf_counter()

    on_train_begin = on_epoch_end = on_step_end

    def on_evaluate(self, args, state, control, **kwargs):
        now = time.perf_counter()
        self.paused += now - self.left  # neither validation nor saving is training
        self.left = now

    on_save = on_evaluate

    def add(self, outputs: ComicSeqForPreTrainingOutput, inputs: dict) -> None:
        """Counts a batch."""
        losses, logits = outputs.task_losses or {}, outputs.task_logits or {}
        for row, (name, task) in enumerate(TASKS.items()):
            if name in losses:
                self._add(row, losses[name])
                self._add(len(TASKS) + row, task.is_right(logits[name], inputs[name]["labels"]))
        for row, name in enumerate(OBJECTIVES, start=2 * len(TASKS)):
            value = getattr(outputs, name)
            if value is not None:
                self._add(row, value.reshape(-1).to(self.device))

    def _add(self, row: int, values: torch.Tensor) -> None:
        self.sums[row, 0] += values.detach().float().sum()
        self.sums[row, 1] += len(values)

    def summary(self, accelerator: Accelerator) -> dict[str, float]:
        """The means by name, with the pages per second of all processes. Every process must ask."""
        sums = accelerator.reduce(self.sums).tolist()
        accuracies = [f"{name}_{task.training_metric}" for name, task in TASKS.items()]
        names = [*(f"{task}_loss" for task in TASKS), *accuracies, *OBJECTIVES]
        logs = {name: total / count for name, (total, count) in zip(names, sums, strict=True) if count}
        pages = sum(count for _, count in sums[: len(TASKS)])
        logs["pages_per_second"] = pages / max(time.perf_counter() - self.started - self.paused, 1e-9)
        self.reset()
        return logs


def strip_space(model: ComicSeqForPreTraining, table: PanelTable, max_pages: int = 1024) -> dict[str, float]:
    """Effective rank of the strip vectors of up to `max_pages` pages, evenly spaced, and mean cosine between pages."""
    rows = np.unique(np.linspace(0, len(table) - 1, max_pages).astype(np.int64))
    strips = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for part in np.array_split(rows, -(-len(rows) // 128)):
            batch = to_tensors(materialise(whole_pages(table, part), table), device=model.device)
            strips.append(
                model.comicseq(batch["panel_embeddings"], batch["attention_mask"]).pooler_output.float().cpu()
            )
    model.train(was_training)
    vectors = torch.cat(strips).numpy()
    return {
        "strip_effective_rank": effective_rank(np.cov(unit(vectors), rowvar=False, bias=True)),
        "strip_mean_cosine": mean_cosine_between(vectors, table.pages[rows]),
    }
