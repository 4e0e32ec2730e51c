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
"""ComicPanel model configuration: a vision model and a text model, and how their features become panel vectors."""

from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import auto_docstring

from .configuration_efficientnet_lite import EfficientNetLiteConfig

# What a checkpoint's own code needs, for those who install it from there.
REQUIREMENTS = """\
numpy>=1.26
pillow>=10.0
safetensors>=0.5
torch>=2.6
transformers>=5.2,<6
"""

VISION_POOLING = ("pooler", "mean", "cls")
TEXT_POOLING = ("mean", "cls", "max", "lasttoken")


@auto_docstring(checkpoint="org/comicpanel")
@strict
class ComicPanelConfig(PreTrainedConfig):
    r"""
    vision_config (`PreTrainedConfig` or `dict`, *optional*):
        Configuration of the vision model: any of transformers, or EfficientNet-Lite. None for texts alone.
    text_config (`PreTrainedConfig` or `dict`, *optional*):
        Configuration of the text model: any of transformers; of one with a decoder, the encoder is used. None for
        pictures alone.
    projection_dim (`int`, *optional*, defaults to 512):
        Width of the panel vectors.
    vision_pooling (`str`, *optional*, defaults to `"pooler"`):
        What a picture's features are: `"pooler"`, the vision model's pooled output; `"mean"` or `"cls"`, the mean or the
        first of its last hidden states.
    vision_head_dim (`int`, *optional*):
        Width of the vision model's own linear projection behind its pooled output, as picture-and-text models have; None
        without one.
    vision_feature_dim (`int`, *optional*):
        Width of a picture's features. Defaults to what the vision model's configuration says. Without a vision model it
        still decides which projection of texts is drawn: EfficientNet-Lite0's 1280 by default.
    text_pooling (`str`, *optional*, defaults to `"mean"`):
        How the hidden states of a text's tokens become its features: `"mean"`, `"cls"`, `"max"` or `"lasttoken"`.
    text_layers (`list[int]`, *optional*, defaults to `[-1]`):
        Hidden states that are pooled, 0 for the token embeddings, -1 for the last layer's. Those of several layers stand
        side by side.
    text_feature_dim (`int`, *optional*):
        Width of a text's features. Defaults to what the text model's configuration says.
    vision_encoder (`str`, *optional*):
        Name of the vision model that this one was made of, for reports and provenance.
    text_encoder (`str`, *optional*):
        Name of the text model that this one was made of.

    Example:

    ```python
    >>> from transformers import BertConfig, ViTConfig
    >>> from modeling_comicseq import ComicPanelConfig, ComicPanelModel

    >>> configuration = ComicPanelConfig(vision_config=ViTConfig(), text_config=BertConfig())
    >>> model = ComicPanelModel(configuration)
    >>> configuration = model.config
    ```"""

    model_type = "comicpanel"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}

    vision_config: PreTrainedConfig | dict | None = None
    text_config: PreTrainedConfig | dict | None = None
    projection_dim: int = 512
    vision_pooling: str = "pooler"
    vision_head_dim: int | None = None
    vision_feature_dim: int | None = None
    text_pooling: str = "mean"
    text_layers: list[int] | tuple[int, ...] = (-1,)
    text_feature_dim: int | None = None
    vision_encoder: str | None = None
    text_encoder: str | None = None

    def __post_init__(self, **kwargs):
        self.vision_config = as_config(self.vision_config)
        self.text_config = as_config(self.text_config)
        if self.vision_feature_dim is None:
            self.vision_feature_dim = self.vision_head_dim or feature_dim(self.vision_config, "vision", 1280)
        if self.text_feature_dim is None and self.text_config is not None:
            self.text_feature_dim = feature_dim(self.text_config, "text") * len(self.text_layers)
        super().__post_init__(**kwargs)

    def save_pretrained(self, save_directory, **kwargs):
        """Saves the configuration, and `requirements.txt` for those who install what the checkpoint needs from it."""
        super().save_pretrained(save_directory, **kwargs)
        (Path(save_directory) / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")

    def validate_architecture(self):
        """Checks every field against what the model can be built with."""

        def require(field: str, is_possible: bool, wanted: str) -> None:
            if not is_possible:
                raise ValueError(f"`{field}` is {getattr(self, field)!r} but must be {wanted}.")

        depth = None if self.text_config is None else getattr(self.text_config, "num_hidden_layers", None)
        wanted = "at least one of the hidden states" + ("" if depth is None else f", 0 to {depth} or from behind -1")
        is_possible = all(depth is None or -depth - 1 <= layer <= depth for layer in self.text_layers)
        require("text_layers", len(self.text_layers) > 0 and is_possible, wanted)
        for field in ("projection_dim", "vision_head_dim", "vision_feature_dim", "text_feature_dim"):
            require(field, getattr(self, field) is None or getattr(self, field) >= 1, "at least 1")
        for field, allowed in (("vision_pooling", VISION_POOLING), ("text_pooling", TEXT_POOLING)):
            require(field, getattr(self, field) in allowed, f"one of {', '.join(allowed)}")


def as_config(content: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    """The configuration of a half from what `config.json` has of it."""
    if content is None or isinstance(content, PreTrainedConfig):
        return content
    if content.get("model_type") == EfficientNetLiteConfig.model_type:
        return EfficientNetLiteConfig(**content)
    return AutoConfig.for_model(**content)


def feature_dim(config: PreTrainedConfig | None, half: str, default: int | None = None) -> int:
    """Width of what the model of a configuration returns; `default` without a model."""
    if config is None:
        return default
    sizes = getattr(config, "hidden_sizes", None)  # one a stage
    for value in (getattr(config, "hidden_size", None), sizes and sizes[-1], getattr(config, "hidden_dim", None)):
        if isinstance(value, int):
            return value
    raise ValueError(
        f"`{half}_feature_dim` is missing, and the configuration of the {half} model ({config.model_type}) does not say how"
        " wide its features are."
    )


# Saved checkpoints carry this file and name it in their `auto_map`.
ComicPanelConfig.register_for_auto_class()

__all__ = ["ComicPanelConfig"]
