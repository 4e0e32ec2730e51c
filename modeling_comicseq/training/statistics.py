"""What a pretraining run logs: losses and accuracies of every task, speed and padding, and the shape of the strip space."""

import time

import numpy as np
import torch
from accelerate import Accelerator
from transformers import TrainerCallback

from ..data.panels import PanelTable
from ..data.views import materialise, whole_pages
from ..evaluation.embedding_space import effective_rank, mean_cosine_between
from ..evaluation.strips import strip_vectors
from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqForPreTrainingOutput
from ..tasks import TASKS
from ..vectors import unit

OBJECTIVES = ("contrastive_loss", "masked_panel_loss", "padding_share")


class TrainingStatistics(TrainerCallback):
    """Means over the steps since the last log, over all processes.

    Sums stay on the device until they are logged, so that no step waits for another.
    """

    def __init__(self, device: torch.device, questions_per_page: int = 1):
        self.device, self.questions_per_page = device, questions_per_page
        self.reset()

    def reset(self) -> None:
        # Total and count of each; every process must have the same names.
        names = [f"{name}_loss" for name in TASKS]
        names += [f"{name}_{task.training_metric}" for name, task in TASKS.items()]
        self.sums = {name: torch.zeros(2, device=self.device) for name in (*names, *OBJECTIVES)}
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

    def add(self, outputs: ComicSeqForPreTrainingOutput, inputs: dict) -> dict[str, torch.Tensor]:
        """Counts a batch; returns the sums of its losses and other values by name."""
        logits, found = outputs.task_logits or {}, {}
        for name, losses in (outputs.task_losses or {}).items():
            task = TASKS[name]
            found[f"{name}_loss"] = losses
            found[f"{name}_{task.training_metric}"] = task.is_right(logits[name], inputs[name]["labels"])
        for name in OBJECTIVES:
            if (value := getattr(outputs, name)) is not None:
                found[name] = value.reshape(-1).to(self.device)
        totals = {name: values.detach().float().sum() for name, values in found.items()}
        for name, total in totals.items():
            self.sums[name][0] += total
            self.sums[name][1] += len(found[name])
        return totals

    def summary(self, accelerator: Accelerator) -> dict[str, float]:
        """The means by name, with the pages per second of all processes. Every process must ask."""
        sums = dict(zip(self.sums, accelerator.reduce(torch.stack(list(self.sums.values()))).tolist(), strict=True))
        logs = {name: total / count for name, (total, count) in sums.items() if count}
        pages = sum(sums[f"{task}_loss"][1] for task in TASKS) / self.questions_per_page
        logs["pages_per_second"] = pages / max(time.perf_counter() - self.started - self.paused, 1e-9)
        self.reset()
        return logs


def strip_space(model: ComicSeqForPreTraining, table: PanelTable, max_pages: int = 1024) -> dict[str, float]:
    """Effective rank of the strip vectors of up to `max_pages` pages, evenly spaced, and mean cosine between pages."""
    rows = np.unique(np.linspace(0, len(table) - 1, max_pages).astype(np.int64))
    parts = np.array_split(rows, -(-len(rows) // 128))
    encode = strip_vectors(model)
    vectors = np.concatenate([encode(materialise(whole_pages(table, part), table)) for part in parts])
    return {
        "strip_effective_rank": effective_rank(np.cov(unit(vectors), rowvar=False, bias=True)),
        "strip_mean_cosine": mean_cosine_between(vectors, table.pages[rows]),
    }
