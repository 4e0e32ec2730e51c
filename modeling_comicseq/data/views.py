"""Questions and views: from rows of a `PanelTable` to the inputs and labels of a task's class, vectorised over the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch

from ..errors import ComicSeqDataError
from .distractors import draw_distractors
from .draws import Draws
from .panels import PanelSubset, PanelTable

Batch = dict[str, np.ndarray]
Shares = dict[str, slice]  # which questions of a batch are those of a task
CLOSURES = {"visual_closure", "text_closure"}
NEEDED_COLUMN = {"caption_relevance": "caption_embeddings", "text_cloze": "text_embeddings"}


def servable(table: PanelTable, task: str, rows: np.ndarray) -> np.ndarray:
    """Which of `rows` can ask a question of `task` `(B,)`: the vectors are there, and so is a context.

    In data that tell the characters, character coherence is asked of pages where one of them is seen twice.
    """
    if task in NEEDED_COLUMN and NEEDED_COLUMN[task] not in table:
        return np.zeros(len(rows), dtype=bool)
    if task == "character_coherence" and table.characters is not None:
        return table.characters.counts[rows] > 0
    enough = table.num_panels[rows] >= (1 if task == "caption_relevance" else 2)
    among = _can_be_asked(table, task)
    if among is None:
        return enough
    return enough & (among.count(*_askable(table, task, rows)) > 0)


def _can_be_asked(table: PanelTable, task: str) -> PanelSubset | None:
    """The panels that `task` can ask about: those that have the text or the caption it asks for; None for all."""
    if task == "text_cloze" or (task == "text_closure" and "text_embeddings" in table):
        return table.with_text
    return table.with_caption if task == "caption_relevance" else None


def _askable(table: PanelTable, task: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First panel of each row that can be asked about and the one behind the last: closure needs one before the gap."""
    first = table.offsets[rows] + (1 if task in CLOSURES else 0)
    return np.minimum(first, table.offsets[rows + 1]), table.offsets[rows + 1]


def check_servable(table: PanelTable, task: str, protocol: str | Sequence[str]) -> None:
    """Raises a `ComicSeqDataError` that says what is missing if no page can ask a question of `task` under `protocol`.

    Of several protocols, each must find a distractor. Reads no vectors.
    """
    rows = np.arange(len(table))
    rows = rows[servable(table, task, rows)]
    if not len(rows):
        if task in NEEDED_COLUMN and NEEDED_COLUMN[task] not in table:
            missing = f"the data set has no `{NEEDED_COLUMN[task]}`"
        elif _can_be_asked(table, task) is not None:
            missing = "no page has a panel whose text or caption could be asked for"
        elif task == "character_coherence" and table.characters is not None:
            missing = "its `character_ids` name no character twice on a page"
        else:
            missing = "no page of the data set has two panels"
        raise ComicSeqDataError(
            f"The task {task} cannot be asked: {missing}. Leave the task out (weight 0 in training), or convert a store that has."
        )
    if task != "reading_order":
        for each in [protocol] if isinstance(protocol, str) else protocol:
            _check_protocol(table, task, each)
            if not any(_has_distractor(table, task, each, rows[i : i + 4096]) for i in range(0, len(rows), 4096)):
                raise ComicSeqDataError(
                    f"The task {task} cannot be asked under the protocol {each}: {_NO_DISTRACTOR[each]}. Choose another"
                    " protocol, or set the task's weight to 0."
                )


_NO_DISTRACTOR = {
    "same_book": "no book of the split has another page with a panel that could be a wrong candidate",
    "cross_book": "the split has a single book",
    "in_page": "no page of the split has two panels",
    "later_panels": "no page of the split has three panels",
}


def _check_protocol(table: PanelTable, task: str, protocol: str) -> None:
    if protocol == "later_panels" and task not in CLOSURES:
        raise ComicSeqDataError(
            f"The protocol later_panels makes no sense for the task {task}, which has no gap: only visual_closure and"
            " text_closure have. Choose another protocol for it."
        )
    if protocol == "in_page" and task == "character_coherence" and table.characters is not None:
        raise ComicSeqDataError(
            "The protocol in_page makes no sense for the task character_coherence in data with `character_ids`: a wrong"
            " candidate shows none of the page's characters. Choose another protocol for it."
        )


