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
"""Checks of the encoder's inputs: shapes always, values outside of compiled code."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from .configuration_comicseq import ComicSeqConfig
from .heads_comicseq import as_mask, take_slot

MODALITIES = ("panel", "visual", "text", "caption")


def check_shape(name: str, tensor: torch.Tensor, *shape: int | None) -> None:
    """Raises a `ValueError` that names the argument unless `tensor` has `shape` (`None`: any size)."""
    if tensor.dim() != len(shape) or any(
        want is not None and have != want for have, want in zip(tensor.shape, shape, strict=False)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"`{name}` has the shape {tuple(tensor.shape)} but ({wanted}) is expected.")


def check_tensors(inputs: Mapping[str, Any]) -> None:
    """Raises a `ValueError` that names the first of `inputs` that is neither a tensor nor left out (`None`)."""
    for name, value in inputs.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise ValueError(
                f"`{name}` is of type {type(value).__name__} but must be a tensor: `torch.as_tensor` makes one of arrays"
                " and lists."
            )


def as_index(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as `torch.long`; raises a `ValueError` that names the argument unless it holds whole numbers."""
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise ValueError(f"`{name}` is of {tensor.dtype} but must hold whole numbers, as torch.long does.")
    return tensor.long()


def check_values(valid: torch.Tensor, message: str, values: torch.Tensor) -> None:
    """
    Raises a `ValueError` that shows the first row of `values` (B, ...) that is not `valid` (B, ...). Compiled and
    exported code does not look at values.
    """
    if not torch.compiler.is_compiling() and not valid.all():
        row = int(valid.logical_not().reshape(len(valid), -1).any(1).nonzero()[0])
        raise ValueError(f"{message}, but row {row} has {values[row].tolist()}.")


def check_names(where: str, given: Iterable[str], allowed: Collection[str]) -> None:
    """Raises a `ValueError` that shows the first name of `given` that is not `allowed`."""
    for name in given:
        if name not in allowed:
            alike = difflib.get_close_matches(name, allowed, n=1)
            hint = f" Did you mean `{alike[0]}`?" if alike else ""
            raise ValueError(f"{where} does not take `{name}` but {', '.join(sorted(allowed))}.{hint}")


def check_finite(model: nn.Module, name: str) -> None:
    """Raises a `ValueError` that shows the first weight of the model `name` that holds NaN or infinity."""
    for key, weight in model.state_dict().items():
        # Quantised weights are tensors of classes of their own, and offloaded ones are not there.
        if type(weight) is torch.Tensor and weight.is_floating_point() and not weight.is_meta:
            if not weight.isfinite().all():
                raise ValueError(
                    f"`{key}` of {name} holds NaN or infinity, so that its answers mean nothing: take a checkpoint from"
                    " before the training diverged."
                )


def check_inputs(where: str, given: Mapping[str, Any], allowed: Collection[str], required: Iterable[str]) -> None:
    """Raises a `ValueError` unless `given` is a mapping of `allowed` names that leaves out none of the `required`."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is of type {type(given).__name__} but must be a dictionary of its inputs.")
    check_names(where, given, allowed)
    missing = [f"`{name}`" for name in required if given.get(name) is None]
    if missing:
        raise ValueError(f"{where} lacks {' and '.join(missing)}.")


def check_mask(name: str, what: str, mask: torch.Tensor | None, vectors: torch.Tensor) -> torch.Tensor:
    """The mask (B, N) of `vectors` (B, N, P) as booleans, all true where none is given; no row may be empty."""
    if mask is not None:
        check_shape(name, mask, *vectors.shape[:2])
        check_values((mask == 0) | (mask == 1), f"`{name}` must be 0 or 1", mask)
    mask = as_mask(mask, vectors)
    check_values(mask.any(1), f"`{name}` must mark at least one real {what} in every row", mask.int())
    return mask


def check_panel_boxes(config: ComicSeqConfig, boxes: torch.Tensor, shape: torch.Size, shown: torch.Tensor) -> None:
    """Raises a `ValueError` unless `boxes` have the `shape` (B, N) and those that are `shown` (B, N) lie on the page."""
    if not config.box_embedding:
        raise ValueError(
            "`panel_boxes` was given but the model cannot read boxes (`box_embedding` of its configuration is False):"
            " leave them out, or take a model that was trained with them."
        )
    check_shape("panel_boxes", boxes, *shape, 4)
    first, last = boxes[..., :2], boxes[..., 2:]
    is_possible = ((first >= 0) & (first < last) & (last <= 1)).all(-1) | (boxes == 0).all(-1) | ~shown
    check_values(
        is_possible,
        "`panel_boxes` must be x0 y0 x1 y1 as shares of the page, with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, or four"
        " zeros where a box is not known",
        take_slot(boxes, is_possible.int().argmin(1)),
    )


def check_modality(name: str, modality: str) -> None:
    """Raises a `ValueError` unless `modality` is one that vectors can be of."""
    if not isinstance(modality, str) or modality not in MODALITIES:
        raise ValueError(f"`{name}` is {modality!r} but must be one of {', '.join(MODALITIES)}.")


def check_positions(
    config: ComicSeqConfig, position_ids: torch.Tensor | None, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Positions (B, N) of the panels, -1 for padding; by default they count from 0."""
    batch_size, num_panels = attention_mask.shape
    limit = config.max_position_embeddings
    if position_ids is None:
        if num_panels > limit:
            raise ValueError(
                f"`panel_embeddings` has {num_panels} panels a row but `max_position_embeddings` is {limit}: split"
                " longer pages into windows."
            )
        position_ids = torch.arange(num_panels, device=attention_mask.device).expand(batch_size, -1)
    check_shape("position_ids", position_ids, batch_size, num_panels)
    position_ids = as_index("position_ids", position_ids)
    check_values(
        ((position_ids >= -1) & (position_ids < limit)) | ~attention_mask,
        f"`position_ids` must be -1 (no position) or from 0 to below `max_position_embeddings`, which is {limit}",
        position_ids,
    )
    return torch.where(attention_mask, position_ids, -1)


def check_mask_position(mask_position: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The slot (B,) that was taken out, as a mask (B, N)."""
    batch_size, num_panels = attention_mask.shape
    check_shape("mask_position", mask_position, batch_size)
    mask_position = as_index("mask_position", mask_position)
    masked_panels = torch.arange(num_panels, device=mask_position.device) == mask_position[:, None]
    check_values(
        (attention_mask & masked_panels).any(1),
        f"`mask_position` must be a real panel among the {num_panels} slots",
        mask_position,
    )
    return masked_panels


def check_candidate_position(
    config: ComicSeqConfig, candidate_position: torch.Tensor, batch_size: int
) -> torch.Tensor:
    """The position (B,) that candidates are asked for: it must exist, or be -1 for none."""
    limit = config.max_position_embeddings
    check_shape("candidate_position", candidate_position, batch_size)
    candidate_position = as_index("candidate_position", candidate_position)
    check_values(
        (candidate_position >= -1) & (candidate_position < limit),
        f"`candidate_position` (by default the one after the last panel: a full page leaves none of the {limit} positions)"
        f" must be -1 (no position) or from 0 to below `max_position_embeddings`, which is {limit}",
        candidate_position,
    )
    return candidate_position
