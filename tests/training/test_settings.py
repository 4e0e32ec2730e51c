"""Every field of transformers' training arguments works in a run, or is refused in a sentence."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import SchedulerType, TrainingArguments
from transformers.training_args import OptimizerNames
from transformers.utils import logging

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.run import pretrain
from modeling_comicseq.training.settings import FIXED, NUMBERS

from .processes import argv, write_inputs
from .test_trainer import make_trainer

# Fields that work, by the test that shows it: here, `test_settings_work`, or another one.
WORKS: dict[str, str] = {
    **dict.fromkeys(
        ("output_dir", "num_train_epochs", "per_device_train_batch_size", "use_cpu", "logging_steps", "eval_strategy"),
        "every run",
    ),
    **dict.fromkeys(("eval_steps", "save_strategy", "save_steps", "save_total_limit", "disable_tqdm"), "every run"),
    **dict.fromkeys(("max_steps", "learning_rate", "seed", "gradient_accumulation_steps"), "test_trainer"),
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), "test_trainer"),
    **dict.fromkeys(("auto_find_batch_size", "resume_from_checkpoint"), "test_trainer"),
    **dict.fromkeys(("bf16", "torch_compile", "torch_compile_backend", "torch_compile_mode"), "test_options"),
    **dict.fromkeys(("gradient_checkpointing", "activation_checkpointing", "report_to", "run_name"), "test_options"),
    **dict.fromkeys(("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id"), "test_checkpointing"),
    **dict.fromkeys(("hub_strategy", "hub_always_push", "hub_revision"), "test_checkpointing"),
    **dict.fromkeys(("fp16", "tf32"), "on a GPU"),
    **dict.fromkeys(("ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_backend", "ddp_timeout"), "test_processes"),
    **dict.fromkeys(("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"), "their loggers"),
    **dict.fromkeys(("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "optim"), "here"),
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim_args"), "here"),
    **dict.fromkeys(("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"), "here"),
    **dict.fromkeys(("max_grad_norm", "torch_empty_cache_steps", "logging_strategy", "logging_first_step"), "here"),
    **dict.fromkeys(("eval_delay", "eval_on_start", "per_device_eval_batch_size", "save_only_model"), "here"),
    **dict.fromkeys(("enable_jit_checkpoint", "ignore_data_skip", "full_determinism", "data_seed"), "here"),
    **dict.fromkeys(("dataloader_drop_last", "dataloader_num_workers", "dataloader_pin_memory"), "here"),
    **dict.fromkeys(("dataloader_prefetch_factor", "dataloader_multiprocessing_context"), "here"),
    **dict.fromkeys(("skip_memory_metrics", "log_level", "log_level_replica"), "here"),
    **dict.fromkeys(("optim_target_modules",), "with GaLore and its like"),
}

# Fields that are refused, with a value that is.
REFUSED: dict[str, Any] = {
    "label_smoothing_factor": 0.1,
    "average_tokens_across_devices": False,
    "bf16_full_eval": True,
    "fp16_full_eval": True,
    "use_liger_kernel": True,
    "liger_kernel_config": {"rope": True},
    "use_cache": True,
    "neftune_noise_alpha": 5.0,
    "logging_nan_inf_filter": True,
    "include_num_input_tokens_seen": "all",
    "prediction_loss_only": True,
    "eval_do_concat_batches": False,
    "eval_use_gather_object": True,
    "eval_accumulation_steps": 2,
    "include_for_metrics": ["inputs"],
    "batch_eval_metrics": True,
    "label_names": ["labels"],
    "accelerator_config": {"split_batches": True},
    "parallelism_config": object(),
    "dataloader_persistent_workers": True,
    "dataloader_in_order": False,
    "remove_unused_columns": True,
    "train_sampling_strategy": "group_by_length",
    "length_column_name": "num_panels",
    "ddp_find_unused_parameters": False,
    "ddp_static_graph": True,
    "debug": "underflow_overflow",
    "fsdp": "full_shard",
    "fsdp_config": {"fsdp_version": 2},
    "deepspeed": "zero3.json",
}

# Fields that change nothing, in transformers' Trainer neither.
HARMLESS = {
    "do_train": "read by scripts of transformers' examples alone",
    "do_eval": "set by `eval_strategy`",
    "do_predict": "read by scripts of transformers' examples alone",
    "local_rank": "set by launchers of old; the environment says it",
    "log_on_each_node": "says where transformers' own warnings are shown",
    "save_on_each_node": "for machines that share no disk",
    "restore_callback_states_from_checkpoint": "the callbacks of a run read what they need from its log",
}


def arguments(folder: Path, **values: Any) -> PretrainingArguments:
    return PretrainingArguments(**({"output_dir": str(folder), "use_cpu": True} | values))


def test_every_field_of_this_transformers_is_listed_once():
    """A new version may add one: find out whether it works, and list it."""
    tables = (WORKS, REFUSED, HARMLESS)
    assert {field.name for field in fields(TrainingArguments)} - {name for table in tables for name in table} == set()
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert set(FIXED) == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_have_no_effect_is_refused(tmp_path, name):
    assert getattr(arguments(tmp_path), name, None) is not REFUSED[name]
    with pytest.raises(ComicSeqArgumentError, match=rf"^`{name}` is .* but must be .+: .+\.$"):
        arguments(tmp_path, **{name: REFUSED[name]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for names, _, _ in NUMBERS for name in names for value in (-2, math.nan)),
        *((name, math.inf) for name in ("learning_rate", "weight_decay", "num_train_epochs", "warmup_steps")),
        *(
            (name, 0)
            for name in (
                "encoder_learning_rate",
                "per_device_train_batch_size",
                "logging_steps",
                "max_steps",
                "ddp_timeout",
            )
        ),
        *(("adam_beta1", 1.0), ("seed", 2**32), ("num_candidates", 1), ("learning_rate", "big")),
    ],
)
def test_numbers_that_are_not_possible(tmp_path, name, value):
    with pytest.raises(ComicSeqArgumentError, match=f"^`{name}` is {value!r} but must be (at least|above 0)"):
        arguments(tmp_path, **{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr_scheduler_type": "cosin"}, r"`lr_scheduler_type` is 'cosin' but must be .*: did you mean `cosine`"),
        ({"optim": "adamw_apex_fused"}, "`optim` is 'adamw_apex_fused' but must be one of .*adamw_torch"),
        ({"eval_strategy": "epochs"}, "`eval_strategy` is 'epochs' but must be one of epoch, no, steps: did you"),
        ({"save_strategy": "never"}, "`save_strategy` is 'never' but must be one of best, epoch, no, steps"),
        ({"hub_strategy": "always"}, "`hub_strategy` is 'always' but must be one of"),
        ({"lr_scheduler_kwargs": "{bad"}, "`lr_scheduler_kwargs` is '{bad' but must be a JSON object"),
        ({"lr_scheduler_kwargs": "bad"}, "`lr_scheduler_kwargs` is 'bad' but must be a JSON object"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, "`use_reentrant` of `gradient_checkpointing_kw"),
        ({"gradient_checkpointing_kwargs": {"reentrant": 1}}, "names `reentrant`, .*: did you mean `use_reentrant`"),
        ({"optim": "paged_adamw_8bit"}, "`optim` is 'paged_adamw_8bit', which cannot be used: .*`bitsandbytes`"),
        ({"optim": "galore_adamw"}, "`optim` is 'galore_adamw', which cannot be used: .*`galore_torch`"),
        ({"optim": "adamw_torch_4bit"}, "`optim` is 'adamw_torch_4bit', which cannot be used: .*torchao"),
        ({"optim": "galore_adamw_layerwise"}, "changes weights before a step's gradient"),
        ({"optim": "sgd", "optim_args": "momentum"}, "`optim_args` must be like"),
        ({"report_to": "wand"}, "`report_to` names 'wand' but loggers are .*: did you mean `wandb`"),
        ({"report_to": ["comet_ml"]}, "`report_to` names comet_ml, which is not installed: `pip install comet_ml`"),
        ({"fp16": True}, "`fp16` is true but needs a GPU"),
        ({"torch_compile_backend": "inducto"}, "`torch_compile_backend` is 'inducto' .*: did you mean `inductor`"),
        ({"torch_compile_mode": "fast"}, "`torch_compile_mode` is 'fast' but must be one of default, "),
        ({"ddp_backend": "mccl"}, "`ddp_backend` is 'mccl', which this PyTorch lacks"),
    ],
)
def test_what_does_not_exist_or_is_not_installed(tmp_path, given, message):
    with pytest.raises(ComicSeqArgumentError, match=message):
        arguments(tmp_path, **given)


def test_optimisers_that_are_not_installed_are_known_before_the_data_are_read(tmp_path):
    """Each of transformers' optimisers works, or says what to install."""
    works = set()
    for optimizer in OptimizerNames:
        try:
            arguments(tmp_path, optim=optimizer.value)
            works.add(optimizer.value)
        except ComicSeqArgumentError as error:
            assert f"`optim` is {optimizer.value!r}" in str(error) and str(error).count("\n") == 0
    assert works >= {"adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"}


