"""Asks pretrained ComicSeq models the questions of a data set, beside chance, cosine and what the models know without context.

python run_eval.py --model DIR [DIR ...] --dataset DIR
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from transformers import HfArgumentParser

from modeling_comicseq.checkpoints.opening import check_fits, load_checkpoint, other_origin, read_config
from modeling_comicseq.checks import check_at_least, check_protocols, parse_into
from modeling_comicseq.data.distractors import PROTOCOLS
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.evaluation.card import put_on_card
from modeling_comicseq.evaluation.compare import compare
from modeling_comicseq.evaluation.plots import plot_results
from modeling_comicseq.evaluation.question_sets import (
    Questions,
    askable,
    check_tasks,
    draw_questions,
    load_questions,
    read_about,
)
from modeling_comicseq.evaluation.report import print_results, report_markdown
from modeling_comicseq.evaluation.results import Difference, Result, heading, results_json, write_results, write_text
from modeling_comicseq.evaluation.strips import retrieve
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS, ComicSeqConfig
from modeling_comicseq.model.modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.synthetic.world import SyntheticCorpus, SyntheticWorld

DRAWN = {"split": "test", "num_candidates": 5, "repeats": 3, "seed": 0}  # what a frozen question set has fixed
Note = Callable[[str], None]


@dataclass
class EvaluationArguments:
    """Arguments of an evaluation."""

    model: list[str] = field(
        metadata={"help": "Checkpoint folder or name of a model on the Hub; of several, each two are compared."}
    )
    dataset: str = field(metadata={"help": "Folder of the Arrow data set that `comicseq convert` wrote."})
    questions: str | None = field(
        default=None,
        metadata={"help": "Folder of frozen questions that `comicseq questions` wrote; drawn anew without."},
    )
    tasks: list[str] = field(
        default_factory=lambda: ["all"],
        metadata={
            "help": "Tasks to ask, or `all` that a model was trained on and the data can serve, and retrieval by strip vectors: "
            f"{', '.join(DEFAULT_TASK_WEIGHTS)}."
        },
    )
    protocol: list[str] | None = field(
        default=None,
        metadata={
            "help": "Where wrong candidates come from: same_book, cross_book, later_panels, or in_page (leaky). "
            "(default: same_book cross_book, or those of --questions)"
        },
    )
    split: str | None = field(
        default=None, metadata={"help": "Split to ask questions from: test, validation or train. (default: test)"}
    )
    num_candidates: int | None = field(
        default=None, metadata={"help": "Candidates of a question, the right one included. (default: 5)"}
    )
    repeats: int | None = field(
        default=None,
        metadata={"help": "Questions that each page asks in each task; in reading order, its shuffles. (default: 3)"},
    )
    seed: int | None = field(default=None, metadata={"help": "Seed of the questions. (default: 0)"})
    batch_size: int = field(default=256, metadata={"help": "Questions in a batch."})
    other_origin: bool = field(
        default=False,
        metadata={
            "help": "Whether to ask about vectors of other encoders than a model was trained on; it is an error otherwise."
        },
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder of results.json, report.md and the plots; local models and their cards are then left as they are. "
            "(default: the folder of a single local model, else `evaluation`)"
        },
    )

    def __post_init__(self):
        check_tasks(self.tasks)
        check_protocols(self.protocol or [])
        check_at_least("batch_size", self.batch_size, 1)
        for name, least in (("num_candidates", 2), ("repeats", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), least)
        for name in DRAWN:
            if self.questions is not None and getattr(self, name) is not None:
                raise ComicSeqDataError(
                    f"`{name}` is fixed by the frozen questions in {self.questions}: leave it out."
                )
        if self.output_dir is not None and Path(self.output_dir).is_file():
            raise ComicSeqDataError(f"`output_dir` is {self.output_dir!r}, which is a file: name a folder.")


@dataclass
class Candidate:
    """A model that is evaluated.

    Attributes:
        path: Its folder, or its name on the Hub.
        config: Its configuration.
        model: The model.
        untrained: Tasks whose head the checkpoint lacks.
    """

    path: str
    config: ComicSeqConfig
    model: ComicSeqForPreTraining
    untrained: set[str]

    def cannot_answer(self, task: str) -> str | None:
        """Why the model should not be asked `task`, or None."""
        if task in self.untrained:
            return f"{self.path} has no head for {task}"
        if not (self.config.task_weights or {}).get(task, 0):
            return f"{self.path} was not trained on {task}"
        return None


def synthetic_world(dataset: str) -> SyntheticWorld | None:
    """The generative model behind a synthetic data set, which tells the best possible score; None for other data."""
    try:
        return SyntheticCorpus.from_provenance(read_provenance(dataset)).world
    except ComicSeqDataError:
        return None


def load_models(arguments: EvaluationArguments, table: PanelTable) -> dict[str, Candidate]:
    """The models by name: the last part of their path where that tells them apart."""
    names = [Path(path).resolve().name if Path(path).exists() else path for path in arguments.model]
    if len(set(names)) < len(names):
        names = arguments.model
    if len(set(names)) < len(names):
        raise ComicSeqDataError(f"`model` names {next(n for n in names if names.count(n) > 1)} twice: name each once.")
    models = {}
    for name, path in zip(names, arguments.model, strict=True):
        config = read_config(path)
        check_fits(config, path, table, arguments.dataset)
        model, untrained = load_checkpoint(path, config)
        if torch.cuda.is_available():
            model.cuda()  # type: ignore[call-arg]
        models[name] = Candidate(path, config, model, untrained)
    return models


def check_origins(arguments: EvaluationArguments, table: PanelTable, note: Note) -> None:
    """Refuses vectors of other encoders than a model was trained on, unless they are meant; then they are noted."""
    provenance = read_provenance(table.dataset)
    for path in arguments.model:
        if difference := other_origin(path, provenance, arguments.dataset):
            if not arguments.other_origin:
                raise ComicSeqDataError(
                    f"{difference} Use the data that the model was made for, or give --other_origin to ask all the same."
                )
            note(f"Warning: {difference}")


def answering(arguments: EvaluationArguments, models: dict[str, Candidate], task: str, note: Note) -> list[str]:
    """The models that are asked `task`: all where it is named, else those that were trained on it."""
    if "all" not in arguments.tasks:
        for model in models.values():
            if task in model.untrained:
                raise ComicSeqDataError(f"{model.cannot_answer(task)}.")
        return list(models)
    for model in models.values():
        if reason := model.cannot_answer(task):
            note(f"Left out {task}: {reason}.")
    return [name for name, model in models.items() if model.cannot_answer(task) is None]


def draw_or_load(
    arguments: EvaluationArguments, settings: dict, table: PanelTable, models: dict[str, Candidate], note: Note
) -> Questions:
    """New questions of all tasks that can be asked, or the frozen ones."""
    tasks = list(DEFAULT_TASK_WEIGHTS) if "all" in arguments.tasks else arguments.tasks
    frozen = None if arguments.questions is None else load_questions(arguments.questions, table, arguments.dataset)
    if frozen is not None and "all" in arguments.tasks:
        tasks = list(dict.fromkeys(questions.task for questions in frozen.sets))
    tasks = [task for task in tasks if answering(arguments, models, task, note)]
    if frozen is not None:
        return choose(frozen, arguments, tasks)
    protocols, sets = arguments.protocol or ["same_book", "cross_book"], []
    for task in tasks:
        sets += askable(table, task, protocols, note if "all" in arguments.tasks else None)
    if not sets:
        raise ComicSeqDataError(f"{' '.join(arguments.model)} can be asked no question of {arguments.dataset}.")
    return draw_questions(table, sets=sets, **settings)


def choose(frozen: Questions, arguments: EvaluationArguments, tasks: list[str]) -> Questions:
    """The frozen questions of `tasks`, under the protocols that are named."""
    protocols = ("", *(arguments.protocol or PROTOCOLS))
    sets = tuple(each for each in frozen.sets if each.task in tasks and each.protocol in protocols)
    missing = [task for task in tasks if all(each.task != task for each in sets)]
    if missing or not sets:
        raise ComicSeqDataError(
            f"{arguments.questions} holds no such questions of {missing[0] if missing else 'any task'}: it has"
            f" {'; '.join(heading(each.task, each.protocol) for each in frozen.sets)}."
        )
    return replace(frozen, sets=sets)


def ask_all(
    arguments: EvaluationArguments,
    models: dict[str, Candidate],
    table: PanelTable,
    questions: Questions,
    note: Note,
) -> tuple[list[Result], list[Difference]]:
    """Every model on every question set, and, where no tasks are named, their strip vectors."""
    world = synthetic_world(arguments.dataset)
    results: list[Result] = []
    differences: list[Difference] = []
    for each in track(questions.sets, "Asking", console=Console(stderr=True)):
        asked = answering(arguments, models, each.task, lambda sentence: None)  # the reasons have been told
        found = compare(
            {name: models[name].model for name in asked},
            table,
            each,
            batch_size=arguments.batch_size,
            world=world,
            note=note,
        )
        results += found[0]
        differences += found[1]
    if "all" in arguments.tasks:
        found = retrieve({name: model.model for name, model in models.items()}, table, batch_size=arguments.batch_size)
        results += found[0]
        differences += found[1]
    return results, differences


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser(
        EvaluationArguments,  # type: ignore[arg-type]
        prog="run_eval.py",
        description=(__doc__ or "").split("\n")[0],
        allow_abbrev=False,
    )
    arguments = parse_into(parser, argv)
    settings: dict = {
        name: DRAWN[name] if getattr(arguments, name) is None else getattr(arguments, name) for name in DRAWN
    }
    if arguments.questions is not None:
        settings = {name: read_about(arguments.questions)[name] for name in DRAWN}
    table = open_split(arguments.dataset, settings["split"])
    models = load_models(arguments, table)

    console, notes = Console(), []

    def note(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    check_origins(arguments, table, note)
    questions = draw_or_load(arguments, settings, table, models, note)
    results, differences = ask_all(arguments, models, table, questions, note)
    print_results(results, differences, console)
    write_everything(arguments, models, table, questions, results, differences, notes, console)


def write_everything(
    arguments: EvaluationArguments,
    models: dict[str, Candidate],
    table: PanelTable,
    questions: Questions,
    results: list[Result],
    differences: list[Difference],
    notes: list[str],
    console: Console,
) -> None:
    """Writes results.json, report.md and its plots; and onto the cards of local models, unless `output_dir` is given."""
    local = [Path(path) for path in arguments.model if Path(path).is_dir()]
    default = local[0] if len(local) == len(arguments.model) == 1 else Path("evaluation")
    folder = Path(arguments.output_dir or default)
    about = questions.about(table)
    content = {"settings": asdict(arguments), "questions": about, "notes": notes}
    write_results(content | results_json(results, differences), folder / "results.json")
    on_card = {
        "dataset": Path(arguments.dataset).resolve().name,
        "split": questions.split,
        "data_fingerprint": about["data_fingerprint"],
        "questions_fingerprint": questions.fingerprint,
    }
    in_report = {"models": arguments.model} | on_card | {"questions a page and task": questions.repeats}
    plots = plot_results(results, folder)
    write_text(folder / "report.md", report_markdown(results, differences, in_report, notes, plots))
    console.print(
        f"Written to {folder}: results.json, report.md{''.join(', ' + plot for plot in plots)}", soft_wrap=True
    )
    if arguments.output_dir is None:
        template = Path(__file__).with_name("model_card.md")
        for name, model in models.items():
            if Path(model.path).is_dir():
                put_on_card(Path(model.path), template, results, name, on_card)
                console.print(f"Model card: {Path(model.path) / 'README.md'}", soft_wrap=True)


if __name__ == "__main__":
    try:
        main()
    except (ComicSeqDataError, OSError) as error:
        sys.exit(f"run_eval.py: {' '.join(str(error).split())}")
