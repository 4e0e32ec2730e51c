"""What a panel encoder makes of the contents of a data set: once and for all where it stays as it is, else when asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from ..data.contents import Contents
from ..data.page_panels import ContentTable, with_vectors
from ..data.panels import PanelTable
from ..encoders.panel_encoder import PanelEncoder
from ..files import written_file
from ..model.modeling_comicpage import ComicPageForPreTraining
from ..progress import progress_bar, track
from ..stores.stage3 import work_ahead

EMBEDDED = 64  # contents that are encoded at a time in validation


def read_vectors(model: Any, table: PanelTable) -> PanelTable:
    """The panels of a split with their vectors: of a `ContentTable`, those that a page model now makes."""
    return embed_table(model, table) if isinstance(table, ContentTable) else table


@torch.no_grad()
def embed_table(model: ComicPageForPreTraining, table: ContentTable) -> PanelTable:
    """The panels of a split with the vectors that the model now makes of them; each content is encoded once."""
    numbers, was_training = table.numbers(), model.training
    model.eval()
    found = np.empty((len(numbers), model.panel_encoder.config.projection_dim), np.float32)
    # Texts of one length together, behind the pictures.
    length = np.concatenate((np.full(table.contents.num_images + 1, -1), table.contents.lengths))[numbers]
    parts = np.array_split(np.argsort(length, kind="stable"), -(-len(numbers) // EMBEDDED))
    parts = [np.sort(part) for part in parts]
    chosen = work_ahead(lambda part: table.contents.select(numbers[part]), parts)
    shown = track(chosen, "Encoding panels", total=len(parts), shown=PartialState().is_main_process)
    for part, (rows, contents) in zip(parts, shown, strict=True):
        found[part] = model.encode_contents(**to_device(contents, model.device)).float().cpu().numpy()[rows]
    model.train(was_training)
    return with_vectors(table, numbers, found)


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors, and those in lists and dictionaries, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: to_device(each, device) for name, each in value.items()}
    return [to_device(each, device) for each in value]


def feature_file(folder: Path, half: str, encoder: PanelEncoder, contents: Contents) -> Path:
    """Where the features of one half are kept: of these contents and this encoder alone."""
    key = hashlib.sha256(json.dumps([contents.fingerprint, encoder.fingerprint]).encode()).hexdigest()[:16]
    return folder / f"{half}_features-{key}.npy"


def make_features(file: Path, half: str, encoder: PanelEncoder, contents: Contents, progress: bool) -> None:
    """Writes what one half of an encoder makes of each picture or text, before the projection, if that is not there yet.

    Args:
        file: Where to, see `feature_file`.
        half: `vision` or `text`.
        encoder: The encoder.
        contents: The pictures and texts.
        progress: Whether to show how far it is.
    """
    if file.is_file():
        return
    config, is_vision = encoder.model.config, half == "vision"
    count = contents.num_images if is_vision else contents.num_texts
    width = config.vision_feature_dim if is_vision else config.text_feature_dim
    batches = _images(encoder, contents) if is_vision else _texts(encoder, contents)
    with (
        written_file(file) as beside,
        torch.inference_mode(),
        progress_bar(f"Reading {'pictures' if is_vision else 'texts'}", count, progress) as advance,
    ):
        features = np.lib.format.open_memmap(beside, "w+", np.float32, (count, width or 0))
        for rows, made in batches:
            features[rows] = made.float().cpu().numpy()
            advance(len(rows))
        features.flush()


def _images(encoder: PanelEncoder, contents: Contents) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    parts = np.array_split(np.arange(contents.num_images), -(-contents.num_images // encoder.batch_size))
    for part, pixels in zip(parts, work_ahead(contents.pixels, parts), strict=True):
        yield part, encoder.model.read_images(pixels.to(encoder.device))


def _texts(encoder: PanelEncoder, contents: Contents) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    for part in contents.text_batches(np.argsort(contents.lengths, kind="stable")):
        tokens = to_device(contents.padded(part), encoder.device)
        yield part, encoder.model.read_texts(tokens["input_ids"], tokens["attention_mask"])
