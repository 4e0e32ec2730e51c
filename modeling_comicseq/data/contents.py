"""The distinct pictures and texts of a data set of pages, by number, and those of a batch as an encoder takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..model.processing_comicpanel import ComicPanelProcessor
from ..pages.annotations import PanelAnnotation
from ..pages.page_set import PageSet
from .views import Batch

__all__ = ["Contents", "numbers_in"]

BATCH_IMAGES = 16  # that are encoded together
BATCH_TOKENS = 2048  # likewise, padding included: with few, texts of one length stand together


@dataclass
class Contents:
    """What stands behind the numbers of a `ContentTable`: 0 is nothing, then come the pictures, then the texts.

    Texts are distinct as the tokenizer sees them, pictures by the file of their page and their box.

    Attributes:
        processor: Prepares both for the panel encoder.
        pages: The data set of pages, whose panels are cut out when they are asked for; None without pictures.
        crops: Page of each picture `(P,)`.
        boxes: Where it stands there `(P, 4)`.
        tokens: The tokens of all texts, one text after the other.
        starts: First token of each text, and their number `(T + 1,)`.
        fingerprint: What tells these contents from others.
        image_features: What the vision model makes of each picture `(P, F)`, where it is known and does not change.
        text_features: Likewise of each text `(T, F)`.
    """

    processor: ComicPanelProcessor
    pages: PageSet | None
    crops: np.ndarray
    boxes: np.ndarray
    tokens: np.ndarray
    starts: np.ndarray
    fingerprint: str
    image_features: np.ndarray | None = None
    text_features: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path, pages: PageSet | None, processor: ComicPanelProcessor) -> Contents:
        """Those that `number_pages` wrote into a folder."""
        arrays = np.load(folder / "contents.npz")
        fingerprint = json.loads((folder / "contents.json").read_text())["fingerprint"]
        crops, boxes, tokens, starts = (arrays[name] for name in ("crops", "boxes", "tokens", "starts"))
        return cls(processor, pages, crops, boxes, tokens, starts, fingerprint)

    @property
    def num_images(self) -> int:
        """P, the number of pictures."""
        return len(self.crops)

    @property
    def num_texts(self) -> int:
        """T, the number of texts."""
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each text `(T,)`."""
        return np.diff(self.starts)

    def pixels(self, images: np.ndarray) -> torch.Tensor:
        """Pictures `images` (n,), counted from 0, as the vision model reads them (n, 3, H, W); each page is decoded once."""
        assert self.pages is not None
        found: list[Any] = [None] * len(images)
        owners = self.crops[images]
        for page in np.unique(owners).tolist():
            places = np.flatnonzero(owners == page)
            panels = [PanelAnnotation(tuple(self.boxes[each].tolist()), [], [], None, None) for each in images[places]]
            for place, picture in zip(places.tolist(), self.pages.crops(page, panels), strict=True):
                found[place] = picture
        return self.processor.prepare_images(found)

    def padded(self, texts: np.ndarray) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` (n, L) of texts (n,), counted from 0."""
        ids = [self.tokens[self.starts[each] : self.starts[each + 1]].tolist() for each in texts]
        return dict(self.processor.tokenizer.pad({"input_ids": ids}, return_tensors="pt"))

    def text_batches(self, texts: np.ndarray) -> Iterator[np.ndarray]:
        """Texts (n,), which stand in the order of their lengths, in batches of at most `BATCH_TOKENS`."""
        first = 0
        for place in range(1, len(texts) + 1):
            if place == len(texts) or (place + 1 - first) * self.lengths[texts[place]] > BATCH_TOKENS:
                yield texts[first:place]
                first = place

    def select(self, numbers: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Contents by their `numbers` (n,), ascending and without 0.

        Returns:
            Their rows `(n,)` among the vectors that `ComicPageForPreTraining.encode_contents` makes, and its arguments.
        """
        images = numbers[numbers <= self.num_images] - 1
        texts = numbers[len(images) :] - self.num_images - 1
        order = np.argsort(self.lengths[texts], kind="stable")
        rows = np.empty(len(numbers), np.int64)
        rows[: len(images)] = 1 + np.arange(len(images))
        rows[len(images) + order] = 1 + len(images) + np.arange(len(texts))
        texts = texts[order]
        found: dict[str, Any] = {}
        if self.image_features is not None:
            found["image_features"] = torch.from_numpy(self.image_features[images])
        elif len(images):
            parts = np.array_split(images, -(-len(images) // BATCH_IMAGES))
            found["pixel_values"] = [self.pixels(part) for part in parts]
        if self.text_features is not None:
            found["text_features"] = torch.from_numpy(self.text_features[texts])
        elif len(texts):
            found["texts"] = [self.padded(part) for part in self.text_batches(texts)]
        return rows, found

    def fill(self, batch: Batch) -> Batch:
        """A batch of numbers, and batches within it, as `ComicPageForPreTraining` takes it: with rows, and the `contents`."""
        numbers = numbers_in(batch)
        rows, contents = self.select(numbers)
        found, rows = np.concatenate(([0], numbers)), np.concatenate(([0], rows))
        return _with_rows(batch, found, rows) | {"contents": contents}


def numbers_in(batch: Batch) -> np.ndarray:
    """The numbers of all contents in a batch, and in batches within it `(n,)`, ascending, without 0."""
    return np.unique(np.concatenate([np.zeros(1, np.int64), *_numbers(batch)]))[1:]


def _is_number(name: str, value: Any) -> bool:
    return name.endswith(("_embedding", "_embeddings")) and isinstance(value, np.ndarray)


def _numbers(batch: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for name, value in batch.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif _is_number(name, value):
            yield value.astype(np.int64).ravel()


def _with_rows(batch: Batch, numbers: np.ndarray, rows: np.ndarray) -> Batch:
    def replaced(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return _with_rows(value, numbers, rows)
        return rows[np.searchsorted(numbers, value)] if _is_number(name, value) else value

    return {name: replaced(name, value) for name, value in batch.items()}
