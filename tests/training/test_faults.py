"""Runs that are killed, that find the disk full, that diverge, that have no memory."""

from __future__ import annotations

import json
import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch._dynamo.exc import TorchDynamoException
from transformers import TrainingArguments

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.training.arguments import PretrainingArguments
from modeling_comicseq.training.checkpointing import complete_checkpoints, incomplete_checkpoints
from modeling_comicseq.training.faults import TrainingStopped, saving, stopped_in_one_sentence
from modeling_comicseq.training.loss_watch import suspect_logs
from modeling_comicseq.training.run import main

from . import processes
from .processes import Run, argv, write_inputs
from .test_trainer import logged, make_trainer

pytestmark = pytest.mark.slow  # runs of training, dozens of them

NAN = float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_inputs(folder)
    return folder


def history(output: Path) -> list[dict]:
    """What a run has logged of its losses and validations; times differ from run to run."""
    entries = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [
        {name: value for name, value in entry.items() if name != "pages_per_second"}
        for entry in entries
        if "loss" in entry or "eval_score" in entry
    ]


def steps(folders: list[Path]) -> list[int]:
    return [int(folder.name.rpartition("-")[2]) for folder in folders]


@pytest.mark.thorough
def test_a_run_that_is_broken_off_again_and_again_ends_as_the_unbroken_one(folder):
    # Neither logs nor ends of epochs fall on the saves: 3, 6, … and 6, 12 beside 4, 8, 12.
    fields = {"logging_steps": 3, "eval_steps": 4, "save_steps": 4}
    whole = Run(argv(folder, folder / "whole", **fields), folder / "whole.log")
    assert whole.exit_codes == [0], whole.output

    parts = folder / "parts"
    again = partial(Run, argv(folder, parts, **fields), folder / "parts.log")
    run = again(partial(processes.kill_at_step, 3))
    assert run.exit_codes == [-signal.SIGKILL] and not complete_checkpoints(parts)

    run = again(partial(processes.kill_in_mid_file, 8))
    assert run.exit_codes == [-signal.SIGKILL] and "Resuming" not in run.output
    assert steps(complete_checkpoints(parts)) == [4] and steps(incomplete_checkpoints(parts)) == [8]

    run = again(partial(processes.limit_file_size, 8, 100_000))  # weights fit in, the optimiser does not
    assert run.exit_codes == [1] and "Traceback" not in run.output, run.output
    assert f"{parts}/checkpoint-8 is not complete" in run.output
    (line,) = (line for line in run.output.splitlines() if line.startswith("run_pretraining.py:"))
    assert f"{parts}/checkpoint-8 could not be saved: " in line
    assert f"run again to go on from {parts}/checkpoint-4, the last complete checkpoint." in line
    assert not incomplete_checkpoints(parts)

    run = again(partial(processes.kill_before_marker, 8))
    assert run.exit_codes == [-signal.SIGKILL] and steps(complete_checkpoints(parts)) == [4]

    run = again(partial(processes.signal_at_step, 10, signal.SIGTERM))
    assert run.exit_codes == [128 + signal.SIGTERM] and "Traceback" not in run.output
    assert f"Terminated: run again to go on from {parts}/checkpoint-8" in run.output

    run = again(partial(processes.kill_in_rotation, 4))
    assert run.exit_codes == [-signal.SIGKILL] and (parts / "checkpoint-4").is_dir()
    assert steps(complete_checkpoints(parts)) == [8, 12]

    run = again()
    assert run.exit_codes == [0] and f"Resuming from {parts}/checkpoint-12" in run.output
    assert history(parts) == history(folder / "whole")
    weights, expected = (load_file(output / "model.safetensors") for output in (parts, folder / "whole"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    for name in ("optimizer.pt", "scheduler.pt"):
        saved, other = (torch.load(output / "checkpoint-12" / name) for output in (parts, folder / "whole"))
        assert str(saved) == str(other)


@pytest.mark.slow
def test_two_processes_save_together_and_stop_together(folder):
    output = folder / "two"
    words = argv(folder, output, per_device_train_batch_size=2, max_steps=4)
    run = Run(words, folder / "two.log", partial(processes.nan_in_rank, 1, 3), processes=2)
    assert run.exit_codes == [1, 1], run.output
    (line,) = (line for line in run.output.splitlines() if line.startswith("run_pretraining.py:"))
    assert re.search(r"the loss of \w+.* is not finite at step 3;", line) and f"{output}/checkpoint-2" in line
    files = json.loads((output / "checkpoint-2" / "complete.json").read_text())["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "trainer_state.json", "README.md"} <= set(files)

    run = Run(words, folder / "two.log", processes=2)
    assert run.exit_codes == [0, 0] and run.output.count("Resuming from") == 1
    assert steps(complete_checkpoints(output)) == [2, 4]


def nan_task(trainer, task: str, step: int) -> None:
    """Makes the head of `task` NaN before a step."""
    ordinary = trainer.training_step

    def training_step(*args, **kwargs):
        if trainer.state.global_step == step - 1:
            for parameter in getattr(trainer.model, f"{task}_head").parameters():
                parameter.data.fill_(NAN)
        return ordinary(*args, **kwargs)

    trainer.training_step = training_step


SAVES = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 5, "save_total_limit": 2}


@pytest.mark.parametrize("every_step", [True, False], ids=["cpu", "gpu"])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path, monkeypatch, every_step):
    trainer = make_trainer(tmp_path, validate=False, per_device_train_batch_size=4, **SAVES)
    trainer.model.config.contrastive_weight = 0.0
    nan_task(trainer, "text_cloze", 5)
    if not every_step:  # as on a GPU, where the device is asked at logs and saves alone
        asked = []
        ordinary = trainer.loss_watch.first_fault
        monkeypatch.setattr(trainer.loss_watch, "first_fault", lambda: asked.append(1) or ordinary())
        monkeypatch.setattr(
            type(trainer.args), "device", property(lambda self: type("Device", (str,), {"type": "cuda"})("cpu"))
        )
    with pytest.raises(TrainingStopped) as stopped:
        trainer.train()
    message = str(stopped.value)
    assert "the loss of text_cloze is not finite at step" in message
    assert "lower `learning_rate`, now 0.0005" in message
    assert f"{tmp_path / 'checkpoint-4'}, the last complete checkpoint" in message
    assert steps(complete_checkpoints(tmp_path)) == [2, 4]
    if not every_step:
        assert len(asked) < trainer.state.global_step


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    trainer = make_trainer(tmp_path, validate=False, **SAVES)
    ordinary = trainer.training_step

    def training_step(*args, **kwargs):
        loss = ordinary(*args, **kwargs)
        if trainer.state.global_step == 2:
            next(trainer.model.parameters()).grad[0] = NAN
        return loss

    trainer.training_step = training_step
    with pytest.raises(TrainingStopped, match="the gradient norm is not finite at step 3; lower .*checkpoint-2"):
        trainer.train()


def test_an_exploding_loss_stops_the_run_and_is_not_saved(tmp_path):
    trainer = make_trainer(tmp_path, validate=False, per_device_train_batch_size=4, **(SAVES | {"logging_steps": 1}))
    ordinary = trainer.compute_loss

    def compute_loss(*args, **kwargs):
        return ordinary(*args, **kwargs) * (1 if trainer.state.global_step < 5 else 1000)

    trainer.compute_loss = compute_loss
    with pytest.raises(TrainingStopped, match="diverged: the loss has been .* at step 8; lower .*checkpoint-4,"):
        trainer.train()
    assert steps(complete_checkpoints(tmp_path)) == [2, 4]


def test_what_counts_as_an_exploding_loss():
    def logs(*losses):
        return [{"loss": loss, "step": step} for step, loss in enumerate(losses)]

    assert suspect_logs(logs(4, 3, 3, 2, 2, 2, 2)) == 0
    assert suspect_logs(logs(4, 3, 3, 2, 39, 41)) == 1
    assert suspect_logs(logs(4, 3, 3, 2, 50, 60, 1e6)) == 3
    assert suspect_logs(logs(4, 3, 3, 2, 50, 3)) == 0
    assert suspect_logs(logs(4, 1e-3, 1e-3, 1e-3, 3)) == 0  # much for this run, but no more than untrained
    assert suspect_logs(logs(4, 400)) == 0  # too early to tell
    assert suspect_logs([*logs(4, 3, 2, 2, 99), {"eval_score": 0.5}]) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_names_the_settings_to_change(tmp_path, error):
    arguments = PretrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=64, gradient_accumulation_steps=2, use_cpu=True
    )
    with pytest.raises(TrainingStopped) as stopped, stopped_in_one_sentence(arguments):
        raise error
    assert "lower `per_device_train_batch_size` from 64 to 32" in str(stopped.value)
    assert "raise `gradient_accumulation_steps` from 2 to 4" in str(stopped.value)
    assert "`gradient_checkpointing` to true" in str(stopped.value)
    assert "no complete checkpoint yet" in str(stopped.value)


