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
        dtype = self.dense.weight.dtype
        boxes = torch.where(shown[..., None], boxes.to(torch.promote_types(dtype, torch.float32)), 0.0)
        known = (boxes != 0).any(-1, keepdim=True)
        first, last = boxes.split(2, dim=-1)
        features = waves(torch.cat((boxes, last - first, (first + last) / 2), dim=-1))
        states = self.output(nn.functional.gelu(self.dense(features.to(dtype))))
        return torch.where(known, states, 0.0)


class ComicSeqBoxRelationLayer(nn.Module):
    """A transformer layer over panels (B, N, D) whose attention is shifted by `relations` (B, heads, N, N)."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.attention_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.attention_inputs = nn.Linear(size, 3 * size)
        self.attention_output = nn.Linear(size, size)
        self.mlp_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(size, config.intermediate_size), nn.GELU(), nn.Linear(config.intermediate_size, size)
        )

    def forward(self, panels: torch.Tensor, relations: torch.Tensor) -> torch.Tensor:
        heads = self.attention_inputs(self.attention_norm(panels)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + relations
        attended = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype) @ value
        panels = panels + self.attention_output(attended.transpose(1, 2).flatten(-2))
        return panels + self.mlp(self.mlp_norm(panels))


class ComicSeqBoxRelations(nn.Module):
    """
    What the places of panels on the page say of their order: scores `(B, N, N)` from panels (B, N, D) and boxes (B, N, 4),
    four zeros where a box is not known, of which nothing is said and that nothing else reads.

    Where a panel stands among the others, its state alone hardly tells: whether one begins below where another ends is
    a matter of both. So the edges of every two boxes are compared, coarsely and finely; in each layer the comparison
    shifts what a panel attends to, and in the end it goes into the score.
    """

    sharpness = (1.0, 8.0, 32.0)  # of the comparisons, in inverse shares of the page
    size = 64

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.num_layers, self.num_heads = config.box_relation_layers, config.num_attention_heads
        num_edges = 8 * len(self.sharpness)
        self.relations = nn.Sequential(
            nn.Linear(num_edges, self.size), nn.GELU(), nn.Linear(self.size, self.num_layers * self.num_heads)
        )
        self.layers = nn.ModuleList(ComicSeqBoxRelationLayer(config) for _ in range(self.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.first = nn.Linear(config.hidden_size, self.size)
        self.second = nn.Linear(config.hidden_size, self.size)
        self.edges = nn.Linear(num_edges, self.size)
        self.output = nn.Linear(self.size, 1, bias=False)

    def forward(self, panels: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        boxes = boxes.to(torch.promote_types(panels.dtype, torch.float32))
        known = (boxes != 0).any(-1)
        panels = torch.where(known[..., None], panels, 0.0)
        first, second = boxes[:, :, None], boxes[:, None]
        crossed = torch.cat((first[..., 2:], first[..., :2]), dim=-1)  # where one ends against where the other begins
        distances = torch.cat((second - first, second - crossed), dim=-1)
        compared = torch.cat([(distances * factor).tanh() for factor in self.sharpness], dim=-1).to(panels.dtype)
        relations = self.relations(compared).permute(0, 3, 1, 2)
        relations = relations.masked_fill(~known[:, None, None], torch.finfo(relations.dtype).min)
        for layer, shift in zip(self.layers, relations.split(self.num_heads, dim=1), strict=True):
            panels = layer(panels, shift)
        panels = self.norm(panels)
        states = self.first(panels)[:, :, None] + self.second(panels)[:, None] + self.edges(compared)
        scores = self.output(nn.functional.gelu(states)).squeeze(-1)
        return torch.where(known[:, :, None] & known[:, None], scores, 0.0)
