"""A Trainer whose checkpoints are complete repositories, are known to be complete, and hold no spoilt weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

from .arguments import PretrainingArguments
from .callbacks import EarlyStopping, LogAtSaves, Resume, StopIfExploded, lower_the_learning_rate
from .checkpointing import discard, mark_complete, rotate, sync
from .faults import TrainingStopped, saving
from .hub import upload_checkpoint
from .loss_watch import LossWatch, describe, suspect_logs

logger = logging.get_logger(__name__)


class CheckpointingTrainer(Trainer):
    """Saves, rotates and uploads the checkpoints, and stops a run that diverges.

    A subclass hands each batch's outputs to `loss_watch.record`, and writes the model card in `write_card`.
    """

    args: PretrainingArguments

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_watch = LossWatch(self.accelerator)
        for callback in (LogAtSaves(), StopIfExploded(), Resume()):
            self.add_callback(callback)
        self.early_stopping: EarlyStopping | None = None
        if self.args.early_stopping_patience is not None:
            self.early_stopping = EarlyStopping(
                str(self.args.metric_for_best_model),
                self.args.early_stopping_patience,
                self.args.greater_is_better is not False,
            )
            self.add_callback(self.early_stopping)

    def write_card(self, folder: Path) -> None:
        """Writes the card of the model as it is now into `folder`."""

    def create_model_card(self, *args, **kwargs) -> None:
        """Writes the card of the final model. Trainer's own would overwrite it with its template."""
        if self.is_world_process_zero():
            self.write_card(Path(str(self.args.output_dir)))

    def _run_epoch(self, *args, **kwargs) -> None:
        # A run that is over may have ended within an epoch, and Trainer would resume it with one more step.
        stopped_early = self.early_stopping is not None and self.early_stopping.is_over(self.state.log_history)
        if stopped_early or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _maybe_log_save_evaluate(self, tr_loss, grad_norm, *args, **kwargs) -> None:
        # In fp16 a norm that is not finite is everyday: the scaler leaves the step out and lowers its scale.
        norm = None if self.accelerator.optimizer_step_was_skipped else grad_norm
        self.loss_watch.record_step(self.state.global_step, norm)
        waits_anyway = self.control.should_log or self.control.should_evaluate or self.control.should_save
        if waits_anyway or self.args.device.type == "cpu":
            self._stop_if_not_finite()
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _stop_if_not_finite(self) -> None:
        fault = self.loss_watch.first_fault()
        if fault is not None:
            step, losses = fault
            what = describe(losses) if losses else "the gradient norm"
            raise TrainingStopped(
                f"The run has diverged: {what} is not finite at step {step}; {lower_the_learning_rate(self.args)}.",
                everywhere=True,
            )

    def _save_checkpoint(self, model, trial) -> None:
        folder = Path(str(self.args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        if suspect_logs(self.state.log_history):  # the last good checkpoint must not be rotated away
            logger.warning(f"{folder} is not saved: the loss is more than ten times as high as before.")
            return
        with saving(folder, folder.parent, partial=folder):
            if self.args.should_save:
                discard(folder)  # what an earlier run left under this name
            self.accelerator.wait_for_everyone()
            best = self.state.best_model_checkpoint
            # Trainer would rotate and upload before the checkpoint is complete.
            limit, self.args.save_total_limit = self.args.save_total_limit, None
            push, self.args.push_to_hub = self.args.push_to_hub, False
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.save_total_limit, self.args.push_to_hub = limit, push
            # A folder of the best step's name that is not this one is of another run.
            if self.state.best_model_checkpoint != best and self.state.best_global_step != self.state.global_step:
                self.state.best_model_checkpoint = best
            if self.is_world_process_zero():
                self.write_card(folder)
            self.accelerator.wait_for_everyone()  # every process has saved its random state
            if self.args.should_save:
                mark_complete(folder)
                rotate(folder.parent, limit, self.state.best_model_checkpoint)
        if push:
            self._push_from_checkpoint(str(folder))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        target = Path(output_dir or str(self.args.output_dir))
        beside = target / "_saving"
        if self.args.should_save:
            shutil.rmtree(beside, ignore_errors=True)
        super()._save(str(beside), state_dict)
        if not self.args.should_save:
            return
        (beside / TRAINING_ARGS_NAME).unlink()  # pickled, and read by nothing
        (beside / "training_args.json").write_text(self.args.to_json_string() + "\n")
        for path in sorted(beside.iterdir()):
            sync(path)
            os.replace(path, target / path.name)
        beside.rmdir()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        running = self.push_in_progress
        if running is not None and not running.is_done() and not self.args.hub_always_push:
            return
        assert self.hub_model_id is not None
        jobs = upload_checkpoint(
            Path(checkpoint_folder),
            self.hub_model_id,
            self.args,
            f"Training in progress, step {self.state.global_step}",
        )
        self.push_in_progress = PushInProgress([*(running.jobs if running and not running.is_done() else []), *jobs])