def test_other_errors_are_left_alone(tmp_path):
    arguments = PretrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(RuntimeError, match="shapes"), stopped_in_one_sentence(arguments):
        raise RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"), saving(tmp_path, lambda: tmp_path / "x"):
        raise RuntimeError("shapes cannot be multiplied")


def test_an_interrupt_ends_in_one_sentence_and_leaves_the_handlers_as_they_were(tmp_path):
    arguments = PretrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    before = signal.getsignal(signal.SIGTERM)
    for number, word in ((signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")):
        with pytest.raises(TrainingStopped, match=word) as stopped, stopped_in_one_sentence(arguments):
            os.kill(os.getpid(), number)
        assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(28, "No space left on device"), "No space left on device; free some room"),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "No space left on device; free some room",
        ),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "a write failed, with"),
        (PermissionError(13, "Permission denied"), "Permission denied; mend that"),
        (FileNotFoundError(2, "No such file", "/lib/card.md"), "No such file or directory: /lib/card.md; mend that"),
    ],
)
def test_a_write_that_fails_names_the_cause_and_takes_the_rest_away(tmp_path, error, cause):
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"half")
    with pytest.raises(TrainingStopped) as stopped, saving(tmp_path, lambda: checkpoint):
        raise error
    assert f"{checkpoint} could not be saved: {cause}" in str(stopped.value)
    assert not checkpoint.exists()


