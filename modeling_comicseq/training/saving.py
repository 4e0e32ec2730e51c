"""What follows Trainer's own saving of a checkpoint: its card, the mark that it is complete, rotation and upload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import PushInProgress

from .arguments import PretrainingArguments
from .checkpointing import mark_complete, rotate
from .hub import upload_checkpoint

if TYPE_CHECKING:
    from .trainer import ComicSeqTrainer


class CompleteCheckpoints(TrainerCallback):
    """Ends what `ComicSeqTrainer.save_model` begins, when Trainer has written the rest of a checkpoint.

    Args:
        trainer: The trainer, whose own rotation and uploads are off: they would come before the checkpoint is complete.
        arguments: `save_total_limit` and `hub_strategy` as they were given.
    """

    def __init__(self, trainer: ComicSeqTrainer, arguments: PretrainingArguments):
        self.trainer, self.arguments = trainer, arguments
        self.best: str | None = None

    def on_train_begin(self, args, state: TrainerState, control, **kwargs):
        self.best = state.best_model_checkpoint

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs):
        folder = self.trainer.being_saved
        if folder is None:
            return
        # A folder of the best step's name that is not this one is of another run.
        if state.best_global_step != state.global_step:
            state.best_model_checkpoint = self.best
        self.best = state.best_model_checkpoint
        if state.is_world_process_zero:
            self.trainer.write_card(folder)
        self.trainer.accelerator.wait_for_everyone()  # every process has saved its random state
        if args.should_save:
            mark_complete(folder)
            rotate(folder.parent, self.arguments.save_total_limit, self.best)
        self.trainer.being_saved = None
        if args.push_to_hub and state.is_world_process_zero:
            self._upload(folder, state.global_step)

    on_train_end = on_save  # a checkpoint that `enable_jit_checkpoint` has saved

    def _upload(self, folder: Path, step: int) -> None:
        running = self.trainer.push_in_progress
        busy = running is not None and not running.is_done()
        if self.arguments.hub_strategy == HubStrategy.END or (busy and not self.arguments.hub_always_push):
            return
        assert self.trainer.hub_model_id is not None
        message = f"Training in progress, step {step}"
        jobs = upload_checkpoint(folder, self.trainer.hub_model_id, self.arguments, message)
        self.trainer.push_in_progress = PushInProgress([*(running.jobs if busy else []), *jobs])
