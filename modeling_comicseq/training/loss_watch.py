"""Notices a loss that is not finite or explodes, before what it did to the weights is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator

from ..model.tasks_comicseq import TASKS
from .faults import names

OBJECTIVES = ("contrastive_loss", "masked_panel_loss")
LOSSES = (*(f"{task}_loss" for task in TASKS), *OBJECTIVES)

# A loss has exploded if it stood above FACTOR times both its running median and its first logged value in PATIENCE logs
# in a row. An untrained model's loss is about the logarithm of the number of candidates: no healthy run gets there.
FACTOR = 10.0
PATIENCE = 3
WINDOW = 25  # logs in the running median
LEAST_LOGS = 3  # logs before anything is judged


class LossWatch:
    """Remembers, on the device, the first step with a loss or gradient norm that is not finite, and in which losses.

    Recording costs a dozen tiny kernels a step and never waits for the device; `first_fault` waits, and is asked only
    where Trainer waits anyway: at logs, evaluations and saves (at every step on the CPU).

    Args:
        accelerator: Gathers over the processes of the run.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        size = (len(LOSSES) + 1,)  # the last is the gradient norm
        self._now = torch.zeros(size, dtype=torch.bool, device=accelerator.device)
        self._first = torch.zeros(size, dtype=torch.bool, device=accelerator.device)
        self._step = torch.full((1,), float("inf"), device=accelerator.device)

    def record(self, outputs: Any) -> None:
        """Takes in the losses of one batch, from the outputs of a `ComicSeqForPreTraining`."""
        losses = {f"{task}_loss": values for task, values in (outputs.task_losses or {}).items()}
        losses |= {name: value for name in OBJECTIVES if (value := getattr(outputs, name, None)) is not None}
        zero = self._step.new_zeros(())
        sums = [losses[name].detach().sum().float() if name in losses else zero for name in LOSSES]
        self._now[:-1] |= ~torch.isfinite(torch.stack(sums))

    def record_step(self, step: int, grad_norm: torch.Tensor | float | None) -> None:
        """Ends an optimiser step, the `step`-th, in which the gradient norm was `grad_norm`."""
        if grad_norm is not None:
            norm = torch.as_tensor(grad_norm, device=self._now.device)
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP's
            self._now[-1] |= ~torch.isfinite(norm.float())
        first = self._now.any() & torch.isinf(self._step)
        self._step = torch.where(first, float(step), self._step)
        self._first = torch.where(first, self._now, self._first)
        self._now.zero_()

    def first_fault(self) -> tuple[int, list[str]] | None:
        """The first step that was not finite in any process, with its losses; every process must ask at the same time."""
        mine = torch.cat([self._step, self._first.float()])
        everyone = self.accelerator.gather(mine[None]).reshape(-1, len(mine)).cpu()
        step = everyone[:, 0].min()
        if torch.isinf(step):
            return None
        found = (everyone[everyone[:, 0] == step, 1:] > 0).any(dim=0).tolist()
        return int(step), [name for name, bad in zip(LOSSES, found[:-1], strict=True) if bad]


def describe(losses: Sequence[str]) -> str:
    """The words "the loss of A and B" for names of LOSSES."""
    return f"the loss of {names([name.removesuffix('_loss') for name in losses])}"


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
