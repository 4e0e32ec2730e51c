"""Panels by an object detector: any detection checkpoint of transformers that knows panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from ..errors import ComicSeqDataError, in_words
from ..hub import check_not_mistyped
from ..layouts.boxes import find_bad_boxes, iou
from ..progress import quiet_transformers

# Two boxes of one panel overlap by more than this, two panels by less.
SAME_PANEL = 0.6


def load_panel_detector(
    name: str, *, threshold: float = 0.5, batch_size: int = 8, device: torch.device | str | None = None
) -> Callable[[Sequence[Image.Image]], list[np.ndarray]]:
    """Loads a detector as a function from pages to the boxes of their panels.

    What it gives of each page are boxes `(n, 4)` as shares of the page, float32, surest first, and none at all where it
    sees no panel. They do not depend on the other pages: only pages of one size share a batch.

    Args:
        name: A folder or a name on the Hub: a checkpoint with an image processor that `AutoModelForObjectDetection` loads.
            Its panels are the classes that have "panel" or "frame" in their name, or its only class.
        threshold: The least score of a box.
        batch_size: Pages in one forward pass.
        device: Where to run it; by default the GPU if there is one.

    Raises:
        ComicSeqDataError: There is no such checkpoint, or it is no detector, or none of its classes is a panel.
    """
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    check_not_mistyped(name, "the folder or Hub name of an object-detection checkpoint of transformers")
    try:
        with quiet_transformers():
            processor = AutoImageProcessor.from_pretrained(name)
            model = AutoModelForObjectDetection.from_pretrained(name).eval().to(where)
    except (OSError, ValueError, ImportError) as error:
        raise ComicSeqDataError(
            f"{name} is no panel detector: name the folder or Hub name of an object-detection checkpoint of transformers"
            f" ({in_words(error).split('. ')[0]})."
        ) from None
    classes = model.config.id2label
    wanted = [label for label, word in classes.items() if "panel" in word.lower() or "frame" in word.lower()]
    wanted = wanted or (list(classes) if len(classes) == 1 else [])
    if not wanted:
        raise ComicSeqDataError(
            f"{name} finds {', '.join(list(classes.values())[:5])}{', …' if len(classes) > 5 else ''},"
            ' but no class of it has "panel" or "frame" in its name: name a detector of panels, or rename its class in'
            " config.json (id2label)."
        )

    @torch.inference_mode()
    def boxes_of(inputs: list[dict[str, torch.Tensor]]) -> list[np.ndarray]:
        outputs = model(**{key: torch.cat([each[key] for each in inputs]).to(where) for key in inputs[0]})
        found = processor.post_process_object_detection(outputs, threshold=threshold)  # without sizes: shares
        return [
            distinct(page["boxes"][keep].cpu().numpy(), page["scores"][keep].cpu().numpy())
            for page in found
            for keep in [torch.isin(page["labels"].cpu(), torch.tensor(wanted)).to(page["labels"].device)]
        ]

    def detect(images: Sequence[Image.Image]) -> list[np.ndarray]:
        results: list[np.ndarray] = [np.zeros((0, 4), np.float32)] * len(images)
        for start in range(0, len(images), batch_size):
            groups: dict[torch.Size, list[tuple[int, dict[str, torch.Tensor]]]] = {}
            for index, image in enumerate(images[start : start + batch_size], start):
                inputs = dict(processor(images=image.convert("RGB"), return_tensors="pt"))
                groups.setdefault(inputs["pixel_values"].shape, []).append((index, inputs))
            for group in groups.values():
                for (index, _), boxes in zip(group, boxes_of([inputs for _, inputs in group]), strict=True):
                    results[index] = boxes
        return results

    return detect


def distinct(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The boxes (n, 4) on the page, surest first, without those that show a surer one's panel again."""
    boxes = boxes[np.argsort(-scores, kind="stable")].clip(0, 1).astype(np.float32)
    boxes = boxes[~find_bad_boxes(boxes) & boxes.any(1)]
    kept: list[int] = []
    for index, overlaps in enumerate(iou(boxes, boxes)):
        if not (overlaps[kept] > SAME_PANEL).any():
            kept.append(index)
    return boxes[kept]
