"""The tasks, one file each: how questions are drawn, shown and judged. What a checkpoint needs of them is in `model/`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules

from ..data.task import Task
from ..errors import ComicSeqArgumentError, did_you_mean
from ..model.modeling_comicseq import ComicSeqTaskModel
from ..model.modeling_comicseq import register_task as register_model_class
from ..model.tasks_comicseq import TASKS as SPECS
from .multiple_choice import MultipleChoiceTask


def _find_tasks() -> dict[str, Task]:
    """The tasks of this folder's files by name, in the order in which the model knows them."""
    found: dict[str, Task] = {}
    for file in iter_modules(__path__):
        for each in vars(import_module(f"{__name__}.{file.name}")).values():
            if isinstance(each, type) and issubclass(each, Task) and "spec" in vars(each):
                found[each.spec.name] = each()
    return {name: found[name] for name in SPECS if name in found}


TASKS = _find_tasks()


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
