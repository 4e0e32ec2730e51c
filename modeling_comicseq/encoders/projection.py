"""From the vectors of any two frozen encoders to panel vectors of the model's width."""

from __future__ import annotations

import numpy as np


class PanelProjection:
    """A fixed Gaussian projection of picture and text vectors to one width; their sum is the fused panel vector.

    Entries are drawn from N(0, 1 / width), so that lengths and angles are kept in expectation (Johnson and Lindenstrauss,
    1984) and a unit vector stays one of norm about 1. The generator is seeded with the width and draws the picture matrix
    first, then the text matrix: the same encoders and width give the same vectors on every machine. With EfficientNet-Lite0
    and all-MiniLM-L6-v2 at width 512 these are the vectors of the `stage3/peppercarrot` and `stage3/comics_text` stores.

    Args:
        picture_dim: Width of the picture encoder's vectors. It also decides which text matrix is drawn; without pictures,
            give EfficientNet-Lite0's 1,280, so that the texts land where those of panels with pictures do.
        text_dim: Width of the text encoder's vectors; None without one.
        width: Width of the panel vectors.
    """

    def __init__(self, picture_dim: int, text_dim: int | None, width: int):
        generator = np.random.default_rng(width)
        self.width = width
        self._picture = self._draw(generator, picture_dim)
        self._text = None if text_dim is None else self._draw(generator, text_dim)

    def _draw(self, generator: np.random.Generator, dim: int) -> np.ndarray:
        return (generator.standard_normal((dim, self.width)) / np.sqrt(self.width)).astype(np.float32)

    def pictures(self, vectors: np.ndarray) -> np.ndarray:
        """Picture vectors (..., picture_dim) at the model's width, `(..., width)`."""
        return vectors @ self._picture

    def texts(self, vectors: np.ndarray) -> np.ndarray:
        """Text vectors (..., text_dim) at the model's width, `(..., width)`; zeros, an empty text, stay zeros."""
        if self._text is None:
            raise ValueError("The projection was made without `text_dim`.")
        return vectors @ self._text

    def fuse(self, pictures: np.ndarray, texts: np.ndarray | None) -> np.ndarray:
        """Fused panel vectors `(..., width)`: the sum of both projections, the picture alone where there are no texts."""
        fused = self.pictures(pictures)
        return fused if texts is None else fused + self.texts(texts)
