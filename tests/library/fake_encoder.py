"""A panel encoder that takes no time: what it says of a picture or a text depends on that alone."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

WIDTH = 8


class FakeEncoder:
    """Mean and spread of the colours of a picture, and its size; a random vector of a text, by its hash."""

    width = WIDTH
    model = processor = None

    def __init__(self, sees: bool = True, reads: bool = True, version: str = "1"):
        self.reads_images, self.reads_texts = sees, reads
        self.name, self.fingerprint = "fake", f"fake {version} {sees} {reads}"
        self.origin = {"visual_encoder": "fake" if sees else None, "text_encoder": "fake" if reads else None}
        self.origin |= {"fusion": "sum", "encoder_fingerprint": self.fingerprint}
        self.images = self.texts = 0  # how many were encoded

    def encode_images(self, images: Iterable[Image.Image]) -> np.ndarray:
        return np.stack([np.zeros(WIDTH, np.float32), *map(self._image, images)])[1:]

    def encode_texts(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        return np.stack([np.zeros(WIDTH, np.float32), *map(self._text, texts)])[1:]

    def encode_captions(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
        return -self.encode_texts(texts)

    def fuse(self, visual: np.ndarray | None, texts: np.ndarray | None) -> np.ndarray:
        given = [each for each in (visual, texts) if each is not None]
        return np.sum(given, axis=0, dtype=np.float32)

    def _image(self, image: Image.Image) -> np.ndarray:
        self.images += 1
        pixels = np.asarray(image, np.float32)
        return np.array([*pixels.mean((0, 1)), *pixels.std((0, 1)), *image.size], np.float32) / 100

    def _text(self, text: str) -> np.ndarray:
        self.texts += 1
        if not text.strip():
            return np.zeros(WIDTH, np.float32)
        return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(WIDTH).astype(np.float32)
