"""Which of transformers' own training arguments a run takes: each works, or is refused in a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import SchedulerType, Trainer
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy
from transformers.training_args import OptimizerNames

from ..errors import ComicSeqArgumentError, ComicSeqError, did_you_mean

if TYPE_CHECKING:
    from .arguments import PretrainingArguments

# What numbers must be, in words and as a test; None, where a field may be left out, is no number.
NUMBERS: tuple[tuple[tuple[str, ...], str, Callable[[float], bool]], ...] = (
    (
        (
            "learning_rate",
            "weight_decay",
            "warmup_steps",
            "max_grad_norm",
            "eval_delay",
            "adam_epsilon",
        ),
        "at least 0 and finite",
        lambda value: 0 <= value < inf,
    ),
    (
        ("encoder_learning_rate", "num_train_epochs", "logging_steps", "save_steps", "eval_steps"),
        "above 0 and finite",
        lambda value: 0 < value < inf,
    ),
    (("layer_decay",), "above 0 and at most 1", lambda value: 0 < value <= 1),
    (("modality_dropout",), "at least 0 and at most 1", lambda value: 0 <= value <= 1),
    (("adam_beta1", "adam_beta2"), "at least 0 and below 1", lambda value: 0 <= value < 1),
    (("seed", "data_seed"), "at least 0 and below 2**32", lambda value: 0 <= value < 2**32),
    (("dataloader_num_workers",), "at least 0", lambda value: value >= 0),
    (("max_steps",), "at least 1, or -1 for `num_train_epochs`", lambda value: value >= 1 or value == -1),
    (("num_candidates",), "at least 2", lambda value: value >= 2),
    (
        (
            *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
            *("save_total_limit", "early_stopping_patience", "torch_empty_cache_steps", "dataloader_prefetch_factor"),
            *("ddp_timeout", "ddp_bucket_cap_mb", "num_proc", "pages_together", "questions_per_page"),
        ),
        "at least 1",
        lambda value: value >= 1,
    ),
)

CHOICES: dict[str, Any] = {
    "eval_strategy": IntervalStrategy,
    "logging_strategy": IntervalStrategy,
    "save_strategy": SaveStrategy,
    "hub_strategy": HubStrategy,
    "lr_scheduler_type": SchedulerType,
    "optim": OptimizerNames,
}

# What must stay as it is, and why: it would have no effect on this kind of run, or a wrong one.
_NO_EVALUATION_LOOP = "validation asks frozen questions and has no use for it"
_SHARDED = "shard with `accelerate launch --config_file configuration/accelerate/fsdp.yaml`"
FIXED: dict[str, tuple[Any, str]] = {
    "label_smoothing_factor": (0.0, "candidates are few and padded, and every loss of a task is its own"),
    "average_tokens_across_devices": (True, "the loss is that of the whole step, over all processes"),
    "bf16_full_eval": (False, "validation computes in float32"),
    "fp16_full_eval": (False, "validation computes in float32"),
    "use_liger_kernel": (False, "there are no such kernels for this model"),
    "liger_kernel_config": (None, "there are no such kernels for this model"),
    "use_cache": (False, "the model generates nothing and has no cache"),
    "neftune_noise_alpha": (None, "the model reads vectors and has no embedding of tokens for the noise"),
    "logging_nan_inf_filter": (False, "it would hide losses that are not finite from the logs"),
    "include_num_input_tokens_seen": ("no", "the model reads panels and no tokens"),
    "prediction_loss_only": (False, _NO_EVALUATION_LOOP),
    "eval_do_concat_batches": (True, _NO_EVALUATION_LOOP),
    "eval_use_gather_object": (False, _NO_EVALUATION_LOOP),
    "eval_accumulation_steps": (None, _NO_EVALUATION_LOOP),
    "include_for_metrics": (None, _NO_EVALUATION_LOOP),
    "batch_eval_metrics": (False, _NO_EVALUATION_LOOP),
    "label_names": (None, _NO_EVALUATION_LOOP),
    "accelerator_config": (AcceleratorConfig(), "batches are dealt out to the processes by the run itself"),
    "parallelism_config": (None, "a model as small as this is trained on copies of it, or sharded by FSDP"),
    "dataloader_persistent_workers": (False, "workers that outlive an epoch ask its questions again"),
    "dataloader_in_order": (True, "every process must take the batches of one step at the same time"),
    "remove_unused_columns": (False, "batches are nested"),
    "train_sampling_strategy": (
        "random",
        "pages are dealt out in an order that is drawn anew for each epoch, and packed, so that none is padded",
    ),
    "length_column_name": ("length", "pages are packed and not grouped by length"),
    "ddp_find_unused_parameters": (True, "a batch can be without an example of some task"),
    "ddp_static_graph": (None, "a batch can be without an example of some task"),
    "debug": (None, "the hooks cannot read the masks of this model, and losses and gradients are watched anyway"),
    "fsdp": (None, _SHARDED),
    "fsdp_config": (None, _SHARDED),
    "deepspeed": (None, _SHARDED),
}

CHECKPOINTING = {"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"}


def check_before(arguments: PretrainingArguments) -> None:
    """What must hold before transformers looks at the arguments.

    Raises:
        ComicSeqArgumentError: A field has a value that is not possible.
    """
    for names, words, is_possible in NUMBERS:
        for name in names:
            value = getattr(arguments, name)
            if value is not None and not (isinstance(value, int | float) and is_possible(value)):
                raise ComicSeqArgumentError(f"`{name}` is {value!r} but must be {words}.")
    for name, kind in CHOICES.items():
        value = getattr(arguments, name)
        known = {each.value for each in kind}
        if getattr(value, "value", value) not in known:
            raise ComicSeqArgumentError(
                f"`{name}` is {value!r} but must be one of {', '.join(sorted(known))}{did_you_mean(value, known)}."
            )
    for name in arguments._VALID_DICT_FIELDS:
        _check_mapping(name, getattr(arguments, name))
    for name in ("fsdp", "fsdp_config", "deepspeed"):  # would be opened, and imported
        _check_fixed(name, getattr(arguments, name))
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("1", "true"):
        raise ComicSeqArgumentError(f"`accelerate launch` is set to DeepSpeed, which does not work here: {_SHARDED}.")
    if arguments.fp16 and (arguments.use_cpu or not torch.accelerator.is_available()):
        raise ComicSeqArgumentError("`fp16` is true but needs a GPU: leave it out.")
    if arguments.ddp_backend is not None and not torch.distributed.is_backend_available(arguments.ddp_backend):
        raise ComicSeqArgumentError(
            f"`ddp_backend` is {arguments.ddp_backend!r}, which this PyTorch lacks: leave it out, or install one that has."
        )


def check_after(arguments: PretrainingArguments) -> None:
    """What must hold when transformers has filled in the rest.

    Raises:
        ComicSeqArgumentError: A field has a value that is not possible here, or asks for what is not installed.
    """
    for name in FIXED:
        if hasattr(arguments, name):  # not all versions have all of them
            _check_fixed(name, getattr(arguments, name))
    _check_loggers(arguments.report_to)
    _check_optimizer(arguments)
    _check_compilation(arguments)
    checkpointing: Any = arguments.gradient_checkpointing_kwargs or {}
    for key, value in checkpointing.items():
        if key not in CHECKPOINTING:
            raise ComicSeqArgumentError(
                f"`gradient_checkpointing_kwargs` names `{key}`, which does not exist{did_you_mean(key, CHECKPOINTING)}."
            )
        if key == "use_reentrant" and value:
            raise ComicSeqArgumentError(
                "`use_reentrant` of `gradient_checkpointing_kwargs` is true but must be false: several processes could not"
                " train so."
            )


@contextmanager
def argument_at_fault(arguments: PretrainingArguments, *names: str) -> Iterator[None]:
    """Turns what transformers and torch raise when they are set up into one sentence.

    Args:
        arguments: Those of the run.
        names: The fields from which something is made; without, any field can be at fault.
    """
    try:
        yield
    except ComicSeqError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        AssertionError,
        ImportError,
        NotImplementedError,
    ) as error:
        if not names and not isinstance(error, ValueError | ImportError | NotImplementedError):
            raise  # nobody's argument
        given = {name: getattr(arguments, name) for name in names}
        what = " and ".join(
            f"`{name}` is {getattr(value, 'value', value)!r}" for name, value in given.items() if value
        )
        text = " ".join(str(error).split()).rstrip(".")
        raise ComicSeqArgumentError(f"{what or 'The run'} cannot be set up so: {text}.") from error


def _check_fixed(name: str, value: Any) -> None:
    fixed, why = FIXED[name]
    if (value or None if fixed is None else value) == fixed:
        return
    if isinstance(fixed, bool):
        words = f"is {str(value).lower()} but must be {'on' if fixed else 'off'}"
    else:
        words = f"is {value!r} but must be {fixed if isinstance(fixed, str | float) else 'left out'}"
    raise ComicSeqArgumentError(f"`{name}` {words}: {why}.")


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, str):
        return
    try:
        is_mapping = isinstance(json.loads(value), dict) if value.startswith("{") else Path(value).is_file()
    except ValueError:
        is_mapping = False
    if not is_mapping:
        raise ComicSeqArgumentError(f"`{name}` is {value!r} but must be a JSON object, like '{{\"name\": 1}}'.")


def _check_loggers(names: Any) -> None:
    installed = [*get_available_reporting_integrations(), "flyte"]
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = {*INTEGRATION_TO_CALLBACK, "all", "none"}
            raise ComicSeqArgumentError(
                f"`report_to` names {name!r} but loggers are {', '.join(sorted(known))}{did_you_mean(name, known)}."
            )
        if name not in installed:
            raise ComicSeqArgumentError(
                f"`report_to` names {name}, which is not installed: `pip install {name}`, or leave it out."
            )


def _check_optimizer(arguments: PretrainingArguments) -> None:
    name = OptimizerNames(arguments.optim).value
    if name in ("lomo", "adalomo") or name.endswith("_layerwise"):
        raise ComicSeqArgumentError(
            f"`optim` is {name!r}, which changes weights before a step's gradient can be looked at: choose another."
        )
    try:
        Trainer.get_optimizer_cls_and_kwargs(arguments)
    except (ImportError, ValueError) as error:
        text = " ".join(str(error).split())
        if "=" in (arguments.optim_args or "=") and "install" not in text and "import" not in text:
            return  # it asks for the model, which is not there yet
        if "unpack" in text:
            text = "`optim_args` must be like 'rank=64,scale=0.1'"
        raise ComicSeqArgumentError(f"`optim` is {name!r}, which cannot be used: {text.rstrip('.')}.") from None


def _check_compilation(arguments: PretrainingArguments) -> None:
    if not arguments.torch_compile:
        return
    listed = torch.compiler.list_backends()
    modes = [*torch._inductor.list_mode_options()] if arguments.torch_compile_mode else []
    known = {"torch_compile_backend": torch.compiler.list_backends(exclude_tags=()), "torch_compile_mode": modes}
    for name, shown in (("torch_compile_backend", listed), ("torch_compile_mode", modes)):
        value = getattr(arguments, name)
        if value is not None and value not in known[name]:
            raise ComicSeqArgumentError(
                f"`{name}` is {value!r} but must be one of {', '.join(sorted(shown))}{did_you_mean(value, set(shown))}."
            )