def _has_distractor(table: PanelTable, task: str, protocol: str, rows: np.ndarray) -> bool:
    strangers = task == "character_coherence" and table.characters is not None
    slots = np.minimum(1, table.num_panels[rows] - 1)  # behind the earliest gap, the most panels are left
    among = table.with_text if task in ("text_closure", "text_cloze") else None
    distractors = draw_distractors(table, protocol, rows, slots, 1, Draws(0, 0, rows), strangers, among)
    return bool((distractors >= 0).any())


def cumulative_odds(table: PanelTable, rows: np.ndarray, weights: dict[str, float]) -> np.ndarray:
    """How often each row asks each of the tasks in `weights` or one before it `(B, T)`, up to a factor.

    That is a running sum of weights, which leaves out the tasks that the row cannot ask.
    """
    odds = np.stack([weight * servable(table, task, rows) for task, weight in weights.items()], axis=1)
    return np.cumsum(odds, axis=1)


def draw_tasks(odds: np.ndarray, tasks: Sequence[str], draws: Draws) -> dict[str, np.ndarray]:
    """The rows that ask each of `tasks`, as places in the batch `(n,)`, drawn by `cumulative_odds` (B, T).

    A row whose odds are all 0 asks none.
    """
    choice = (draws.uniform("task")[:, None] * odds[:, -1:] >= odds).sum(1, dtype=np.int8)
    order = np.argsort(choice, kind="stable")
    bounds = np.searchsorted(choice[order], np.arange(len(tasks) + 1))
    return {task: order[bounds[i] : bounds[i + 1]] for i, task in enumerate(tasks)}


def panel_picking(table: PanelTable, rows: np.ndarray, asked: np.ndarray, candidates: np.ndarray) -> Batch:
    """A uniformly drawn panel is taken out of the page."""
    panels, mask = _page(table, rows, without=asked)
    return {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": mask.astype(np.int64),
        "mask_position": asked,
        "candidate_embeddings": table.gather("panel_embeddings", candidates),
    }


def character_coherence(table: PanelTable, rows: np.ndarray, asked: np.ndarray, candidates: np.ndarray) -> Batch:
    """A held-out panel of the page against panels of other pages, each judged by itself, in its place.

    In data that tell the characters, the held-out panel shares one with the rest of the page, and the others show none of
    the page's. Without, that a panel is of the page stands for it.
    """
    panels, _ = _page(table, rows, without=asked)
    return {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": (panels >= 0).astype(np.int64),
        "candidate_position": asked,
        "candidate_embeddings": table.gather("panel_embeddings", candidates),
    }


def visual_closure(table: PanelTable, rows: np.ndarray, gap: np.ndarray, candidates: np.ndarray) -> Batch:
    """The panels before a uniformly drawn gap; the picture behind it is asked for."""
    return _closure(table, rows, gap, candidates, "visual")


def text_closure(table: PanelTable, rows: np.ndarray, gap: np.ndarray, candidates: np.ndarray) -> Batch:
    """The panels before a uniformly drawn gap; the text behind it is asked for."""
    return _closure(table, rows, gap, candidates, "text")


def _closure(table: PanelTable, rows: np.ndarray, gap: np.ndarray, candidates: np.ndarray, modality: str) -> Batch:
    panels, mask = _page(table, rows, end=gap)
    column = f"{modality}_embeddings"
    has_column = column in table
    column = column if has_column else "panel_embeddings"
    return {
        "panel_embeddings": table.gather(column, panels),
        "attention_mask": mask.astype(np.int64),
        "candidate_embeddings": table.gather(column, candidates),
        "modality": modality if has_column else "panel",  # type: ignore[dict-item]
    }


def caption_relevance(table: PanelTable, rows: np.ndarray, asked: np.ndarray, candidates: np.ndarray) -> Batch:
    """The caption of a uniformly drawn panel; the panel is asked for."""
    return {
        "caption_embeddings": table.gather("caption_embeddings", table.panel(rows, asked)),
        "candidate_embeddings": table.gather("panel_embeddings", candidates),
    }


