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
"""What a model makes of the boxes of panels."""

import math

import torch
from torch import nn

from .configuration_comicseq import ComicSeqConfig

NUM_WAVELENGTHS = 6  # of sines and cosines, from twice the page down to a sixteenth of it
NUM_WAVES = 1 + 2 * NUM_WAVELENGTHS


def waves(places: torch.Tensor) -> torch.Tensor:
    """Each of `places` (..., F) by itself and as sines and cosines of all wavelengths, in which distances show."""
    angles = places[..., None] * (math.pi * 2.0 ** torch.arange(NUM_WAVELENGTHS, device=places.device))
    return torch.cat((places[..., None], angles.sin(), angles.cos()), dim=-1).flatten(-2)


class ComicSeqBoxLinear(nn.Linear):
    """
    A linear layer of what reads boxes. Its weights come from random numbers that follow from the seed and leave the global
    generator as it is, or are zero: with boxes and without, all other weights begin the same.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, is_zero: bool = False):
        self.is_zero = is_zero
        super().__init__(in_features, out_features, bias)

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def draw_weight(self) -> torch.Tensor:
        """What the weight begins as."""
        if self.is_zero:
            return torch.zeros_like(self.weight)
        generator = torch.Generator("cpu").manual_seed(torch.initial_seed())
        return torch.empty(self.weight.shape, device="cpu").normal_(std=self.in_features**-0.5, generator=generator)


class ComicSeqBoxEmbedding(nn.Module):
    """
    Where a panel stands, as something to add to its token: an MLP on the edges, the size and the centre of its box. It
    begins as zero.
    """

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.dense = ComicSeqBoxLinear(8 * NUM_WAVES, config.hidden_size)
        self.output = ComicSeqBoxLinear(config.hidden_size, config.hidden_size, bias=False, is_zero=True)

    def forward(self, boxes: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """What to add `(B, N, D)` for `boxes` (B, N, 4), of which those that are not `shown` (B, N) are not read."""
        boxes = torch.where(shown[..., None], boxes.to(torch.promote_types(boxes.dtype, torch.float32)), 0.0)
        known = (boxes != 0).any(-1, keepdim=True)
        first, last = boxes.split(2, dim=-1)
        features = waves(torch.cat((boxes, last - first, (first + last) / 2), dim=-1))
        states = self.output(nn.functional.gelu(self.dense(features.to(self.dense.weight.dtype))))
        return torch.where(known, states, 0.0)
