"""`ComicSeqTrainer`: transformers' Trainer with one exact loss over tasks, processes and accumulation."""

import os
import shutil
from copy import copy
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DynamoBackend
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy

from ..checkpoints.card import write_card
from ..checkpoints.page_model import write_page_card
from ..checkpoints.provenance import describe_training, read_training_provenance, save_training_provenance
from ..data.page_panels import ContentTable, provenance_of
from ..data.panels import PanelTable
from ..data.task import Task
from ..data.views import Batch
from ..encoders.panel_encoder import PanelEncoder
from ..errors import ComicSeqArgumentError
from ..evaluation.questions import QuestionSet, draw_question_set
from ..evaluation.scoring import score_model
from ..model.modeling_comicpage import ComicPageForPreTraining
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.processing_comicpanel import ComicPanelProcessor
from ..stores.origin import meaning_of
from ..tasks import TASKS
from .arguments import PretrainingArguments
from .callbacks import EarlyStopping, ProgressBar, ReadableLogs, Resume
from .checkpointing import PARTIAL, discard, sync
from .dataset import PretrainingDataset, first_item
from .faults import saving
from .features import read_vectors
from .loss_watch import LossWatch
from .reading import reads_words, with_word_scores
from .sampling import SharedBatches
from .saving import CompleteCheckpoints, hub_faults
from .settings import argument_at_fault
from .statistics import TrainingStatistics, strip_space
from .tuning import set_rates, shares_of
from .wanted import VALIDATION_PROTOCOL

VALIDATION_SEED = 2**31 - 1  # the questions are the same at every evaluation and in every run
VALIDATION_QUESTIONS = 2000  # of a task, at least: with fewer, luck decides which checkpoint is the best
MOST_REPEATS = 8  # questions that a page asks for that: more of the same few pages would say little more

# Private names of Trainer that are read, each with the reason; none is overridden.
PRIVATE = {"_train_batch_size": "where `auto_find_batch_size` lowers the batch size, it stands nowhere else"}


