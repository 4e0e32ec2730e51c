"""Which weights of an encoder are trained, and how fast."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.training.callbacks import change_learning_rate
from modeling_comicseq.training.tuning import depths_of, freeze, read_tuning, set_rates, shares_of
from tests.page_inputs import panel_model as pictures_alone
from tests.tiny_encoders import panel_model


def trained(encoder) -> set[str]:
    return {name for name, weight in encoder.named_parameters() if weight.requires_grad}


def test_one_word_is_for_both_halves_and_a_half_that_is_not_named_is_frozen():
    assert read_tuning(["last_2"]) == {"vision": "last_2", "text": "last_2"}
    assert read_tuning(["text=all"]) == {"vision": "none", "text": "all"}
    assert read_tuning(["vision=projections, text=last_10"]) == {"vision": "projections", "text": "last_10"}
    for words in (["last_0"], ["some"], ["text=some"], ["all", "text=none"], ["pictures=all"]):
        with pytest.raises(ComicSeqArgumentError, match="must be none, projections, last_N"):
            read_tuning(words)


def test_what_is_trained_are_the_last_layers_and_what_follows_them():
    encoder = panel_model()
    names = {name for name, _ in encoder.named_parameters()}
    projections = {name for name in names if "projection" in name and "model" not in name}
    for said, expected in (("none", set()), ("projections", projections), ("all", names)):
        freeze(encoder, read_tuning([said]))
        assert trained(encoder) == expected
    freeze(encoder, read_tuning(["text=last_1"]))
    assert trained(encoder) == {
        name for name in names if name.startswith(("text_model.encoder.layer.1.", "text_projection."))
    }
    freeze(encoder, read_tuning(["vision=last_1"]))
    last = ("vision_model.layers.1.", "vision_model.layernorm.", "vision_model.pooler.", "visual_projection.")
    assert trained(encoder) == {name for name in names if name.startswith(last)}
    with pytest.raises(
        ComicSeqArgumentError, match="last_3 for vision but its model has 2 layers: give at most last_2"
    ):
        freeze(encoder, read_tuning(["last_3"]))


def test_a_half_that_is_named_and_not_there_is_said():
    encoder = pictures_alone(reads_texts=False)
    freeze(encoder, read_tuning(["all"]))  # as far as there is something
    assert trained(encoder) == {name for name, _ in encoder.named_parameters()}
    with pytest.raises(ComicSeqArgumentError, match="is last_1 for text but the encoder has no text model"):
        freeze(encoder, read_tuning(["text=last_1"]))


def test_layers_below_learn_slower():
    encoder = panel_model()
    depths, layers = depths_of(encoder.text_model)
    assert layers == 2 and {name.split(".")[0]: depth for name, depth in depths.items()} == {
        "embeddings": 3,
        "encoder": 1,
    }
    shares = shares_of(encoder, 0.5)
    assert shares["text_model.encoder.layer.0.output.dense.weight"] == 0.25
    assert shares["text_model.embeddings.word_embeddings.weight"] == 0.125
    assert shares["vision_model.layernorm.weight"] == shares["text_projection.weight"] == 1


def test_the_encoder_has_a_rate_of_its_own_also_after_a_resume_with_another():
    encoder, head = panel_model(), torch.nn.Linear(3, 3)
    weights = dict(encoder.named_parameters())
    optimizer = torch.optim.AdamW([{"params": [*encoder.parameters(), head.weight]}, {"params": [head.bias]}], lr=0.5)
    shares = {weights[name]: share for name, share in shares_of(encoder, 0.5).items()}
    for _ in range(2):  # once is enough
        set_rates(optimizer, 0.01, shares)
    rate = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(rate) == len(weights) + 2 and rate[id(head.weight)] == rate[id(head.bias)] == 0.5
    assert all(rate[id(weight)] == 0.01 * share for weight, share in shares.items())
    assert optimizer.param_groups[0]["lr"] == 0.5  # which is the one that is logged

    schedule = LambdaLR(optimizer, lambda step: 1 - step / 4)
    optimizer.step()
    schedule.step()
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    change_learning_rate(optimizer, schedule, 0.25, 0.02)
    rate = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert rate[id(head.bias)] == pytest.approx(0.25 * 0.75)
    assert all(rate[id(weight)] == pytest.approx(0.02 * share * 0.75) for weight, share in shares.items())
