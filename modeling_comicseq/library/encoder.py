"""The encoder as it is used for a library: pages in, the vectors of their panels and strips out."""

from __future__ import annotations

import json

import numpy as np
import torch
import xxhash

from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqModel
from ..model.packing_comicseq import ComicSeqView
from ..stores.windows import check_window, expand_windows

__all__ = ["PageEncoder", "encoder_of", "model_fingerprint", "query_modality"]

# What changes the outputs of the encoder beside its weights.
_FIELDS = ("hidden_act", "input_scale", "layer_norm_eps", "max_position_embeddings", "num_attention_heads")

# Measured on the CPU with pages of 1 to 16 panels: as little padding as longer rows, and less attention across pages.
_ROW_LENGTH = 32


def encoder_of(model: ComicSeqForPreTraining) -> ComicSeqModel:
    """The encoder of a model in float32, ready to encode."""
    encoder = model.comicseq.float().eval()
    encoder.set_attn_implementation("sdpa")  # which takes the mask of packed rows as it is
    return encoder


def model_fingerprint(model: ComicSeqModel) -> str:
    """Hash of the encoder's weights and of what else decides its outputs: the same in whichever checkpoint they are."""
    decides = [getattr(model.config, field) for field in _FIELDS]
    decides += [model.config.streams] if model.config.has_streams else []  # fused ones keep the hash that they had
    digest = xxhash.xxh3_128(json.dumps(decides).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).view(np.uint8).data)
    return f"xxh3:{digest.hexdigest()}"


def query_modality(config: ComicSeqConfig, modality: str, width: int) -> str:
    """As what a model is best asked with the vector of a text or a picture alone, `width` wide.

    One that does not centre modalities by themselves was hardly trained on one alone, and finds more where it is given as a
    panel. So it is with separate streams, where a panel of one half is no other than that half alone.
    """
    return (
        modality
        if config.strip_pooling == "residual" and width == getattr(config, f"{modality}_embedding_dim")
        else "panel"
    )


class PageEncoder:
    """Encodes pages.

    Args:
        model: The encoder, from `encoder_of`.
        device: Where to compute.
        dtype: Precision of what is returned; the computation is float32.
    """

    def __init__(self, model: ComicSeqModel, device: torch.device, dtype: torch.dtype = torch.float32):
        self.model = model.to(device)  # type: ignore[arg-type]
        self.device, self.dtype = device, dtype
        self.window, self.stride = check_window(model.config.max_position_embeddings, None)

    @torch.inference_mode()
    def __call__(
        self, vectors: np.ndarray, counts: np.ndarray, boxes: np.ndarray | None = None, modality: str = "panel"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Contextualised panels, page by page `(panels, D)`, and strip vectors `(pages, D)`.

        A page with more panels than the model takes is encoded in overlapping windows; a panel in several of them gets
        the mean of what they say. The strip vector is always the model's pooling of all panels of the page. It is
        zero for a page without panels.

        Args:
            vectors: Panel vectors of all pages, one page after the other `(panels, P)`.
            counts: Panels of each page `(pages,)`, 0 allowed.
            boxes: Where the panels stand, as the page is read from left to right `(panels, 4)`, for a model that reads it.
            modality: What the vectors are, as the model takes it.
        """
        if not len(vectors):
            nothing = torch.zeros(len(counts), self.model.config.hidden_size, dtype=self.dtype, device=self.device)
            return nothing[:0], nothing
        page, start, length = expand_windows(counts, self.window, self.stride)
        position = np.broadcast_to(np.arange(length.max()), (len(page), length.max()))
        is_real = position < length[:, None]
        first = np.cumsum(counts) - counts
        panel = np.where(is_real, (first[page] + start)[:, None] + position, 0)
        mask = self._put(is_real)
        places = self._put(panel)
        panel_boxes = None if boxes is None else self._put(boxes)[places]
        given = self._put(vectors)
        tokens, real_tokens = self.model.embeddings(
            given[places], mask, self._put(position.copy()), modality=modality, panel_boxes=panel_boxes
        )
        view = ComicSeqView.of_panels(tokens, real_tokens, mask)
        (states,), _ = self.model.encode_packed([view], _ROW_LENGTH)
        encoded, _ = view.split(states)
        shown = panel[is_real]
        order, copies = np.argsort(shown, kind="stable"), np.bincount(shown)
        panels = torch.segment_reduce(encoded[mask][self._put(order)], "mean", lengths=self._put(copies))
        strips = panels.new_zeros(len(counts), panels.shape[1])
        for count in np.unique(counts[counts > 0]):  # pages of one length need no padding
            chosen = np.flatnonzero(counts == count)
            members = self._put(first[chosen, None] + np.arange(count))
            real = torch.ones(members.shape, dtype=torch.bool, device=self.device)
            strips[self._put(chosen)] = self.model.pooler(panels[members], real, given[members], modality=modality)[0]
        return panels.to(self.dtype), strips.to(self.dtype)

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)
