"""Which tasks a run trains on: those that it names, or that the data can serve."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from transformers.utils import logging

from ..data.panels import PanelTable
from ..errors import ComicSeqArgumentError, ComicSeqError, did_you_mean
from ..model.configuration_comicseq import ComicSeqConfig
from ..tasks import TASKS
from .arguments import PretrainingArguments

logger = logging.get_logger(__name__)

VALIDATION_PROTOCOL = "same_book"
ALL, AVAILABLE = "all", "available"
_IN_VALIDATION = ", in validation"


class WantedTasks:
    """The tasks of a run, and what is wrong with the data for them.

    Args:
        arguments: `tasks` and `protocol`.
        config: The model's, whose `task_weights` say how often each is drawn.

    Attributes:
        weights: Of all tasks, 0 for those that are not trained.

    Raises:
        ComicSeqArgumentError: `tasks` names one that does not exist, or none is left.
    """

    def __init__(self, arguments: PretrainingArguments, config: ComicSeqConfig):
        self.protocol, self.weights = arguments.protocol, dict(config.task_weights or {})
        self.only_available = arguments.tasks == [AVAILABLE]
        if not self.only_available and arguments.tasks != [ALL]:
            for name in arguments.tasks:
                if name not in TASKS:
                    raise ComicSeqArgumentError(
                        f"`tasks` names {name!r} but tasks are {ALL}, {AVAILABLE}, or some of"
                        f" {', '.join(TASKS)}{did_you_mean(name, {ALL, AVAILABLE, *TASKS})}."
                    )
            named = {name: self.weights.get(name) or TASKS[name].spec.sampling_weight for name in arguments.tasks}
            self.weights = dict.fromkeys(self.weights, 0.0) | named
        self._check_any()

    def without_columns(self, columns: Collection[str]) -> list[str]:
        """What is wrong with a store that has these arrays, before it is converted."""
        reasons = {}
        for name in self._trained():
            lacking = [column for column in TASKS[name].columns if column not in columns]
            if lacking:
                reasons[name] = f"there is no `{lacking[0]}`"
        return self._left_out(reasons)

    def unservable(self, tables: Mapping[str, PanelTable]) -> list[str]:
        """What is wrong with the splits train and validation, as far as they could be opened."""
        reasons: dict[str, str] = {}
        for split, table in tables.items():
            for name in self._trained():
                try:
                    TASKS[name].check_servable(table, self.protocol if split == "train" else VALIDATION_PROTOCOL)
                except ComicSeqArgumentError:
                    raise
                except ComicSeqError as error:
                    why = str(error).partition("cannot be asked")[2].lstrip(": ").split(". ")[0]
                    reasons.setdefault(name, why if split == "train" else f"{why}{_IN_VALIDATION}")
        return self._left_out(reasons)

    def _trained(self) -> list[str]:
        return [name for name, weight in self.weights.items() if weight > 0]

    def _left_out(self, reasons: Mapping[str, str]) -> list[str]:
        """Leaves out what cannot be asked, where the run says so; else says what is wrong, and the remedy."""
        if not reasons:
            return []
        words = ", ".join(f"{name} ({why})" for name, why in reasons.items())
        what = f"the {'task' if len(reasons) == 1 else 'tasks'} {words} cannot be asked"
        refused = [why for why in reasons.values() if not why.endswith(_IN_VALIDATION)]
        possible = [each for each in self.protocol if not any(f"under the protocol {each}:" in why for why in refused)]
        if len(possible) < len(self.protocol):
            remedy = f"ask with --protocol {' '.join(possible)}" if possible else "choose another --protocol"
            what += f" ({remedy})"
        if not self.only_available:
            return [f"{what}: train on the others with --tasks {AVAILABLE}, or give data that have what is missing"]
        self.weights |= dict.fromkeys(reasons, 0.0)
        if not self._trained():
            raise ComicSeqArgumentError(f"There is no task to train on: {what}. Give data that have what is missing.")
        logger.warning(f"{what[0].upper()}{what[1:]}: trained on {', '.join(self._trained())}.")
        return []

    def _check_any(self) -> None:
        if not self._trained():
            raise ComicSeqArgumentError(
                "`task_weights` are all 0, or no task can be asked: give at least one task a weight above 0."
            )
