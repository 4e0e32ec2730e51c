"""The encoder as it is used for a library: packed pages in, the vectors of their panels and strips out."""

from __future__ import annotations

import json

import numpy as np
import torch
import xxhash

from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqModel
from .packing import PackedPages

__all__ = ["PageEncoder", "encoder_of", "model_fingerprint"]

# What changes the outputs of the encoder beside its weights.
_FIELDS = ("hidden_act", "input_scale", "layer_norm_eps", "max_position_embeddings", "num_attention_heads")


def encoder_of(model: ComicSeqForPreTraining) -> ComicSeqModel:
    """The encoder of a model in float32, ready to encode."""
    encoder = model.comicseq.float().eval()
    encoder.set_attn_implementation("sdpa")  # which takes the mask of packed rows as it is
    return encoder


def model_fingerprint(model: ComicSeqModel) -> str:
    """Hash of the encoder's weights and of what else decides its outputs: the same in whichever checkpoint they are."""
    digest = xxhash.xxh3_128(json.dumps([getattr(model.config, field) for field in _FIELDS]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).view(np.uint8).data)
    return f"xxh3:{digest.hexdigest()}"


class PageEncoder:
    """Encodes packed pages.

    Args:
        model: The encoder, from `encoder_of`.
        device: Where to compute.
        dtype: Precision of what is returned; the computation is float32.
    """

    def __init__(self, model: ComicSeqModel, device: torch.device, dtype: torch.dtype = torch.float32):
        self.model = model.to(device)  # type: ignore[arg-type]
        self.device, self.dtype = device, dtype

    @torch.inference_mode()
    def __call__(self, pages: PackedPages) -> tuple[torch.Tensor, torch.Tensor]:
        """Contextualised panels, page by page `(panels, D)`, and strip vectors `(pages, D)`.

        A panel in several windows gets the mean of what they say. The strip vector is always the strip query's
        attention over all panels of the page. It is zero for a page without panels.
        """
        if not len(pages.places):
            width = self.model.config.hidden_size
            return torch.zeros(0, width, dtype=self.dtype), torch.zeros(len(pages.counts), width, dtype=self.dtype)
        vectors, positions, sequences, places = map(self._put, pages[:4])
        tokens = self.model.embeddings(vectors, sequences >= 0, positions)
        # Every token attends to those of its own page or window; those behind a row's end to each other.
        visible = sequences[:, :, None] == sequences[:, None]
        panels = _merge(self.model.run_layers(tokens, visible[:, None]).flatten(0, 1), places)
        return panels.to(self.dtype), self._strips(panels, pages.counts).to(self.dtype)

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _strips(self, panels: torch.Tensor, counts: np.ndarray) -> torch.Tensor:
        strips = panels.new_zeros(len(counts), panels.shape[1])
        first = np.cumsum(counts) - counts
        for count in np.unique(counts[counts > 0]):  # pages of one length need no padding
            chosen = np.flatnonzero(counts == count)
            members = panels[self._put(first[chosen, None] + np.arange(count))]
            mask = torch.ones(members.shape[:2], dtype=torch.bool, device=self.device)
            strips[self._put(chosen)] = self.model.pooler(members, mask)[0]
        return strips


def _merge(tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Mean `(panels, D)` of the tokens (R·L, D) at the places (panels, M) of each panel, -1 being none."""
    if places.shape[1] == 1:
        return tokens[places[:, 0]]
    known = places >= 0
    copies = torch.where(known[..., None], tokens[places.clamp(min=0)], 0.0)
    return copies.sum(1) / known.sum(1, keepdim=True)
