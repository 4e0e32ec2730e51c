"""`ComicSeqTrainer`: transformers' Trainer with one exact loss over tasks, processes and accumulation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import BatchSamplerShard
from accelerate.utils import DynamoBackend
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from ..checkpoints.card import write_card
from ..checkpoints.provenance import save_training_provenance
from ..data.panels import PanelTable
from ..data.task import Task
from ..errors import ComicSeqDataError
from ..evaluation.questions import iterate_questions
from ..evaluation.scoring import score_model
from ..stores.provenance import read_provenance
from ..tasks import TASKS
from .dataset import PretrainingDataset, first_item
from .model import compile_layers
from .sampling import SharedBatches
from .saving import CheckpointingTrainer
from .statistics import TrainingStatistics, strip_space

VALIDATION_SEED = 2**31 - 1  # the questions are the same at every evaluation and in every run
VALIDATION_QUESTIONS = 2000  # of a task, at least: with fewer, luck decides which checkpoint is the best
MOST_REPEATS = 8  # questions that a page asks for that: more of the same few pages would say little more


def validation_repeats(table: PanelTable) -> int:
    """How many questions of a task each page asks in validation."""
    return min(-(-VALIDATION_QUESTIONS // len(table)), MOST_REPEATS)


class EpochCallback(TrainerCallback):
    """Tells the data set which epoch to draw for."""

    def __init__(self, dataset: PretrainingDataset):
        self.dataset = dataset

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.dataset.set_epoch(int(state.epoch + 1e-6))


class ComicSeqTrainer(CheckpointingTrainer):
    """Trains `ComicSeqForPreTraining` on a `PretrainingDataset` and validates it on frozen questions.

    Args:
        validation_table: Panels of the validation split, or None.
        num_candidates: Candidates of a validation question.
        protocol: Protocol of the validation questions.
        card_template: Template of the model card, or None for no card.
        training_data: What the card says about the data.
        kwargs: Trainer's own.
    """

    def __init__(
        self,
        *,
        validation_table: PanelTable | None,
        num_candidates: int = 5,
        protocol: str = "same_book",
        card_template: Path | None = None,
        training_data: str = "",
        **kwargs: Any,
    ):
        # The validation questions come from the table; an empty data set tells Trainer that there are some.
        super().__init__(data_collator=first_item, eval_dataset={} if validation_table is not None else None, **kwargs)
        if self.args.torch_compile:
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO  # which would compile the whole model
            model = self.accelerator.unwrap_model(self.model)
            compile_layers(model, self.args.torch_compile_backend, self.args.torch_compile_mode)
        self.validation_table = validation_table
        self.validation_tasks: list[Task] = []
        if validation_table is not None:
            config = self.accelerator.unwrap_model(self.model).config
            self.validation_tasks = [TASKS[name] for name, weight in config.task_weights.items() if weight > 0]
            for task in self.validation_tasks:
                task.check_servable(validation_table, protocol)
            self._check_metric()
        self.num_candidates, self.protocol = num_candidates, protocol
        self.card_template, self.training_data = card_template, training_data
        if isinstance(self.train_dataset, PretrainingDataset):
            self.add_callback(EpochCallback(self.train_dataset))
        self.statistics = TrainingStatistics(self.accelerator.device)

    def _check_metric(self) -> None:
        names = [*(f"{task.name}_accuracy" for task in self.validation_tasks), "score"]
        metric = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        if self.args.load_best_model_at_end and metric not in names:
            raise ComicSeqDataError(f"`metric_for_best_model` is {metric!r} but must be one of {', '.join(names)}.")

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's own, but with several processes each page counts once, at the end of an epoch, too."""
        loader = super().get_train_dataloader()
        if isinstance(loader.batch_sampler, BatchSamplerShard):  # of which a loader lets no other take the place
            loader.batch_sampler.__class__ = SharedBatches
        return loader

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor:
        """Examples of all tasks in the whole optimiser step, over all processes and accumulated batches."""
        count = sum(len(batch[task]["labels"]) for batch in batch_samples for task in TASKS if task in batch)
        return self.accelerator.reduce(torch.tensor(count, device=device, dtype=torch.float32))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        # What follows averages the loss over processes and accumulated batches, hence the share of the examples.
        share = self.args.world_size * self.current_gradient_accumulation_steps
        outputs = model(**inputs, num_examples=(num_items_in_batch / share).clamp(min=1 / share))
        self.statistics.add(outputs, inputs)
        self.loss_watch.record(outputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self.statistics.summary(self.accelerator)
        super().log(logs, start_time)

    def _maybe_log_save_evaluate(self, *args, **kwargs) -> None:
        started = time.perf_counter()
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.statistics.pause(time.perf_counter() - started)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Asks the frozen validation questions of every task that is trained. The score is the mean of their accuracies."""
        assert self.validation_table is not None
        model = self.accelerator.unwrap_model(self.model)
        metrics: dict[str, float] = {}
        for task in self.validation_tasks:
            metrics[f"{metric_key_prefix}_{task.name}_accuracy"] = self._validation_accuracy(model, task)
        metrics[f"{metric_key_prefix}_score"] = float(np.mean(list(metrics.values())))
        space = strip_space(model, self.validation_table)
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in space.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation_accuracy(self, model, task: Task) -> float:
        assert self.validation_table is not None
        questions = iterate_questions(
            self.validation_table,
            task,
            protocol=self.protocol,
            num_candidates=self.num_candidates,
            seed=VALIDATION_SEED,
            repeats=validation_repeats(self.validation_table),
        )
        mine = [q for number, q in enumerate(questions) if number % self.args.world_size == self.args.process_index]
        right = score_model(model, task, mine)[1] if mine else np.zeros(0)
        total = torch.tensor([right.sum(), len(right)], dtype=torch.float32, device=self.accelerator.device)
        total = self.accelerator.reduce(total)
        return float(total[0] / total[1].clamp(min=1))

    def write_card(self, folder: Path) -> None:
        """Writes what the weights were trained on and, where a template was given, the card with their own validation."""
        if isinstance(self.train_dataset, PretrainingDataset):
            save_training_provenance(folder, read_provenance(self.train_dataset.table.dataset))
        if self.card_template is None:
            return
        config = self.accelerator.unwrap_model(self.model).config
        repo = self.hub_model_id or self.args.hub_model_id or str(folder)
        write_card(self.card_template, folder, repo, config, self._metrics(), self.training_data)

    def _metrics(self) -> dict[str, float]:
        """The last validation; once the run has ended, the one of the best checkpoint where that was loaded."""
        validations = [entry for entry in self.state.log_history if "eval_score" in entry]
        if not self.is_in_train and self.args.load_best_model_at_end and self.state.best_model_checkpoint:
            best = Path(self.state.best_model_checkpoint).name.rpartition("-")[2]
            validations = [entry for entry in validations if entry["step"] == int(best)]
        return validations[-1] if validations else {}
