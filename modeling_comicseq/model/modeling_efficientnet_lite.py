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
"""PyTorch EfficientNet-Lite: a small convolutional network for pictures, without its classifier."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndNoAttention
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_efficientnet_lite import EfficientNetLiteConfig


class EfficientNetLiteConvolution(nn.Module):
    """A convolution, padded as TensorFlow's "SAME", with its batch normalisation and activation."""

    def __init__(
        self,
        config: EfficientNetLiteConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        has_activation: bool = True,
    ):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False)
        self.normalization = nn.BatchNorm2d(
            out_channels, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum
        )
        self.activation = ACT2FN[config.hidden_act] if has_activation else nn.Identity()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        kernel_size, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        if kernel_size > stride:
            # The output has ceil(side / stride) rows; an odd rest of the padding goes below and to the right.
            excess = [
                max((-(-side // stride) - 1) * stride + kernel_size - side, 0) for side in hidden_states.shape[-2:]
            ]
            (top, left), (bottom, right) = [[each // 2 for each in excess], [each - each // 2 for each in excess]]
            hidden_states = nn.functional.pad(hidden_states, (left, right, top, bottom))
        return self.activation(self.normalization(self.convolution(hidden_states)))


class EfficientNetLiteBlock(GradientCheckpointingLayer):
    """An inverted residual block: widened, convolved channel by channel, narrowed."""

    def __init__(
        self,
        config: EfficientNetLiteConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        expand_ratio: int,
        drop_rate: float,
    ):
        super().__init__()
        width = in_channels * expand_ratio
        self.expansion = (
            EfficientNetLiteConvolution(config, in_channels, width) if expand_ratio != 1 else nn.Identity()
        )
        self.depthwise = EfficientNetLiteConvolution(config, width, width, kernel_size, stride, groups=width)
        self.projection = EfficientNetLiteConvolution(config, width, out_channels, has_activation=False)
        self.has_residual = stride == 1 and in_channels == out_channels
        self.drop_rate = drop_rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = hidden_states
        hidden_states = self.projection(self.depthwise(self.expansion(hidden_states)))
        if not self.has_residual:
            return hidden_states
        if self.training and self.drop_rate:
            # Of some pictures the block is left out (stochastic depth).
            kept = torch.rand(len(hidden_states), 1, 1, 1, device=hidden_states.device) >= self.drop_rate
            hidden_states = hidden_states * kept.to(hidden_states.dtype) / (1 - self.drop_rate)
        return residual + hidden_states


@auto_docstring
class EfficientNetLitePreTrainedModel(PreTrainedModel):
    config: EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["EfficientNetLiteBlock"]
    _can_record_outputs = {"hidden_states": EfficientNetLiteBlock}
    _input_embed_layer = "stem"
    _auto_class = "AutoModel"

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
        else:
            super()._init_weights(module)


@auto_docstring(
    custom_intro="EfficientNet-Lite without its classifier: the map of features of a picture, and its mean as one vector."
)
class EfficientNetLiteModel(EfficientNetLitePreTrainedModel):
    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__(config)
        self.stem = EfficientNetLiteConvolution(config, config.num_channels, config.stem_channels, 3, stride=2)
        blocks: list[EfficientNetLiteBlock] = []
        stages = zip(
            config.in_channels,
            config.out_channels,
            config.kernel_sizes,
            config.strides,
            config.expand_ratios,
            config.num_block_repeats,
            strict=True,
        )
        for in_channels, out_channels, kernel_size, stride, expand_ratio, repeats in stages:
            for repeat in range(repeats):
                block_in, block_stride = (out_channels, 1) if repeat else (in_channels, stride)
                drop_rate = config.drop_connect_rate * len(blocks) / config.num_hidden_layers
                blocks.append(
                    EfficientNetLiteBlock(
                        config, block_in, out_channels, kernel_size, block_stride, expand_ratio, drop_rate
                    )
                )
        self.blocks = nn.ModuleList(blocks)
        self.head = EfficientNetLiteConvolution(config, config.out_channels[-1], config.hidden_size)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutputWithPoolingAndNoAttention:
        hidden_states = self.stem(pixel_values)
        for block in self.blocks:
            hidden_states = block(hidden_states)
        hidden_states = self.head(hidden_states)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=hidden_states, pooler_output=hidden_states.mean((2, 3))
        )


__all__ = ["EfficientNetLiteModel", "EfficientNetLitePreTrainedModel"]