def test_the_launcher_asks_for_deepspeed(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ComicSeqArgumentError, match="DeepSpeed, which does not work here: shard with"):
        arguments(tmp_path)


def test_the_loader_is_made_as_the_arguments_say(tmp_path):
    given = {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 3, "dataloader_drop_last": True}
    trainer = make_trainer(tmp_path, dataloader_multiprocessing_context="spawn", **given)
    loader = trainer.get_train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor, loader.batch_sampler.drop_last) == (2, 3, True)
    assert loader.multiprocessing_context.get_start_method() == "spawn"


def test_memory_is_pinned_only_for_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert arguments(tmp_path, use_cpu=False).dataloader_pin_memory is False


@pytest.fixture
def process_as_before() -> Iterator[None]:
    """Puts back what `log_level` and `full_determinism` set for the whole process."""
    verbosity, environment = logging.get_verbosity(), dict(os.environ)
    yield
    logging.set_verbosity(verbosity)
    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    write_inputs(folder)
    return folder


def run(folder: Path, name: str, **given: Any) -> list[dict]:
    output = folder / name
    pretrain(parse_arguments(argv(folder, output, **given)))
    return json.loads((output / "trainer_state.json").read_text())["log_history"]


SCHEDULES: dict[str, dict] = {
    "cosine_with_min_lr": {"min_lr": 1e-5},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-5},
    "warmup_stable_decay": {"num_decay_steps": 2},
}


