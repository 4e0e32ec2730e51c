"""What a run does at its start, at logs and at evaluations, beside what Trainer does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .arguments import PretrainingArguments
from .checkpointing import is_complete
from .dataset import PretrainingDataset
from .tuning import peak_rate


class Resume(TrainerCallback):
    """Tells the data set which epoch to draw for, and sets right what a checkpoint says although it no longer holds."""

    def __init__(self, dataset: PretrainingDataset, encoder_learning_rate: float):
        self.dataset, self.encoder_learning_rate = dataset, encoder_learning_rate

    def on_epoch_begin(self, args, state: TrainerState, control, **kwargs):
        self.dataset.epoch = int(state.epoch + 1e-6)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control, **kwargs):
        if state.global_step == 0:
            return
        find_best(state, str(args.output_dir))
        change_learning_rate(
            kwargs["optimizer"], kwargs["lr_scheduler"], args.learning_rate, self.encoder_learning_rate
        )


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


def change_learning_rate(optimizer, scheduler, learning_rate: float, encoder_learning_rate: float = 0.0) -> None:
    """Gives a resumed run the learning rates of its arguments; the checkpoint's would otherwise be taken in silence.

    Args:
        optimizer: With the state that it was saved with.
        scheduler: A `LambdaLR`, or another of torch's schedulers, that goes on from where it was.
        learning_rate: The peak learning rate.
        encoder_learning_rate: That of a panel encoder, where one is trained.
    """
    groups = optimizer.param_groups
    rates = [peak_rate(group, learning_rate, encoder_learning_rate) for group in groups]
    before = getattr(
        scheduler, "base_lrs", rates
    )  # `reduce_lr_on_plateau` and `greedy` have none: evaluations set theirs
    if before == rates or 0 in before:
        return
    scheduler.base_lrs = rates
    for group, old, rate in zip(groups, before, rates, strict=True):
        group["lr"], group["initial_lr"] = group["lr"] * (rate / old), rate
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


class EarlyStopping(TrainerCallback):
    """Stops after some evaluations in a row without a new best, as transformers' `EarlyStoppingCallback` does.

    That one counts anew after a resume, or, with `restore_callback_states_from_checkpoint`, keeps the old patience
    against what the arguments say. Here the logged evaluations are the memory.

    Args:
        arguments: `metric_for_best_model`, `greater_is_better` and `early_stopping_patience`, which may be None.
    """

    def __init__(self, arguments: PretrainingArguments):
        self.metric = f"eval_{str(arguments.metric_for_best_model).removeprefix('eval_')}"
        self.patience = arguments.early_stopping_patience
        self.better = min if arguments.greater_is_better is False else max

    def is_over(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether Trainer's `log_history` says that the run has waited long enough."""
        values = [entry[self.metric] for entry in history if self.metric in entry]
        if self.patience is None or not values:
            return False
        return len(values) - 1 - values.index(self.better(values)) >= self.patience

    def on_evaluate(self, args, state: TrainerState, control: TrainerControl, **kwargs):
        control.should_training_stop |= self.is_over(state.log_history)


class ProgressBar(ProgressCallback):
    """Trainer's progress bar without its logs."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """`ReadableLogs` writes them."""


class ReadableLogs(TrainerCallback):
    """Writes each log entry for people, in 80 columns, above the progress bar where there is one."""

    def on_train_begin(self, args, state: TrainerState, control, **kwargs):
        """Remembers where the run goes on from."""
        self.begun = state.global_step

    def on_log(self, args, state: TrainerState, control, **kwargs):
        """Writes all but the summary of a training without a step."""
        is_empty = "train_runtime" in kwargs["logs"] and state.global_step == self.begun
        if state.is_world_process_zero and not is_empty:
            tqdm.write(readable(kwargs["logs"], state.global_step))


def readable(logs: Mapping[str, float], step: int) -> str:
    """One line of a log entry; of an evaluation, with a row of accuracies under it that is wrapped at 80 columns."""
    words = [f"step {step:>6,}", f"epoch {logs.get('epoch', 0):.1f}"]
    formats = {
        "loss": "loss {:.3f}",
        "learning_rate": "lr {:.1e}",
        "grad_norm": "grad norm {:.2f}",
        "pages_per_second": "{:,.0f} pages/s",
        "eval_score": "score {:.1%}",
        "eval_chance": "chance {:.1%}",
        "train_loss": "mean loss {:.3f}",
        "train_runtime": "trained for {:,.0f} s",
    }
    lines = ["  ".join([*words, *(text.format(logs[name]) for name, text in formats.items() if name in logs)])]
    for name, value in logs.items():
        if name.startswith("eval_") and name.endswith("_accuracy"):
            word = f"  {name.removeprefix('eval_').removesuffix('_accuracy')} {100 * value:.1f}"
            if len(lines) == 1 or len(lines[-1]) + len(word) > 80:
                lines.append("    ")
            lines[-1] += word
    return "\n".join(lines)
