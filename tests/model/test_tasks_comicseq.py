"""The registry of tasks: names load without torch, and a task from outside gets a head, a loss and a place in checkpoints."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.model.modeling_comicseq import TASK_CLASSES, ComicSeqForPanelPicking, register_task
from modeling_comicseq.model.tasks_comicseq import TASKS, ComicSeqTask
from tests.model_inputs import example, tiny_config


@pytest.fixture
def task():
    """An eighth task, for the time of a test."""
    task = ComicSeqTask("first_panel", "first panel", "Which panel opens the page?", "FirstPanel")
    register_task(type("FirstPanel", (ComicSeqForPanelPicking,), {"task": task}))
    yield task
    TASKS.pop(task.name), TASK_CLASSES.pop(task.name)


def test_the_registry_names_the_tasks_and_their_classes():
    assert list(TASKS) == list(TASK_CLASSES) == list(DEFAULT_TASK_WEIGHTS)
    for name, task in TASKS.items():
        assert task.name == name and TASK_CLASSES[name].__name__ == task.model_class
        assert task.head == f"{name}_head" and task.pipeline == "comic-" + name.replace("_", "-")


def test_a_task_from_outside_trains_and_is_saved(task, tmp_path):
    config = tiny_config(task_weights={**DEFAULT_TASK_WEIGHTS, task.name: 1.0})
    model = ComicSeqForPreTraining(config)
    outputs = model(first_panel=example("panel_picking"))
    assert isinstance(model.first_panel_head, nn.Module) and outputs.task_logits[task.name].shape == (3, 4)
    outputs.loss.backward()
    assert all(parameter.grad is not None for parameter in model.first_panel_head.scorer.parameters())

    model.save_pretrained(tmp_path)
    again = ComicSeqForPreTraining.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])


def test_a_model_without_the_task_has_no_head_for_it(task):
    assert not hasattr(
        ComicSeqForPreTraining(tiny_config(task_weights=dict.fromkeys(DEFAULT_TASK_WEIGHTS, 1.0))), task.head
    )


def test_a_name_is_given_once(task):
    with pytest.raises(ValueError, match="There is a task 'first_panel' already"):
        register_task(type("Another", (ComicSeqForPanelPicking,), {"task": task}))


def test_names_load_without_torch():
    code = (
        "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.model.tasks_comicseq import TASKS;"
        " assert len(TASKS) == 7 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
