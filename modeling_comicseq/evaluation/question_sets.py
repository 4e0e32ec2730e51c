"""Frozen question sets: drawn once, written as an Arrow data set, and put to any model later."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, Features, List, Value

from ..data.opening import open_arrow
from ..data.panels import PanelTable
from ..data.task import Drawn, Task
from ..errors import ComicSeqDataError, ComicSeqError
from ..files import write_json, written_folder
from ..outputs import check_output
from ..progress import dataset_bars
from .questions import QuestionSet, draw_question_set, split_fingerprint
from .results import LEAKY, heading

logger = logging.getLogger(__name__)

FORMAT = "comicseq-questions-2"
OLDER_FORMAT = "comicseq-questions-1"  # told books apart by spelling, and took a page that stands twice for two
ABOUT = "questions.json"
ASKED = ("slot", "candidates", "answer", "shuffle")  # the columns of `Drawn`
FEATURES = Features(
    {
        "task": Value("string"),
        "protocol": Value("string"),
        "book_id": Value("string"),
        "row": Value("int64"),
        "slot": Value("int32"),
        "candidates": List(Value("int64")),
        "answer": Value("int32"),
        "shuffle": List(Value("int32")),
    }
)


@dataclass(frozen=True)
class Questions:
    """Question sets of one split and how they were drawn.

    Attributes:
        sets: One a task and protocol.
        split: The split.
        num_candidates: Candidates that were asked for, the right one included.
        seed: Seed of the draws.
        repeats: Questions a page and task.
    """

    sets: tuple[QuestionSet, ...]
    split: str
    num_candidates: int
    seed: int
    repeats: int

    @property
    def fingerprint(self) -> str:
        """Of all questions, whatever the order of the sets."""
        joined = " ".join(sorted(questions.fingerprint for questions in self.sets))
        return f"xxh3:{xxhash.xxh3_128(joined.encode()).hexdigest()}"

    def about(self, table: PanelTable) -> dict:
        """A JSON-ready description: how they were drawn, and the fingerprints."""
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "data_fingerprint": self.sets[0].data,
            "split": self.split,
            "num_candidates": self.num_candidates,
            "seed": self.seed,
            "repeats": self.repeats,
            "sets": [
                {
                    "task": questions.task.name,
                    "protocol": questions.protocol,
                    "leaky": questions.protocol in LEAKY,
                    "questions": len(questions),
                    "books": len(np.unique(table.books[questions.rows])),
                    "fingerprint": questions.fingerprint,
                }
                for questions in self.sets
            ],
        }


def draw_questions(
    table: PanelTable,
    split: str,
    tasks: Sequence[Task],
    protocols: Sequence[str] = ("same_book", "cross_book"),
    *,
    num_candidates: int = 5,
    seed: int = 0,
    repeats: int = 3,
    left_out: Callable[[str], None] | None = None,
) -> Questions:
    """Draws a set for each task and protocol that the data can be asked; see `draw_question_set`.

    Args:
        table: The panels of the split.
        split: Name of the split.
        tasks: Tasks that are asked. One without wrong candidates has no protocol and is asked once.
        protocols: Where wrong candidates come from.
        num_candidates: Candidates of a question, the right one included.
        seed: Seed of the draws.
        repeats: Questions a page and task.
        left_out: Is told, in one sentence, what cannot be asked; without it, that is an error.

    Raises:
        ComicSeqError: If something cannot be asked and nobody is to be told.
    """
    sets = []
    for task in tasks:
        missing: dict[str, list[str]] = {}  # protocols by what is wrong with them
        for protocol in dict.fromkeys(protocols) if task.protocols else [""]:
            try:
                task.check_servable(table, protocol)
            except ComicSeqError as error:
                if left_out is None:
                    raise
                missing.setdefault(str(error), []).append(protocol)
            else:
                sets.append(draw_question_set(table, task, protocol, num_candidates, seed, repeats))
        if left_out is not None:
            for reason, without in missing.items():
                left_out(f"Left out {heading(task.name, ' and '.join(without))}: {reason}")
    return Questions(tuple(sets), split, num_candidates, seed, repeats)


def freeze(table: PanelTable, folder: str | os.PathLike[str], **drawn: Any) -> dict:
    """Draws questions and saves them as an Arrow data set with a description, `questions.json`, which is returned.

    Args:
        table: The panels of the split.
        folder: Folder to create. It appears complete or not: a frozen set is never changed.
        **drawn: Further arguments of `draw_questions`.

    Raises:
        ComicSeqError: If `folder` exists, or a task, or none, can be asked.
    """
    check_output(folder, overwrite=None, folder=True)
    questions = draw_questions(table, **drawn)
    if not questions.sets:
        raise ComicSeqDataError(
            f"The split {questions.split!r} can be asked no question: choose other tasks or protocols."
        )
    about = questions.about(table)
    with written_folder(Path(folder), overwrite=False) as beside, dataset_bars(False):
        Dataset.from_dict(_columns(questions, table), features=FEATURES).save_to_disk(beside)
        write_json(beside / ABOUT, about)
    return about


def _columns(questions: Questions, table: PanelTable) -> dict[str, list]:
    columns: dict[str, list] = {name: [] for name in FEATURES}
    for part in questions.sets:
        columns["task"] += [part.task.name] * len(part)
        columns["protocol"] += [part.protocol] * len(part)
        columns["book_id"] += table.book_ids[table.books[part.rows]].tolist()
        columns["row"] += part.rows.tolist()
        for name, array in zip(ASKED, part.drawn, strict=True):
            columns[name] += array.tolist()
    return columns


def read_about(folder: str | os.PathLike[str]) -> dict:
    """The description of a frozen set.

    Raises:
        ComicSeqDataError: If `folder` holds no frozen set.
    """
    path = Path(folder) / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] in (FORMAT, OLDER_FORMAT):
            return about
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ComicSeqDataError(f"{folder} is no question set: name the folder that `comicseq questions --output` wrote.")


def load_questions(
    folder: str | os.PathLike[str],
    table: PanelTable,
    dataset: str,
    tasks: Mapping[str, Task],
    note: Callable[[str], None] = logger.warning,
) -> Questions:
    """Opens a frozen set for the split that it is about.

    Args:
        folder: What `comicseq questions --output` wrote.
        table: The split named in the set's description.
        dataset: The data set's folder, for the message.
        tasks: All tasks by name.
        note: Is told, in one sentence, if an earlier version has drawn the set.

    Raises:
        ComicSeqDataError: If `folder` holds no frozen set, the set is about other data or an unknown task, or it was
            changed.
    """
    about = read_about(folder)
    data = split_fingerprint(table)
    if about["format"] == OLDER_FORMAT:
        note(
            f"{folder} was drawn by an earlier version, which took two spellings of a name for two books"
            " and could offer the right panel a second time, as a wrong one: draw it anew with `comicseq questions`, unless it is to be compared with answers from then."
        )
    if about["data_fingerprint"] != data:
        raise ComicSeqDataError(
            f"{folder} asks about other data than the split {about['split']!r} of {dataset}: its data fingerprint is"
            f" {about['data_fingerprint']}, that of the split {data}. Name the data set that it was drawn from, or draw"
            " anew with `comicseq questions`."
        )
    for each in about["sets"]:
        if each["task"] not in tasks:
            raise ComicSeqDataError(
                f"{folder} asks {each['task']}, which is no task: tasks are {', '.join(tasks)}. Import the module that"
                " registers it first, or draw anew."
            )
    frozen = open_arrow(folder)
    if frozen is None:
        raise ComicSeqDataError(f"{folder} holds no question: draw it anew.")
    try:
        columns = frozen.with_format("numpy")
        sets, start = [], 0
        for each in about["sets"]:
            part = columns[start : start + each["questions"]]
            start += each["questions"]
            rows, *drawn = (np.asarray(part[name], np.int64) for name in ("row", *ASKED))
            sets.append(QuestionSet(tasks[each["task"]], each["protocol"], data, rows, Drawn(*drawn)))
    except (KeyError, ValueError, TypeError) as error:
        raise ComicSeqDataError(f"{folder} cannot be read ({' '.join(str(error).split())}): draw it anew.") from None
    for questions, each in zip(sets, about["sets"], strict=True):
        if questions.fingerprint != each["fingerprint"]:
            raise ComicSeqDataError(
                f"{folder} was changed: its questions of {each['task']} have the fingerprint {questions.fingerprint}, its"
                f" description says {each['fingerprint']}. Draw it anew with `comicseq questions`."
            )
    settings = (about[name] for name in ("split", "num_candidates", "seed", "repeats"))
    return Questions(tuple(sets), *settings)
