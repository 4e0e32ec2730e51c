"""Asks a pretrained ComicSeq model the questions of a data set, beside chance and cosine baselines.

python run_eval.py --model DIR --dataset DIR
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from transformers import HfArgumentParser

from modeling_comicseq.checkpoints import check_fits, load_checkpoint, read_config
from modeling_comicseq.checks import check_at_least, check_protocols, parse_into
from modeling_comicseq.configuration_comicseq import DEFAULT_TASK_WEIGHTS, ComicSeqConfig
from modeling_comicseq.data.errors import ComicSeqDataError
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.provenance import read_provenance
from modeling_comicseq.data.synthetic import SyntheticCorpus, SyntheticWorld
from modeling_comicseq.data.views import check_servable
from modeling_comicseq.evaluation.compare import compare
from modeling_comicseq.evaluation.report import Result, print_results, write_results


@dataclass
class EvaluationArguments:
    """Arguments of an evaluation."""

    model: str = field(metadata={"help": "Checkpoint folder, or the name of a model on the Hub."})
    dataset: str = field(metadata={"help": "Folder of the Arrow data set that `comicseq convert` wrote."})
    split: str = field(default="test", metadata={"help": "Split to ask questions from: test, validation or train."})
    tasks: list[str] = field(
        default_factory=lambda: ["panel_picking"],
        metadata={
            "help": f"Tasks to ask, or `all` that the model was trained on and the data can serve: {', '.join(DEFAULT_TASK_WEIGHTS)}."
        },
    )
    protocol: list[str] = field(
        default_factory=lambda: ["same_book", "cross_book"],
        metadata={
            "help": "Where wrong candidates come from: same_book, cross_book, later_panels, or in_page (leaky)."
        },
    )
    num_candidates: int = field(default=5, metadata={"help": "Candidates of a question, the right one included."})
    repeats: int = field(default=3, metadata={"help": "Questions that each page asks in each task."})
    seed: int = field(default=0, metadata={"help": "Seed of the questions."})
    batch_size: int = field(default=256, metadata={"help": "Questions in a batch."})
    output_dir: str | None = field(default=None, metadata={"help": "Folder of results.json; the model's by default."})

    def __post_init__(self):
        for task in self.tasks:
            if task not in DEFAULT_TASK_WEIGHTS and task != "all":
                raise ComicSeqDataError(
                    f"`tasks` names {task!r} but tasks are all, {', '.join(DEFAULT_TASK_WEIGHTS)}."
                )
        check_protocols(self.protocol)
        check_at_least("num_candidates", self.num_candidates, 2)
        check_at_least("repeats", self.repeats, 1)
        check_at_least("batch_size", self.batch_size, 1)
        if self.output_dir is not None and Path(self.output_dir).is_file():
            raise ComicSeqDataError(f"`output_dir` is {self.output_dir!r}, which is a file: name a folder.")


def synthetic_world(dataset: str) -> SyntheticWorld | None:
    """The generative model behind a synthetic data set, which tells the best possible score; None for other data."""
    try:
        return SyntheticCorpus.from_provenance(read_provenance(dataset)).world
    except ComicSeqDataError:
        return None


def question_sets(
    arguments: EvaluationArguments, config: ComicSeqConfig, untrained: set[str], table: PanelTable, console: Console
) -> list[tuple[str, str]]:
    """Tasks and protocols to ask. A named task that cannot be asked is an error; `all` leaves it out and says so."""
    is_all = "all" in arguments.tasks
    sets = []
    for task in DEFAULT_TASK_WEIGHTS if is_all else arguments.tasks:
        # Reading order has no wrong candidates, hence no protocol.
        for protocol in arguments.protocol if task != "reading_order" else arguments.protocol[:1]:
            try:
                if task in untrained:
                    raise ComicSeqDataError(f"{arguments.model} has no head for {task}.")
                if is_all and not (config.task_weights or {}).get(task, 0):
                    raise ComicSeqDataError(f"{arguments.model} was not trained on {task}.")
                check_servable(table, task, protocol)
            except ComicSeqDataError as error:
                if not is_all:
                    raise
                console.print(f"Left out {task}, {protocol}: {error}", soft_wrap=True, highlight=False)
            else:
                sets.append((task, protocol))
    if not sets:
        raise ComicSeqDataError(f"{arguments.model} can be asked no question of {arguments.dataset}.")
    return sets


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser(
        EvaluationArguments,  # type: ignore[arg-type]
        prog="run_eval.py",
        description=(__doc__ or "").split("\n")[0],
        allow_abbrev=False,
    )
    arguments = parse_into(parser, argv)
    table = open_split(arguments.dataset, arguments.split)
    config = read_config(arguments.model)
    check_fits(config, arguments.model, table, arguments.dataset)
    model, untrained = load_checkpoint(arguments.model, config)
    if torch.cuda.is_available():
        model.cuda()  # type: ignore[call-arg]
    world = synthetic_world(arguments.dataset)

    console = Console()
    results: list[Result] = []
    sets = question_sets(arguments, config, untrained, table, console)
    for task, protocol in track(sets, "Asking", console=Console(stderr=True)):
        results += compare(
            model,
            Path(arguments.model).name,
            table,
            task,
            protocol,
            num_candidates=arguments.num_candidates,
            seed=arguments.seed,
            repeats=arguments.repeats,
            world=world,
            batch_size=arguments.batch_size,
        )
    print_results(results, console)
    folder = Path(arguments.model) if Path(arguments.model).is_dir() else Path()
    path = Path(arguments.output_dir or folder) / "results.json"
    write_results(results, asdict(arguments), path)
    console.print(f"Written to {path}")


if __name__ == "__main__":
    try:
        main()
    except ComicSeqDataError as error:
        sys.exit(f"run_eval.py: {error}")
