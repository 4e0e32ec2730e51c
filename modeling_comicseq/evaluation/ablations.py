"""Questions with something taken away, to see what a model's answer rests on.

Each function takes the task, a batch of `build_questions` and the questions' numbers in their set (B,), from which alone
it draws; it returns inputs that the task's class can be asked. No two of a task's variants are the same by construction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.draws import Draws
from ..data.views import Batch

_HAS_GAP_IN_CONTEXT = ("panel_picking", "text_cloze")  # the asked slot is one of the sequence's


def without_context(task: str, batch: Batch, numbers: np.ndarray) -> Batch:
    """Every panel of the context is masked out.

    What stays is one slot that holds the mask embedding: in picking and text-cloze the asked one, with its position (and
    in text-cloze its picture); in closure the one before the gap, with its position; in coherence, where the candidates
    keep theirs, the first. In caption relevance it stands for the caption.
    """
    if task == "caption_relevance":
        return batch | {"mask_position": np.zeros(len(batch["candidate_mask"]), dtype=np.int64)}
    mask = batch["attention_mask"]
    if task in _HAS_GAP_IN_CONTEXT:
        slot = batch["mask_position"]
    elif task == "character_coherence":
        slot = np.zeros(len(mask), dtype=np.int64)
    else:
        slot = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    only = (np.arange(mask.shape[1]) == slot[:, None]).astype(np.int64)
    return batch | {"mask_position": slot, "attention_mask": only}


def shuffled_context(task: str, batch: Batch, numbers: np.ndarray) -> Batch:
    """The panels of the context, and their texts, in random order among their own slots; the asked slot stays."""
    shown = batch["attention_mask"].astype(bool)
    slots = np.arange(shown.shape[1])
    if task in _HAS_GAP_IN_CONTEXT:
        shown = shown & (slots != batch["mask_position"][:, None])
    keys = Draws(0, 0, numbers).uniform("context", shown.shape[1])
    # The k-th of the shown slots gets the panel of the shown slot with the k-th smallest key.
    source = np.argsort(np.where(shown, keys, 2.0), axis=1, kind="stable")
    target = np.argsort(~shown, axis=1, kind="stable")
    order = np.empty_like(source)
    np.put_along_axis(order, target, source, axis=1)
    order = np.where(shown, order, slots)
    moved = {
        name: np.take_along_axis(batch[name], order[..., None], axis=1)
        for name in ("panel_embeddings", "text_embeddings")
        if name in batch
    }
    return batch | moved


def candidates_only(task: str, batch: Batch, numbers: np.ndarray) -> Batch:
    """Nothing of the question is left: as `without_context`, and neither position nor picture of the asked slot."""
    bare = without_context(task, batch, numbers)
    bare = bare | {"position_ids": np.full(bare["attention_mask"].shape, -1, dtype=np.int64)}
    if "candidate_position" in bare:
        bare["candidate_position"] = np.full_like(bare["candidate_position"], -1)
    bare.pop("visual_embedding", None)
    return bare


Ablation = Callable[[str, Batch, np.ndarray], Batch]
_OF_SEQUENCES: dict[str, Ablation] = {
    "without context": without_context,
    "shuffled context": shuffled_context,
    "candidates only": candidates_only,
}
# A caption is all the context.
ABLATIONS: dict[str, dict[str, Ablation]] = {
    "panel_picking": _OF_SEQUENCES,
    "character_coherence": _OF_SEQUENCES,
    "visual_closure": _OF_SEQUENCES,
    "text_closure": _OF_SEQUENCES,
    "caption_relevance": {"caption removed": without_context},
    "text_cloze": _OF_SEQUENCES,
}


def pairs_alone(batch: Batch) -> tuple[Batch, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every pair of panels of each page of a reading-order batch as a page of its own.

    Returns:
        Pages of two panels (M, 2, P), and the page, the first and the second slot of each pair `(M,)`.
    """
    real = batch["attention_mask"].astype(bool)
    width = real.shape[1]
    upper = np.triu(np.ones((width, width), dtype=bool), k=1)
    page, first, second = np.nonzero(real[:, :, None] & real[:, None] & upper)
    panels = batch["panel_embeddings"]
    pairs = np.stack((panels[page, first], panels[page, second]), axis=1)
    return {"panel_embeddings": pairs, "attention_mask": np.ones(pairs.shape[:2], dtype=np.int64)}, (
        page,
        first,
        second,
    )
