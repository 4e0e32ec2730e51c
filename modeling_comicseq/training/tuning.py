"""Which weights of a panel encoder are trained, and at which rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import ComicSeqArgumentError, split_names
from ..model.modeling_comicpanel import ComicPanelModel

HALVES = ("vision", "text")
NONE, PROJECTIONS, ALL = "none", "projections", "all"
SHARE = "share_of_encoder_rate"  # in a group of an optimiser


def read_tuning(words: Sequence[str]) -> dict[str, str]:
    """What is trained of each half: `none`, `projections`, `last_N` or `all`.

    Args:
        words: One of these for both halves, or `vision=…` and `text=…`, of which one that is left out is `none`.

    Raises:
        ComicSeqArgumentError: They are something else.
    """
    said = split_names(words)
    tuning = dict.fromkeys(HALVES, NONE)
    for word in said:
        half, equals, value = word.rpartition("=")
        is_possible = value in (NONE, PROJECTIONS, ALL) or re.fullmatch(r"last_[1-9]\d*", value)
        if not is_possible or (equals and half not in HALVES) or (not equals and len(said) > 1):
            raise ComicSeqArgumentError(
                f"`tune_encoders` is {' '.join(words)!r} but must be none, projections, last_N (such as last_2) or all, or one"
                " of them a half, as in vision=none text=last_2."
            )
        tuning |= {half: value} if equals else dict.fromkeys(HALVES, value)
    return tuning


def reads_features(tuning: Mapping[str, str]) -> dict[str, bool]:
    """Of which halves the layers stay as they are, so that what they make of a picture or text is made once."""
    return {half: value in (NONE, PROJECTIONS) for half, value in tuning.items()}


def freeze(encoder: ComicPanelModel, tuning: Mapping[str, str]) -> None:
    """Lets those weights of an encoder have no gradient that are not to be trained.

    Raises:
        ComicSeqArgumentError: A half has fewer layers than are to be trained, or is named and not there.
    """
    encoder.requires_grad_(False)
    for half, value in tuning.items():
        model, projection = _half(encoder, half)
        if value == NONE:
            continue
        if model is None:
            if {*tuning.values()} == {value}:  # said of both halves
                continue
            raise ComicSeqArgumentError(
                f"`tune_encoders` is {value} for {half} but the encoder has no {half} model: leave that half out."
            )
        assert projection is not None
        projection.requires_grad_(True)
        if value == PROJECTIONS:
            continue
        if half == "vision" and encoder.vision_head is not None:
            encoder.vision_head.requires_grad_(True)
        depths, layers = depths_of(model)
        last = layers + 1 if value == ALL else int(value.removeprefix("last_"))
        if value != ALL and last > layers:
            raise ComicSeqArgumentError(
                f"`tune_encoders` is {value} for {half} but its model has {layers} layers: give at most last_{layers}, or all."
            )
        for name, weight in model.named_parameters():
            weight.requires_grad_(depths[name] <= last)


def depths_of(model: PreTrainedModel) -> tuple[dict[str, int], int]:
    """How many layers above the bottom each weight lies from the top, and the number of layers.

    Layers are the outermost list of modules: of the last one the depth is 1, of what follows it 0, and of what comes before
    the first one more than the number of layers.
    """
    lists = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.ModuleList) and len(each)]
    name, layers = lists[0] if lists else ("", nn.ModuleList())
    depths, depth = {}, len(layers) + 1
    for weight, _ in model.named_parameters():
        if lists and weight.startswith(f"{name}."):
            depth = len(layers) - int(weight.removeprefix(f"{name}.").partition(".")[0])
        elif depth <= len(layers):
            depth = 0
        depths[weight] = depth
    return depths, len(layers)


def shares_of(encoder: ComicPanelModel, layer_decay: float) -> dict[str, float]:
    """The share of each of an encoder's weights in its learning rate, by name: `layer_decay` for every layer of depth."""
    shares = {name: 1.0 for name, _ in encoder.named_parameters()}
    for half in HALVES:
        model, _ = _half(encoder, half)
        if model is not None:
            depths, _ = depths_of(model)
            shares |= {f"{half}_model.{name}": layer_decay**depth for name, depth in depths.items()}
    return shares


def set_rates(optimizer: torch.optim.Optimizer, learning_rate: float, shares: Mapping[torch.Tensor, float]) -> None:
    """Gives the encoder's weights rates of their own, before an optimiser's first step: its groups are parted by rate.

    Args:
        optimizer: As it was made.
        learning_rate: The peak rate of the encoder.
        shares: The share of each of its weights in that.
    """
    if not shares or any(SHARE in group for group in optimizer.param_groups):
        return
    groups, optimizer.param_groups = optimizer.param_groups, []
    for group in groups:
        parts: dict[float | None, list[torch.Tensor]] = {None: []}
        for weight in group["params"]:
            parts.setdefault(shares.get(weight), []).append(weight)
        for share, weights in parts.items():
            own = {} if share is None else {"lr": learning_rate * share, SHARE: share}
            if weights:
                optimizer.add_param_group({**group, "params": weights, **own})


def peak_rate(group: Mapping[str, Any], learning_rate: float, encoder_learning_rate: float) -> float:
    """The peak learning rate of a group of an optimiser."""
    return encoder_learning_rate * group[SHARE] if SHARE in group else learning_rate


def _half(encoder: ComicPanelModel, half: str) -> tuple[PreTrainedModel | None, nn.Linear | None]:
    projection = encoder.visual_projection if half == "vision" else encoder.text_projection
    return getattr(encoder, f"{half}_model"), projection
