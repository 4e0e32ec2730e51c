"""What a run does at its start, at logs, at evaluations and at saves, beside what Trainer does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .checkpointing import is_complete
from .faults import TrainingStopped, what_remains
from .loss_watch import LOSSES, PATIENCE, describe, suspect_logs


class LogAtSaves(TrainerCallback):
    """Logs at every save, so that a resumed run averages its first losses over the same steps as an unbroken one."""

    def on_step_end(self, args, state, control: TrainerControl, **kwargs):
        control.should_log |= control.should_save

    on_epoch_end = on_step_end


class StopIfExploded(TrainerCallback):
    """Stops a run whose loss stays far above its running median."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control, **kwargs):
        history = state.log_history
        if "loss" not in history[-1] or suspect_logs(history) < PATIENCE:
            return
        tasks = [name for name in LOSSES if suspect_logs(history, name) >= PATIENCE]
        raise TrainingStopped(
            f"The run has diverged: {describe(tasks) if tasks else 'the loss'} has been more than ten times as high as"
            f" before for {PATIENCE} logs, at step {state.global_step}; {lower_the_learning_rate(args)}.",
            everywhere=True,
        )


def lower_the_learning_rate(args: TrainingArguments) -> str:
    """The remedy for a run that diverged, and what it resumes from."""
    return f"lower `learning_rate`, now {args.learning_rate:g}, and {what_remains(str(args.output_dir))}"


class Resume(TrainerCallback):
    """Sets right what Trainer takes over from a checkpoint although it no longer holds."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control, **kwargs):
        if state.global_step == 0:
            return
        find_best(state, str(args.output_dir))
        change_learning_rate(kwargs["optimizer"], kwargs["lr_scheduler"], args.learning_rate)


def find_best(state: TrainerState, output_dir: str) -> None:
    """Points `state` at the best checkpoint where it lies now, or forgets it if it is not there as a whole.

    Trainer stores the path, which a run's folder that was moved or copied does not have any more; and it keeps the
    metric of a checkpoint that is gone, which no later one might ever reach.
    """
    # Where evaluations are more frequent than saves, the best step may have no checkpoint, but an earlier best has.
    names = [f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}", Path(state.best_model_checkpoint or "").name]
    found = [str(Path(output_dir, name)) for name in names if name and is_complete(Path(output_dir, name))]
    if found:
        state.best_model_checkpoint = found[0]
    else:
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None


def change_learning_rate(optimizer, scheduler, learning_rate: float) -> None:
    """Gives a resumed run the learning rate of its arguments; the checkpoint's would otherwise be taken in silence.

    Args:
        optimizer: With the state that it was saved with.
        scheduler: A `LambdaLR`, or another of torch's schedulers, that goes on from where it was.
        learning_rate: The peak learning rate.
    """
    ratios = {learning_rate / rate for rate in scheduler.base_lrs if rate > 0}
    if ratios <= {1.0}:
        return
    scheduler.base_lrs = [learning_rate for _ in scheduler.base_lrs]
    ratio = ratios.pop()
    for group in optimizer.param_groups:
        group["lr"], group["initial_lr"] = group["lr"] * ratio, learning_rate
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


class EarlyStopping(TrainerCallback):
    """Stops after some evaluations in a row without a new best, as transformers' `EarlyStoppingCallback` does.

    That one counts anew after a resume, or, with `restore_callback_states_from_checkpoint`, keeps the old patience
    against what the arguments say. Here the logged evaluations are the memory.

    Args:
        metric: Name of the metric, with or without `eval_`.
        patience: Evaluations to wait for a better one.
        greater_is_better: Whether more of the metric is better.
    """

    def __init__(self, metric: str, patience: int, greater_is_better: bool = True):
        self.metric = f"eval_{metric.removeprefix('eval_')}"
        self.patience, self.greater_is_better = patience, greater_is_better

    def is_over(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether Trainer's `log_history` says that the run has waited long enough."""
        values = [entry[self.metric] for entry in history if self.metric in entry]
        best = max(values, default=0) if self.greater_is_better else min(values, default=0)
        return bool(values) and len(values) - 1 - values.index(best) >= self.patience

    def on_evaluate(self, args, state: TrainerState, control: TrainerControl, **kwargs):
        if self.is_over(state.log_history):
            control.should_training_stop = True
