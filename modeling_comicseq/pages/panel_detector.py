"""Panels by an object detector: any detection checkpoint of transformers that knows panels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from ..errors import ComicSeqDataError, in_words
from ..hub import check_not_mistyped
from ..layouts.boxes import find_bad_boxes, iou
from ..progress import quiet_transformers

# Two boxes of one panel overlap by more than this, two panels by less.
SAME_PANEL = 0.6


def load_panel_detector(name: str, threshold: float = 0.5) -> Callable[[Image.Image], np.ndarray]:
    """Loads a detector, on the GPU if there is one, as a function from a page to the boxes of its panels.

    These are boxes `(n, 4)` as shares of the page, float32, surest first, and none at all where it sees no panel.

    Args:
        name: A folder or a name on the Hub: a checkpoint with an image processor that `AutoModelForObjectDetection` loads.
            Its panels are the classes that have "panel" or "frame" in their name, or its only class.
        threshold: The least score of a box.

    Raises:
        ComicSeqDataError: There is no such checkpoint, or it is no detector, or none of its classes is a panel.
    """
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
    def detect(image: Image.Image) -> np.ndarray:
        inputs = processor(images=image.convert("RGB"), return_tensors="pt")
        outputs = model(**{name: each.to(where) for name, each in inputs.items()})
        (found,) = processor.post_process_object_detection(outputs, threshold=threshold)  # without a size: shares
        labels, boxes, scores = (found[name].cpu().numpy() for name in ("labels", "boxes", "scores"))
        keep = np.isin(labels, wanted)
        return distinct(boxes[keep], scores[keep])

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
