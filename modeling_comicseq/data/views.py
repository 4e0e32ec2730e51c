"""Questions and views: from rows of a `PanelTable` to the inputs and labels of a task's class, vectorised over the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .distractors import draw_distractors
from .draws import Draws
from .errors import ComicSeqDataError
from .panels import PanelSubset, PanelTable

Batch = dict[str, np.ndarray]
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
    first = table.offsets[rows] + (1 if task in ("visual_closure", "text_closure") else 0)
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
    if protocol == "later_panels" and task not in ("visual_closure", "text_closure"):
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


def task_odds(table: PanelTable, rows: np.ndarray, weights: dict[str, float]) -> np.ndarray:
    """How often each row asks each of the tasks in `weights`, up to a factor: its weight, or 0 where it cannot `(B, T)`."""
    return np.stack([weight * servable(table, task, rows) for task, weight in weights.items()], axis=1)


def draw_tasks(odds: np.ndarray, tasks: Sequence[str], draws: Draws) -> np.ndarray:
    """Name of the task of each row `(B,)`, drawn from `tasks` by `odds` (B, T); "" where all are 0."""
    cumulative = np.cumsum(odds, axis=1)
    total = cumulative[:, -1:]
    choice = (draws.uniform("task")[:, None] * total >= cumulative).sum(1)
    return np.asarray([*tasks, ""])[choice]


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
    mask = _page(table, rows)[1]
    order = np.argsort(np.where(mask, draws[keep].uniform("half", mask.shape[1]), 2.0), axis=1)
    count, longest = table.num_panels[rows][:, None], mask.shape[1]
    ranks = np.arange((longest + 1) // 2)
    halves = []
    for start, end in ((0 * count, count // 2), (count // 2, count)):
        slots = np.take_along_axis(order, np.minimum(start + ranks, longest - 1), axis=1)
        halves.append(np.sort(np.where(start + ranks < end, slots, longest), axis=1))
    slots, rows = np.concatenate(halves), np.tile(rows, 2)
    return _strips(table, np.where(slots < longest, table.panel(rows[:, None], slots), -1), rows)


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
    slots = np.arange(count.max(initial=1))[None]
    mask = slots < count[:, None]
    given = mask if without is None else mask & (slots != without[:, None])
    return np.where(given, table.panel(rows[:, None], slots), -1), mask


def _asked_slots(table: PanelTable, tasks: np.ndarray, rows: np.ndarray, draws: Draws) -> np.ndarray:
    """The slot that each question asks for `(B,)`: any of the page, in closure any but the first."""
    count = table.num_panels[rows]
    slots = draws.integer("asked", count)
    is_closure = (tasks == "visual_closure") | (tasks == "text_closure")
    if is_closure.any():
        slots = np.where(is_closure, 1 + draws.integer("gap", count - 1), slots)
    for task in ("text_closure", "text_cloze", "caption_relevance"):
        among = _can_be_asked(table, task)
        if among is not None and (tasks == task).any():
            purpose = "gap" if task == "text_closure" else "asked"
            drawn = among.draw(*_askable(table, task, rows), draws.uniform(purpose)) - table.offsets[rows]
            slots = np.where(tasks == task, drawn, slots)
    if table.characters is not None:
        by_character = table.characters.slots(rows, draws.uniform("asked"))
        slots = np.where(tasks == "character_coherence", by_character, slots)
    return slots


def _candidates(
    table: PanelTable,
    protocol: str | Sequence[str],
    tasks: np.ndarray,
    rows: np.ndarray,
    answer_slots: np.ndarray,
    num_candidates: int,
    draws: Draws,
) -> tuple[np.ndarray, np.ndarray]:
    """The answer among its distractors in random order, padding behind: panel numbers `(B, K)`, place of the answer."""
    distractors = draw_distractors(table, protocol, rows, answer_slots, num_candidates - 1, draws)
    is_labelled = tasks == "character_coherence" if table.characters is not None else np.zeros(len(rows), dtype=bool)
    if is_labelled.any():
        distractors[is_labelled] = draw_distractors(
            table,
            protocol,
            rows[is_labelled],
            answer_slots[is_labelled],
            num_candidates - 1,
            draws[is_labelled],
            strangers=True,
        )
    is_text = (tasks == "text_cloze") | ((tasks == "text_closure") & ("text_embeddings" in table))
    if table.with_text is not None and is_text.any():  # an empty text among the candidates would give itself away
        distractors[is_text] = draw_distractors(
            table,
            protocol,
            rows[is_text],
            answer_slots[is_text],
            num_candidates - 1,
            draws[is_text],
            among=table.with_text,
        )
    candidates = np.concatenate((table.panel(rows, answer_slots)[:, None], distractors), axis=1)
    keys = np.where(candidates >= 0, draws.uniform("place", num_candidates), 2.0)
    order = np.argsort(keys, axis=1)
    return np.take_along_axis(candidates, order, 1), np.argmin(order, axis=1)


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
    tasks = np.full(len(rows), task)
    slots = _asked_slots(table, tasks, rows, draws)
    return slots, *_candidates(table, protocol, tasks, rows, slots, num_candidates, draws)


def build_mixed_questions(
    table: PanelTable,
    tasks: np.ndarray,
    rows: np.ndarray,
    draws: Draws,
    num_candidates: int = 5,
    protocol: str | Sequence[str] = "same_book",
    reading_order_target: str = "adjacency",
) -> dict[str, Batch]:
    """The batches of `build_questions` where every row has a task of its own, in `tasks` (B,), "" for none.

    All candidates are drawn in one go. Questions without a single distractor, and tasks without a question, are left out.
    """
    batches: dict[str, Batch] = {}
    is_order = tasks == "reading_order"
    if is_order.any():
        batches["reading_order"] = reading_order(
            table, rows[is_order], draw_shuffles(table, rows[is_order], draws[is_order]), reading_order_target
        )
    is_choice = ~is_order & (tasks != "")
    if not is_choice.any():
        return batches
    tasks, rows, draws = tasks[is_choice], rows[is_choice], draws[is_choice]
    slots = _asked_slots(table, tasks, rows, draws)
    candidates, answers = _candidates(table, protocol, tasks, rows, slots, num_candidates, draws)
    has_distractor = (candidates >= 0).sum(1) > 1
    for task in BUILDERS:
        chosen = np.flatnonzero((tasks == task) & has_distractor)
        if len(chosen):
            batches[task] = choice_questions(
                table, task, rows[chosen], slots[chosen], candidates[chosen], answers[chosen]
            )
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
