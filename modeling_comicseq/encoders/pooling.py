"""From the hidden states of a text's tokens to one vector, as the model's authors pool them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args

import torch
from transformers.utils.hub import cached_file

from ..errors import ComicSeqDataError

Pooling = Literal["mean", "cls", "max", "lasttoken"]
# What sentence-transformers calls them in the file of its Pooling module.
_FLAGS = {f"pooling_mode_{name}": name for name in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
_SHORT = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
_PASSED_OVER = ("Transformer", "Normalize")  # vectors are brought to unit length anyway


def read_pooling(name: str) -> tuple[Pooling, str]:
    """How a text model pools, and the folder of its transformer in the repository.

    A model of sentence-transformers says so in `modules.json`; any other is pooled by the mean.

    Args:
        name: A folder, or a name on the Hub.

    Raises:
        ComicSeqDataError: If its sentence vector needs more than a transformer and one way of pooling.
    """
    modules = _read_json(name, "modules.json")
    if not isinstance(modules, list):
        return "mean", ""
    pooling: Pooling = "mean"
    subfolder = ""
    for module in modules:
        kind, path = module["type"].rsplit(".", 1)[-1], module["path"]
        if kind == "Transformer":
            subfolder = path
        elif kind == "Pooling":
            pooling = _mode(name, _read_json(name, f"{path}/config.json"))
        if kind not in (*_PASSED_OVER, "Pooling"):
            raise ComicSeqDataError(
                f"The text encoder {name} ends in a module {kind}, which is not read here: name a model of a transformer and"
                " a pooling alone."
            )
    return pooling, subfolder


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector a text (B, D) of its tokens' states (B, L, D), of which `mask` (B, L) says which are real."""
    real = mask[..., None].bool()
    if pooling == "mean":
        return torch.where(real, states, 0).sum(1) / mask.sum(1, keepdim=True)
    if pooling == "max":
        return torch.where(real, states, -torch.inf).amax(1)
    places = torch.arange(mask.shape[1], device=mask.device)
    # Padding may stand on either side.
    place = torch.where(mask.bool(), places, mask.shape[1]).amin(1)
    if pooling == "lasttoken":
        place = torch.where(mask.bool(), places, -1).amax(1)
    return states[torch.arange(len(states), device=states.device), place]


def _mode(name: str, content: object) -> Pooling:
    values = content if isinstance(content, dict) else {}
    modes = [flag.removeprefix("pooling_mode_") for flag, is_on in values.items() if flag in _FLAGS and is_on is True]
    others = [flag for flag, is_on in values.items() if flag.startswith("pooling_mode_") and is_on is True]
    if isinstance(values.get("pooling_mode"), str):  # its newer files
        modes = others = [values["pooling_mode"]]
    short = [_SHORT.get(mode, mode) for mode in modes]
    if len(others) != 1 or len(short) != 1 or short[0] not in get_args(Pooling):
        raise ComicSeqDataError(
            f"The text encoder {name} pools by {', '.join(others) or 'nothing that is known'}, but one of"
            f" {', '.join(get_args(Pooling))} can be done: name another model."
        )
    return short[0]  # type: ignore[return-value]


def _read_json(name: str, file: str) -> object:
    path = cached_file(
        name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
