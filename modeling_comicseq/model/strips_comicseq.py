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
"""What a strip vector starts from: the whitened mean of the vectors that the strip shows."""

import torch
from torch import nn

from .checks_comicseq import MODALITIES
from .configuration_comicseq import ComicSeqConfig
from .heads_comicseq import single_or_double


def normalise_inputs(vectors: torch.Tensor, scale: float | None) -> torch.Tensor:
    """`vectors` (..., P) times `scale`; without one, each at a root mean square of 1 and in single precision at least."""
    # Squares of half-precision vectors of norm 1 are near the smallest normal number.
    vectors = single_or_double(vectors)
    if scale is not None:
        return vectors * scale
    # Clamped, not added to: ONNX exporters take so small an addend for zero, and padded slots are divided by it.
    return vectors * torch.rsqrt(vectors.pow(2).mean(-1, keepdim=True).clamp(min=1e-12))


class ComicSeqStripMean(nn.Module):
    """
    The mean of a strip's input vectors, less the mean of all vectors of their modality, in the directions in which the
    panels of one page differ least: within-class covariance normalisation (Hatch et al., 2006) with pages as classes. Centres
    and directions are fitted on the pages that are trained on and are no weights; before, this is the plain mean.

    The space is that of panel vectors (P,). Pictures, texts and captions are placed in it: as they are where streams are fused, in
    their half where they are separate. What is not as wide as its place is not in the space and adds nothing.
    """

    centres: torch.Tensor
    whitening: torch.Tensor

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.config = config
        text = config.text_embedding_dim or 0 if config.has_streams else 0
        visual = config.panel_embedding_dim - text
        self.widths = [
            visual,
            config.panel_embedding_dim - visual,
        ]  # of what is normalised, and can be missing, by itself
        # A row a modality: fused pictures and texts lie elsewhere than the panels that are both.
        self.register_buffer("centres", torch.zeros(len(MODALITIES), config.panel_embedding_dim))
        self.register_buffer("whitening", torch.zeros(config.hidden_size, config.panel_embedding_dim))

    @property
    def is_fitted(self) -> bool:
        return bool(self.centres.any())

    def place(
        self, vectors: torch.Tensor, mask: torch.Tensor, modality: str = "panel"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Normalised vectors in the space of panels (B, N, P), zeros where they say nothing, and where they say something
        (B, N, P); of `vectors` (B, N, width) where `mask` (B, N) is true: garbage elsewhere has no effect.
        """
        vectors = torch.where(mask[..., None], vectors, torch.zeros((), dtype=vectors.dtype, device=vectors.device))
        if modality == "panel":
            halves = list(vectors.split(self.widths, -1))
        else:
            own = 0 if modality == "visual" or not self.config.has_streams else 1
            halves = [vectors.new_zeros(*vectors.shape[:2], width) for width in self.widths]
            if vectors.shape[-1] == self.widths[own]:
                halves[own] = vectors
        given = [(half != 0).any(-1, keepdim=True).expand_as(half) for half in halves]
        normalised = [normalise_inputs(half, self.config.input_scale) for half in halves]
        return torch.cat(normalised, -1), torch.cat(given, -1)

    def forward(self, vectors: torch.Tensor, mask: torch.Tensor, modality: str = "panel") -> torch.Tensor:
        """The whitened mean `(B, D)` of the `vectors` (B, N, width) that `mask` (B, N) shows; zeros where it shows none."""
        vectors, given = self.place(vectors, mask, modality)
        count = given.sum(1)
        centred = vectors.sum(1) / count.clamp(min=1) - self.centres[MODALITIES.index(modality)].to(vectors.dtype)
        return torch.where(count > 0, centred, 0.0) @ self.whitening.to(vectors.dtype).T
