"""Stops a run whose loss or gradient is not finite or explodes, before what it did to the weights is saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.utils import get_total_norm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from .faults import diverged

logger = logging.get_logger(__name__)

# A loss has exploded if it stood above FACTOR times both its running median and its first logged value in PATIENCE logs
# in a row. An untrained model's loss is about the logarithm of the number of candidates: no healthy run gets there.
FACTOR = 10.0
PATIENCE = 3
WINDOW = 25  # logs in the running median
LEAST_LOGS = 3  # logs before anything is judged
NEVER = torch.iinfo(torch.int64).max


class LossWatch(TrainerCallback):
    """Remembers, on the device, at which steps which losses, or the gradient norm, were not finite.

    Recording costs a dozen tiny kernels a step and never waits for the device; `first_fault` waits, and is asked only
    where Trainer waits anyway: at logs, evaluations and saves (at every step on the CPU). While a logged loss is far
    above what came before, nothing is saved; if it stays there, the run is stopped.

    Args:
        accelerator: Gathers over the processes of the run.
        losses: Names of the losses, the same in every process.
    """

    def __init__(self, accelerator: Accelerator, losses: Sequence[str]):
        self.accelerator, self.losses = accelerator, list(losses)
        # Whether a loss was not finite in this step, and the first step in which; the last place: the gradient norm.
        self._now = torch.zeros(len(self.losses) + 1, dtype=torch.bool, device=accelerator.device)
        self._first = torch.full_like(self._now, NEVER, dtype=torch.int64)

    def record(self, sums: Mapping[str, torch.Tensor]) -> None:
        """Takes in the sums of the losses of one batch, by name."""
        zero = torch.zeros((), device=self._now.device)
        self._now[:-1] |= ~torch.isfinite(torch.stack([sums.get(name, zero) for name in self.losses]))

    def first_fault(self) -> tuple[int, list[str]] | None:
        """The first step that was not finite in any process, with its losses; every process must ask at the same time."""
        *losses, norm = self.accelerator.gather(self._first[None]).amin(dim=0).tolist()
        step = min(*losses, norm)
        if step == NEVER:
            return None
        return step, [name for name, first in zip(self.losses, losses, strict=True) if first == step]

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        weights = kwargs["model"].parameters()
        norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP's
        self._now[-1] |= ~torch.isfinite(norm.float())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs):
        # In fp16 a norm that is not finite is everyday: the scaler leaves the step out and lowers its scale.
        self._now[-1] &= not self.accelerator.optimizer_step_was_skipped
        self._first.masked_fill_(self._now & (self._first == NEVER), state.global_step)
        self._now.zero_()
        self.on_epoch_end(args, state, control)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs):
        # A log at every save: a resumed run averages its first losses over the same steps as an unbroken one.
        control.should_log |= control.should_save
        if args.device.type == "cpu" or control.should_log or control.should_evaluate:
            fault = self.first_fault()
            if fault is not None:
                step, losses = fault
                what = describe(losses) if losses else "the gradient norm"
                raise diverged(args, f"{what} is not finite at step {step}")
        self._keep_last_good_checkpoint(args, state, control)  # where this step has been logged already

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs):
        history = state.log_history
        if "loss" not in history[-1]:
            return
        self._keep_last_good_checkpoint(args, state, control)
        if suspect_logs(history) >= PATIENCE:
            tasks = [name for name in self.losses if suspect_logs(history, name) >= PATIENCE]
            what = describe(tasks) if tasks else "the loss"
            raise diverged(
                args,
                f"{what} has been more than ten times as high as before for {PATIENCE} logs, at step {state.global_step}",
            )

    def _keep_last_good_checkpoint(self, args, state: TrainerState, control: TrainerControl) -> None:
        """Lets no checkpoint be saved, for which a good one would be deleted, if this step's logged loss is suspect."""
        logs = [entry for entry in state.log_history if "loss" in entry]
        if control.should_save and logs and logs[-1]["step"] == state.global_step and suspect_logs(logs):
            folder = Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            logger.warning(f"{folder} is not saved: the loss is more than ten times as high as before.")
            control.should_save = False


def describe(losses: Sequence[str]) -> str:
    """The words "the loss of A, B and C" for names of losses."""
    names = [name.removesuffix("_loss") for name in losses]
    return f"the loss of {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def suspect_logs(history: Sequence[Mapping[str, Any]], name: str = "loss") -> int:
    """How many of the last logs in a row hold a value of `name` that is far above what came before.

    Args:
        history: Trainer's `log_history`, which a resumed run goes on with.
        name: Name of the logged loss.
    """
    values = [entry[name] for entry in history if name in entry]
    count = 0
    while (before := len(values) - 1 - count) >= LEAST_LOGS:
        earlier = values[max(0, before - WINDOW) : before]
        if values[before] <= FACTOR * max(median(earlier), values[0]):
            break
        count += 1
    return count
