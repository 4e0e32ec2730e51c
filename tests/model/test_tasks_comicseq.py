"""The list of tasks: what the classes take from it, and a task that comes from outside the package."""

import subprocess
import sys

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from torch.testing import assert_close
from transformers import AutoConfig
from transformers.pipelines import PIPELINE_REGISTRY

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.model.modeling_comicseq import (
    TASK_CLASSES,
    ComicSeqTaskModel,
    ComicSeqTaskOutput,
    register_task,
)
from modeling_comicseq.model.tasks_comicseq import PANEL_PICKING, ComicSeqTask
from modeling_comicseq.model.tasks_comicseq import TASKS as BY_NAME
from tests.model_inputs import TASKS, build, example, tiny_config

LAST_PAGE = ComicSeqTask("last_page", "last page", "Is this the last page of the book?", "ComicSeqForLastPage", 0.6)


class LastPageHead(nn.Module):
    """Scores candidates by their cosine to the mean of the page."""

    def __init__(self, config):
        super().__init__()
        self.scorer = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, panels, candidates):
        return (candidates @ self.scorer(panels.mean(1))[..., None]).squeeze(-1)


class ComicSeqForLastPage(ComicSeqTaskModel):
    """A task as somebody outside the package writes it."""

    task = LAST_PAGE
    head_class = LastPageHead

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        return head(panels, candidates)

    def forward(
        self, panel_embeddings, candidate_embeddings, attention_mask=None, candidate_mask=None, labels=None, **kwargs
    ) -> ComicSeqTaskOutput:
        return self.answer((panel_embeddings, candidate_embeddings, attention_mask, candidate_mask), labels, **kwargs)


def unregister_last_page() -> None:
    """Leaves nothing of the task behind."""
    del BY_NAME["last_page"], TASK_CLASSES["last_page"], PIPELINE_REGISTRY.supported_tasks["comic-last-page"]


@pytest.fixture
def last_page():
    """The task, registered for one test."""
    register_task(ComicSeqForLastPage)
    yield
    unregister_last_page()


def question() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {
        "panel_embeddings": torch.randn(2, 4, 24),
        "candidate_embeddings": torch.randn(2, 3, 24),
        "labels": torch.tensor([2, 0]),
    }


def test_names_load_without_torch():
    code = (
        "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.model.tasks_comicseq import TASKS;"
        " assert len(TASKS) == 7 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_class_answers_its_task():
    assert list(TASK_CLASSES) == list(BY_NAME) == list(TASKS) == list(DEFAULT_TASK_WEIGHTS)
    for name, task in BY_NAME.items():
        model = TASKS[name](tiny_config())
        assert TASK_CLASSES[name] is TASKS[name] and TASKS[name].__name__ == task.model_class
        assert task.head == f"{name}_head" and task.pipeline == "comic-" + name.replace("_", "-")
        assert model.task is task and isinstance(getattr(model, f"{name}_head"), model.head_class)


def test_a_task_from_outside_is_trained_with_the_others(last_page):
    weights = {"panel_picking": 1.0, "last_page": 0.6}
    model, inputs = build("pretraining", tiny_config(task_weights=weights)), example("pretraining")
    outputs = model(panel_picking=inputs["panel_picking"], last_page=question())
    assert outputs.task_logits["last_page"].shape == (2, 3) and set(outputs.task_losses) == set(weights)
    outputs.loss.backward()
    assert model.last_page_head.scorer.weight.grad.abs().sum() > 0
    alone = ComicSeqForLastPage(model.config).eval()
    assert not alone.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert_close(alone(**question()).logits, outputs.task_logits["last_page"])


def test_the_heads_of_the_package_are_there_whatever_is_registered(last_page):
    model = ComicSeqForPreTraining(tiny_config())
    assert model.tasks == list(TASKS) and not hasattr(model, "last_page_head")
    other = ComicSeqForPreTraining(tiny_config(task_weights={"last_page": 1.0}))
    assert other.tasks == [*TASKS, "last_page"]
    assert set(other.state_dict()) - set(model.state_dict()) == {
        "last_page_head.scorer.weight",
        "last_page_head.scorer.bias",
    }
    with pytest.raises(ValueError, match="The model has no head for `last_page`: `task_weights`"):
        model(last_page=question())


def test_a_checkpoint_with_a_task_from_outside_loads_after_its_module_is_imported(tmp_path):
    register_task(ComicSeqForLastPage)
    try:
        model = build("pretraining", tiny_config(task_weights={"last_page": 1.0}))
        model.save_pretrained(tmp_path)
        again = ComicSeqForPreTraining.from_pretrained(tmp_path).eval()
        logits = model(last_page=question()).task_logits["last_page"]
        assert_close(again(last_page=question()).task_logits["last_page"], logits)
    finally:
        unregister_last_page()
    with pytest.raises(
        StrictDataclassError, match="names the task 'last_page' but.* calls `register_task` is imported: import it"
    ):
        AutoConfig.from_pretrained(tmp_path)


def test_registering_twice_is_no_fault_but_a_taken_name_is(last_page):
    register_task(ComicSeqForLastPage)
    with pytest.raises(ValueError, match="answered by ComicSeqForLastPage, not by ComicSeqForOther"):
        register_task(type("ComicSeqForOther", (ComicSeqForLastPage,), {}))
    other = ComicSeqTask("last_page", "last page", "Another question?", "ComicSeqForOther")
    with pytest.raises(ValueError, match="There is a task 'last_page' already, of ComicSeqForLastPage"):
        register_task(type("ComicSeqForOther", (ComicSeqForLastPage,), {"task": other}))
    for name in ("labels", "masked_panels", "output_attentions", "a task"):
        with pytest.raises(ValueError, match=f"A task cannot be named '{name}'"):
            task = ComicSeqTask(name, "", "", "ComicSeqForLastPage")
            register_task(type("ComicSeqForLastPage", (ComicSeqForLastPage,), {"task": task}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"panel_pikcing": {}},
            r"ComicSeqForPreTraining does not take `panel_pikcing` but .* Did you mean `panel_pick",
        ),
        ({"panel_picking": {"candidate_masks": 1}}, "`panel_picking` does not take `candidate_masks` but .*_mask`"),
        (
            {"caption_relevance": {"panel_embeddings": 1}},
            "`caption_relevance` does not take `panel_embeddings` but cand",
        ),
        ({"reading_order": {"position_ids": 1}}, "`reading_order` does not take `position_ids`"),
    ],
)
def test_unknown_inputs_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        build("pretraining")(**changes)


def test_arguments_of_transformers_still_pass():
    model, inputs = build("pretraining", attention="eager"), example("pretraining")
    outputs = model(**inputs, output_attentions=True, output_hidden_states=True, num_items_in_batch=None)
    assert outputs.attentions and outputs.hidden_states
    assert isinstance(model(**inputs, return_dict=False), tuple)


def test_weights_name_known_tasks():
    assert ComicSeqConfig().task_weights[PANEL_PICKING.name] == 1.0
    with pytest.raises(
        StrictDataclassError, match="`task_weights` names the task 'panel_pik' but tasks are panel_picking, "
    ):
        ComicSeqConfig(task_weights={"panel_pik": 1.0})
