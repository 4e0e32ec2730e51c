"""From the hidden states of a text's tokens to one vector, as the model's authors pool them."""

from __future__ import annotations

import json
import re
from typing import Literal, get_args

import torch

from ..errors import ComicSeqDataError
from ..hub import find_file

Pooling = Literal["mean", "cls", "max", "lasttoken"]


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
        elif kind != "Normalize":  # vectors are brought to unit length anyway
            raise ComicSeqDataError(
                f"The text encoder {name} ends in a module {kind}, which is not read here: name a model of a transformer and"
                " a pooling alone."
            )
    return pooling, subfolder


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector a text (B, D) of its tokens' states (B, L, D), of which `mask` (B, L) says which are real."""
    if pooling == "mean":
        return torch.where(mask[..., None].bool(), states, 0).sum(1) / mask.sum(1, keepdim=True)
    if pooling == "max":
        return torch.where(mask[..., None].bool(), states, -torch.inf).amax(1)
    # The first or the last of the real ones: padding may stand on either side.
    real = mask.int()
    place = real.argmax(1) if pooling == "cls" else mask.shape[1] - 1 - real.flip(1).argmax(1)
    return states[torch.arange(len(states), device=states.device), place]


def _mode(name: str, content: object) -> Pooling:
    values = content if isinstance(content, dict) else {}
    modes = [flag for flag, is_on in values.items() if flag.startswith("pooling_mode_") and is_on is True]
    if isinstance(values.get("pooling_mode"), str):
        modes = [values["pooling_mode"]]
    # A flag such as `pooling_mode_cls_token`; newer files have our names.
    mode = re.sub("^pooling_mode_|_tokens?$", "", modes[0]) if len(modes) == 1 else None
    if mode not in get_args(Pooling):
        raise ComicSeqDataError(
            f"The text encoder {name} pools by {', '.join(modes) or 'nothing that is known'}, but one of"
            f" {', '.join(get_args(Pooling))} can be done: name another model."
        )
    return mode  # type: ignore[return-value]


def _read_json(name: str, file: str) -> object:
    path = find_file(name, file)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))