def test_a_full_disk_at_the_end_leaves_the_earlier_model(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, validate=False, max_steps=1)
    trainer.train()
    trainer.save_model()
    before = (tmp_path / "model.safetensors").read_bytes()
    monkeypatch.setattr(
        "modeling_comicseq.training.trainer.os.replace",
        lambda source, target: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    trainer.model.comicseq.layernorm.weight.data.zero_()
    with pytest.raises(TrainingStopped, match="No space left"), saving(tmp_path, lambda: tmp_path):
        trainer.save_model()
    assert (tmp_path / "model.safetensors").read_bytes() == before and not (tmp_path / "_saving").exists()


def test_early_stopping_is_refused_without_evaluations(tmp_path):
    fields = {"output_dir": str(tmp_path), "use_cpu": True, "early_stopping_patience": 1}
    with pytest.raises(ComicSeqArgumentError, match="`eval_strategy` is 'no'"):
        PretrainingArguments(eval_strategy="no", save_strategy="no", load_best_model_at_end=False, **fields)


@pytest.mark.slow
def test_early_stopping_waits_for_a_better_score_and_counts_on_after_a_resume(tmp_path):
    fields = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    fields |= {"early_stopping_patience": 3, "num_train_epochs": 5, "save_total_limit": None}
    scores = [0.1, 0.5, 0.4, 0.5, 0.3, 0.9]

    def run(**extra):
        trainer = make_trainer(tmp_path, **(fields | extra))
        trainer._validation_accuracy = lambda model, table, task: scores[min(trainer.state.global_step - 1, 5)]
        return trainer

    trainer = run()
    trainer.train()
    assert logged(trainer, "eval_score") == pytest.approx(scores[:5])  # a score that is equalled is not beaten
    resumed = run()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert logged(resumed, "eval_score") == logged(trainer, "eval_score")
    # The same command again does not train on.
    again = run()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert again.state.global_step == 5 and again.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"bf16": True}, {"gradient_checkpointing": True}], ids=["bf16", "gradient_checkpointing"]
)
def test_settings_that_save_memory_train_the_same_model(tmp_path, fields):
    ordinary, saving_memory = make_trainer(tmp_path, max_steps=2), make_trainer(tmp_path, max_steps=2, **fields)
    for trainer in (ordinary, saving_memory):
        trainer.train()
    tolerance = 0.1 if "bf16" in fields else 1e-5
    assert logged(saving_memory) == pytest.approx(logged(ordinary), rel=tolerance)
    assert next(saving_memory.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("fields", "supported", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"bf16": False}, True, False),
        ({"fp16": True}, True, False),
        ({"use_cpu": True}, True, False),
    ],
)
def test_bf16_is_the_default_where_the_gpu_computes_in_it(tmp_path, monkeypatch, fields, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: None)  # which looks for the GPU
    monkeypatch.setattr("modeling_comicseq.training.arguments.check_after", lambda arguments: None)
    assert PretrainingArguments(output_dir=str(tmp_path), **fields).bf16 is expected


def test_runs_are_logged_to_tensorboard(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    make_trainer(tmp_path / "run", max_steps=2, report_to="tensorboard", eval_strategy="epoch").train()
    events = accumulator.EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert {"train/loss", "train/grad_norm", "train/contrastive_loss", "eval/score"} <= set(events.Tags()["scalars"])


def test_a_compiler_that_fails_is_one_sentence(tmp_path):
    arguments = PretrainingArguments(output_dir=str(tmp_path), use_cpu=True, torch_compile_backend="aot_eager")
    with pytest.raises(TrainingStopped, match="`torch_compile` failed with aot_eager: no compiler; set it to false"):
        with stopped_in_one_sentence(arguments):
            raise TorchDynamoException("no\ncompiler")


def test_sigterm_before_the_arguments_are_read_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "modeling_comicseq.training.run.parse_arguments", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert main([], "run") == 143
    assert capsys.readouterr().err == "run: Terminated: nothing was begun, run the same again.\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
