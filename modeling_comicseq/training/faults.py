"""Ends a run that cannot go on with one sentence: what happened at which step, what to change, what it resumes from."""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

import torch
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from torch._dynamo.exc import TorchDynamoException
from transformers import TrainingArguments

from ..command import exit_code, find_interrupt, how_it_ended, listen
from ..errors import ComicSeqDataError, ComicSeqError
from .arguments import PretrainingArguments
from .checkpointing import PARTIAL, discard, last_checkpoint


class TrainingStopped(RuntimeError):
    """A run that was stopped; the message is one sentence for the user.

    Args:
        message: The sentence.
        exit_code: That of the process.
        everywhere: Whether every process of the run stops with this message, so that one of them is enough to say it.
    """

    def __init__(self, message: str, exit_code: int = 1, everywhere: bool = False):
        super().__init__(message)
        self.exit_code, self.everywhere = exit_code, everywhere


def what_remains(output_dir: str | Path) -> str:
    """The words that name the checkpoint which the same command resumes from."""
    checkpoint = last_checkpoint(output_dir)
    if checkpoint is None:
        return "run again to start anew, as there is no complete checkpoint yet"
    if not (checkpoint / "scheduler.pt").is_file():
        return "run again with --restart to start anew, as `save_only_model` leaves nothing to go on from"
    return f"run again to go on from {checkpoint}, the last complete checkpoint"


def diverged(arguments: TrainingArguments, what: str) -> TrainingStopped:
    """What stops a run of which `what` is true, in every process."""
    remedy = f"lower `learning_rate`, now {arguments.learning_rate:g}, and {what_remains(str(arguments.output_dir))}"
    return TrainingStopped(f"The run has diverged: {what}; {remedy}.", everywhere=True)


def once(arguments: TrainingArguments, work: Callable[[], object]) -> None:
    """Does `work` in the main process while the others wait; all stop with the same sentence if it fails.

    Raises:
        ComicSeqDataError: What is at fault, in every process.
    """
    fault: list[str | None] = [None]
    if arguments.process_index == 0:
        try:
            work()
        except ComicSeqError as error:
            fault = [str(error)]
        except OSError as error:
            fault = [f"{error}: mend that, or name another `output_dir`, and run again."]
    if arguments.world_size > 1:
        fault = broadcast_object_list(fault)
    if fault[0] is not None:
        raise ComicSeqDataError(fault[0])


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated`, which can be caught as Ctrl-C is."""
    # One that is set already, as by Trainer's `enable_jit_checkpoint`, stays.
    before = signal.getsignal(signal.SIGTERM)
    listen()
    try:
        yield
    finally:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def stopped_in_one_sentence(arguments: PretrainingArguments) -> Iterator[None]:
    """Turns an interrupt, SIGTERM, a lack of memory and a failing compiler into `TrainingStopped`."""
    try:
        with terminable():
            yield
    except BaseException as error:
        interrupt = find_interrupt(error)  # whatever error it became on the way
        if interrupt is not None:
            message = f"{how_it_ended(interrupt)}: {what_remains(arguments.output_dir)}."
            raise TrainingStopped(message, exit_code(interrupt), everywhere=True) from None
        if isinstance(error, TorchDynamoException):
            text = " ".join(str(error).split())
            raise TrainingStopped(
                f"`torch_compile` failed with {arguments.torch_compile_backend}: {shorten(text, 200)}; set it to false, or"
                f" choose another `torch_compile_backend`, and {what_remains(arguments.output_dir)}."
            ) from error
        if is_out_of_memory(error):
            raise TrainingStopped(_out_of_memory(arguments)) from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device, or the machine, has no memory left."""
    words = ("out of memory", "not enough memory", "can't allocate memory", "std::bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error).lower() for each in words)
    )


def _out_of_memory(arguments: PretrainingArguments) -> str:
    size, steps = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    remedies = []
    if size > 1:
        remedies.append(
            f"lower `per_device_train_batch_size` from {size} to {size // 2} and raise `gradient_accumulation_steps`"
            f" from {steps} to {steps * 2}, which keeps the pages of a step"
        )
    if not arguments.gradient_checkpointing:
        remedies.append("set `gradient_checkpointing` to true, which computes the layers twice")
    remedies = remedies or ["choose a smaller model or shorter windows"]
    return f"Out of memory: {', or '.join(remedies)}; then {what_remains(arguments.output_dir)}."


@contextmanager
def saving(output_dir: str | Path, being_saved: Callable[[], Path | None]) -> Iterator[None]:
    """Turns a failure to write into `TrainingStopped`, and deletes what is half written: its room may be what is missing.

    Args:
        output_dir: The run's folder, in which the earlier checkpoints are.
        being_saved: Gives the folder that is being saved, `output_dir` itself or a checkpoint in it, if any is.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        folder = being_saved()
        cause = _why_not_written(error, folder) if folder is not None else None
        if folder is None or cause is None:
            raise
        discard(folder / PARTIAL if folder == Path(output_dir) else folder)
        raise TrainingStopped(f"{folder} could not be saved: {cause}, and {what_remains(output_dir)}.") from error


def _why_not_written(error: Exception, folder: Path) -> str | None:
    text = " ".join(str(error).split())
    no_room = {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
    more_room = "free some room or lower `save_total_limit`"
    if isinstance(error, OSError) and error.errno is not None:
        text = os.strerror(error.errno)
        if error.filename and not Path(error.filename).is_relative_to(folder):  # what was to be copied into it
            text = f"{text}: {error.filename}"
    # Neither safetensors nor torch.save raises an OSError for a write that fails; torch.save does not even say why.
    elif any(each in text for each in ("PytorchStreamWriter", "inline_container", "iostream error")):
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        return f"a write failed, with {free / 2**20:,.0f} MiB free on the disk; {more_room}"
    elif not isinstance(error, SafetensorError):
        return None
    found = next((cause for cause in no_room if cause in text), None)
    return f"{found}; {more_room}" if found else f"{text}; mend that"
