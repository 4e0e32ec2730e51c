# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""How the states of a vision or a text model become one vector, and where a text model says how it pools."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from transformers.utils.hub import cached_file

from .configuration_comicpanel import TEXT_POOLING


def pool_picture(outputs: Any, pooling: str) -> torch.Tensor:
    """One vector a picture (M, D) of what a vision model returns."""
    if pooling == "pooler":
        return outputs.pooler_output.flatten(1)  # some convolutional networks pool to (M, D, 1, 1)
    states = outputs.last_hidden_state
    if states.dim() == 4:  # a map (M, D, H, W)
        states = states.flatten(2).transpose(1, 2)
    return states.mean(1) if pooling == "mean" else states[:, 0]


def pool_text(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a text (M, D) of its tokens' states (M, L, D), of which `mask` (M, L) says which are real."""
    if pooling == "mean":
        return torch.where(mask[..., None].bool(), states, 0).sum(1) / mask.sum(1, keepdim=True)
    if pooling == "max":
        return torch.where(mask[..., None].bool(), states, -torch.inf).amax(1)
    # The first or the last of the real ones: padding may stand on either side.
    real = mask.int()
    place = real.argmax(1) if pooling == "cls" else mask.shape[1] - 1 - real.flip(1).argmax(1)
    return states[torch.arange(len(states), device=states.device), place]


def read_text_pooling(name: str) -> tuple[str, str]:
    """How a text model pools, and the folder of its transformer in the repository.

    A model of sentence-transformers says so in `modules.json`; any other is pooled by the mean.

    Args:
        name: A folder, or a name on the Hub.

    Raises:
        ValueError: If its sentence vector needs more than a transformer and one way of pooling.
    """
    modules = read_json(name, "modules.json")
    if not isinstance(modules, list):
        return "mean", ""
    pooling, subfolder = "mean", ""
    for module in modules:
        kind, path = module["type"].rsplit(".", 1)[-1], module["path"]
        if kind == "Transformer":
            subfolder = path
        elif kind == "Pooling":
            pooling = _mode(name, read_json(name, f"{path}/config.json"))
        elif kind != "Normalize":  # features are brought to unit length anyway
            raise ValueError(
                f"The text encoder {name} ends in a module {kind}, which is not read here: name a model of a transformer and"
                " a pooling alone."
            )
    return pooling, subfolder


def read_json(name: str, file: str) -> object:
    """What a JSON file of a model holds, which is a folder or on the Hub; None where it has none."""
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(name, file, **quiet)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def _mode(name: str, content: object) -> str:
    values = content if isinstance(content, dict) else {}
    modes = [flag for flag, is_on in values.items() if flag.startswith("pooling_mode_") and is_on is True]
    if isinstance(values.get("pooling_mode"), str):
        modes = [values["pooling_mode"]]
    # A flag such as `pooling_mode_cls_token`; newer files have our names.
    mode = re.sub("^pooling_mode_|_tokens?$", "", modes[0]) if len(modes) == 1 else None
    if mode not in TEXT_POOLING:
        raise ValueError(
            f"The text encoder {name} pools by {', '.join(modes) or 'nothing that is known'}, but one of"
            f" {', '.join(TEXT_POOLING)} can be done: name another model."
        )
    return mode
