"""What follows Trainer's own saving of a checkpoint: its card, the mark that it is complete, rotation and upload."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

from ..errors import ComicSeqDataError, ComicSeqError
from .arguments import PretrainingArguments
from .checkpointing import STATE_FILES, mark_complete, rotate

if TYPE_CHECKING:
    from .trainer import ComicSeqTrainer

logger = logging.get_logger(__name__)


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
            self.upload(folder, f"Training in progress, step {state.global_step}")

    on_train_end = on_save  # a checkpoint that `enable_jit_checkpoint` has saved

    def upload(self, checkpoint: Path, message: str) -> None:
        """Starts to upload a checkpoint as the repository's model, without what only Trainer reads.

        Trainer itself uploads weights and configuration alone, which do not load without the modelling files, and its
        pickled arguments with them. With the strategies `checkpoint` and `all_checkpoints`, the whole checkpoint goes to
        a folder of the repository as well, optimiser and all.

        Args:
            checkpoint: A complete checkpoint.
            message: That of the commit.
        """
        strategy = self.arguments.hub_strategy
        running: Any = self.trainer.push_in_progress
        busy = running is not None and not running.is_done()
        if strategy == HubStrategy.END or (busy and not self.arguments.hub_always_push):
            return
        linked = checkpoint.with_name(f"_{checkpoint.name}")  # because the checkpoint may be deleted by the next save
        shutil.rmtree(linked, ignore_errors=True)  # of a run that was killed
        shutil.copytree(checkpoint, linked, copy_function=link)
        common: dict[str, Any] = {"folder_path": str(linked), "repo_id": self.trainer.hub_model_id}
        common |= {"token": self.arguments.hub_token, "revision": self.arguments.hub_revision, "run_as_future": True}
        api = HfApi()
        jobs = [api.upload_folder(commit_message=message, ignore_patterns=list(STATE_FILES), **common)]
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            name = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else checkpoint.name
            jobs.append(api.upload_folder(path_in_repo=name, commit_message=f"{message}, checkpoint", **common))
        for job in jobs:
            job.add_done_callback(report_failure)
        jobs[-1].add_done_callback(lambda _: shutil.rmtree(linked, ignore_errors=True))  # uploads take their turns
        self.trainer.push_in_progress = PushInProgress([*(running.jobs if busy else []), *jobs])  # type: ignore[assignment, arg-type]


@contextmanager
def hub_faults(what: str, remedy: str = "") -> Iterator[None]:
    """Turns whatever goes wrong between here and the Hub into one sentence about `what`."""
    try:
        yield
    except ComicSeqError:
        raise
    except Exception as error:  # of the network, of the Hub, of the login
        text = " ".join(str(error).split()).rstrip(".")
        remedy = remedy or "Log in by `hf auth login`, mend the network, or leave `push_to_hub` out"
        raise ComicSeqDataError(f"{what} cannot be reached on the Hub: {text}. {remedy}.") from error


def check_hub(arguments: PretrainingArguments) -> None:
    """Asks the Hub who uploads, before anything is trained.

    Raises:
        ComicSeqDataError: It cannot be reached, or knows nobody of that token.
    """
    with hub_faults("Your account, which `push_to_hub` needs,"):
        HfApi().whoami(token=arguments.hub_token)


def report_failure(job: Future) -> None:
    """Warns of an upload that failed; the run goes on, and the next save uploads again."""
    if not job.cancelled() and job.exception() is not None:
        logger.warning(f"A checkpoint could not be uploaded: {' '.join(str(job.exception()).split())}")


def link(source: str, target: str) -> None:
    """Gives a file a second name, or copies it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
