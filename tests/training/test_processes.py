"""Runs of several processes: what they compute is what one process would have."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS

from . import processes
from .processes import Run, argv, write_inputs

TASKS = tuple(DEFAULT_TASK_WEIGHTS)
EXACT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "masked_panel_weight": 1.0}
EXACT |= {"box_relation_layers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """25 pages, most of whose panels have boxes: in steps of eight, the last of an epoch has one page, and no process but
    one has a page then."""
    folder = tmp_path_factory.mktemp("processes")
    write_inputs(folder, books=[[3, 4, 2, 5, 6]] * 5, boxes=True)
    return folder


def log(output: Path) -> list[dict]:
    entries = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [{k: v for k, v in entry.items() if k not in ("pages_per_second", "padding_share")} for entry in entries]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "accumulation", "epochs"), [("views", 1, 2), ("nt_xent", 2, 1), ("cohesion", 1, 1)]
)
def test_two_processes_compute_what_one_does(folder, objective, accumulation, epochs):
    """Losses, gradients, validation and weights, also where one process, or none, has a question of some task."""
    # Plain descent: weights show any wrong scale of a gradient, which Adam would divide out.
    fields = {"optim": "sgd", "learning_rate": 1e-3, "weight_decay": 0.0, "save_strategy": "no", "eval_steps": 4}
    fields |= {"load_best_model_at_end": False, "gradient_accumulation_steps": accumulation}
    fields |= {"num_train_epochs": epochs, "config_overrides": EXACT | {"contrastive_objective": objective}}
    outputs = []
    for count in (1, 2):
        outputs.append(folder / f"{objective}-{count}")
        words = argv(folder, outputs[-1], per_device_train_batch_size=8 // accumulation // count, **fields)
        run = Run(words, folder / f"{outputs[-1].name}.log", processes=count)
        assert run.exit_codes == [0] * count, run.output
    one, two = map(log, outputs)
    steps = [entry for entry in one if "loss" in entry]
    assert len(steps) == 4 * epochs and steps[-1]["epoch"] == epochs
    assert any(f"{task}_loss" not in entry for entry in steps for task in TASKS), "no step lacks a task"
    assert len([entry for entry in one if "eval_score" in entry]) == epochs
    for alone, together in zip(one, two, strict=True):
        names = [name for name in alone if name.endswith(("loss", "accuracy", "score", "norm", "cosine", "rank"))]
        assert alone.keys() == together.keys()
        assert [together[name] for name in names] == pytest.approx([alone[name] for name in names], abs=1e-5, rel=1e-5)
    weights, other = (load_file(output / "model.safetensors") for output in outputs)
    assert weights["comicseq.embeddings.box_embedding.output.weight"].any()
    for name, weight in weights.items():
        torch.testing.assert_close(other[name], weight, msg=name)


@pytest.mark.slow
def test_two_processes_that_are_killed_in_mid_epoch_end_as_if_they_were_not(folder):
    whole, parts = folder / "whole", folder / "parts"
    words = partial(argv, folder, per_device_train_batch_size=4, save_steps=2, eval_steps=2, num_train_epochs=3)
    run = Run(words(whole), folder / "whole.log", processes=2)
    assert run.exit_codes == [0, 0], run.output
    # Four steps an epoch: the sixth is in the middle of the second.
    run = Run(words(parts), folder / "parts.log", partial(processes.kill_at_step, 7), processes=2)
    assert run.exit_codes == [-signal.SIGKILL] * 2, run.output
    run = Run(words(parts), folder / "parts.log", processes=2)
    assert run.exit_codes == [0, 0] and f"Resuming from {parts}/checkpoint-6" in run.output, run.output
    losses = [[entry for entry in log(output) if "loss" in entry] for output in (parts, whole)]
    assert losses[0] == losses[1]
    weights, expected = (load_file(output / "checkpoint-12" / "model.safetensors") for output in (parts, whole))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
