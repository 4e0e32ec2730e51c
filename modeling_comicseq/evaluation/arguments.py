"""All arguments of an evaluation. Importing them takes no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from ..data.distractors import check_protocols
from ..errors import ComicSeqArgumentError, check_at_least, parse_into, split_names
from ..model.tasks_comicseq import TASKS
from ..urls import refuse_url

# What frozen questions have fixed, with the defaults for questions that are drawn.
FROZEN = {"split": "test", "num_candidates": 5, "repeats": 3, "seed": 0}


def option(words: str, default: Any = None) -> Any:
    """A field of the arguments with what `--help` says of it."""
    return field(default=default, metadata={"help": words})


@dataclass
class EvaluationArguments:
    """Arguments of an evaluation."""

    model: list[str] = field(
        metadata={"help": "Checkpoint folder or name of a model on the Hub; of several, each two are compared."}
    )
    dataset: str = field(metadata={"help": "Folder of the Arrow data set that `comicseq convert` wrote."})
    questions: str | None = option("Folder of frozen questions that `comicseq questions` wrote; drawn anew without.")
    tasks: list[str] = field(
        default_factory=lambda: ["all"],
        metadata={
            "help": "Tasks to ask, or `all` that a model was trained on and the data can serve, and retrieval by strip"
            f" vectors: {', '.join(TASKS)}."
        },
    )
    protocol: list[str] | None = option(
        "Where wrong candidates come from: same_book, cross_book, later_panels, or in_page (leaky). (default: same_book"
        " cross_book, or those of --questions)"
    )
    split: str | None = option("Split to ask questions from: test, validation or train. (default: test)")
    num_candidates: int | None = option("Candidates of a question, the right one included. (default: 5)")
    repeats: int | None = option(
        "Questions that each page asks in each task; in reading order, its shuffles. (default: 3)"
    )
    seed: int | None = option("Seed of the questions. (default: 0)")
    batch_size: int = option("Questions in a batch.", 256)
    modalities: bool = option(
        "Whether to ask the models also with pictures alone and with texts alone, of data that have vectors of both.",
        False,
    )
    other_origin: bool = option(
        "Whether to ask about vectors of other encoders than a model was trained on; it is an error otherwise.", False
    )
    output_dir: str | None = option(
        "Folder of results.json, report.md and the plots; local models and their cards are then left as they are."
        " (default: the folder of a single local model, else `evaluation`)"
    )

    def __post_init__(self):
        self.tasks = split_names(self.tasks)
        check_protocols(self.protocol or [])
        check_at_least("batch_size", self.batch_size, 1)
        for name, least in (("num_candidates", 2), ("repeats", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), least)
        for name in FROZEN:
            if self.questions is not None and getattr(self, name) is not None:
                raise ComicSeqArgumentError(
                    f"`{name}` is fixed by the frozen questions in {self.questions}: leave it out."
                )
        if self.output_dir is not None:
            refuse_url(self.output_dir)
        if self.output_dir is not None and Path(self.output_dir).is_file():
            raise ComicSeqArgumentError(f"`output_dir` is {self.output_dir!r}, which is a file: name a folder.")


def parse_arguments(argv: Sequence[str] | None = None, prog: str = "run_eval.py") -> EvaluationArguments:
    """Parses a command line, that of the process by default; options may be spelled with dashes or underscores.

    Raises:
        ComicSeqArgumentError: If there is no such option, or its value is not possible.
    """
    parser = HfArgumentParser(
        EvaluationArguments,  # type: ignore[arg-type]
        prog=prog,
        description="Asks pretrained ComicSeq models the questions of a data set, beside chance, cosine and what the"
        " models know without context.",
        allow_abbrev=False,
    )
    return parse_into(parser, argv)
