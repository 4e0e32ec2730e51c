"""Uploads checkpoints while a run goes on, as complete repositories."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
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
    api = HfApi()
    # Uploaded from the run's folder and from links, because the checkpoint may be deleted by the next save.
    copy_repository(checkpoint, Path(str(arguments.output_dir)))
    common: dict[str, Any] = {"repo_id": repo_id, "token": arguments.hub_token, "revision": arguments.hub_revision}
    jobs = [
        api.upload_folder(
            folder_path=str(arguments.output_dir),
            commit_message=message,
            ignore_patterns=["_*", f"{PREFIX_CHECKPOINT_DIR}-*", *STATE_FILES],
            run_as_future=True,
            **common,
        )
    ]
    if arguments.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        name = "last-checkpoint" if arguments.hub_strategy == HubStrategy.CHECKPOINT else checkpoint.name
        linked = checkpoint.with_name(f"_{checkpoint.name}")
        shutil.rmtree(linked, ignore_errors=True)  # of a run that was killed
        shutil.copytree(checkpoint, linked, copy_function=link)
        jobs.append(
            api.upload_folder(
                folder_path=str(linked),
                path_in_repo=name,
                commit_message=f"{message}, checkpoint",
                run_as_future=True,
                **common,
            )
        )
        jobs[-1].add_done_callback(lambda _: shutil.rmtree(linked, ignore_errors=True))
    for job in jobs:
        job.add_done_callback(report_failure)
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


def copy_repository(checkpoint: Path, folder: Path) -> None:
    """Copies a checkpoint's files into `folder`, without what only Trainer reads; each file appears whole."""
    for path in sorted(checkpoint.iterdir()):
        if path.is_file() and not any(fnmatch(path.name, pattern) for pattern in STATE_FILES):
            beside = folder / f"_{path.name}"
            shutil.copyfile(path, beside)
            os.replace(beside, folder / path.name)
