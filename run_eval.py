"""Asks a pretrained ComicSeq model the questions of a data set, beside chance and cosine baselines.

python run_eval.py --model DIR --dataset DIR
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import load_from_disk
from rich.console import Console
from rich.progress import track
from transformers import HfArgumentParser

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.data.errors import ComicSeqDataError
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
        metadata={"help": f"Tasks to ask, or `all` that the data can serve: {', '.join(DEFAULT_TASK_WEIGHTS)}."},
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


def load_model(name: str) -> tuple[ComicSeqForPreTraining, set[str]]:
    """Loads a checkpoint of any ComicSeq class; returns the model and the tasks whose head the checkpoint holds."""
    try:
        loaded: Any = ComicSeqForPreTraining.from_pretrained(name, output_loading_info=True)
    except OSError as error:
        raise ComicSeqDataError(f"{name} is no ComicSeq checkpoint: {str(error).splitlines()[0]}") from None
    model, info = loaded
    untrained = {key.split("_head.")[0] for key in info["missing_keys"] if "_head." in key}
    if any(key.startswith("comicseq.") for key in info["missing_keys"]):
        raise ComicSeqDataError(f"{name} is no ComicSeq checkpoint: it holds no encoder.")
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), set(DEFAULT_TASK_WEIGHTS) - untrained


def open_table(arguments: EvaluationArguments, model: ComicSeqForPreTraining) -> PanelTable:
    """Opens the split and checks that its vectors are as wide as the model's."""
    try:
        splits = load_from_disk(arguments.dataset)
    except FileNotFoundError:
        raise ComicSeqDataError(f"{arguments.dataset} is no data set: write one with `comicseq convert`.") from None
    if arguments.split not in splits:
        raise ComicSeqDataError(f"{arguments.dataset} has no split {arguments.split!r} but {', '.join(splits)}.")
    table = PanelTable(splits[arguments.split])
    for column, width in table.widths.items():
        wanted = getattr(model.config, column.removesuffix("_embeddings") + "_embedding_dim")
        if width != wanted:
            raise ComicSeqDataError(
                f"`{column}` of {arguments.dataset} is {width} wide but {arguments.model} was made for {wanted}: use the"
                " data that the model was trained on, or train one on these vectors."
            )
    return table


def synthetic_world(dataset: str) -> SyntheticWorld | None:
    """The generative model behind a synthetic data set, which tells the best possible score; None for other data."""
    try:
        return SyntheticCorpus.from_provenance(read_provenance(dataset)).world
    except ComicSeqDataError:
        return None


def main() -> None:
    parser = HfArgumentParser(EvaluationArguments, prog="run_eval.py", description=__doc__)  # type: ignore[arg-type]
    (arguments,) = parser.parse_args_into_dataclasses()
    model, tasks = load_model(arguments.model)
    table, world = open_table(arguments, model), synthetic_world(arguments.dataset)
    asked = list(DEFAULT_TASK_WEIGHTS) if arguments.tasks == ["all"] else arguments.tasks
    for task in asked:
        if task not in DEFAULT_TASK_WEIGHTS:
            raise ComicSeqDataError(f"`tasks` names {task!r} but tasks are {', '.join(DEFAULT_TASK_WEIGHTS)}.")
        if task not in tasks:
            raise ComicSeqDataError(f"{arguments.model} has no head for {task}: it holds {', '.join(sorted(tasks))}.")

        for protocol in arguments.protocol:
            check_servable(table, task, protocol)

    console = Console()
    results: list[Result] = []
    sets = [(task, protocol) for task in asked for protocol in arguments.protocol]
    sets = [
        (task, protocol) for task, protocol in sets if task != "reading_order" or protocol == arguments.protocol[0]
    ]
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
    path = Path(arguments.output_dir or arguments.model) / "results.json"
    write_results(results, asdict(arguments), path)
    console.print(f"Written to {path}")


if __name__ == "__main__":
    try:
        main()
    except ComicSeqDataError as error:
        sys.exit(f"run_eval.py: {error}")
