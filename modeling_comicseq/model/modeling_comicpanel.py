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
"""PyTorch ComicPanel model: the picture and the words of a comic panel as vectors of one space."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, auto_docstring
from transformers.utils.generic import can_return_tuple

from .configuration_comicpanel import ComicPanelConfig
from .halves_comicpanel import load_text_model, load_vision_model, make_text_model, make_vision_model
from .pooling_comicpanel import pool_picture, pool_text


@dataclass
@auto_docstring(custom_intro="The vectors of panels. Those of what was not given are None.")
class ComicPanelOutput(ModelOutput):
    r"""
    panel_embeddings (`torch.FloatTensor` of shape `(num_panels, projection_dim)`, *optional*):
        One vector a panel: the sum of the next two, or the one that there is.
    visual_embeddings (`torch.FloatTensor` of shape `(num_panels, projection_dim)`, *optional*):
        Vectors of the pictures alone.
    text_embeddings (`torch.FloatTensor` of shape `(num_panels, projection_dim)`, *optional*):
        Vectors of the texts alone, zeros where a panel has none.
    caption_embeddings (`torch.FloatTensor` of shape `(num_panels, projection_dim)`, *optional*):
        Vectors of the captions, in the space of the texts.
    """

    panel_embeddings: torch.FloatTensor | None = None
    visual_embeddings: torch.FloatTensor | None = None
    text_embeddings: torch.FloatTensor | None = None
    caption_embeddings: torch.FloatTensor | None = None


def draw_projections(vision_dim: int, text_dim: int | None, width: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Random matrices `(width, vision_dim)` and `(width, text_dim)` float32 that bring features to one width.

    Entries are drawn from N(0, 1 / width), so that lengths and angles are kept in expectation (Johnson and Lindenstrauss,
    1984) and a unit vector stays one of norm about 1. The generator is seeded with the width and draws the matrix of
    pictures first, then that of texts: the same features and width give the same vectors on every machine.
    """
    generator = np.random.default_rng(width)

    def draw(dim: int) -> np.ndarray:
        return (generator.standard_normal((dim, width)) / np.sqrt(width)).astype(np.float32).T

    return draw(vision_dim), None if text_dim is None else draw(text_dim)


class ComicPanelProjection(nn.Linear):
    """From the features of one half, `vision` or `text`, to the width of the panel vectors."""

    def __init__(self, config: ComicPanelConfig, half: str):
        self.dims = config.vision_feature_dim, config.text_feature_dim, config.projection_dim
        self.half = half
        super().__init__(self.dims[half == "text"], config.projection_dim, bias=False)

    def draw_weight(self) -> torch.Tensor:
        """The weight that a new model begins with."""
        visual, text = draw_projections(*self.dims)
        return torch.from_numpy(text if self.half == "text" else visual)


def single_or_double(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in single precision where it is in half of it: lengths of features need more."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def with_first_token(attention_mask: torch.Tensor) -> torch.Tensor:
    """The mask (M, L) with the first token of texts that have none: attention over nothing is not a number."""
    first = torch.arange(attention_mask.shape[1], device=attention_mask.device) == 0
    return torch.where(first & ~attention_mask.bool().any(1)[:, None], 1, attention_mask)


def public_name(model: str | PreTrainedModel) -> str | None:
    """A model's name as a checkpoint may tell it: of a folder, without where it lies; None where it has no name."""
    name = model if isinstance(model, str) else model.config.name_or_path
    return (Path(name).resolve().name if Path(name).is_dir() else name) if name else None


@auto_docstring
class ComicPanelPreTrainedModel(PreTrainedModel):
    config: ComicPanelConfig
    base_model_prefix = "comicpanel"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _auto_class = "AutoModel"

    @torch.no_grad()
    def _init_weights(self, module):
        # The two models inside initialise themselves.
        if isinstance(module, ComicPanelProjection):
            init.copy_(module.weight, module.draw_weight())
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)

    def save_pretrained(self, save_directory, **kwargs):
        """Saves weights, configuration and modelling files, so that the folder loads without this package."""
        # Named here, as the processor's file is copied only where this file imports it.
        from .processing_comicpanel import ComicPanelProcessor  # noqa: F401

        self.config.auto_map = {
            "AutoConfig": "configuration_comicpanel.ComicPanelConfig",
            "AutoModel": "modeling_comicpanel.ComicPanelModel",
            "AutoProcessor": "processing_comicpanel.ComicPanelProcessor",
        }
        super().save_pretrained(save_directory, **kwargs)


