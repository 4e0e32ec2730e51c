"""Task classes under the stock Trainer of transformers."""

import math
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import Trainer, TrainingArguments

from tests.model_inputs import TASKS, build, example
from tests.training.processes import ranks

CHOOSING = ["panel_picking", "visual_closure", "text_closure", "text_cloze"]  # with the cross-entropy as their loss


def full(inputs: dict) -> dict:
    """The example with no padded candidate."""
    return inputs | {"candidate_mask": torch.ones_like(inputs["candidate_mask"])}


def trainer(model, inputs: dict, folder: Path, **fields) -> Trainer:
    fields = {"max_steps": 1, "per_device_train_batch_size": 3, "logging_steps": 1, "save_strategy": "no"} | fields
    fields |= {"use_cpu": True, "disable_tqdm": True, "learning_rate": 0.0}
    rows = [{name: value[row] for name, value in inputs.items()} for row in range(3)]
    return Trainer(model, TrainingArguments(str(folder), **fields), train_dataset=rows)


def logged_loss(run: Trainer) -> float:
    run.train()
    return run.state.log_history[0]["loss"]


@pytest.mark.parametrize("task", CHOOSING)
def test_label_smoothing_of_full_rows_is_right(task, tmp_path):
    inputs = full(example(task))
    logits = build(task)(**inputs).logits
    expected = torch.nn.functional.cross_entropy(logits, inputs["labels"], label_smoothing=0.1)
    loss = logged_loss(trainer(build(task), inputs, tmp_path, label_smoothing_factor=0.1))
    assert_close(torch.tensor(loss), expected)


@pytest.mark.parametrize("task", CHOOSING)
def test_label_smoothing_over_padded_candidates_is_refused(task, tmp_path):
    """It would be infinite, which Trainer logs as 0."""
    with pytest.raises(ValueError, match="The loss reads padded candidates.*`label_smoothing_factor`.* set it to 0"):
        trainer(build(task), example(task), tmp_path, label_smoothing_factor=0.1).train()


@pytest.mark.parametrize("task", ["character_coherence", "caption_relevance", "reading_order"])
def test_label_smoothing_keeps_off_other_losses(task, tmp_path):
    model, inputs = build(task).train(), example(task)
    with pytest.warns(UserWarning, match="Label smoothing is not compatible"):
        run = trainer(model, inputs, tmp_path, label_smoothing_factor=0.1)
    assert_close(torch.tensor(logged_loss(run)), model(**inputs).loss.detach())


@pytest.mark.parametrize("task", CHOOSING)
def test_a_loss_of_ones_own_may_mask_padded_candidates(task):
    model, inputs = build(task).train(), example(task)
    labels = inputs.pop("labels")
    torch.nn.functional.cross_entropy(model(**inputs).logits, labels).backward()
    own = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert own and all(gradient.isfinite().all() for gradient in own)


def train_in_a_process(folder: str, environment: dict[str, str]) -> None:
    os.environ |= environment
    for task in TASKS:
        fields = {"gradient_checkpointing": True, "per_device_train_batch_size": 1, "max_steps": 3}
        loss = logged_loss(trainer(build(task), example(task), Path(folder) / task, **fields))
        Path(folder, f"{task}-{environment['RANK']}").write_text(str(loss))


@pytest.mark.thorough
def test_two_processes_with_gradient_checkpointing(tmp_path):
    """Trainer then does not look for parameters without a gradient, and the second step fails if there is one."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=train_in_a_process, args=(str(tmp_path), rank)) for rank in ranks(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    for task in TASKS:
        assert math.isfinite(float((tmp_path / f"{task}-0").read_text()))
