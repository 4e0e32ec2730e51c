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
"""PyTorch ComicSeq model: a transformer over the panels of a comic page."""

import contextlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForMultipleChoice, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .checks_comicseq import (
    as_index,
    check_candidate_position,
    check_inputs,
    check_mask,
    check_mask_position,
    check_modality,
    check_names,
    check_panel_boxes,
    check_positions,
    check_shape,
    check_tensors,
)
from .configuration_comicseq import DEFAULT_TASK_WEIGHTS, ComicSeqConfig
from .geometry_comicseq import ComicSeqBoxEmbedding, ComicSeqBoxLinear
from .heads_comicseq import (
    ComicSeqBilinear,
    ComicSeqCaptionRelevanceHead,
    ComicSeqCharacterCoherenceHead,
    ComicSeqClosureHead,
    ComicSeqContextSimilarity,
    ComicSeqInputSimilarity,
    ComicSeqMaskedPanelHead,
    ComicSeqPanelPickingHead,
    ComicSeqReadingOrderHead,
    ComicSeqSimilarity,
    ComicSeqTextClozeHead,
    as_mask,
    last_slot,
    masked_mean,
    single_or_double,
    take_slot,
)
from .losses_comicseq import (
    binary_losses,
    choice_losses,
    cohesion_loss,
    gather_rows,
    info_nce_loss,
    matching_losses,
    scale_gradient,
)
from .ordering_comicseq import best_orders
from .packing_comicseq import ComicSeqPacking, ComicSeqView, pad_and_concatenate
from .strips_comicseq import ComicSeqStripMean, normalise_inputs
from .tasks_comicseq import (
    CAPTION_RELEVANCE,
    CHARACTER_COHERENCE,
    PANEL_PICKING,
    READING_ORDER,
    TASKS,
    TEXT_CLOSURE,
    TEXT_CLOZE,
    VISUAL_CLOSURE,
    ComicSeqTask,
)

# What transformers and its decorators hand to the `forward` of any model.
LIBRARY_ARGUMENTS = {*TransformersKwargs.__annotations__, "output_cross_attentions", "use_cache"} - {"position_ids"}
# Axes of the inputs that are not listed with a task.
NUM_AXES = {"attention_mask": 2, "candidate_mask": 2, "position_ids": 2, "mask_position": 1, "candidate_scores": 2}


def split_arguments(arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts what transformers may hand to any model from what else was given."""
    settings = {name: value for name, value in arguments.items() if name in LIBRARY_ARGUMENTS}
    others = {name: value for name, value in arguments.items() if name not in settings and value is not None}
    return settings, others


def with_library_docstring(model_class):
    """Puts behind the docstring of a class what transformers says of every model."""
    return auto_docstring(custom_intro=model_class.__doc__)(model_class)


@dataclass
@auto_docstring(
    custom_intro="Output of the encoder. `contextualized_panels` and `strip_embedding` are read-only names for the first two fields."
)
class ComicSeqModelOutput(ModelOutput):
    r"""
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_panels, hidden_size)`):
        One contextualised vector per panel.
    pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
        One vector per strip: the strip query's attention over the contextualised panels, with
        `strip_pooling="residual"` added to the whitened mean of the vectors that went in.
    candidate_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_candidates, hidden_size)`, *optional*):
        One vector per candidate, where candidates were given.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*):
        The states of the tokens of panels and candidates after each layer: with separate streams, two of each.
    attentions (`tuple(torch.FloatTensor)`, *optional*):
        The weights of the layers' attention among these tokens.
    cross_attentions (`tuple(torch.FloatTensor)`, *optional*):
        The strip query's weights over the panels, one tensor of shape `(batch_size, num_heads, 1, num_panels)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    candidate_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None

    @property
    def contextualized_panels(self) -> torch.FloatTensor:
        return self.last_hidden_state

    @property
    def strip_embedding(self) -> torch.FloatTensor:
        return self.pooler_output


@dataclass
@auto_docstring(custom_intro="Output of a task class: one score per candidate, or one per pair of panels.")
class ComicSeqTaskOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*):
        Mean loss of the examples, where labels were given.
    logits (`torch.FloatTensor` of shape `(batch_size, num_candidates)` or `(batch_size, num_panels, num_panels)`):
        Scores before softmax or sigmoid. Padded candidates have the lowest finite score.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
