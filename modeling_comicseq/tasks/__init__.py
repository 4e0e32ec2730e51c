"""The tasks, one file each: how questions are drawn, shown and judged. What a checkpoint needs of them is in `model/`."""

from __future__ import annotations

from collections.abc import Iterable

from ..data.task import Task
from ..errors import ComicSeqArgumentError, did_you_mean
from ..model.modeling_comicseq import ComicSeqTaskModel
from ..model.modeling_comicseq import register_task as register_model_class
from .caption_relevance import CaptionRelevance
from .character_coherence import CharacterCoherence
from .closure import TextClosure, VisualClosure
from .multiple_choice import MultipleChoiceTask
from .panel_picking import PanelPicking
from .reading_order import ReadingOrder
from .text_cloze import TextCloze

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        PanelPicking(),
        CharacterCoherence(),
        VisualClosure(),
        TextClosure(),
        CaptionRelevance(),
        TextCloze(),
        ReadingOrder(),
    )
}


def register_task(task: Task, model_class: type[ComicSeqTaskModel]) -> None:
    """Adds a task from outside: with its class to models, with the rest to data, training and evaluation.

    Raises:
        ValueError: If there is another task of that name.
    """
    register_model_class(model_class)
    TASKS[task.name] = task


def get_tasks(names: Iterable[str]) -> list[Task]:
    """The tasks of these names, each once, in the order given; all of them where `all` is among the names.

    Raises:
        ComicSeqArgumentError: If there is no such task.
    """
    names = dict.fromkeys(names)
    for name in names:
        if name not in TASKS and name != "all":
            raise ComicSeqArgumentError(
                f"`tasks` names {name!r} but tasks are all, {', '.join(TASKS)}{did_you_mean(name, set(TASKS))}."
            )
    return list(TASKS.values()) if "all" in names else [TASKS[name] for name in names]


__all__ = ["TASKS", "MultipleChoiceTask", "get_tasks", "register_task"]
