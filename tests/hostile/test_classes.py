"""Classes, pipelines and the endpoint's handler, given what they do not take."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModel, pipeline

from modeling_comicseq import ComicSeqConfig, ComicSeqModel
from modeling_comicseq.model.handler import EndpointHandler
from tests.model_inputs import TASKS, build, example

from .conftest import CLASSES, DIMS, TINY
from .table import check_sentence, snapshot

PANELS = torch.randn(2, 3, 8)
BOXES = torch.tensor([0.1, 0.1, 0.5, 0.5]).expand(2, 3, 4)
PICKING = {
    "panel_embeddings": PANELS,
    "mask_position": torch.tensor([0, 1]),
    "candidate_embeddings": torch.randn(2, 4, 8),
}


def config(**fields):
    return lambda: ComicSeqConfig(**(TINY | DIMS | fields))


def encoder(**inputs):
    return lambda: ComicSeqModel(ComicSeqConfig(**TINY, **DIMS))(**inputs)


def boxed(boxes):
    return lambda: ComicSeqModel(ComicSeqConfig(**TINY, **DIMS, box_embedding=True))(PANELS, panel_boxes=boxes)


def picking(**changes):
    inputs = {name: value for name, value in (PICKING | changes).items() if value is not ...}
    return lambda: CLASSES["picking"](ComicSeqConfig(**TINY, **DIMS))(**inputs)


def order(**inputs):
    return lambda: CLASSES["order"](ComicSeqConfig(**TINY, **DIMS))(**inputs)


def strips(value):
    return lambda: pipeline("comic-strip-embedding", model="model")(value)


REFUSED = {
    # Configurations
    "no width": (config(hidden_size=0), "hidden_size", "0"),
    "a width that heads do not divide": (
        config(hidden_size=30, num_attention_heads=4),
        "`hidden_size` is 30",
        "multiple",
    ),
    "an odd width": (config(hidden_size=15, num_attention_heads=3), "`hidden_size` is 15", "even"),
    "layers below 0": (config(num_hidden_layers=-1), "`num_hidden_layers` is -1", "at least 0"),
    "dropout of 1": (config(hidden_dropout_prob=1.0), "`hidden_dropout_prob` is 1.0", "below 1"),
    "dropout of NaN": (config(hidden_dropout_prob=math.nan), "`hidden_dropout_prob` is nan", "below 1"),
    "no temperature": (config(contrastive_temperature=0), "`contrastive_temperature` is 0", "above 0"),
    "a temperature of NaN": (config(contrastive_temperature=math.nan), "`contrastive_temperature` is nan", "above 0"),
    "no such objective": (config(contrastive_objective="simclr"), "'simclr'", "views"),
    "no such activation": (config(hidden_act="glu!"), "'glu!'", "gelu"),
    "no such order": (config(reading_order_target="next"), "'next'", "adjacency"),
    "no such task": (config(task_weights={"picking": 1}), "'picking'", "panel_picking"),
    "a task's weight below 0": (config(task_weights={"panel_picking": -1}), "panel_picking", "-1", "at least 0"),
    "positions below 1": (config(max_position_embeddings=0), "`max_position_embeddings` is 0", "at least 1"),
    # Inputs of the encoder
    "two axes": (encoder(panel_embeddings=PANELS[0]), "`panel_embeddings`", "(3, 8)"),
    "another width": (encoder(panel_embeddings=PANELS[..., :5]), "`panel_embeddings`", "8"),
    "a mask of other pages": (
        encoder(panel_embeddings=PANELS, attention_mask=torch.ones(3, 3)),
        "`attention_mask`",
        "(3, 3)",
    ),
    "a page without panels": (
        encoder(panel_embeddings=PANELS, attention_mask=torch.tensor([[1, 1, 1], [0, 0, 0]])),
        "`attention_mask`",
        "row 1",
    ),
    "too many panels": (encoder(panel_embeddings=torch.randn(1, 40, 8)), "40 panels", "32", "windows"),
    "a position beyond the last": (
        encoder(panel_embeddings=PANELS, position_ids=torch.full((2, 3), 99)),
        "`position_ids`",
        "99",
    ),
    "boxes for a model that reads none": (encoder(panel_embeddings=PANELS, panel_boxes=BOXES), "leave them out"),
    "boxes of other pages": (boxed(BOXES[:1]), "`panel_boxes`", "(1, 3, 4)", "(2, 3, 4)"),
    "boxes in pixels": (boxed(BOXES * 1000), "`panel_boxes`", "row 0 has [100.0, 100.0, 500.0, 500.0]", "shares"),
    "boxes beyond the edge": (boxed(BOXES - 0.2), "`panel_boxes`", "0 <= x0", "four zeros"),
    "inverted boxes": (boxed(BOXES.flip(-1)), "`panel_boxes`", "x0 < x1"),
    "boxes of NaN": (boxed(BOXES * torch.nan), "`panel_boxes`", "nan"),
    "boxes in a list": (boxed(BOXES.tolist()), "`panel_boxes`", "tensor"),
    # Inputs of a task
    "no candidates": (picking(candidate_embeddings=...), "candidate_embeddings"),
    "a slot that is none": (picking(mask_position=torch.tensor([0, 7])), "`mask_position`", "7"),
    "a label beyond the candidates": (picking(labels=torch.tensor([0, 9])), "`labels`", "9"),
    "candidates of another width": (picking(candidate_embeddings=torch.randn(2, 4, 5)), "`candidate_embeddings`", "5"),
    "an order of no panels": (order(), "panel_embeddings"),
    # Pipelines
    "a word": (strips("page"), "reads vectors"),
    "None": (strips(None), "panel_embeddings"),
    "a page of another width": (strips(np.ones((3, 5))), "panel_embeddings", "8"),
    "a page of NaN": (strips(np.full((3, 8), np.nan)), "panel_embeddings", "NaN"),
    "an unknown field": (strips({"panels": [[0.0] * 8]}), "panels"),
    "an empty page": (strips({"panel_embeddings": []}), "panel_embeddings"),
    "pages of 40 panels": (strips(np.ones((40, 8))), "40"),
    "no such checkpoint": (lambda: AutoModel.from_pretrained("./nowhere"), "nowhere"),
}


def of_class(name, **changes):
    inputs = example(name) | changes
    return lambda: build(name)(**{key: value for key, value in inputs.items() if value is not ...})


for name, task_class in TASKS.items():
    for each in (each.name for each in task_class.task.inputs if not each.is_optional):
        REFUSED[f"{name} without {each}"] = (of_class(name, **{each: ...}), f"`{each}`")
        REFUSED[f"{name}, {each} as an array"] = (of_class(name, **{each: np.ones(3)}), f"`{each}`", "torch.as_tensor")
    REFUSED[f"{name}, a mistyped name"] = (of_class(name, atention_mask=torch.ones(3, 5)), "atention_mask")
    REFUSED[f"{name}, labels as a list"] = (of_class(name, labels=[0, 1, 2]), "`labels`", "torch.as_tensor")


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, place):
    call, *says = REFUSED[name]
    before = snapshot(place)
    with pytest.raises((ValueError, OSError, StrictDataclassError)) as error:
        call()
    # The library puts two lines of its own around what a configuration says.
    said = error.value.__cause__ if isinstance(error.value, StrictDataclassError) else error.value
    check_sentence(" ".join(str(said).split()), *says)
    assert snapshot(place) == before


PAGE = [[0.5] * 8] * 3
REQUESTS = {
    "nothing": (None, "inputs"),
    "a word": ("hello", "inputs"),
    "no inputs": ({}, "inputs"),
    "inputs of nothing": ({"inputs": None}, "inputs"),
    "no page": ({"inputs": []}, "64"),
    "65 pages": ({"inputs": [{"panel_embeddings": PAGE}] * 65}, "64"),
    "no such task": ({"inputs": PAGE, "parameters": {"task": "strip"}}, "'strip'", "comic-strip-embedding"),
    "parameters that are a list": ({"inputs": PAGE, "parameters": [1]}, "parameters"),
    "no such parameter": ({"inputs": PAGE, "parameters": {"top_k": 1}}, "'top_k'", "modality"),
    "a task that is a number": ({"inputs": PAGE, "parameters": {"task": 1}}, "`task`", "str"),
    "another width": ({"inputs": [[0.5] * 5]}, "8"),
    "vectors of two lengths": ({"inputs": {"panel_embeddings": [[0.5] * 8, [0.5]]}}, "one length"),
    "words": ({"inputs": {"panel_embeddings": [["a"] * 8]}}, "numbers only"),
    "truths": ({"inputs": {"panel_embeddings": [[True] * 8]}}, "numbers only"),
    "NaN": ({"inputs": {"panel_embeddings": [[math.nan] * 8]}}, "NaN"),
    "beyond float32": ({"inputs": {"panel_embeddings": [[1e39] * 8]}}, "float32"),
    "beyond any float": ({"inputs": {"panel_embeddings": [[10**400] * 8]}}, "float32"),
    "40 panels": ({"inputs": {"panel_embeddings": [[0.5] * 8] * 40}}, "40", "32"),
    "an unknown field": ({"inputs": {"panels": PAGE}}, "'panels'", "panel_embeddings"),
    "a slot as a word": (
        {
            "inputs": {"panel_embeddings": PAGE, "mask_position": "1", "candidate_embeddings": PAGE},
            "parameters": {"task": "comic-panel-picking"},
        },
        "`mask_position`",
        "whole number",
    ),
}


@pytest.fixture(scope="module")
def handler(good):
    return EndpointHandler(str(good / "model"))


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_answered_with_what_is_wrong(name, handler):
    request, *says = REQUESTS[name]
    answer = handler(request)
    assert set(answer) == {"error", "status"} and answer["status"] == 400
    check_sentence(answer["error"], *says)