@auto_docstring(custom_intro="Output of pretraining: the weighted sum of all losses, and each task's own.")
class ComicSeqForPreTrainingOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*):
        Weighted mean over the examples of all tasks, plus the weighted contrastive loss.
    pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`, *optional*):
        The strip vectors of `panel_embeddings`.
    contrastive_loss (`torch.FloatTensor` of shape `(1,)`, *optional*):
        The contrastive loss before its weight.
    masked_panel_loss (`torch.FloatTensor` of shape `(1,)`, *optional*):
        The loss of masked panel modelling before its weight.
    task_losses (`dict[str, torch.FloatTensor]`, *optional*):
        The loss of every example of each task.
    task_logits (`dict[str, torch.FloatTensor]`, *optional*):
        The logits of each task, as its own class returns them.
    padding_share (`torch.FloatTensor` of shape `(1,)`, *optional*):
        Share of padding among the tokens that went through the layers.
    cross_attentions (`tuple(torch.FloatTensor)`, *optional*):
        The strip query's weights over the panels.
    """

    loss: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    masked_panel_loss: torch.FloatTensor | None = None
    task_losses: dict[str, torch.FloatTensor] | None = None
    task_logits: dict[str, torch.FloatTensor] | None = None
    padding_share: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


def sinusoidal_positions(num_positions: int, hidden_size: int, base: float = 10000.0) -> torch.Tensor:
    """
    Sines at even and cosines at odd dimensions (Vaswani et al., 2017, section 3.5), `(num_positions, hidden_size)`, of
    wavelengths from 2 pi to 2 pi times `base`.
    """
    positions = torch.arange(num_positions, dtype=torch.float32)[:, None]
    frequencies = torch.exp(torch.arange(0, hidden_size, 2, dtype=torch.float32) * (-math.log(base) / hidden_size))
    angles = positions * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class ComicSeqInputProjection(nn.Module):
    """
    Brings the vectors of one modality to the magnitude and width of the hidden states. Fused panels of the right width
    need no projection; every further modality has its own, and a type embedding.
    """

    def __init__(self, config: ComicSeqConfig, input_dim: int, is_fused_panel: bool = False):
        super().__init__()
        self.input_scale = config.input_scale
        needs_projection = not is_fused_panel or input_dim != config.hidden_size
        self.projection = nn.Linear(input_dim, config.hidden_size) if needs_projection else None
        self.type_embedding = None if is_fused_panel else nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        vectors = vectors.to(torch.promote_types(dtype, torch.float32))
        hidden_states = normalise_inputs(vectors, self.input_scale).to(dtype)
        if self.projection is not None:
            hidden_states = self.projection(hidden_states)
        if self.type_embedding is not None:
            hidden_states = hidden_states + self.type_embedding
        return hidden_states


class ComicSeqEmbeddings(nn.Module):
    """Turns vectors of any modality into tokens: projection, type, box, and sinusoidal position."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.config = config
        if not config.has_streams:
            self.panel_projection = ComicSeqInputProjection(config, config.panel_embedding_dim, is_fused_panel=True)
        self.text_projection = ComicSeqInputProjection(config, config.text_embedding_dim)
        self.visual_projection = ComicSeqInputProjection(config, config.visual_embedding_dim)
        self.caption_projection = ComicSeqInputProjection(config, config.caption_embedding_dim)
        self.mask_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.box_embedding = ComicSeqBoxEmbedding(config) if config.box_embedding else None
        self.register_buffer("position_embeddings", self.make_positions(), persistent=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def make_positions(self) -> torch.Tensor:
        """The sinusoid of every position, `(max_position_embeddings, hidden_size)`."""
        config = self.config
        return sinusoidal_positions(config.max_position_embeddings, config.hidden_size, config.position_base)

    def project(self, vectors: torch.Tensor, mask: torch.Tensor, modality: str) -> torch.Tensor:
        """Projects `vectors` (B, N, P), reading only where `mask` (B, N) is true: garbage elsewhere has no effect."""
        if modality == "panel" and self.config.has_streams:
            tokens, real = self.project_streams(vectors, mask)
            tokens = torch.where(real[..., None], tokens, torch.zeros_like(tokens))
            return tokens.sum(2) / real.sum(2).clamp(min=1)[..., None]
        vectors = torch.where(mask[..., None], vectors, torch.zeros((), dtype=vectors.dtype, device=vectors.device))
        return getattr(self, f"{modality}_projection")(vectors, self.mask_embedding.dtype)

    def project_streams(self, vectors: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Projects the picture and the text of panel `vectors` (B, N, V + T), each where there is one: `(B, N, 2, D)`, and which
        of them are tokens (B, N, 2). A panel that has neither is shown as a picture of zeros.
        """
        widths = [self.config.visual_embedding_dim, self.config.text_embedding_dim]
        has_visual, has_text = (mask & (half != 0).any(-1) for half in vectors.split(widths, -1))
        real = torch.stack((has_visual | (mask & ~has_text), has_text), dim=-1)
        halves = zip(vectors.split(widths, -1), real.unbind(-1), ("visual", "text"), strict=True)
        return torch.stack([self.project(*each) for each in halves], dim=2), real

    def project_tokens(
        self, vectors: torch.Tensor, mask: torch.Tensor, modality: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        As `project`, but in as many tokens as the encoder takes each vector for: `(B, N, S, D)`, and which of them are real
        (B, N, S). S is 2 for panels of separate streams, else 1.
        """
        if modality == "panel" and self.config.has_streams:
            return self.project_streams(vectors, mask)
        return self.project(vectors, mask, modality)[:, :, None], mask[..., None]

    def add_positions(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Adds to tokens (B, N, S, D) the sinusoid of each of `position_ids` (B, N); -1 adds nothing."""
        positions = self.position_embeddings.to(hidden_states.dtype)[position_ids.clamp(min=0)]
        positions = torch.where(position_ids[..., None] >= 0, positions, torch.zeros_like(positions))
        return self.dropout(hidden_states + positions[:, :, None])

    def forward(
        self,
        panel_embeddings: torch.Tensor | None,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        masked_panels: torch.Tensor | None = None,
        visual_embedding: torch.Tensor | None = None,
        modality: str = "panel",
        panel_boxes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of panels (B, N), `(B, N, S, D)` with S as in `project_tokens`, and which of them are real (B, N, S)."""
        shown = attention_mask if masked_panels is None else attention_mask & ~masked_panels
        if panel_embeddings is None:  # boxes alone
            hidden_states, real = self.mask_embedding.expand(*attention_mask.shape, 1, -1), attention_mask[..., None]
        else:
            hidden_states, real = self.project_tokens(panel_embeddings, shown, modality)
        if masked_panels is not None:
            asked = self.mask_embedding.expand(masked_panels.shape[0], 1, -1)
            if visual_embedding is not None:
                given = (visual_embedding != 0).any(-1, keepdim=True)
                picture = self.project(visual_embedding[:, None], given, "visual")
                asked = asked + torch.where(given[..., None], picture, torch.zeros_like(picture))
            hidden_states = torch.where(masked_panels[..., None, None], asked[:, None], hidden_states)
            is_first = torch.arange(real.shape[-1], device=real.device) == 0  # what was taken out is one token
            real = real | (masked_panels & attention_mask)[..., None] & is_first
        if panel_boxes is not None:
            box_shown = attention_mask if self.config.show_asked_box else shown
            hidden_states = hidden_states + self.box_embedding(panel_boxes, box_shown)[:, :, None]
        return self.add_positions(hidden_states, position_ids), real


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
):
    if scaling is None:
        scaling = query.size(-1) ** -0.5

    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask

    attn_weights = nn.functional.softmax(single_or_double(attn_weights), dim=-1).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)

    attn_output = torch.matmul(attn_weights, value)
    return attn_output.transpose(1, 2).contiguous(), attn_weights


class ComicSeqAttention(nn.Module):
    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.scaling = self.head_dim**-0.5
        self.is_causal = False

        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)

        query_states = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key_states = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value_states = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            query_states,
            key_states,
            value_states,
            attention_mask,
            dropout=0.0 if not self.training else self.attention_dropout,
            scaling=self.scaling,
            **kwargs,
        )

        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attn_output), attn_weights


class ComicSeqMLP(nn.Module):
    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(self.activation_fn(self.fc1(hidden_states))))


class ComicSeqLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.attention = ComicSeqAttention(config)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ComicSeqMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attention_output, _ = self.attention(self.layernorm_before(hidden_states), attention_mask, **kwargs)
        hidden_states = hidden_states + self.dropout(attention_output)
        return hidden_states + self.dropout(self.mlp(self.layernorm_after(hidden_states)))


class ComicSeqStripPooler(nn.Module):
    """
    A learned query attends to the contextualised panels. With one query a row there is nothing for a fused kernel to
    win, so the weights are always computed openly and can be returned whatever `attn_implementation` the layers use.
    With `strip_pooling="residual"` what it finds is added to the whitened mean of the vectors that went in.
    """

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.strip_query = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.strip_mean = ComicSeqStripMean(config) if config.strip_pooling == "residual" else None

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor,
        vectors: torch.Tensor | None = None,
        shown: torch.Tensor | None = None,
        modality: str = "panel",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The strip vectors `(B, D)` of contextualised panels (B, N, D), where `mask` (B, N) is true, and the query's weights
        `(B, H, 1, N)`. `vectors` (B, N, P) are what went in, of which those that are `shown` (B, N; as `mask`, unless panels were
        taken out) are averaged; None where the strip is boxes alone.
        """

        def split_heads(states):
            return states.view(*states.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

        batch_size, _, hidden_size = hidden_states.shape
        query = split_heads(self.q_proj(self.strip_query)).expand(batch_size, -1, -1, -1)
        key, value = split_heads(self.k_proj(hidden_states)), split_heads(self.v_proj(hidden_states))
        lowest = torch.finfo(hidden_states.dtype).min
        bias = hidden_states.new_zeros(mask.shape).masked_fill(~mask, lowest)[:, None, None]
        dropout = self.dropout if self.training else 0.0
        output, weights = eager_attention_forward(self, query, key, value, bias, dropout=dropout)
        strips = self.o_proj(output.reshape(batch_size, hidden_size))
        if self.strip_mean is not None and vectors is not None:
            mean = self.strip_mean(vectors, mask if shown is None else shown, modality)
            strips = strips + mean.to(strips.dtype)
        return strips, weights


@auto_docstring
class ComicSeqPreTrainedModel(PreTrainedModel):
    config: ComicSeqConfig
    base_model_prefix = "comicseq"
    main_input_name = "panel_embeddings"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # Losses are means over examples: gradient accumulation has nothing to rescale.
    accepts_loss_kwargs = False
    _no_split_modules = ["ComicSeqEmbeddings", "ComicSeqLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": ComicSeqLayer,
        "attentions": ComicSeqAttention,
        "cross_attentions": ComicSeqStripPooler,
    }
    # One pretraining checkpoint serves the encoder and every task class: each takes its part.
    _keys_to_ignore_on_load_unexpected = [r"_head\.", r"^panel_encoder\.", r"^text_reader\."]
    _auto_class = "AutoModel"

    @property
    def _input_embed_layer(self) -> str:
        return "visual_projection" if self.config.has_streams else "panel_projection"

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, ComicSeqBoxLinear):
            init.copy_(module.weight, module.draw_weight())
            if module.bias is not None:
                init.zeros_(module.bias)
            return
        super()._init_weights(module)
        if isinstance(module, ComicSeqEmbeddings):
            init.normal_(module.mask_embedding, std=self.config.initializer_range)
            init.copy_(module.position_embeddings, module.make_positions())
        elif isinstance(module, ComicSeqInputProjection):
            if module.projection is not None:
                # Likeness survives a projection that keeps angles, and modalities of one width start in one space.
                square = module.projection.in_features == module.projection.out_features
                (init.eye_ if square else init.orthogonal_)(module.projection.weight)
            if module.type_embedding is not None:
                init.normal_(module.type_embedding, std=self.config.initializer_range)
        elif isinstance(module, ComicSeqStripPooler):
            init.normal_(module.strip_query, std=self.config.initializer_range)
            if module.strip_mean is not None:  # a new strip vector is the mean alone
                init.zeros_(module.o_proj.weight)
                init.zeros_(module.o_proj.bias)
        elif isinstance(module, ComicSeqStripMean):
            square = self.config.hidden_size == self.config.panel_embedding_dim
            init.zeros_(module.centres)
            (init.eye_ if square else init.orthogonal_)(module.whitening)
        elif isinstance(module, ComicSeqBilinear):
            init.normal_(module.weight, std=1 / self.config.hidden_size)  # normalised states then score about 1
            init.zeros_(module.bias)
        elif isinstance(module, ComicSeqSimilarity):
            init.eye_(module.projection.weight)
        if isinstance(module, (ComicSeqSimilarity, ComicSeqInputSimilarity)):
            init.constant_(module.log_scale, math.log(10.0))
        if isinstance(module, (ComicSeqContextSimilarity, ComicSeqInputSimilarity)):
            init.copy_(module.weight, torch.tensor(list(module.initial_weight.values())))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """As that of transformers; of a page model, the sequence model in it is loaded."""
        content: dict[str, Any] = {}
        if pretrained_model_name_or_path is not None:
            with contextlib.suppress(
                OSError
            ):  # without a configuration of its own, as adapters: transformers knows what to do
                content, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **kwargs)
        if "sequence_config" not in content:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        kwargs["key_mapping"] = {r"^sequence_model\.": "", **(kwargs.get("key_mapping") or {})}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._weight_conversions = []  # else saving would give the weights the page model's names
        return loaded

    def save_pretrained(self, save_directory, **kwargs):
        """Saves weights, configuration and modelling files, so that the folder loads without this package."""
        # The base class puts this class in, under its `_auto_class`.
        self.config.auto_map = {
            "AutoConfig": "configuration_comicseq.ComicSeqConfig",
            "AutoModel": "modeling_comicseq.ComicSeqModel",
            "AutoModelForPreTraining": "modeling_comicseq.ComicSeqForPreTraining",
            "AutoModelForMultipleChoice": "modeling_comicseq.ComicSeqForPanelPicking",
        }
        # Named here, as the files of pipelines and endpoints are copied only where this file imports them.
        from .handler import EndpointHandler  # noqa: F401
        from .pipeline_comicseq import custom_pipelines

        self.config.custom_pipelines = custom_pipelines(type(self).__name__)
        super().save_pretrained(save_directory, **kwargs)
        if self.config.is_installed:
            del self.config.custom_pipelines  # else `pipeline` would ask to trust the folder's own code


@with_library_docstring
class ComicSeqModel(ComicSeqPreTrainedModel):
    """
    The encoder: reads the panels of a page (or of any strip) in order and returns one contextualised vector per panel
    and one vector for the whole strip.
    """

    def __init__(self, config: ComicSeqConfig, add_pooling_layer: bool = True):
        r"""
        add_pooling_layer (`bool`, *optional*, defaults to `True`):
            Whether to add the strip query, without which there is no `pooler_output`.
        """
        super().__init__(config)
        self.embeddings = ComicSeqEmbeddings(config)
        self.layers = nn.ModuleList([ComicSeqLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler: Any = ComicSeqStripPooler(config) if add_pooling_layer else None
        self.post_init()

    def embed(
        self,
        panel_embeddings: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        mask_position: torch.Tensor | None = None,
        visual_embedding: torch.Tensor | None = None,
        candidate_embeddings: torch.Tensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        candidate_position: torch.Tensor | None = None,
        modality: str = "panel",
        candidate_modality: str = "panel",
        candidates_read_context: bool = True,
        panel_boxes: torch.Tensor | None = None,
        masked_panels: torch.Tensor | None = None,
    ) -> ComicSeqView:
        """
        Checks the inputs and embeds panels and candidates. Arguments are those of `forward`; `masked_panels` (B, N) marks
        panels to take out as `mask_position` does, but any number of them.
        """
        panels = {"panel_embeddings": panel_embeddings, "panel_boxes": panel_boxes}
        places = {"attention_mask": attention_mask, "position_ids": position_ids}
        asked = {"mask_position": mask_position, "visual_embedding": visual_embedding, "masked_panels": masked_panels}
        candidates = {"candidate_embeddings": candidate_embeddings, "candidate_mask": candidate_mask}
        check_tensors(panels | places | asked | candidates | {"candidate_position": candidate_position})
        slots = page_slots(panels)
        config, batch_size = self.config, slots.shape[0]
        check_modality("modality", modality)
        check_modality("candidate_modality", candidate_modality)
        if panel_embeddings is not None:
            width = getattr(config, f"{modality}_embedding_dim")
            check_shape("panel_embeddings", panel_embeddings, None, None, width)
        else:
            check_shape("panel_boxes", panel_boxes, None, None, 4)
        attention_mask = check_mask("attention_mask", "panel", attention_mask, slots)
        position_ids = check_positions(config, position_ids, attention_mask)
        if mask_position is not None:
            masked_panels = check_mask_position(mask_position, attention_mask)
        if visual_embedding is not None:
            if mask_position is None:
                raise ValueError(
                    "`visual_embedding` is the picture of the panel at `mask_position`, which is not given."
                )
            check_shape("visual_embedding", visual_embedding, batch_size, config.visual_embedding_dim)
        if panel_boxes is not None:
            hidden = torch.zeros_like(attention_mask) if masked_panels is None else masked_panels.bool()
            check_panel_boxes(
                config, panel_boxes, attention_mask.shape, attention_mask & (~hidden | config.show_asked_box)
            )
        tokens, real = self.embeddings(
            panel_embeddings, attention_mask, position_ids, masked_panels, visual_embedding, modality, panel_boxes
        )
        panels = ComicSeqView.of_panels(tokens, real, attention_mask)
        if candidate_embeddings is None:
            return panels

        width = getattr(config, f"{candidate_modality}_embedding_dim")
        check_shape("candidate_embeddings", candidate_embeddings, batch_size, None, width)
        candidate_mask = check_mask("candidate_mask", "candidate", candidate_mask, candidate_embeddings)
        if config.candidate_encoding == "independent":
            candidates = self.embeddings.project(candidate_embeddings, candidate_mask, candidate_modality)
            return replace(panels, candidates=candidates)

        if candidate_position is None:
            candidate_position = torch.full((batch_size,), -1, device=tokens.device)
        candidate_position = check_candidate_position(config, candidate_position, batch_size)
        candidates, is_real = self.embeddings.project_tokens(candidate_embeddings, candidate_mask, candidate_modality)
        candidates = self.embeddings.add_positions(candidates, candidate_position[:, None].expand_as(candidate_mask))
        each, is_real = candidates.shape[2], is_real.flatten(1, 2)
        visible = panels.real if candidates_read_context else torch.zeros_like(panels.real)
        visible = torch.cat((visible, torch.zeros_like(is_real)), dim=1)
        tokens = torch.cat((panels.tokens, candidates.flatten(1, 2)), dim=1)
        real = torch.cat((panels.real, is_real), dim=1)
        return replace(panels, tokens=tokens, real=real, visible=visible, tokens_a_candidate=each)

    def encode(self, views: list[ComicSeqView], **kwargs: Unpack[TransformersKwargs]) -> list[torch.Tensor]:
        """Runs the rows of all views through the layers in one pass; returns each view's encoded rows `(B, L, D)`."""
        tokens = pad_and_concatenate([view.tokens for view in views])
        visible = pad_and_concatenate([view.visible for view in views])
        if all(view.num_panel_tokens == view.tokens.shape[1] for view in views):  # without candidates
            attention_mask = create_bidirectional_mask(self.config, inputs_embeds=tokens, attention_mask=visible)
        else:
            attention_mask = self.create_visibility_mask(tokens, visible, groups=group_tokens(views))
        hidden_states = self.run_layers(tokens, attention_mask, **kwargs)
        return list(hidden_states.split([view.tokens.shape[0] for view in views]))

    def encode_packed(self, views: list[ComicSeqView], row_length: int = 64) -> tuple[list[torch.Tensor], float]:
        """
        As `encode`, but without padding: the real tokens of several rows share a row of `row_length` and are kept apart
        by the attention mask. Padded tokens come back as zeros. Hidden states and attentions cannot be recorded. Returns
        also the share of padding that is left.
        """
        packing = ComicSeqPacking.of(views, row_length)
        tokens = pad_and_concatenate([view.tokens for view in views])
        visible = pad_and_concatenate([view.visible for view in views])
        rows = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(visible)
        groups, packed = group_tokens(views), packing.pack(tokens)
        places = [None if each is None else packing.pack(each, fill=-1) for each in (rows, groups)]
        attention_mask = self.create_visibility_mask(packed, packing.pack(visible), *places)
        encoded = packing.unpack(self.run_layers(packed, attention_mask))
        return list(encoded.split([view.tokens.shape[0] for view in views])), packing.padding_share

    def run_layers(self, hidden_states: torch.Tensor, attention_mask, **kwargs: Unpack[TransformersKwargs]):
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask, **kwargs)
        return self.layernorm(hidden_states)

    def create_visibility_mask(
        self,
        tokens: torch.Tensor,
        visible: torch.Tensor,
        rows: torch.Tensor | None = None,
        groups: torch.Tensor | None = None,
    ):
        """
        Lets every token attend to itself, to those of its own of the `groups` (B, L), where there are any, and to the
        `visible` tokens (of its own row, where several are packed).
        """
        if "flash" in self.config._attn_implementation:
            raise ValueError(
                f"`attn_implementation` is {self.config._attn_implementation!r}, which cannot mask candidates from each"
                ' other: use "sdpa" or "flex_attention", or `candidate_encoding="independent"`.'
            )

        def reads(batch_idx, head_idx, q_idx, kv_idx):
            reads_other = visible[batch_idx, kv_idx]
            if groups is not None:
                reads_other = reads_other | (groups[batch_idx, q_idx] == groups[batch_idx, kv_idx])
            if rows is not None:
                reads_other = reads_other & (rows[batch_idx, q_idx] == rows[batch_idx, kv_idx])
            return reads_other | (q_idx == kv_idx)

        return create_bidirectional_mask(
            self.config, inputs_embeds=tokens, attention_mask=None, and_mask_function=reads
        )

    @merge_with_config_defaults
    @capture_outputs
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        mask_position: torch.LongTensor | None = None,
        visual_embedding: torch.FloatTensor | None = None,
        candidate_embeddings: torch.FloatTensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        candidate_position: torch.LongTensor | None = None,
        modality: str = "panel",
        candidate_modality: str = "panel",
        candidates_read_context: bool = True,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqModelOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`):
            Stage 3 panel vectors in reading order, with separate streams the picture's and the text's side by side. Padded
            slots are never read. May be left out where `panel_boxes` are given: panels are then known by their boxes alone.
        attention_mask (`torch.Tensor` of shape `(batch_size, num_panels)`, *optional*):
            1 for a real panel, 0 for a padded slot.
        position_ids (`torch.LongTensor` of shape `(batch_size, num_panels)`, *optional*):
            Place of each panel in the reading order, -1 for none. Defaults to the order given.
        mask_position (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            A slot whose panel was taken out: it is not read but filled with the mask embedding.
        visual_embedding (`torch.FloatTensor` of shape `(batch_size, visual_embedding_dim)`, *optional*):
            Picture-only vector of the panel at `mask_position`; zeros for no picture.
        candidate_embeddings (`torch.FloatTensor` of shape `(batch_size, num_candidates, panel_embedding_dim)`, *optional*):
            Candidates to encode together with the panels, which do not see them.
        candidate_mask (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a real candidate, 0 for padding.
        candidate_position (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The position that all candidates of a row are asked for, -1 (the default) for none.
        modality (`str`, *optional*, defaults to `"panel"`):
            What `panel_embeddings` are: `"panel"` (picture and text), `"visual"`, `"text"` or `"caption"`.
        candidate_modality (`str`, *optional*, defaults to `"panel"`):
            What `candidate_embeddings` are.
        candidates_read_context (`bool`, *optional*, defaults to `True`):
            Whether candidates attend to the panels, or each to itself alone.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, for a model with `box_embedding`: `x0 y0 x1 y1` as shares of the page, mirrored
            (`1 - x1`, `1 - x0`) for pages that are read from right to left; four zeros where it is not known. The box at
            `mask_position` is not read unless `show_asked_box`. Candidates have none: it would give the right one away.

        Example:

        ```python
        >>> import torch
        >>> from modeling_comicseq import ComicSeqConfig, ComicSeqModel

        >>> model = ComicSeqModel(ComicSeqConfig(num_hidden_layers=2)).eval()
        >>> outputs = model(torch.randn(1, 6, 512))
        >>> outputs.contextualized_panels.shape, outputs.strip_embedding.shape
        (torch.Size([1, 6, 512]), torch.Size([1, 512]))
        ```"""
        settings, others = split_arguments(kwargs)
        if others:
            check_names(type(self).__name__, others, inspect.signature(self.forward).parameters.keys() - {"kwargs"})
        panels = (panel_embeddings, attention_mask, position_ids, mask_position, visual_embedding)
        candidates = (candidate_embeddings, candidate_mask, candidate_position)
        view = self.embed(*panels, *candidates, modality, candidate_modality, candidates_read_context, panel_boxes)
        (hidden_states,) = self.encode([view], **settings)
        panels, candidates = view.split(hidden_states)
        strips = None
        if self.pooler is not None:
            shown = None if mask_position is None else other_slots(panels, mask_position, view.panel_mask)
            strips, _ = self.pooler(panels, view.panel_mask, panel_embeddings, shown, modality)
        return ComicSeqModelOutput(last_hidden_state=panels, pooler_output=strips, candidate_hidden_state=candidates)

    def encode_strip(
        self,
        panel_embeddings: torch.FloatTensor,
        panel_mask: torch.Tensor,
        panel_boxes: torch.FloatTensor | None = None,
    ) -> torch.FloatTensor:
        """Returns one vector per strip, `(batch_size, hidden_size)`. `panel_mask` is 1 for a real panel."""
        if self.pooler is None:
            raise ValueError("A task class has no strip vectors: take ComicSeqModel or ComicSeqForPreTraining.")
        return self(panel_embeddings, attention_mask=panel_mask, panel_boxes=panel_boxes).pooler_output


def group_tokens(views: list[ComicSeqView]) -> torch.Tensor | None:
    """
    The group of each token of the concatenated views `(B, L)`: those of one candidate attend to each other. None where every
    candidate is a single token.
    """
    if not any(view.is_grouped for view in views):
        return None
    return pad_and_concatenate([view.groups for view in views])


def page_slots(question: Mapping[str, Any]) -> torch.Tensor:
    """What has a slot for each panel (B, N, ...): the vectors of a question, or its boxes where these are all there is."""
    panels, boxes = question.get("panel_embeddings"), question.get("panel_boxes")
    if panels is None and boxes is None:
        raise ValueError("The encoder lacks `panel_embeddings` (or `panel_boxes`, for boxes alone).")
    slots = boxes if panels is None else panels
    if slots.dim() != 3:
        check_shape("panel_boxes" if panels is None else "panel_embeddings", slots, None, None, None)
    return slots


def other_slots(panels: torch.Tensor, slot: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Mask `(B, N)` of the real panels but the one at `slot` (B,)."""
    return (torch.arange(panels.shape[1], device=panels.device) != slot[:, None]) & as_mask(attention_mask, panels)


def position_at(slot: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    """Position (B,) of each row's `slot` (B,), which `ComicSeqModel.embed` has yet to check."""
    if position_ids is None:
        return slot
    check_shape("position_ids", position_ids, slot.shape[0], None)
    return take_slot(position_ids, slot.clamp(0, position_ids.shape[1] - 1))


def next_position(question: dict[str, Any]) -> torch.Tensor:
    """The position (B,) after the last real panel of each row; -1 where that has none."""
    mask = as_mask(question["attention_mask"], page_slots(question))
    last_position = position_at(last_slot(mask), question["position_ids"])
    return torch.where(last_position < 0, -1, last_position + 1)


def offsets_from(position: torch.Tensor, panels: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    """Positions (B, N) of `panels` (B, N, D) relative to each row's `position` (B,); 0 where one of the two is none (-1)."""
    if position_ids is None:
        position_ids = torch.arange(panels.shape[1], device=panels.device).expand(panels.shape[:2])
    position = position[:, None]
    return torch.where((position_ids >= 0) & (position >= 0), position_ids - position, 0)


def inputs_of(config: ComicSeqConfig, question: dict[str, Any]) -> tuple[torch.Tensor, ...] | None:
    """
    The vectors of panels (B, N, P) and candidates (B, K, P) as they went in, zeros where there are none, and which panels were
    shown (B, N); None where no head reads them, or the panels are boxes alone.
    """
    panels, candidates = question["panel_embeddings"], question["candidate_embeddings"]
    if panels is None or not config.input_similarity:
        return None
    mask, slot = question["attention_mask"], question.get("mask_position")
    shown = as_mask(mask, panels) if slot is None else other_slots(panels, slot, mask)
    real = as_mask(question["candidate_mask"], candidates)
    panels, candidates = (
        torch.where(is_real[..., None], vectors, 0.0) for vectors, is_real in ((panels, shown), (candidates, real))
    )
    return panels, candidates, shown


def for_encoder(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a question without those that are for its scores alone."""
    return {name: value for name, value in inputs.items() if name != "candidate_scores"}


def refuse_gradient_of_padding(mask: torch.Tensor, gradient: torch.Tensor | None) -> None:
    """Raises a `ValueError` if the `gradient` (B, K) of a loss shows that it read candidates where `mask` is false."""
    if gradient is not None and (gradient.masked_fill(mask, 0.0).abs() > 0).any():  # a NaN is another fault
        raise ValueError(
            "The loss reads padded candidates, which have the lowest finite score. Label smoothing"
            " (`label_smoothing_factor`) does: set it to 0, or give every row the same number of candidates."
        )


class ComicSeqTaskModel(ComicSeqPreTrainedModel):
    """
    What the task classes share. A question (a dictionary of the arguments of `forward` but the labels, with their defaults)
    goes to the encoder (`encoder_inputs`), what comes back is scored (`score`), and the scores are more or less wrong
    (`losses`). These three take no instance, as `ComicSeqForPreTraining` calls them for its own encoder and heads.
    """

    task: ComicSeqTask
    head_class: type[nn.Module]
    _auto_class = "AutoModelForMultipleChoice"
    _keys_to_ignore_on_load_unexpected = [r"_head\.", r"\bpooler\.", r"^panel_encoder\.", r"^text_reader\."]

    def __init__(self, config: ComicSeqConfig):
        super().__init__(config)
        if self.task.answer != "choice" or "losses" in type(self).__dict__:
            # Trainer's label smoothing is made for one right class: of such a model it keeps off, with a warning.
            config.problem_type = "multi_label_classification"
        self.comicseq = ComicSeqModel(config, add_pooling_layer=False)  # no task reads the strip vector
        self.add_module(self.task.head, self.head_class(config))
        self.post_init()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
        named = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD and each.name != "labels"]
        cls._arguments = {each.name: each.default for each in named}  # without a default: `inspect.Parameter.empty`

    @classmethod
    def complete(cls, inputs: dict[str, Any]) -> dict[str, Any]:
        """
        A question with the defaults of what is left out; refuses, by name, what `forward` does not take, what is missing
        and what is no tensor or has too few or too many axes.
        """
        asked = {each.name for each in cls.task.inputs if not each.is_optional}
        asked |= {name for name, default in cls._arguments.items() if default is inspect.Parameter.empty}
        if isinstance(inputs, Mapping) and inputs.get("panel_boxes") is not None:
            asked -= {"panel_embeddings"}  # boxes alone
        required = [name for name in cls._arguments if name in asked]
        # Whatever the task, a panel of its context may be masked, to see what an answer rests on, and something else may
        # have read the candidates, too: its `candidate_scores` (B, K) are added to the head's.
        further = {"mask_position", "labels"}
        if any(each.kind == "candidates" for each in cls.task.inputs):
            further.add("candidate_scores")
        check_inputs(f"`{cls.task.name}`", inputs, {*cls._arguments, *further}, required)
        question = cls._arguments | {name: value for name, value in inputs.items() if name != "labels"}
        tensors = {name: value for name, value in question.items() if not isinstance(cls._arguments.get(name), str)}
        check_tensors(tensors)
        for name, axes in (NUM_AXES | {each.name: each.num_axes for each in cls.task.inputs}).items():
            if tensors.get(name) is not None:
                check_shape(name, tensors[name], *[None] * axes)
        for name in ("mask_position", "candidate_position", "position_ids"):
            if tensors.get(name) is not None:
                question[name] = as_index(name, tensors[name])
        return question

    @staticmethod
    def encoder_inputs(config: ComicSeqConfig, question: dict[str, Any]) -> dict[str, Any]:
        """Arguments of [`ComicSeqModel`]: by default those of the question."""
        return question

    @staticmethod
    def score(embeddings, head, panels, candidates, question: dict[str, Any]) -> torch.Tensor:
        """
        The head's scores of encoded panels (B, N, D) and candidates (B, K, D). The question holds the encoder's inputs, too.
        """
        raise NotImplementedError

    @classmethod
    def losses(cls, head, panels, candidates, logits, labels) -> torch.Tensor:
        """The loss of each question (B,): by default one candidate is right, or each score is judged alone."""
        return (choice_losses if cls.task.answer == "choice" else binary_losses)(logits, labels)

    @classmethod
    def logits(cls, embeddings, head, panels, candidates, question: dict[str, Any]) -> torch.Tensor:
        """As `score`, with `candidate_scores` added and the lowest finite score for padded candidates."""
        logits, mask = cls.score(embeddings, head, panels, candidates, question), question.get("candidate_mask")
        added = question.get("candidate_scores")
        if added is not None:
            check_shape("candidate_scores", added, *logits.shape)
            logits = logits + added.to(logits.dtype)
        if mask is None:
            return logits
        logits = logits.masked_fill(~mask.bool(), torch.finfo(logits.dtype).min)
        if logits.requires_grad and not torch.compiler.is_compiling():
            logits.register_hook(partial(refuse_gradient_of_padding, mask.bool()))
        return logits

    def answer(self, inputs: tuple, labels: torch.Tensor | None, **kwargs) -> ComicSeqTaskOutput:
        """
        Answers the questions; the loss is the mean over those that have a label. The inputs are all arguments of `forward`
        but the labels, in its order; `kwargs` are for the encoder, or of a name that is refused.
        """
        settings, others = split_arguments(kwargs)
        check_tensors({"labels": labels})
        question = self.complete(dict(zip(self._arguments, inputs, strict=True)) | others)
        asked = for_encoder(self.encoder_inputs(self.config, question))
        outputs = self.comicseq(**asked, **settings)
        head = getattr(self, self.task.head)
        panels, candidates = outputs.last_hidden_state, outputs.candidate_hidden_state
        logits = self.logits(self.comicseq.embeddings, head, panels, candidates, question | asked)
        loss = None
        if labels is not None:
            losses = self.losses(head, panels, candidates, logits, labels)
            loss = losses.sum() / (labels != -100).reshape(len(labels), -1).any(1).sum().clamp(min=1)
            if self.training:
                # What these questions do not read (a modality, the mask, boxes) gets a gradient of zero: training in several
                # processes waits for one of every parameter.
                optional = [*self.comicseq.embeddings.parameters(), *head.parameters()]
                loss = loss + sum(parameter[:0].sum() for parameter in optional if parameter.requires_grad)
        return ComicSeqTaskOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


@with_library_docstring
class ComicSeqForPanelPicking(ComicSeqTaskModel):
    """Panel picking (sequence filling): one panel of the page was taken out; which of the candidates is it?"""

    task = PANEL_PICKING
    head_class = ComicSeqPanelPickingHead

    @staticmethod
    def encoder_inputs(config, question):
        return question | {"candidate_position": position_at(question["mask_position"], question["position_ids"])}

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        asked = question["mask_position"]
        shown = other_slots(panels, asked, question["attention_mask"])
        offsets = offsets_from(question["candidate_position"], panels, question["position_ids"])
        return head(
            take_slot(panels, asked), candidates, panels, shown, offsets, inputs_of(embeddings.config, question)
        )

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        mask_position: torch.LongTensor | None = None,
        candidate_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqTaskOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`):
            Stage 3 panel vectors in reading order. The one at `mask_position` is not read.
        mask_position (`torch.LongTensor` of shape `(batch_size,)`):
            The slot that is asked for.
        candidate_embeddings (`torch.FloatTensor` of shape `(batch_size, num_candidates, panel_embedding_dim)`):
            The candidates' panel vectors.
        candidate_mask (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a real candidate, 0 for padding.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The right candidate.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, as [`ComicSeqModel`] takes it.
        """
        vectors, masks = (panel_embeddings, mask_position, candidate_embeddings), (attention_mask, candidate_mask)
        return self.answer((*vectors, *masks, position_ids, panel_boxes), labels, **kwargs)


@with_library_docstring
class ComicSeqForCharacterCoherence(ComicSeqTaskModel):
    """Character coherence: does a candidate show the characters of the page? Candidates are judged one by one."""

    task = CHARACTER_COHERENCE
    head_class = ComicSeqCharacterCoherenceHead

    @staticmethod
    def encoder_inputs(config, question):
        position = question["candidate_position"]
        if position is None:
            position = next_position(question)
            position = torch.where(position >= config.max_position_embeddings, -1, position)
        return question | {"candidate_position": position}

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        offsets = offsets_from(question["candidate_position"], panels, question["position_ids"])
        return head(panels, candidates, question["attention_mask"], offsets, inputs_of(embeddings.config, question))

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        candidate_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        candidate_position: torch.LongTensor | None = None,
        labels: torch.Tensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqTaskOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`):
            Stage 3 panel vectors in reading order.
        candidate_embeddings (`torch.FloatTensor` of shape `(batch_size, num_candidates, panel_embedding_dim)`):
            The candidates' panel vectors. One candidate is allowed.
        candidate_mask (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a real candidate, 0 for padding.
        candidate_position (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            Where on the page the candidates would stand. Defaults to the place after the last panel, and to none (-1) on
            a page that fills every position.
        labels (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a candidate of the same characters, 0 for another, -100 to ignore.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, as [`ComicSeqModel`] takes it.
        """
        vectors, masks = (panel_embeddings, candidate_embeddings), (attention_mask, candidate_mask)
        return self.answer((*vectors, *masks, position_ids, candidate_position, panel_boxes), labels, **kwargs)


@with_library_docstring
class ComicSeqForVisualClosure(ComicSeqTaskModel):
    """Visual closure: which candidate's picture comes next after the given panels?"""

    task = VISUAL_CLOSURE
    head_class = ComicSeqClosureHead

    @staticmethod
    def encoder_inputs(config, question):
        return question | {"candidate_position": next_position(question), "candidate_modality": question["modality"]}

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        return head(panels, candidates, question["attention_mask"], inputs_of(embeddings.config, question))

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        candidate_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        modality: str = "panel",
        labels: torch.LongTensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqTaskOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`):
            Vectors of the panels before the gap, in reading order.
        candidate_embeddings (`torch.FloatTensor` of shape `(batch_size, num_candidates, panel_embedding_dim)`):
            The candidates' vectors, of the same modality.
        candidate_mask (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a real candidate, 0 for padding.
        modality (`str`, *optional*, defaults to `"panel"`):
            What panels and candidates are: `"visual"` or `"text"` (vectors of that modality alone) or `"panel"` (fused ones).
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The right candidate.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, as [`ComicSeqModel`] takes it.
        """
        vectors, masks = (panel_embeddings, candidate_embeddings), (attention_mask, candidate_mask)
        return self.answer((*vectors, *masks, position_ids, modality, panel_boxes), labels, **kwargs)


@with_library_docstring
class ComicSeqForTextClosure(ComicSeqForVisualClosure):
    """
    Text closure: which candidate's text comes next after the given panels? Inputs and outputs are those of
    [`ComicSeqForVisualClosure`], the weights are its own.
    """

    task = TEXT_CLOSURE


@with_library_docstring
class ComicSeqForCaptionRelevance(ComicSeqTaskModel):
    """
    Caption relevance: which candidate panel does a caption belong to? Caption and panels are encoded apart from each
    other, so that every caption can be compared with every panel.
    """

    task = CAPTION_RELEVANCE
    head_class = ComicSeqCaptionRelevanceHead
    main_input_name = "caption_embeddings"

    @staticmethod
    def encoder_inputs(config, question):
        question = dict(question)
        captions = question.pop("caption_embeddings")
        check_shape("caption_embeddings", captions, None, config.caption_embedding_dim)
        return question | {
            "panel_embeddings": captions[:, None],
            "position_ids": torch.full_like(captions[:, :1], -1, dtype=torch.long),
            "modality": "caption",
            "candidates_read_context": False,
        }

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        return head(candidates, panels[:, 0])

    @staticmethod
    def losses(head, panels, candidates, logits, labels):
        losses = choice_losses(logits, labels)
        if not head.training:
            return losses
        # In training the right panel must also find its caption among those of the batch, over all processes.
        right, mine = gather_rows(take_slot(candidates, labels.clamp(min=0)))
        captions, _ = gather_rows(panels[:, 0])
        labels, _ = gather_rows(labels)
        own = torch.where(labels == -100, -100, torch.arange(len(labels), device=labels.device))

        def by_panel(captions):
            scores = single_or_double(head.score_pairs(right[None], captions[None])[0])
            return nn.functional.cross_entropy(scores, own, reduction="none", ignore_index=-100)

        # The other processes' panels read this one's captions, too: those have that gradient here. Its value, and the
        # head's gradient, are there.
        losses_by_panel = by_panel(captions)
        read_here = losses_by_panel - by_panel(captions.detach())
        others = read_here.sum() - read_here[mine].sum()
        return (losses + losses_by_panel[mine] + others / max(len(losses), 1)) / 2

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        caption_embeddings: torch.FloatTensor | None = None,
        candidate_embeddings: torch.FloatTensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqTaskOutput:
        r"""
        caption_embeddings (`torch.FloatTensor` of shape `(batch_size, caption_embedding_dim)`):
            One caption per question.
        candidate_embeddings (`torch.FloatTensor` of shape `(batch_size, num_candidates, panel_embedding_dim)`):
            The candidates' panel vectors.
        candidate_mask (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a real candidate, 0 for padding.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The panel that the caption belongs to.
        """
        return self.answer((caption_embeddings, candidate_embeddings, candidate_mask), labels, **kwargs)


@with_library_docstring
class ComicSeqForTextCloze(ComicSeqTaskModel):
    """Text-cloze: which candidate text belongs into a panel whose text was taken out?"""

    task = TEXT_CLOZE
    head_class = ComicSeqTextClozeHead

    @staticmethod
    def encoder_inputs(config, question):
        question = dict(question)
        del question["text_embeddings"]  # the head reads them
        texts = question.pop("candidate_text_embeddings")
        check_shape("candidate_text_embeddings", texts, None, None, config.text_embedding_dim)
        position = position_at(question["mask_position"], question["position_ids"])
        asked = {"candidate_embeddings": texts, "candidate_modality": "text", "candidate_position": position}
        return question | asked

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        texts, asked = question["text_embeddings"], question["mask_position"]
        check_shape("text_embeddings", texts, *panels.shape[:2], embeddings.config.text_embedding_dim)
        surrounding = other_slots(panels, asked, question["attention_mask"])
        surrounding_text = masked_mean(embeddings.project(texts, surrounding, "text"), surrounding)
        return head(take_slot(panels, asked), surrounding_text, candidates)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        mask_position: torch.LongTensor | None = None,
        text_embeddings: torch.FloatTensor | None = None,
        candidate_text_embeddings: torch.FloatTensor | None = None,
        visual_embedding: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqTaskOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`):
            Stage 3 panel vectors in reading order. The one at `mask_position` holds the asked text and is not read.
        mask_position (`torch.LongTensor` of shape `(batch_size,)`):
            The panel whose text is asked for.
        text_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, text_embedding_dim)`):
            The panels' text vectors. The one at `mask_position` is not read.
        candidate_text_embeddings (`torch.FloatTensor` of shape `(batch_size, num_candidates, text_embedding_dim)`):
            The candidate texts' vectors.
        visual_embedding (`torch.FloatTensor` of shape `(batch_size, visual_embedding_dim)`, *optional*):
            Picture-only vector of the asked panel; zeros for no picture.
        candidate_mask (`torch.Tensor` of shape `(batch_size, num_candidates)`, *optional*):
            1 for a real candidate, 0 for padding.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The right candidate.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, as [`ComicSeqModel`] takes it.
        """
        vectors = (panel_embeddings, mask_position, text_embeddings, candidate_text_embeddings, visual_embedding)
        return self.answer((*vectors, attention_mask, candidate_mask, position_ids, panel_boxes), labels, **kwargs)


@with_library_docstring
class ComicSeqForReadingOrder(ComicSeqTaskModel):
    """Reading order: panels come in any order and without positions; which follows which?"""

    task = READING_ORDER
    head_class = ComicSeqReadingOrderHead
    _auto_class = "ComicSeqForReadingOrder"  # no Auto class fits (B, N, N) scores: the folder names it by its own

    @staticmethod
    def encoder_inputs(config, question):
        slots = page_slots(question)
        return question | {"position_ids": torch.full(slots.shape[:2], -1, device=slots.device)}

    @staticmethod
    def score(embeddings, head, panels, candidates, question):
        boxes, slot = question["panel_boxes"], question.get("mask_position")
        if boxes is not None:
            mask = question["attention_mask"]
            is_shown = slot is None or embeddings.config.show_asked_box
            shown = as_mask(mask, panels) if is_shown else other_slots(panels, slot, mask)
            boxes = torch.where(shown[..., None], boxes, 0.0)
        return head(panels, boxes)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqTaskOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`):
            Stage 3 panel vectors in any order. May be left out where `panel_boxes` are given.
        labels (`torch.Tensor` of shape `(batch_size, num_panels, num_panels)`, *optional*):
            Entry (i, j) is 1 where panel j is the next after panel i (`reading_order_target="adjacency"`) or anywhere
            after it (`"precedence"`), else 0; -100 is ignored (padding and the diagonal).
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, as [`ComicSeqModel`] takes it.
        """
        return self.answer((panel_embeddings, attention_mask, panel_boxes), labels, **kwargs)

    @torch.no_grad()
    def predict_order(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
    ) -> torch.LongTensor:
        """
        Returns the slots of each row in reading order, `(batch_size, num_panels)`, -1 behind the last panel. The order
        is the best under the scores up to 12 panels, and beyond as far as [`long_order`] finds it.
        """
        logits = self(panel_embeddings, attention_mask, panel_boxes=panel_boxes).logits
        return best_orders(logits, as_mask(attention_mask, logits), self.config.reading_order_target)


# The class of each task by name. `register_task` adds to it.
TASK_CLASSES: dict[str, type[ComicSeqTaskModel]] = {
    model_class.task.name: model_class
    for model_class in (
        ComicSeqForPanelPicking,
        ComicSeqForCharacterCoherence,
        ComicSeqForVisualClosure,
        ComicSeqForTextClosure,
        ComicSeqForCaptionRelevance,
        ComicSeqForTextCloze,
        ComicSeqForReadingOrder,
    )
}


def register_task(model_class: type[ComicSeqTaskModel]) -> None:
    """
    Makes the task of `model_class`, which comes from outside this file, known to configurations, which may name it in
    `task_weights`; to [`ComicSeqForPreTraining`], which then has its head; and to pipelines. Whoever loads a checkpoint
    that has such a head imports the module that calls this before.

    Raises:
        ValueError: The name is no Python name or is taken, or the task names another class.
    """
    task = model_class.task
    taken = {*inspect.signature(ComicSeqForPreTraining.forward).parameters, *LIBRARY_ARGUMENTS}
    if not task.name.isidentifier() or task.name in taken:
        raise ValueError(f"A task cannot be named {task.name!r}: it must be a Python name that nothing else has.")
    if model_class.__name__ != task.model_class:
        raise ValueError(f"The task {task.name!r} is answered by {task.model_class}, not by {model_class.__name__}.")
    if TASKS.get(task.name, task) != task:
        raise ValueError(f"There is a task {task.name!r} already, of {TASKS[task.name].model_class}.")
    from .pipeline_comicseq import register_pipeline

    TASKS[task.name] = task
    TASK_CLASSES[task.name] = model_class
    register_pipeline(task, model_class)
    # Several classes for one configuration: the checkpoint's `architectures` says which, panel picking is the default.
    choosing = tuple(each for each in TASK_CLASSES.values() if each._auto_class == "AutoModelForMultipleChoice")
    AutoModelForMultipleChoice.register(ComicSeqConfig, choosing, exist_ok=True)


@with_library_docstring
class ComicSeqForPreTraining(ComicSeqPreTrainedModel):
    """
    The encoder with the heads of all tasks and the contrastive objective, as it is pretrained. Every task takes a
    dictionary with the inputs and labels of its own class, as the argument of its name (`panel_picking={...}`); all of
    them are encoded in one pass.
    """

    _auto_class = "AutoModelForPreTraining"

    def __init__(self, config: ComicSeqConfig):
        super().__init__(config)
        self.comicseq = ComicSeqModel(config)
        self.tasks = list({**DEFAULT_TASK_WEIGHTS, **config.task_weights})
        for task in self.tasks:
            self.add_module(TASKS[task].head, TASK_CLASSES[task].head_class(config))
        if config.masked_panel_weight > 0:
            self.masked_panel_head = ComicSeqMaskedPanelHead(config)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        panel_embeddings: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        book_ids: torch.LongTensor | None = None,
        masked_panels: dict[str, torch.Tensor] | None = None,
        num_examples: torch.Tensor | int | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicSeqForPreTrainingOutput:
        r"""
        panel_embeddings (`torch.FloatTensor` of shape `(batch_size, num_panels, panel_embedding_dim)`, *optional*):
            Strips for the contrastive objective: two rows per page, its disjoint halves, for `"views"`; whole pages
            for `"nt_xent"` and `"cohesion"`.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The page of each row of `panel_embeddings`: rows with the same number are views of one page.
        book_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            The book of each row: other pages of the same book are not taken as negatives.
        masked_panels (`dict[str, torch.Tensor]`, *optional*):
            Pages for masked panel modelling, where `masked_panel_weight` is above 0: `panel_embeddings` and
            `attention_mask`, `masked_panels` `(batch_size, num_panels)`, true for the slots taken out, and in their order
            `target_embeddings` `(num_masked, panel_embedding_dim)` and `labels` `(num_masked,)`, a number for each panel.
        num_examples (`int`, *optional*):
            What the summed task losses are divided by: the examples of the whole optimiser step. Defaults to those of
            this call.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where the panels of `panel_embeddings` stand. The halves of a page should come without: they fit each other
            like the parts of a puzzle, by which a page could be told without reading it.
        """
        tasks = {task: kwargs[task] for task in self.tasks if kwargs.get(task) is not None}
        settings = {name: value for name, value in kwargs.items() if name not in self.tasks}
        self.refuse_unknown(settings)
        check_tensors({"labels": labels, "book_ids": book_ids})
        questions, views = {}, {}
        for task, inputs in tasks.items():
            question = TASK_CLASSES[task].complete(inputs)
            asked = for_encoder(TASK_CLASSES[task].encoder_inputs(self.config, question))
            questions[task], views[task] = question | asked, self.comicseq.embed(**asked)
        if panel_embeddings is not None:
            strips = {"attention_mask": attention_mask, "position_ids": position_ids, "panel_boxes": panel_boxes}
            views["strips"] = self.comicseq.embed(panel_embeddings, **strips)
        if masked_panels is not None:
            targets = ("target_embeddings", "labels")
            required = ("panel_embeddings", "masked_panels", *targets)
            optional = ("attention_mask", "position_ids", "panel_boxes")
            check_inputs("`masked_panels`", masked_panels, (*required, *optional), required)
            pages = {name: value for name, value in masked_panels.items() if name not in targets}
            views["masked_panels"] = self.comicseq.embed(**pages)
        if not views:
            raise ValueError("Neither `panel_embeddings` nor the inputs of any task were given.")
        encoded, padding_share = self.encode_views(list(views.values()), **settings)
        states = dict(zip(views, encoded, strict=True))

        task_logits, task_losses = {}, {}
        for task, question in questions.items():
            head = getattr(self, TASKS[task].head)
            panels, candidates = views[task].split(states[task])
            logits = TASK_CLASSES[task].logits(self.comicseq.embeddings, head, panels, candidates, question)
            task_logits[task] = logits
            if "labels" in tasks[task]:
                task_losses[task] = TASK_CLASSES[task].losses(head, panels, candidates, logits, tasks[task]["labels"])

        strips, contrastive_loss, masked_panel_loss = None, None, None
        if panel_embeddings is not None:
            panels, _ = views["strips"].split(states["strips"])
            panel_mask = views["strips"].panel_mask
            strips, _ = self.comicseq.pooler(panels, panel_mask, panel_embeddings)
            if labels is not None:
                check_shape("labels", labels, strips.shape[0])
                contrastive_loss = self.contrastive_loss(strips, panels, panel_mask, labels, book_ids)
        if masked_panels is not None:
            panels, _ = views["masked_panels"].split(states["masked_panels"])
            masked_panel_loss = self.masked_panel_loss(panels, **masked_panels)

        return ComicSeqForPreTrainingOutput(
            loss=self.total_loss(task_losses, contrastive_loss, masked_panel_loss, num_examples),
            pooler_output=strips,
            contrastive_loss=contrastive_loss,
            masked_panel_loss=masked_panel_loss,
            task_losses=task_losses or None,
            task_logits=task_logits or None,
            padding_share=padding_share,
        )

    def refuse_unknown(self, arguments: dict[str, Any]) -> None:
        """What is neither a task of this model nor an argument of transformers for any model is a `ValueError`."""
        others = [name for name in arguments if name not in LIBRARY_ARGUMENTS]
        for name in TASKS.keys() & others:
            raise ValueError(
                f"The model has no head for `{name}`: `task_weights` of its configuration does not name it."
            )
        check_names(type(self).__name__, others, self.tasks)

    def encode_views(self, views: list[ComicSeqView], **kwargs) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Encodes all views in one pass; returns them and the share of padding in it, where that is known."""
        # Packing drops the padding, which is most of a batch of many tasks; recorded states would come packed, too.
        records = ("output_attentions", "output_hidden_states")
        is_recorded = any(kwargs.get(name, getattr(self.config, name)) for name in records)
        is_flash = "flash" in self.config._attn_implementation  # takes padding, but no mask that keeps rows apart
        if is_recorded or is_flash or torch.compiler.is_compiling():
            return self.comicseq.encode(views, **kwargs), None
        encoded, padding_share = self.comicseq.encode_packed(views)
        return encoded, torch.tensor([padding_share])

    def contrastive_loss(self, strips, panels, panel_mask, pages, books) -> torch.Tensor:
        """The configured objective; in training, over the strips of all processes, each of which must call it."""
        books = pages if books is None else books
        vectors = strips
        if self.config.contrastive_objective != "views":
            row = torch.arange(len(pages), device=pages.device)[:, None].expand_as(panel_mask)[panel_mask]
            vectors, pages, books = panels[panel_mask], pages[row], books[row]
        if self.training:
            vectors, pages, books = (gather_rows(each)[0] for each in (vectors, pages, books))
        if self.config.contrastive_objective == "cohesion":
            loss = cohesion_loss(vectors, pages)
        else:
            loss = info_nce_loss(vectors, pages, books, self.config.contrastive_temperature)
        return scale_gradient(loss) if self.training else loss

    def masked_panel_loss(self, panels, masked_panels, target_embeddings, labels, **pages) -> torch.Tensor:
        """
        Masked panel modelling by contrast, as in ComicBERT: which of the masked panels of the batch (in training, of all
        processes) stood in the slot? Its own vector is told from the others by cosine.
        """
        if self.config.masked_panel_weight == 0:
            raise ValueError("`masked_panels` was given but `masked_panel_weight` is 0: the model has no head for it.")
        check_shape("labels", labels, int(masked_panels.sum()))
        given = torch.ones_like(labels, dtype=torch.bool)[None]
        targets = self.comicseq.embeddings.project(target_embeddings[None], given, "panel")[0]
        predictions = self.masked_panel_head(panels[masked_panels.bool()])
        if self.training:
            predictions, targets, labels = (gather_rows(each)[0] for each in (predictions, targets, labels))
        losses = matching_losses(predictions, targets, labels, self.config.contrastive_temperature)
        loss = losses.sum() / max(len(losses), 1)
        return scale_gradient(loss) if self.training else loss

    def total_loss(self, task_losses, contrastive_loss, masked_panel_loss, num_examples) -> torch.Tensor | None:
        """Mean over all examples of their weighted losses, plus the weighted losses of the other objectives."""
        terms = []
        if task_losses:
            weights = {READING_ORDER.name: self.config.reading_order_weight}
            total = sum(weights.get(task, 1.0) * losses.sum() for task, losses in task_losses.items())
            if num_examples is None:
                num_examples = max(sum(len(losses) for losses in task_losses.values()), 1)
            terms.append(total / num_examples)
        if contrastive_loss is not None:
            terms.append(self.config.contrastive_weight * contrastive_loss)
        if masked_panel_loss is not None:
            terms.append(self.config.masked_panel_weight * masked_panel_loss)
        return sum(terms) if terms else None