def text_cloze(table: PanelTable, rows: np.ndarray, asked: np.ndarray, candidates: np.ndarray) -> Batch:
    """The text of a uniformly drawn panel is taken out; its picture stays where there are picture-only vectors."""
    panels, mask = _page(table, rows, without=asked)
    batch = {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": mask.astype(np.int64),
        "mask_position": asked,
        "text_embeddings": table.gather("text_embeddings", panels),
        "candidate_text_embeddings": table.gather("text_embeddings", candidates),
    }
    if "visual_embeddings" in table:
        batch["visual_embedding"] = table.gather("visual_embeddings", table.panel(rows, asked))
    return batch


def draw_shuffles(table: PanelTable, rows: np.ndarray, draws: Draws) -> np.ndarray:
    """The slots of each page in random order `(B, N)`, those of padding behind."""
    mask = _page(table, rows)[1]
    return np.argsort(np.where(mask, draws.uniform("order", mask.shape[1]), 2.0), axis=1)


def reading_order(table: PanelTable, rows: np.ndarray, order: np.ndarray, target: str) -> Batch:
    """The panels of the page in `order` (B, N), of `draw_shuffles`. Labels `(B, N, N)` say which follows which."""
    panels, mask = _page(table, rows)
    step = order[:, None, :] - order[:, :, None]
    follows = step == 1 if target == "adjacency" else step > 0
    counted = mask[:, :, None] & mask[:, None, :] & (step != 0)
    return {
        "panel_embeddings": table.gather("panel_embeddings", np.take_along_axis(panels, order, 1)),
        "attention_mask": mask.astype(np.int64),
        "labels": np.where(counted, follows, -100),
    }


