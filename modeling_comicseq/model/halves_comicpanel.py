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
"""Vision and text models as the halves of a ComicPanel model: made from a configuration, or loaded by name."""

import inspect
from typing import Any

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .configuration_efficientnet_lite import EfficientNetLiteConfig
from .modeling_efficientnet_lite import EfficientNetLiteModel
from .pooling_comicpanel import pool_picture, read_text_pooling

# What a picture-and-text model calls the projection of its picture half.
VISION_HEADS = ("visual_projection", "vision_projection")


def make_vision_model(config: PreTrainedConfig, pooling: str) -> PreTrainedModel:
    """A vision model with random weights, without its pooling layer where that is not read."""
    # Not by its class: of remote code, transformers may have loaded the configuration's file a second time.
    if config.model_type == EfficientNetLiteConfig.model_type:
        return EfficientNetLiteModel._from_config(config)
    return AutoModel.from_config(config, **({} if pooling == "pooler" else _without_pooler(config)))


def make_text_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A text model with random weights, without its pooling layer and its decoder."""
    return _encoder(AutoModel.from_config(config, **_without_pooler(config)))


def load_vision_model(
    vision: str | PreTrainedModel, **kwargs: Any
) -> tuple[PreTrainedModel, nn.Linear | None, dict[str, Any]]:
    """A vision model by its folder or Hub name, the linear projection behind it, and the configuration fields of both.

    Of a picture-and-text model, the picture half is taken, in the space that both halves share.

    Args:
        vision: The name, or a model that is loaded already.
        kwargs: Handed to `AutoModel.from_pretrained`.

    Raises:
        ValueError: If the model reads no pictures, or its picture half is more than a model and a linear projection.
    """
    model, has_pooler = _load(vision, **kwargs)
    name = model.config.name_or_path or type(model).__name__
    head = None
    if hasattr(model, "get_image_features"):
        model, head = _picture_half(model, name)
    elif not has_pooler:  # a random one would give other vectors at each loading
        model, _ = _load(vision, **kwargs, **_without_pooler(model.config))
    outputs = _read_grey(model, name)
    pooling = "pooler" if has_pooler and getattr(outputs, "pooler_output", None) is not None else "mean"
    fields = {"vision_config": model.config, "vision_pooling": pooling}
    if head is None:
        return model, None, fields | {"vision_feature_dim": pool_picture(outputs, pooling).shape[1]}
    return model, head, fields | {"vision_head_dim": head.out_features, "vision_feature_dim": head.out_features}


def load_text_model(text: str | PreTrainedModel, **kwargs: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A text model by its folder or Hub name, and the configuration fields of how it is pooled.

    Args:
        text: The name, or a model that is loaded already, which is pooled by the mean and loses its pooling layer.
        kwargs: Handed to `AutoModel.from_pretrained`.

    Raises:
        ValueError: If the model is no text encoder, or its sentence vector needs more than a transformer and a pooling.
    """
    pooling, subfolder = read_text_pooling(text) if isinstance(text, str) else ("mean", "")
    if isinstance(text, str):
        kwargs |= _without_pooler(AutoConfig.from_pretrained(text, subfolder=subfolder))
        kwargs["subfolder"] = subfolder
    model, _ = _load(text, **kwargs)
    if getattr(model.config, "num_hidden_layers", None) is None:
        raise ValueError(f"{text} is no text encoder: it has no layers of hidden states.")
    if isinstance(text, PreTrainedModel) and _without_pooler(text.config):
        text.pooler = None
    return _encoder(model), {"text_config": model.config, "text_pooling": pooling}


def _load(model: str | PreTrainedModel, **kwargs: Any) -> tuple[PreTrainedModel, bool]:
    """A model, and whether its checkpoint has a pooling layer, if its class has one.

    Raises:
        ValueError: The checkpoint lacks other weights, which would be random, and others at each loading.
    """
    if isinstance(model, PreTrainedModel):
        return model, True
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # of a classifier or a decoder that is not needed
    try:
        loaded, report = AutoModel.from_pretrained(model, output_loading_info=True, **kwargs)
    finally:
        logging.set_verbosity(verbosity)
    unread = "decoder." if loaded.config.is_encoder_decoder else ()
    missing = [key for key in report["missing_keys"] if not key.startswith(unread)]
    without_pooler = [key for key in missing if not key.startswith("pooler.")]
    if without_pooler:
        raise ValueError(f"{model} lacks weights of a {type(loaded).__name__}: {without_pooler[0]}.")
    return loaded, not missing


def _encoder(model: PreTrainedModel) -> PreTrainedModel:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _without_pooler(config: PreTrainedConfig) -> dict[str, Any]:
    """The argument that leaves out a model's pooling layer, where its class has one."""
    model_class = MODEL_MAPPING.get(type(config), None)
    is_known = isinstance(model_class, type) and "add_pooling_layer" in inspect.signature(model_class).parameters
    return {"add_pooling_layer": False} if is_known else {}


@torch.no_grad()
def _picture_half(model: PreTrainedModel, name: str) -> tuple[PreTrainedModel, nn.Linear | None]:
    """The vision model of a picture-and-text model, and the linear projection behind it where there is one."""
    half = getattr(model, "vision_model", None)
    heads = [getattr(model, head) for head in VISION_HEADS if isinstance(getattr(model, head, None), nn.Linear)]
    head = heads[0] if heads else None
    if isinstance(half, PreTrainedModel) and (head is None or head.bias is None):
        pooled = getattr(_read_grey(half, name), "pooler_output", None)
        expected = _read_grey(model.eval(), name, model.get_image_features)
        expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
        found = pooled if head is None or pooled is None else head(pooled)
        if (
            found is not None
            and found.shape == expected.shape
            and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)
        ):
            return half, head
    raise ValueError(f"The picture half of {name} is more than a vision model and a linear projection.")


@torch.no_grad()
def _read_grey(model: PreTrainedModel, name: str, read: Any = None) -> Any:
    """What a vision model returns of a picture without anything on it, which says what its vectors are."""
    config = getattr(model.config, "vision_config", model.config)
    size = getattr(config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    channels = getattr(config, "num_channels", None) or 3
    was_training = model.training
    try:
        pixels = torch.zeros(1, channels, height, width, dtype=model.dtype, device=model.device)
        return (read or model.eval())(pixel_values=pixels)
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        raise ValueError(f"{name} reads no pictures: {str(error).strip().splitlines()[0]}") from None
    finally:
        model.train(was_training)
