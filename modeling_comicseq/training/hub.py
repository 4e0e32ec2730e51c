"""Uploads checkpoints while a run goes on, as complete repositories."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from .arguments import PretrainingArguments
from .checkpointing import STATE_FILES

logger = logging.get_logger(__name__)


def upload_checkpoint(checkpoint: Path, repo_id: str, arguments: PretrainingArguments, message: str) -> list[Future]:
    """Starts to upload a checkpoint as the repository's model, without what only Trainer reads.

    Trainer itself uploads weights and configuration alone, which do not load without the modelling files, and its
    pickled arguments with them.

    Args:
        checkpoint: A complete checkpoint.
        repo_id: The repository on the Hub.
        arguments: Those of the run: `hub_strategy`, `hub_token`, `hub_revision`. With the strategies `checkpoint` and
            `all_checkpoints`, the whole checkpoint goes to a folder of the repository as well, optimiser and all.
        message: That of the commit.

    Returns:
        What waits for the uploads.
    """
    linked = checkpoint.with_name(f"_{checkpoint.name}")  # because the checkpoint may be deleted by the next save
    shutil.rmtree(linked, ignore_errors=True)  # of a run that was killed
    shutil.copytree(checkpoint, linked, copy_function=link)
    common: dict[str, Any] = {"folder_path": str(linked), "repo_id": repo_id, "token": arguments.hub_token}
    common |= {"revision": arguments.hub_revision, "run_as_future": True}
    api = HfApi()
    jobs = [api.upload_folder(commit_message=message, ignore_patterns=list(STATE_FILES), **common)]
    if arguments.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        name = "last-checkpoint" if arguments.hub_strategy == HubStrategy.CHECKPOINT else checkpoint.name
        jobs.append(api.upload_folder(path_in_repo=name, commit_message=f"{message}, checkpoint", **common))
    for job in jobs:
        job.add_done_callback(report_failure)
    jobs[-1].add_done_callback(lambda _: shutil.rmtree(linked, ignore_errors=True))  # uploads take their turns
    return jobs


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
