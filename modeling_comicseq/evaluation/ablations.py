"""Questions with something taken away, to see what a model's answer rests on.

Each function takes a batch of questions and their numbers in their set (B,), from which alone it draws; it returns inputs
that the task's class can be asked. What a question has tells its kind: a slot that was taken out (`mask_position`),
candidates that stand in a place of their own (`candidate_position`), or a caption as all its context.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.draws import Draws
from ..data.views import Batch, without_boxes
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..stores.stage3 import BOX_ARRAY

Ablation = Callable[[Batch, np.ndarray], Batch]


def without_context(batch: Batch, numbers: np.ndarray) -> Batch:
    """Every panel of the context is masked out.

    What stays is one slot that holds the mask embedding: the asked one where it is in the sequence, with its position (and
    in text-cloze its picture); in closure the one before the gap, with its position; in coherence, where the candidates
    keep theirs, the first. In caption relevance it stands for the caption.
    """
    if "caption_embeddings" in batch:
        return batch | {"mask_position": np.zeros(len(batch["candidate_mask"]), dtype=np.int64)}
    mask = batch["attention_mask"]
    if "mask_position" in batch:
        slot = batch["mask_position"]
    elif "candidate_position" in batch:
        slot = np.zeros(len(mask), dtype=np.int64)
    else:
        slot = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    only = (np.arange(mask.shape[1]) == slot[:, None]).astype(np.int64)
    return batch | {"mask_position": slot, "attention_mask": only}


def shuffled_context(batch: Batch, numbers: np.ndarray) -> Batch:
    """The panels of the context, and their texts, in random order among their own slots; the asked slot stays."""
    shown = batch["attention_mask"].astype(bool)
    slots = np.arange(shown.shape[1])
    if "mask_position" in batch:
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


def candidates_only(batch: Batch, numbers: np.ndarray) -> Batch:
    """Nothing of the question is left: as `without_context`, and neither position, box nor picture of the asked slot."""
    bare = without_context(batch, numbers)
    bare = bare | {"position_ids": np.full(bare["attention_mask"].shape, -1, dtype=np.int64)}
    if "candidate_position" in bare:
        bare["candidate_position"] = np.full_like(bare["candidate_position"], -1)
    for name in ("visual_embedding", BOX_ARRAY):
        bare.pop(name, None)
    return bare


# No two variants of a question are the same by construction.
OF_SEQUENCES: dict[str, Ablation] = {
    "without context": without_context,
    "shuffled context": shuffled_context,
    "candidates only": candidates_only,
}


def boxes_alone(batch: Batch, numbers: np.ndarray) -> Batch:
    """Of the context only where its panels stand; candidates are as they were."""
    return {name: value for name, value in batch.items() if name != "panel_embeddings"}


def content_alone(batch: Batch, numbers: np.ndarray) -> Batch:
    """Of the context all but where its panels stand."""
    return without_boxes(batch)


def of_boxes(model: ComicSeqForPreTraining, batch: Batch) -> dict[str, Ablation]:
    """What is taken away from questions with boxes, where a model reads boxes."""
    if BOX_ARRAY not in batch or not model.config.box_embedding:
        return {}
    if "text_embeddings" in batch:  # a context that would stay
        return {"content alone": content_alone}
    return {"boxes alone": boxes_alone, "content alone": content_alone}