@auto_docstring(
    custom_intro="A vision model and a text model whose features, at unit length and projected to one width, are summed."
)
class ComicPanelModel(ComicPanelPreTrainedModel):
    def __init__(
        self,
        config: ComicPanelConfig,
        vision_model: PreTrainedModel | None = None,
        text_model: PreTrainedModel | None = None,
    ):
        r"""
        vision_model (`PreTrainedModel`, *optional*):
            The vision model; by default one with random weights.
        text_model (`PreTrainedModel`, *optional*):
            The text model; by default one with random weights.
        """
        super().__init__(config)
        if config.vision_config is None and config.text_config is None:
            raise ValueError("The configuration has neither a `vision_config` nor a `text_config`: give one, or both.")
        self.vision_model = self.vision_head = self.visual_projection = None
        self.text_model = self.text_projection = None
        if config.vision_config is not None:
            self.vision_model = vision_model or make_vision_model(config.vision_config, config.vision_pooling)
            if config.vision_head_dim is not None:
                self.vision_head = nn.Linear(self.vision_model.config.hidden_size, config.vision_head_dim, bias=False)
            self.visual_projection = ComicPanelProjection(config, "vision")
        if config.text_config is not None:
            self.text_model = text_model or make_text_model(config.text_config)
            self.text_projection = ComicPanelProjection(config, "text")
        self.post_init()

    @classmethod
    def from_encoders_pretrained(
        cls,
        vision: str | PreTrainedModel | None = None,
        text: str | PreTrainedModel | None = None,
        projection_dim: int = 512,
        *,
        dtype: torch.dtype = torch.float32,
        **fields: Any,
    ) -> "ComicPanelModel":
        """Makes a model of a vision model and a text model, whose projections are drawn.

        Args:
            vision: Folder or Hub name of any vision model of transformers, or the model; None for texts alone. Of a
                picture-and-text model such as CLIP, the picture half.
            text: Folder or Hub name of any text model of transformers or sentence-transformers, or the model; None for
                pictures alone. It is pooled as its `modules.json` says, by the mean where it has none.
            projection_dim: Width of the panel vectors.
            dtype: In which precision both are loaded.
            fields: Further fields of the configuration, which win over what the two models say.

        Raises:
            ValueError: If a model reads no pictures or no texts, or its vectors need more than is done here.
        """
        found: dict[str, Any] = {"projection_dim": projection_dim}
        vision_model = text_model = head = None
        if vision is not None:
            vision_model, head, said = load_vision_model(vision, dtype=dtype)
            found |= said
            found["vision_encoder"] = public_name(vision)
        if text is not None:
            text_model, said = load_text_model(text, dtype=dtype)
            found |= said
            found["text_encoder"] = public_name(text)
        attentions = {}
        for name in {"vision_config", "text_config"} & found.keys():
            found[name].name_or_path = public_name(found[name].name_or_path) or ""
            attentions[name] = found[name]._attn_implementation
        config = ComicPanelConfig(**found | fields)
        for name, attention in attentions.items():  # the new configuration has taken its own, none, to both
            getattr(config, name)._attn_implementation = attention
        model = cls(config, vision_model, text_model)
        if head is not None:
            model.vision_head.load_state_dict(head.state_dict())
        return model.to(dtype).eval()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        caption_input_ids: torch.LongTensor | None = None,
        caption_attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ComicPanelOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_panels, num_channels, height, width)`, *optional*):
            The panels' pictures, as `ComicPanelProcessor` prepares them.
        input_ids (`torch.LongTensor` of shape `(num_panels, length)`, *optional*):
            The panels' texts.
        attention_mask (`torch.Tensor` of shape `(num_panels, length)`, *optional*):
            1 for the tokens of a text. A panel of which none is 1 has no text: its text vector is zeros.
        caption_input_ids (`torch.LongTensor` of shape `(num_panels, length)`, *optional*):
            Captions of the panels.
        caption_attention_mask (`torch.Tensor` of shape `(num_panels, length)`, *optional*):
            As `attention_mask`.

        Example:

        ```python
        >>> from transformers import AutoModel, AutoProcessor

        >>> model = AutoModel.from_pretrained("org/comicpanel", trust_remote_code=True)
        >>> processor = AutoProcessor.from_pretrained("org/comicpanel", trust_remote_code=True)
        >>> inputs = processor(images=[crop], text=["Where is the cat?"])
        >>> model(**inputs).panel_embeddings.shape
        ```"""
        visual = text = captions = None
        if pixel_values is not None:
            visual = self.get_image_features(pixel_values)
        if input_ids is not None:
            text = self.get_text_features(input_ids, attention_mask)
        if caption_input_ids is not None:
            captions = self.get_text_features(caption_input_ids, caption_attention_mask)
        counts = {
            name: len(vectors)
            for name, vectors in {"pixel_values": visual, "input_ids": text, "caption_input_ids": captions}.items()
            if vectors is not None
        }
        if not counts:
            raise ValueError("Nothing is given: `pixel_values`, `input_ids` or `caption_input_ids` are needed.")
        if len(set(counts.values())) > 1:
            said = ", ".join(f"`{name}` {count}" for name, count in counts.items())
            raise ValueError(f"The same panels are expected in all inputs, but their numbers are {said}.")
        fused = None if visual is None and text is None else self.fuse(visual, text)
        return ComicPanelOutput(
            panel_embeddings=fused, visual_embeddings=visual, text_embeddings=text, caption_embeddings=captions
        )

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Vectors (M, projection_dim) of pictures alone.

        Args:
            pixel_values: Pictures (M, C, H, W), as `ComicPanelProcessor` prepares them.
        """
        return self.project(self.read_images(pixel_values), self.visual_projection)

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors (M, projection_dim) of texts alone, zeros where there is nothing to read.

        Args:
            input_ids: Tokens of the texts (M, L).
            attention_mask: 1 for the tokens that are read (M, L), by default all.
        """
        return self.project(self.read_texts(input_ids, attention_mask), self.text_projection)

    def read_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features (M, vision_feature_dim) of pictures before the projection, at unit length and not in half precision."""
        if self.vision_model is None:
            raise ValueError("The model reads no pictures: its configuration has no `vision_config`.")
        if pixel_values.dim() != 4:
            raise ValueError(
                f"`pixel_values` has the shape {tuple(pixel_values.shape)} but (panels, channels, height, width) is expected."
            )
        outputs = self.vision_model(pixel_values=pixel_values.to(self.vision_model.dtype))
        features = pool_picture(outputs, self.config.vision_pooling)
        if self.vision_head is not None:
            features = self.vision_head(features)
        return nn.functional.normalize(single_or_double(features), dim=1)

    def read_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Features (M, text_feature_dim) of texts before the projection, at unit length and not in half precision; zeros without tokens."""
        is_last = tuple(self.config.text_layers) == (-1,)
        return self.pool_tokens(*self.read_tokens(input_ids, attention_mask, only_last=is_last))

    def read_tokens(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, only_last: bool = False
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """
        States (M, L, W) of the tokens of texts after each layer of the text model, the first before the first layer (or of
        the last layer only), and the mask (M, L) of those that are read.
        """
        if self.text_model is None:
            raise ValueError("The model reads no texts: its configuration has no `text_config`.")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if input_ids.dim() != 2 or attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"`input_ids` and its mask have the shapes {tuple(input_ids.shape)} and {tuple(attention_mask.shape)} but"
                " both are expected to be (panels, length)."
            )
        mask = with_first_token(attention_mask)
        outputs = self.text_model(input_ids=input_ids, attention_mask=mask, output_hidden_states=not only_last)
        # Of some models the last of the hidden states lacks the final normalisation.
        last = outputs.last_hidden_state
        return (last,) if only_last else (*outputs.hidden_states[:-1], last), attention_mask

    def pool_tokens(self, states: tuple[torch.Tensor, ...], attention_mask: torch.Tensor) -> torch.Tensor:
        """The features (M, text_feature_dim) of texts, from what `read_tokens` gives."""
        mask = with_first_token(attention_mask)
        pooled = [
            pool_text(single_or_double(states[layer]), mask, self.config.text_pooling)
            for layer in self.config.text_layers
        ]
        features = torch.cat([nn.functional.normalize(each, dim=1) for each in pooled], dim=1)
        has_text = attention_mask.bool().any(1, keepdim=True)
        return torch.where(has_text, nn.functional.normalize(features, dim=1), 0)

    def fuse(self, visual_embeddings: torch.Tensor | None, text_embeddings: torch.Tensor | None) -> torch.Tensor:
        """Vectors of panels (..., projection_dim): the sum of those of pictures and texts, or those that there are."""
        if visual_embeddings is None or text_embeddings is None:
            return text_embeddings if visual_embeddings is None else visual_embeddings
        return visual_embeddings + text_embeddings

    def project(self, features: torch.Tensor, projection: nn.Linear) -> torch.Tensor:
        """Vectors (M, projection_dim) of features (M, F) by the `projection` of their half."""
        return projection(features.to(projection.weight.dtype))


__all__ = ["ComicPanelModel", "ComicPanelOutput", "ComicPanelPreTrainedModel"]