def half_page_views(table: PanelTable, rows: np.ndarray, draws: Draws) -> Batch:
    """Two strips per page, which share out its panels at random and keep their order. Pages of one panel are left out."""
    keep = table.num_panels[rows] >= 2
    rows = rows[keep]
    panels, mask = _page(table, rows)
    keys = np.where(mask, draws[keep].uniform("half", mask.shape[1]), 2.0)
    # The panels with the smaller keys are the first half, those from the middle key on are the second.
    count = table.num_panels[rows]
    middle = np.sort(keys, axis=1)[np.arange(len(rows)), count // 2]
    is_first = keys < middle[:, None]
    is_second = mask & ~is_first
    sizes = np.concatenate((count // 2, count - count // 2))
    strips = np.full((2 * len(rows), (mask.shape[1] + 1) // 2), -1)
    strips[np.arange(strips.shape[1]) < sizes[:, None]] = np.concatenate((panels[is_first], panels[is_second]))
    return _strips(table, strips, np.concatenate((rows, rows)))


def masked_panels(table: PanelTable, rows: np.ndarray, draws: Draws, share: float = 0.15) -> Batch:
    """Pages with some of their panels masked, for an objective that predicts the masked panels from the others.

    Every page masks the same share of its panels, rounded up or down at random, but at least one panel, and keeps at least
    one; pages of one panel are left out. Targets stand in the order of `masked_panels`, row by row.

    Returns:
        `panel_embeddings` (B, N, P) with masked slots zero, `attention_mask` (B, N), in which masked slots count as real,
        `masked_panels` (B, N) bool, `target_embeddings` (M, P) and `labels` (M,), their panel numbers.
    """
    keep = table.num_panels[rows] >= 2
    rows = rows[keep]
    panels, mask = _page(table, rows)
    count = table.num_panels[rows]
    num_masked = np.clip((share * count + draws.uniform("masked.count")[keep]).astype(np.int64), 1, count - 1)
    keys = np.where(mask, draws.uniform("masked", mask.shape[1])[keep], 2.0)
    masked = np.argsort(np.argsort(keys, axis=1), axis=1) < num_masked[:, None]
    return {
        "panel_embeddings": table.gather("panel_embeddings", np.where(masked, -1, panels)),
        "attention_mask": mask.astype(np.int64),
        "masked_panels": masked,
        "target_embeddings": table.gather("panel_embeddings", panels[masked]),
        "labels": panels[masked],
    }


def whole_pages(table: PanelTable, rows: np.ndarray) -> Batch:
    """Every page as one strip."""
    return _strips(table, _page(table, rows)[0], rows)


def _strips(table: PanelTable, panels: np.ndarray, rows: np.ndarray) -> Batch:
    return {
        "panel_embeddings": table.gather("panel_embeddings", panels),
        "attention_mask": (panels >= 0).astype(np.int64),
        "labels": table.pages[rows],
        "book_ids": table.books[rows],
    }


def _page(
    table: PanelTable, rows: np.ndarray, without: np.ndarray | None = None, end: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Panel numbers `(B, N)` of the pages, -1 for padding and for the slot `without`, and the mask of real slots."""
    count = table.num_panels[rows] if end is None else end
    slots = np.arange(count.max(initial=1))
    mask = slots < count[:, None]
    panels = np.where(mask, table.panel(rows[:, None], slots), -1)
    if without is not None:
        panels[np.arange(len(rows)), without] = -1
    return panels, mask


def _asked_slots(table: PanelTable, shares: Shares, rows: np.ndarray, draws: Draws) -> np.ndarray:
    """The slot that each question asks for `(B,)`: any of the page, in closure any but the first."""
    is_closure = np.zeros(len(rows), dtype=bool)
    for task in CLOSURES & shares.keys():
        is_closure[shares[task]] = True
    uniform = np.where(is_closure, draws.uniform("gap"), draws.uniform("asked"))
    slots = is_closure + (uniform * (table.num_panels[rows] - is_closure)).astype(np.int64)
    for task, share in shares.items():
        among = _can_be_asked(table, task)
        if among is not None:
            asked = among.draw(*_askable(table, task, rows[share]), uniform[share])
            slots[share] = asked - table.offsets[rows[share]]
        elif task == "character_coherence" and table.characters is not None:
            slots[share] = table.characters.slots(rows[share], uniform[share])
    return slots


def _candidates(
    table: PanelTable,
    protocol: str | Sequence[str],
    shares: Shares,
    rows: np.ndarray,
    answer_slots: np.ndarray,
    num_candidates: int,
    draws: Draws,
) -> tuple[np.ndarray, np.ndarray]:
    """The answer among its distractors in random order, padding behind: panel numbers `(B, K)`, place of the answer."""
    distractors = draw_distractors(table, protocol, rows, answer_slots, num_candidates - 1, draws)
    for task, share in shares.items():
        limits = _limits_of_distractors(table, task)
        if limits:
            distractors[share] = draw_distractors(
                table, protocol, rows[share], answer_slots[share], num_candidates - 1, draws[share], **limits
            )
    candidates = np.concatenate((table.panel(rows, answer_slots)[:, None], distractors), axis=1)
    keys = np.where(candidates >= 0, draws.uniform("place", num_candidates), 2.0)
    order = np.argsort(keys, axis=1)
    return candidates[np.arange(len(rows))[:, None], order], np.argmin(order, axis=1)


def _limits_of_distractors(table: PanelTable, task: str) -> dict:
    """What `draw_distractors` is told about the wrong candidates of `task`."""
    if task == "character_coherence" and table.characters is not None:
        return {"strangers": True}
    is_text = task == "text_cloze" or (task == "text_closure" and "text_embeddings" in table)
    if is_text and table.with_text is not None:  # an empty text among the candidates would give itself away
        return {"among": table.with_text}
    return {}


BUILDERS: dict[str, Callable[[PanelTable, np.ndarray, np.ndarray, np.ndarray], Batch]] = {
    "panel_picking": panel_picking,
    "character_coherence": character_coherence,
    "visual_closure": visual_closure,
    "text_closure": text_closure,
    "caption_relevance": caption_relevance,
    "text_cloze": text_cloze,
}


def choice_questions(
    table: PanelTable, task: str, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray, answers: np.ndarray
) -> Batch:
    """Inputs and labels of `task`'s class for `rows` (B,) and what `draw_choices` returns."""
    batch = BUILDERS[task](table, rows, slots, candidates)
    is_there = candidates >= 0
    batch["candidate_mask"] = is_there.astype(np.int64)
    batch["labels"] = answers
    if task == "character_coherence":
        batch["labels"] = np.where(is_there, np.arange(candidates.shape[1]) == answers[:, None], -100)
    return batch


def build_questions(
    table: PanelTable,
    task: str,
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int = 5,
    protocol: str | Sequence[str] = "same_book",
    reading_order_target: str = "adjacency",
) -> Batch:
    """Builds the inputs and labels of `task`'s class for `rows` (B,), all of which must be servable.

    Args:
        table: The panels.
        task: One of the seven tasks.
        rows: Rows of the table `(B,)`.
        draws: Random numbers of these rows.
        num_candidates: K, the answer included. Not used by reading order.
        protocol: Where wrong candidates come from; one of `modeling_comicseq.data.distractors.PROTOCOLS`, or several, of
            which each question draws one.
        reading_order_target: `"adjacency"` or `"precedence"`.

    Raises:
        ComicSeqDataError: If the protocol makes no sense for the task.
    """
    if task == "reading_order":
        return reading_order(table, rows, draw_shuffles(table, rows, draws), reading_order_target)
    return choice_questions(table, task, rows, *draw_choices(table, task, rows, draws, num_candidates, protocol))


def draw_choices(
    table: PanelTable,
    task: str,
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int = 5,
    protocol: str | Sequence[str] = "same_book",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is drawn for multiple-choice questions of one task; arguments and errors are those of `build_questions`.

    Returns:
        The slot asked for `(B,)`, panel numbers of the candidates `(B, K)`, -1 for padding, and the place of the right
        one among them `(B,)`.
    """
    for each in [protocol] if isinstance(protocol, str) else protocol:
        _check_protocol(table, task, each)
    shares = {task: slice(len(rows))}
    slots = _asked_slots(table, shares, rows, draws)
    return slots, *_candidates(table, protocol, shares, rows, slots, num_candidates, draws)


def build_mixed_questions(
    table: PanelTable,
    tasks: dict[str, np.ndarray],
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int = 5,
    protocol: str | Sequence[str] = "same_book",
    reading_order_target: str = "adjacency",
) -> dict[str, Batch]:
    """The batches of `build_questions` for several tasks, each asked by those of `rows` (B,) whose places `tasks` gives.

    All candidates are drawn in one go. Questions without a single distractor, and tasks without a question, are left out.
    """
    batches: dict[str, Batch] = {}
    tasks = {task: places for task, places in tasks.items() if len(places)}
    if "reading_order" in tasks:
        places = tasks["reading_order"]
        order = draw_shuffles(table, rows[places], draws[places])
        batches["reading_order"] = reading_order(table, rows[places], order, reading_order_target)
    tasks = {task: tasks[task] for task in BUILDERS if task in tasks}
    if not tasks:
        return batches
    # Sorted by task, the questions of each lie together.
    places = np.concatenate([*tasks.values()])
    ends = accumulate(map(len, tasks.values()))
    shares = {task: slice(end - len(tasks[task]), end) for task, end in zip(tasks, ends, strict=True)}
    rows, draws = rows[places], draws[places]
    slots = _asked_slots(table, shares, rows, draws)
    candidates, answers = _candidates(table, protocol, shares, rows, slots, num_candidates, draws)
    has_distractor = (candidates >= 0).sum(1) > 1
    for task, share in shares.items():
        questions = [each[share] for each in (rows, slots, candidates, answers)]
        has_one = has_distractor[share]
        if not has_one.all():
            questions = [each[has_one] for each in questions]
        if has_one.any():
            batches[task] = choice_questions(table, task, *questions)
    return batches


def to_tensors(batch: Batch, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """The batch as tensors on `device`; what is no array (the modality) stays."""
    tensors = {
        name: torch.from_numpy(value if value.flags.c_contiguous else np.ascontiguousarray(value))
        if isinstance(value, np.ndarray)
        else value
        for name, value in batch.items()
    }
    if device == "cpu":
        return tensors
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in tensors.items()}


def select_questions(batch: Batch, chosen: np.ndarray) -> Batch:
    """The questions of a batch where `chosen` (B,) is true."""
    if chosen.all():
        return batch
    return {name: value[chosen] if isinstance(value, np.ndarray) else value for name, value in batch.items()}