def validation_repeats(table: PanelTable) -> int:
    """How many questions of a task each page asks in validation."""
    return min(-(-VALIDATION_QUESTIONS // len(table)), MOST_REPEATS)


class ComicSeqTrainer(Trainer):
    """Trains `ComicSeqForPreTraining` on a `PretrainingDataset` and validates it on frozen questions.

    Its checkpoints are complete repositories, are known to be complete, and hold no spoilt weights. Of Trainer, public
    methods and callbacks alone are overridden; `PRIVATE` names what is read beside them.

    Args:
        args: Arguments of the run.
        validation_table: Panels of the validation split, or None.
        processor: That of a page model, which its checkpoints carry.
        kwargs: Trainer's own.

    Raises:
        ComicSeqError: If a task that is trained cannot be asked in validation, or `metric_for_best_model` is not measured.
    """

    args: PretrainingArguments
    train_dataset: PretrainingDataset

    def __init__(
        self,
        *,
        args: PretrainingArguments,
        validation_table: PanelTable | None,
        processor: ComicPanelProcessor | None = None,
        **kwargs: Any,
    ):
        self.arguments_json = args.to_json_string()
        self.being_saved: Path | None = None  # the checkpoint that is not complete yet
        self.resumed_from: str | None = None
        self.processor = processor
        # Trainer would rotate and upload a checkpoint before it is complete: `CompleteCheckpoints` does both.
        own = copy(args)
        own.save_total_limit, own.hub_strategy = None, HubStrategy.END
        # The validation questions come from the table; an empty data set tells Trainer that there are some.
        eval_dataset: dict | None = {} if validation_table is not None else None
        with argument_at_fault(args):
            super().__init__(args=own, data_collator=first_item, eval_dataset=eval_dataset, **kwargs)
        self.validated: PanelTable | None = None  # with the vectors of the last evaluation
        streams = self.sequence_model.config.streams
        self.validation_table = None if validation_table is None else validation_table.with_streams(streams)
        if args.torch_compile:
            # Nearly all of a step is spent in the encoder's layers, which share one graph for all batches. The whole
            # model would be compiled anew for nearly every batch: each task's questions, pages and padding are sizes of
            # their own, and a task with none, or one, is a case of its own.
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO
            for layer in self.sequence_model.comicseq.layers:
                layer.compile(
                    backend=args.torch_compile_backend or "inductor", mode=args.torch_compile_mode, dynamic=True
                )
        if validation_table is not None:
            self._check_validation(validation_table)
        self.statistics = TrainingStatistics(self.accelerator.device, self.train_dataset.questions_per_page)
        losses = [name for name in self.statistics.sums if name.endswith("_loss")]
        self.loss_watch = LossWatch(self.accelerator, losses)
        self.early_stopping = EarlyStopping(args)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        if not args.disable_tqdm:
            self.add_callback(ProgressBar)
        resume = Resume(self.train_dataset, args.encoder_learning_rate)
        own_callbacks = (resume, CompleteCheckpoints(self, args), self.statistics, ReadableLogs())
        for callback in (self.loss_watch, self.early_stopping, *own_callbacks):
            self.add_callback(callback)

    @property
    def sequence_model(self) -> ComicSeqForPreTraining:
        """The model, or of one of pages the part that reads vectors."""
        model = self.accelerator.unwrap_model(self.model)
        return getattr(model, "sequence_model", model)

    def _check_validation(self, table: PanelTable) -> None:
        for task in self.train_dataset.tasks:
            task.check_servable(table, VALIDATION_PROTOCOL)
        names = [*(f"{task.name}_accuracy" for task in self.train_dataset.tasks), "score"]
        metric = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        if metric not in names:
            raise ComicSeqArgumentError(
                f"`metric_for_best_model` is {metric!r} but must be one of {', '.join(names)}."
            )

    def train(self, resume_from_checkpoint=None, *args: Any, **kwargs: Any):
        """Trainer's own; a checkpoint that cannot be written raises `TrainingStopped`."""
        self.resumed_from = resume_from_checkpoint
        with saving(str(self.args.output_dir), lambda: self.being_saved):
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """Trainer's own; a repository that cannot be made is one sentence."""
        with hub_faults(f"The repository {self.args.hub_model_id or Path(str(self.args.output_dir)).name}"):
            super().init_hf_repo(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any):
        """Trainer's own, with a rate for the encoder; what `optim` cannot be made from is one sentence."""
        with argument_at_fault(self.args, "optim", "optim_args", "optim_target_modules"):
            optimizer = super().create_optimizer(*args, **kwargs)
        model = self.accelerator.unwrap_model(self.model)
        if isinstance(model, ComicPageForPreTraining):
            shares = shares_of(model.panel_encoder, self.args.layer_decay)
            weights = dict(model.panel_encoder.named_parameters())
            by_weight = {weights[name]: share for name, share in shares.items()}
            if model.text_reader is not None:  # copies of the encoder's last layers
                by_weight |= dict.fromkeys(model.text_reader.layers.parameters(), 1.0)
            set_rates(optimizer, self.args.encoder_learning_rate, by_weight)
        return optimizer

    def create_scheduler(self, *args: Any, **kwargs: Any):
        """Trainer's own; what `lr_scheduler_type` cannot be made from is one sentence."""
        with argument_at_fault(self.args, "lr_scheduler_type", "lr_scheduler_kwargs"):
            return super().create_scheduler(*args, **kwargs)

    def set_initial_training_values(self, args, dataloader):
        """Trainer's own, but a run that is over has no epochs left: Trainer would resume it with one more step."""
        epochs, steps_an_epoch, *others, max_steps = super().set_initial_training_values(args, dataloader)
        if self.resumed_from is not None:
            state = TrainerState.load_from_json(str(Path(self.resumed_from, TRAINER_STATE_NAME)))
            if state.global_step >= max_steps or self.early_stopping.is_over(state.log_history):
                epochs = state.global_step // steps_an_epoch
        return (epochs, steps_an_epoch, *others, max_steps)

    def get_train_dataloader(self) -> DataLoader:
        """The batches of this process. Accelerate does not prepare them: it would deal them out a second time."""
        args = self.args
        return DataLoader(
            self.train_dataset,
            batch_sampler=SharedBatches(
                self.train_dataset,
                self._train_batch_size,
                args.seed if args.data_seed is None else args.data_seed,
                args.dataloader_drop_last,
                args.world_size,
                args.process_index,
                args.pages_together if isinstance(self.train_dataset.table, ContentTable) else 1,
            ),
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            pin_memory=args.dataloader_pin_memory,
            multiprocessing_context=args.dataloader_multiprocessing_context,
        )

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        """The batches of an optimiser step, and how many examples all tasks have in it, over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = sum(len(batch[task]["labels"]) for batch in batches for task in TASKS if task in batch)
        return batches, self.accelerator.reduce(torch.tensor(count, device=device, dtype=torch.float32))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        # What follows averages the loss over processes and accumulated batches, hence the share of the examples.
        share = self.args.world_size * self.current_gradient_accumulation_steps
        outputs = model(**inputs, num_examples=(num_items_in_batch / share).clamp(min=1 / share))
        self.loss_watch.record(self.statistics.add(outputs, inputs))
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self.statistics.summary(self.accelerator)
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model, each of its files appearing whole, and the arguments as JSON; `push_to_hub` uploads."""
        folder = Path(output_dir or str(self.args.output_dir))
        if folder.name == f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}":
            self.being_saved = folder
            if self.args.should_save:
                discard(folder)  # what an earlier run left under this name
            self.accelerator.wait_for_everyone()
        partial = folder / PARTIAL
        if self.args.should_save:
            shutil.rmtree(partial, ignore_errors=True)
        super().save_model(str(partial), _internal_call=True)
        if self.args.should_save and partial.is_dir():
            if self.processor is not None:
                self.processor.save_pretrained(partial)
            (partial / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # pickled, and read by nothing
            (partial / "training_args.json").write_text(self.arguments_json + "\n")
            for path in sorted(partial.iterdir()):
                sync(path)
                os.replace(path, folder / path.name)
            partial.rmdir()

    def create_model_card(self, *args, **kwargs) -> None:
        """Writes the card of the final model. Trainer's own would overwrite it with its template."""
        if self.is_world_process_zero():
            self.write_card(Path(str(self.args.output_dir)))

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Asks the frozen validation questions of every task that is trained. The score is the mean of their accuracies."""
        assert self.validation_table is not None
        table = self.validated = read_vectors(self.accelerator.unwrap_model(self.model), self.validation_table)
        model = self.sequence_model
        metrics: dict[str, float] = {}
        for task in self.train_dataset.tasks:
            metrics[f"{metric_key_prefix}_{task.name}_accuracy"] = self._validation_accuracy(model, table, task)
        metrics[f"{metric_key_prefix}_score"] = float(np.mean(list(metrics.values())))
        metrics[f"{metric_key_prefix}_chance"] = self._validation_chance
        space = strip_space(model, table)
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in space.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @cached_property
    def _validation_chance(self) -> float:
        """The score of guesses: the questions are frozen."""
        assert self.validation_table is not None
        levels = []
        for task in self.train_dataset.tasks:
            batches = self._validation_questions(self.validation_table, task).batches(self.validation_table, 512)
            levels.append(np.concatenate([task.chance(batch)[task.metrics[0]] for _, batch in batches]).mean())
        return float(np.mean(levels))

    def _validation_questions(self, table: PanelTable, task: Task) -> QuestionSet:
        return draw_question_set(
            table,
            task,
            protocol=VALIDATION_PROTOCOL,
            num_candidates=self.args.num_candidates,
            seed=VALIDATION_SEED,
            repeats=validation_repeats(table),
        )

    def _validation_accuracy(self, model, table: PanelTable, task: Task) -> float:
        questions = self._validation_questions(table, task)
        mine = self._own_batches(questions, table)
        page_model = self.accelerator.unwrap_model(self.model)
        if isinstance(self.validation_table, ContentTable) and reads_words(page_model, task.name):
            numbers = self._own_batches(questions, self.validation_table)
            mine = list(with_word_scores(page_model, self.validation_table, task.name, mine, numbers))
        right = score_model(model, task, mine) if mine else np.zeros(0)
        total = self.accelerator.reduce(torch.tensor([right.sum(), len(right)], dtype=torch.float32).to(model.device))
        return float(total[0] / total[1].clamp(min=1))

    def _own_batches(self, questions: QuestionSet, table: PanelTable) -> list[tuple[Any, Batch]]:
        """Those batches of questions that this process asks."""
        batches = questions.batches(table, self.args.per_device_eval_batch_size)
        return list(islice(batches, self.args.process_index, None, self.args.world_size))

    def _vector_statistics(self, table: PanelTable) -> dict[str, Any]:
        """How the vectors of the training lie, which tells others from them; of an encoder that is trained, those that it
        made of the validation pages the last time, or as the best checkpoint has them, where that was loaded."""
        if not isinstance(table, ContentTable):
            return self._constant_statistics
        if (best := self._loaded_checkpoint()) is not None:
            return read_training_provenance(str(best)).get("statistics", {})
        return {} if self.validated is None else describe_training(self.validated)

    @cached_property
    def _constant_statistics(self) -> dict[str, Any]:
        return describe_training(self.train_dataset.table)

    def _encoder(self) -> PanelEncoder | None:
        """The panel encoder of a page model as it is now."""
        if self.processor is None:
            return None
        model: Any = self.accelerator.unwrap_model(self.model)
        return PanelEncoder("the panel encoder", model.panel_encoder, self.processor)

    def write_card(self, folder: Path) -> None:
        """Writes what the weights were trained on, and the card with their own validation."""
        table, config = self.train_dataset.table, self.sequence_model.config
        provenance, encoder = provenance_of(table), self._encoder()
        if encoder is not None:
            provenance = provenance | {"origin": encoder.origin}
        save_training_provenance(folder, provenance, self._vector_statistics(table))
        repo = self.hub_model_id or self.args.hub_model_id or str(folder)
        data = f"{len(table):,} pages of {len(table.book_ids):,} books."
        origin = meaning_of(provenance.get("origin", {}))
        data += f" Their vectors: {', '.join(f'{key} {value}' for key, value in origin.items())}." if origin else ""
        books = 0 if self.validation_table is None else len(self.validation_table.book_ids)
        write_card(folder, repo, config, self._metrics(), books, data)
        if encoder is not None:
            name = type(self.sequence_model).__name__
            write_page_card(folder, repo, str(folder), name, config, encoder, self.sequence_model.dtype)

    def _metrics(self) -> dict[str, float]:
        """The last validation; once the run has ended, the one of the best checkpoint where that was loaded."""
        validations = [entry for entry in self.state.log_history if "eval_score" in entry]
        if (best := self._loaded_checkpoint()) is not None:
            step = int(best.name.rpartition("-")[2])
            validations = [entry for entry in validations if entry["step"] == step]
        return validations[-1] if validations else {}

    def _loaded_checkpoint(self) -> Path | None:
        """The best checkpoint, once the run has ended with it."""
        best = self.state.best_model_checkpoint
        return Path(best) if best and self.args.load_best_model_at_end and not self.is_in_train else None
