"""Masked means unread: garbage in any masked slot of any input reaches neither outputs nor gradients."""

import math

import pytest
import torch

from tests.model_inputs import CLASSES, TASKS, boxed_config, build, example, tiny_config, unread_slots

ATTENTIONS, ENCODINGS = ("eager", "sdpa"), ("joint", "independent")
GARBAGE = [math.nan, math.inf, -math.inf]


def poisoned(inputs: dict, garbage: float) -> dict:
    """The inputs with `garbage` in every slot of every tensor that the class must not read."""
    unread = unread_slots(inputs)
    result = {}
    for name, value in inputs.items():
        if isinstance(value, dict):
            value = poisoned(value, garbage)
        elif name in unread:
            assert unread[name].any(), f"the example leaves nothing unread in {name}"
            value = value.masked_fill(unread[name][..., None], garbage)
        result[name] = value
    return result


def flatten(value) -> list[torch.Tensor]:
    if torch.is_tensor(value):
        return [value]
    return [tensor for item in (value.values() if isinstance(value, dict) else value) for tensor in flatten(item)]


def outputs_and_gradients(model, inputs) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    model.zero_grad()
    outputs = model(**inputs)
    loss = outputs.get("loss")
    if loss is None:  # the encoder: its padded panels have states, which nobody reads
        outputs = [outputs.last_hidden_state[inputs["attention_mask"].bool()], outputs.pooler_output]
        loss = sum(output.pow(2).sum() for output in outputs)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return flatten(outputs), gradients


@pytest.mark.parametrize(
    ("attention", "config"),
    [
        *((attention, tiny_config(candidate_encoding=encoding)) for attention in ATTENTIONS for encoding in ENCODINGS),
        ("sdpa", boxed_config()),
        ("eager", boxed_config(candidate_encoding="independent")),
    ],
)
@pytest.mark.parametrize("name", CLASSES)
def test_garbage_in_masked_slots_changes_nothing(name, config, attention):
    model = build(name, config, attention).train()  # dropout is 0
    inputs = example(name, config)
    expected_outputs, expected_gradients = outputs_and_gradients(model, inputs)
    assert all(tensor.isfinite().all() for tensor in expected_outputs)
    assert expected_gradients and all(gradient.isfinite().all() for gradient in expected_gradients.values())
    for garbage in GARBAGE:
        outputs, gradients = outputs_and_gradients(model, poisoned(inputs, garbage))
        for expected, actual in zip(expected_outputs, outputs, strict=True):
            assert torch.equal(actual, expected)
        assert gradients.keys() == expected_gradients.keys()
        for parameter, expected in expected_gradients.items():
            assert torch.equal(gradients[parameter], expected), parameter


@pytest.mark.parametrize("task", TASKS)
def test_garbage_beside_the_tensors_changes_nothing(task):
    """Positions of padded panels and labels to ignore may hold anything allowed, too."""
    model, inputs = build(task), example(task)
    expected, _ = outputs_and_gradients(model, inputs)
    if "attention_mask" in inputs and task != "reading_order":
        positions = torch.arange(5).expand(3, -1)
        inputs["position_ids"] = torch.where(inputs["attention_mask"] == 1, positions, 10**6)
        actual, _ = outputs_and_gradients(model, inputs)
        assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))
    inputs["labels"] = torch.full_like(inputs["labels"], -100)
    outputs, gradients = outputs_and_gradients(model, inputs)
    assert outputs[0] == 0 and all((gradient == 0).all() for gradient in gradients.values())


def test_each_panel_and_candidate_that_is_real_is_read():
    """The counterpart: the masks hide no more than they should."""
    for name in TASKS:
        model, inputs = build(name, boxed_config()), example(name, boxed_config())
        names = {key for key in inputs if key.endswith(("embeddings", "embedding", "boxes"))}
        variables = {key: inputs[key].clone().requires_grad_() for key in names}
        model(**{**inputs, **variables}).logits.clamp(min=-1e6).pow(2).sum().backward()
        unread = unread_slots(inputs)
        for key, variable in variables.items():
            was_read = variable.grad.abs().sum(-1) > 0
            expected = ~unread.get(key, torch.zeros_like(was_read))
            if key == "panel_boxes":
                expected &= inputs[key].any(-1)  # four zeros say that a box is not known
            assert torch.equal(was_read, expected), f"{name}: {key}"