# One of each kind: a plain function of the step, one with phases, and those that the evaluations drive.
TRAINED = ["cosine", "warmup_stable_decay", "reduce_lr_on_plateau", "greedy"]


@pytest.mark.parametrize("schedule", [each.value for each in SchedulerType if each.value not in TRAINED])
def test_schedules_can_be_made(tmp_path, schedule):
    kwargs = json.dumps(SCHEDULES.get(schedule, {}))
    trainer = make_trainer(tmp_path, lr_scheduler_type=schedule, lr_scheduler_kwargs=kwargs)
    trainer.create_optimizer_and_scheduler(10)
    assert trainer.lr_scheduler is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [pytest.param(each, marks=pytest.mark.thorough if each in ("cosine", "greedy") else []) for each in TRAINED],
)
def test_schedules_work_and_go_on_after_a_resume(folder, schedule):
    given = {"lr_scheduler_type": schedule, "lr_scheduler_kwargs": json.dumps(SCHEDULES.get(schedule, {}))}
    whole = run(folder, f"{schedule}-whole", **given, num_train_epochs=1)
    run(folder, f"{schedule}-parts", **given, num_train_epochs=1)
    given |= {"learning_rate": 1e-4, "ignore_data_skip": True}
    assert run(folder, f"{schedule}-parts", **given)[: len(whole) - 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr_scheduler_type": "warmup_stable_decay"}, "`lr_scheduler_type` is 'warmup_stable_decay' cannot be set"),
        (
            {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": '{"cycles": 2}'},
            "`lr_scheduler_type` is 'cosine' and `lr_scheduler_kwargs` is .*cycles",
        ),
        ({"optim": "sgd", "optim_args": "momentum=much"}, "`optim` is 'sgd'.*much"),
    ],
)
def test_what_cannot_be_made_is_known_before_the_first_step(folder, given, message):
    with pytest.raises(ComicSeqArgumentError, match=message):
        run(folder, "not-made", **given)


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"optim": "adafactor", "max_grad_norm": 0, "logging_strategy": "epoch", "logging_first_step": True},
        {"optim": "sgd", "optim_args": "momentum=0.9", "warmup_steps": 2, "eval_on_start": True, "eval_delay": 3},
        pytest.param(
            {
                "adam_beta1": 0.8,
                "adam_beta2": 0.99,
                "adam_epsilon": 1e-6,
                "weight_decay": 0.1,
                "save_only_model": True,
            },
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {"torch_empty_cache_steps": 1, "per_device_eval_batch_size": 100, "data_seed": 5},
            marks=pytest.mark.thorough,
        ),
        pytest.param({"skip_memory_metrics": False, "max_steps": 2}, marks=pytest.mark.thorough),
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": '{"use_reentrant": false}'},
        {"dataloader_drop_last": True, "dataloader_num_workers": 1, "dataloader_prefetch_factor": 1},
        pytest.param({"log_level": "error", "log_level_replica": "error"}, marks=pytest.mark.thorough),
        pytest.param({"enable_jit_checkpoint": True, "auto_find_batch_size": True}, marks=pytest.mark.thorough),
        {"full_determinism": True},
    ],
    ids=lambda given: next(iter(given)),
)
def test_settings_work(folder, process_as_before, given):
    name = next(iter(given))
    history = run(folder, f"works-{name}", **given)
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses and all(map(math.isfinite, losses))
    assert (folder / f"works-{name}" / "model.safetensors").is_file()
