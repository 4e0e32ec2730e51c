"""Trains the packaged order predictor: a small reading-order model that sees boxes alone, on drawn layouts alone.

    python -m modeling_comicseq.training.order_predictor --seed 0 --output modeling_comicseq/layouts/order_predictor

The same seed draws the same pages and the same changes to them; it takes about half an hour on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ..files import written_folder
from ..layouts.drawn import draw_layout
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForReadingOrder
from ..progress import progress_bar

__all__ = ["draw_pages", "predictor_config", "train"]

MOST_PANELS = 40
_PANELS_A_STEP = 1024


def predictor_config() -> ComicSeqConfig:
    """The configuration of the packaged predictor."""
    return ComicSeqConfig(
        panel_embedding_dim=1,
        hidden_size=96,
        num_hidden_layers=0,
        box_relation_layers=4,
        num_attention_heads=6,
        intermediate_size=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=128,
        box_embedding=True,
        similarity_term=False,
        reading_order_target="precedence",
    )


def draw_pages(seed: int, count: int, **changes: float) -> list[np.ndarray]:
    """Boxes of pages of 2 to 40 panels in reading order, as they stand where reading goes from left to right."""
    pages: list[np.ndarray] = []
    page = 0
    while len(pages) < count:
        boxes = draw_layout(np.random.default_rng((seed, page)), reading_direction="ltr", **changes).boxes  # type: ignore[arg-type]
        page += 1
        if 1 < len(boxes) <= MOST_PANELS:
            pages.append(boxes)
    return pages


def batches(pages: list[np.ndarray], rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of changed boxes (B, N, 4) and masks (B, N), of pages of about one length, without end."""
    while True:
        lengths = np.array([len(page) for page in pages]) + rng.random(len(pages))
        order, parts = np.argsort(lengths), []
        start = 0
        while start < len(order):
            size = max(1, _PANELS_A_STEP // int(lengths[order[start]]))
            parts.append(order[start : start + size])
            start += size
        for part in rng.permutation(len(parts)):
            chosen = [pages[page] for page in parts[part]]
            boxes = np.zeros((len(chosen), max(map(len, chosen)), 4))
            mask = np.zeros(boxes.shape[:2], dtype=bool)
            for row, page in enumerate(chosen):
                boxes[row, : len(page)], mask[row, : len(page)] = page, True
            yield changed(boxes, mask, rng)


def changed(boxes: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as detectors find them: each edge a little off, some missed; and pages scaled, each way by itself."""
    pages = len(boxes)
    off = rng.uniform(0.0, 0.05, (pages, 1, 1)) * (rng.random((pages, 1, 1)) < 0.5)
    sides = np.tile(boxes[..., 2:] - boxes[..., :2], 2)
    boxes = boxes + off * rng.standard_normal(boxes.shape) * sides
    scale = np.where(rng.random((pages, 1, 1)) < 0.4, rng.uniform(0.6, 1.0, (pages, 1, 2)), 1.0)
    shift = rng.random((pages, 1, 2)) * (1 - scale)
    boxes = boxes.clip(0.0, 1.0) * np.tile(scale, 2) + np.tile(shift, 2)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 1e-3)
    boxes = boxes - np.tile(np.maximum(boxes[..., 2:] - 1, 0.0), 2)
    missed = rng.uniform(0.0, 0.25, (pages, 1)) * (rng.random((pages, 1)) < 0.4)
    found = mask & (rng.random(mask.shape) >= missed)
    mask = np.where(found.sum(1, keepdims=True) > 1, found, mask)
    return boxes.astype(np.float32), mask


def page_losses(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each page (B,) over its pairs of panels, which stand in reading order."""
    pairs = mask[:, :, None] & mask[:, None, :]
    pairs &= ~torch.eye(mask.shape[1], dtype=torch.bool)
    labels = torch.ones(mask.shape[1], mask.shape[1]).triu(1).expand_as(logits)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (losses * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def train(seed: int, pages: int, steps: int, progress: bool = True) -> ComicSeqForReadingOrder:
    """Trains a predictor on as many drawn pages, all of which it sees several times, changed anew each time."""
    torch.manual_seed(seed)
    model = ComicSeqForReadingOrder(predictor_config()).train()
    rng = np.random.default_rng((seed, 1))
    drawn = batches(draw_pages(seed, pages), rng)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)
    with progress_bar("Training", steps, progress) as advance:
        for _ in range(steps):
            boxes, mask = map(torch.from_numpy, next(drawn))
            logits = model(panel_boxes=boxes, attention_mask=mask).logits
            loss = page_losses(logits, mask).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            advance(1)
    return model.eval()


def main() -> None:
    """Trains the packaged predictor and writes its folder."""
    parser = argparse.ArgumentParser(description="Trains the packaged order predictor on drawn layouts.")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the pages, of what changes them, and of the weights"
    )
    parser.add_argument("--pages", type=int, default=120_000, help="pages to draw")
    parser.add_argument("--steps", type=int, default=7_000, help="steps of about a thousand panels")
    arguments = parser.parse_args()
    model = train(arguments.seed, arguments.pages, arguments.steps)
    with written_folder(arguments.output, overwrite=True) as folder:
        model.config.architectures, model.config.problem_type = [type(model).__name__], None
        model.config.to_json_file(folder / "config.json")  # without its code: that of the package reads it
        save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
