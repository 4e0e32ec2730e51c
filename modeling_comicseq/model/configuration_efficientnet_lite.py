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
"""EfficientNet-Lite model configuration"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.utils import auto_docstring


@auto_docstring(checkpoint="org/efficientnet-lite0")
@strict
class EfficientNetLiteConfig(PreTrainedConfig):
    r"""
    stem_channels (`int`, *optional*, defaults to 32):
        Channels of the first convolution.
    in_channels (`list[int]`, *optional*):
        Channels that each stage takes. The defaults of this and of the other lists are EfficientNet-Lite0's.
    out_channels (`list[int]`, *optional*):
        Channels that each stage gives.
    kernel_sizes (`list[int]`, *optional*):
        Kernel of the depthwise convolutions of each stage.
    strides (`list[int]`, *optional*):
        Stride of the first block of each stage.
    expand_ratios (`list[int]`, *optional*):
        By how much the blocks of each stage widen what they take.
    num_block_repeats (`list[int]`, *optional*):
        Blocks of each stage.
    hidden_size (`int`, *optional*, defaults to 1280):
        Channels of the last convolution: the width of a picture's vector.
    batch_norm_eps (`float`, *optional*, defaults to 0.001):
        Added to variances by the batch normalisations.
    batch_norm_momentum (`float`, *optional*, defaults to 0.01):
        Weight of a new batch in the running means and variances.
    drop_connect_rate (`float`, *optional*, defaults to 0.2):
        How often the last block is skipped in training; earlier ones less often, in proportion to their place.

    Example:

    ```python
    >>> from modeling_comicseq import EfficientNetLiteConfig, EfficientNetLiteModel

    >>> configuration = EfficientNetLiteConfig()
    >>> model = EfficientNetLiteModel(configuration)
    >>> configuration = model.config
    ```"""

    model_type = "efficientnet_lite"

    num_channels: int = 3
    image_size: int = 224
    stem_channels: int = 32
    in_channels: list[int] | tuple[int, ...] = (32, 16, 24, 40, 80, 112, 192)
    out_channels: list[int] | tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    kernel_sizes: list[int] | tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: list[int] | tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expand_ratios: list[int] | tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    num_block_repeats: list[int] | tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    hidden_size: int = 1280
    hidden_act: str = "relu6"
    batch_norm_eps: float = 1e-3
    batch_norm_momentum: float = 0.01
    drop_connect_rate: float | int = 0.2

    @property
    def num_hidden_layers(self) -> int:
        """Blocks of all stages."""
        return sum(self.num_block_repeats)

    def validate_architecture(self):
        """Checks that every list names each stage once."""
        lists = ("in_channels", "out_channels", "kernel_sizes", "strides", "expand_ratios", "num_block_repeats")
        lengths = {name: len(getattr(self, name)) for name in lists}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"`{name}` {length}" for name, length in lengths.items())
            raise ValueError(f"Each list must name every stage once, but they are of different lengths: {said}.")


# Saved checkpoints carry this file and name it in their `auto_map`.
EfficientNetLiteConfig.register_for_auto_class()

__all__ = ["EfficientNetLiteConfig"]
