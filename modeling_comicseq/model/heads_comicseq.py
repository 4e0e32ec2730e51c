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
"""The heads of ComicSeq: from plain vectors (B, ..., D) to scores of candidates and of pairs of panels."""

import torch
from torch import nn

from .configuration_comicseq import ComicSeqConfig
from .geometry_comicseq import ComicSeqBoxRelations


def as_mask(mask: torch.Tensor | None, vectors: torch.Tensor) -> torch.Tensor:
    """The mask (B, N) of `vectors` (B, N, ...) as booleans; all true where none is given."""
    return vectors.new_ones(vectors.shape[:2], dtype=torch.bool) if mask is None else mask.bool()


def single_or_double(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in single precision, or in double where it is: what half precision is too coarse for."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def masked_mean(hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean `(B, D)` of the rows of `hidden_states` (B, N, D) where `mask` (B, N) is true; zeros where it never is."""
    total = torch.where(mask[..., None], hidden_states, torch.zeros_like(hidden_states)).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


def take_slot(hidden_states: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
    """Row `slot` (B,) of each of `hidden_states` (B, N, ...)."""
    return hidden_states[torch.arange(hidden_states.shape[0], device=slot.device), slot]


def last_slot(mask: torch.Tensor) -> torch.Tensor:
    """Index `(B,)` of the last true entry of every row of `mask` (B, N)."""
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)


class ComicSeqSimilarity(nn.Module):
    """
    Learned, scaled cosine `(B, M, K)` of every pair of `left` (B, M, D) and `right` (B, K, D): the prior for likeness that
    an MLP lacks.
    """

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.log_scale = nn.Parameter(torch.zeros(1))  # no scalar: FSDP shards no tensor without an axis

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.log_scale.exp() * self.cosines(left, right)

    def cosines(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """The cosines `(B, M, K)` before they are scaled."""
        # Half precision has no 1e-12, and a text that is no text is all zeros.
        left, right = (nn.functional.normalize(self.projection(each), dim=-1, eps=1e-6) for each in (left, right))
        return left @ right.transpose(-1, -2)


def context_cosines(
    to_mean: torch.Tensor, to_panels: torch.Tensor, shown: torch.Tensor, offsets: torch.Tensor
) -> dict[str, torch.Tensor]:
    """
    How alike candidates are to the panels that are `shown` (B, N), `(B, K)` each, from their cosines `to_mean` (B, K) and
    `to_panels` (B, N, K): to the mean, to the nearest before and the nearest after the asked place, to the first, to the most
    and to the least alike; 0 where there is none. `offsets` (B, N) are the panels' positions relative to that place, 0 where
    there is none.
    """
    before, after = shown & (offsets < 0), shown & (offsets > 0)
    far = to_panels.shape[1] + offsets.abs().amax(1, keepdim=True)
    nearest_before = take_slot(to_panels, torch.where(before, offsets, -far).argmax(1))
    nearest_after = take_slot(to_panels, torch.where(after, offsets, far).argmin(1))
    first = take_slot(to_panels, torch.where(shown, offsets, far).argmin(1))
    return {
        "mean": to_mean,
        "before": torch.where(before.any(1, keepdim=True), nearest_before, 0.0),
        "after": torch.where(after.any(1, keepdim=True), nearest_after, 0.0),
        "first": torch.where(shown.any(1, keepdim=True), first, 0.0),
        "most alike": to_panels.masked_fill(~shown[..., None], -1.0).amax(1),
        "least alike": to_panels.masked_fill(~shown[..., None], 1.0).amin(1),
    }


class ComicSeqContextSimilarity(ComicSeqSimilarity):
    """
    Likeness `(B, K)` of candidates (B, K, D) to the panels (B, N, D) that are `shown` (B, N): learned, scaled cosines to
    their mean, to the nearest before and the nearest after the asked place, and to the most alike. `offsets` (B, N) are
    the panels' positions relative to that place, 0 where there is none.
    """

    initial_weight = {"mean": 0.6, "before": 0.3, "after": 0.3, "most alike": 0.3}

    def __init__(self, config: ComicSeqConfig):
        super().__init__(config)
        self.weight = nn.Parameter(torch.zeros(len(self.initial_weight)))

    def forward(
        self, panels: torch.Tensor, candidates: torch.Tensor, shown: torch.Tensor, offsets: torch.Tensor
    ) -> torch.Tensor:
        vectors = torch.cat((masked_mean(panels, shown)[:, None], panels), dim=1)
        to_mean, to_panels = self.cosines(vectors, candidates).split((1, panels.shape[1]), dim=1)
        cosines = context_cosines(to_mean.squeeze(1), to_panels, shown, offsets)
        return self.log_scale.exp() * (
            torch.stack([cosines[each] for each in self.initial_weight], dim=-1) @ self.weight
        )


class ComicSeqInputSimilarity(nn.Module):
    """
    Likeness `(B, K)` of candidates (B, K, P) to the panels (B, N, P) that are `shown` (B, N), all as they went in: a weighted
    sum of plain cosines, see [`context_cosines`]. Seven numbers are all there is to learn, so that what an encoder of panels
    has learned of likeness reaches the scores as it is, and their gradient the encoder.
    """

    initial_weight = {"mean": 0.6, "before": 0.3, "after": 0.3, "first": 0.0, "most alike": 0.3, "least alike": 0.0}

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.weight = nn.Parameter(torch.zeros(len(self.initial_weight)))

    def forward(
        self, panels: torch.Tensor, candidates: torch.Tensor, shown: torch.Tensor, offsets: torch.Tensor
    ) -> torch.Tensor:
        panels, candidates = (
            nn.functional.normalize(single_or_double(each), dim=-1, eps=1e-6) for each in (panels, candidates)
        )
        mean = nn.functional.normalize((panels * shown[..., None]).sum(1, keepdim=True), dim=-1, eps=1e-6)
        cosines = torch.cat((mean, panels), dim=1) @ candidates.transpose(-1, -2)
        named = context_cosines(cosines[:, 0], cosines[:, 1:], shown, offsets)
        cosines = torch.stack([named[each] for each in self.initial_weight], dim=-1)
        return self.log_scale.exp() * (cosines.to(self.weight.dtype) @ self.weight)


class ComicSeqBilinear(nn.Module):
    """Bilinear form of every pair of `left` (B, M, D) and `right` (B, K, D), `(B, M, K)`."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.hidden_size, config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left @ self.weight @ right.transpose(-1, -2) + self.bias


def make_mlp(config: ComicSeqConfig, num_layers: int, output_size: int) -> nn.Sequential:
    """An MLP from two concatenated vectors (B, ..., 2 D) to `(B, ..., output_size)`."""
    hidden_size = config.hidden_size
    layers = [nn.Linear(2 * hidden_size, hidden_size), nn.GELU(), nn.Dropout(config.hidden_dropout_prob)]
    for _ in range(num_layers - 2):
        layers += [nn.Linear(hidden_size, hidden_size), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(hidden_size, output_size))


class ComicSeqConcatenationScorer(nn.Module):
    """Scores each of the candidates (B, K, D) by an MLP on its concatenation with the context (B, D), `(B, K)`."""

    def __init__(self, config: ComicSeqConfig, num_layers: int):
        super().__init__()
        self.mlp = make_mlp(config, num_layers, output_size=1)
        self.similarity = ComicSeqSimilarity(config) if config.similarity_term else None

    def forward(self, context: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        scores = self.mlp(torch.cat((context[:, None].expand_as(candidates), candidates), dim=-1)).squeeze(-1)
        if self.similarity is not None:
            scores = scores + self.similarity(context[:, None], candidates).squeeze(1)
        return scores


class ComicSeqContextHead(nn.Module):
    """
    What the heads share that score candidates (B, K, D) by a context (B, D) and, with `similarity_term`, by their likeness to
    the panels (B, N, D) that are `shown` (B, N), where `offsets` (B, N) say where these stand. With `input_similarity`, likeness
    of the vectors that went in is added: `inputs` are those of panels (B, N, P), of candidates (B, K, P), and which of the
    panels were shown (B, N).
    """

    num_layers = 2

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.scorer = ComicSeqConcatenationScorer(config, self.num_layers)
        self.context_similarity = ComicSeqContextSimilarity(config) if config.similarity_term else None
        self.input_similarity = ComicSeqInputSimilarity(config) if config.input_similarity else None

    def score(self, context, candidates, panels, shown, offsets, inputs) -> torch.Tensor:
        """Scores `(B, K)`."""
        scores = self.scorer(context, candidates)
        if offsets is None:
            return scores
        if self.context_similarity is not None:
            scores = scores + self.context_similarity(panels, candidates, shown, offsets)
        if self.input_similarity is not None and inputs is not None:
            scores = scores + self.input_similarity(*inputs, offsets)
        return scores


class ComicSeqPanelPickingHead(ComicSeqContextHead):
    """
    Which candidate stands in the empty slot? Scores `(B, K)` from the slot's context (B, D) and candidates (B, K, D).
    With `similarity_term`, likeness to the other panels (B, N, D) is added where these are given.
    """

    def forward(
        self,
        context: torch.Tensor,
        candidates: torch.Tensor,
        panels: torch.Tensor | None = None,
        shown: torch.Tensor | None = None,
        offsets: torch.Tensor | None = None,
        inputs: tuple[torch.Tensor, ...] | None = None,
    ) -> torch.Tensor:
        return self.score(context, candidates, panels, shown, offsets, inputs)


class ComicSeqCharacterCoherenceHead(ComicSeqContextHead):
    """
    Do panels and candidate show the same characters? Scores `(B, K)` from the mean of the real panels (B, N, D) and
    candidates (B, K, D); a single candidate (B, D) scores `(B,)`. With `similarity_term`, likeness to the panels is added
    where `offsets` say where they stand.
    """

    def forward(
        self,
        panels: torch.Tensor,
        candidate: torch.Tensor,
        panel_mask: torch.Tensor | None = None,
        offsets: torch.Tensor | None = None,
        inputs: tuple[torch.Tensor, ...] | None = None,
    ) -> torch.Tensor:
        shown = as_mask(panel_mask, panels)
        candidates = candidate[:, None] if candidate.dim() == 2 else candidate
        scores = self.score(masked_mean(panels, shown), candidates, panels, shown, offsets, inputs)
        return scores.squeeze(1) if candidate.dim() == 2 else scores


class ComicSeqClosureHead(ComicSeqContextHead):
    """
    Which candidate comes next? Scores `(B, K)` from the last of the preceding panels (B, N, D) and candidates (B, K, D).
    With `similarity_term`, likeness to all of them is added.
    """

    num_layers = 3

    def forward(
        self,
        preceding: torch.Tensor,
        candidates: torch.Tensor,
        panel_mask: torch.Tensor | None = None,
        inputs: tuple[torch.Tensor, ...] | None = None,
    ) -> torch.Tensor:
        shown = as_mask(panel_mask, preceding)
        offsets = torch.arange(-preceding.shape[1], 0, device=preceding.device).expand_as(shown)
        return self.score(take_slot(preceding, last_slot(shown)), candidates, preceding, shown, offsets, inputs)


class ComicSeqCaptionRelevanceHead(nn.Module):
    """Does the caption belong to the panel? Scores of panels (B, D) or (B, K, D) for a caption (B, D), `(B,)` or `(B, K)`."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.scorer = ComicSeqBilinear(config)
        self.similarity = ComicSeqSimilarity(config) if config.similarity_term else None

    def forward(self, panel: torch.Tensor, caption: torch.Tensor) -> torch.Tensor:
        panels = panel[:, None] if panel.dim() == 2 else panel
        scores = self.score_pairs(panels, caption[:, None]).squeeze(-1)
        return scores.squeeze(1) if panel.dim() == 2 else scores

    def score_pairs(self, panels: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
        """Scores of every pair of panels (B, K, D) and captions (B, C, D), `(B, K, C)`."""
        scores = self.scorer(panels, captions)
        return scores if self.similarity is None else scores + self.similarity(panels, captions)


class ComicSeqTextClozeHead(nn.Module):
    """Which text belongs to the panel? Scores `(B, K)` from its visual context and the surrounding text (both (B, D))."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.context_encoder = make_mlp(config, num_layers=2, output_size=config.hidden_size)
        self.scorer = ComicSeqBilinear(config)
        self.context_similarity = ComicSeqSimilarity(config) if config.similarity_term else None
        self.text_similarity = ComicSeqSimilarity(config) if config.similarity_term else None

    def forward(
        self, visual_context: torch.Tensor, surrounding_text: torch.Tensor, candidate_texts: torch.Tensor
    ) -> torch.Tensor:
        context = self.context_encoder(torch.cat((visual_context, surrounding_text), dim=-1))
        scores = self.scorer(context[:, None], candidate_texts).squeeze(1)
        if self.context_similarity is not None:
            scores = scores + self.context_similarity(visual_context[:, None], candidate_texts).squeeze(1)
            scores = scores + self.text_similarity(surrounding_text[:, None], candidate_texts).squeeze(1)
        return scores


class ComicSeqMaskedPanelHead(nn.Module):
    """Predicts the embedded panel (B, D) that was masked from the contextualised state of its slot (B, D)."""

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.GELU()
        self.projection = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.projection(self.activation(self.dense(hidden_states)))


class ComicSeqReadingOrderHead(nn.Module):
    """
    How likely is it that panel i is followed by panel j? Scores `(B, N, N)` from panels (B, N, D). No panel follows itself:
    the diagonal is 0 and is not read. With `box_relation_layers`, what the panels' boxes (B, N, 4) say is added where they are
    given.
    """

    def __init__(self, config: ComicSeqConfig):
        super().__init__()
        self.scorer = ComicSeqBilinear(config)
        self.box_relations = ComicSeqBoxRelations(config) if config.box_relation_layers else None

    def forward(self, panels: torch.Tensor, boxes: torch.Tensor | None = None) -> torch.Tensor:
        itself = torch.eye(panels.shape[-2], dtype=torch.bool, device=panels.device)
        scores = self.scorer(panels, panels)
        if self.box_relations is not None and boxes is not None:
            scores = scores + self.box_relations(panels, boxes)
        return scores.masked_fill(itself, 0.0)
