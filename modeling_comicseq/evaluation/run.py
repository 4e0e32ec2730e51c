"""An evaluation from its arguments to its files: models are opened, asked, compared and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from ..checkpoints.opening import Checkpoint, open_checkpoint
from ..data.distractors import PROTOCOLS
from ..data.opening import open_split
from ..data.panels import PanelTable
from ..data.task import Task
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..stores.provenance import read_provenance
from ..synthetic.world import SyntheticCorpus, SyntheticWorld
from .arguments import FROZEN, EvaluationArguments
from .card import put_on_card
from .compare import compare
from .plots import plot_results
from .question_sets import Questions, askable, draw_questions, load_questions, read_about
from .report import print_results, report_markdown
from .results import Difference, Result, results_json, write_results, write_text
from .strips import retrieve

CARD_TEMPLATE = Path(__file__).parents[2] / "model_card.md"
Note = Callable[[str], None]


def evaluate(arguments: EvaluationArguments, tasks: Mapping[str, Task]) -> None:
    """Asks the models the questions, prints the results and writes `results.json`, `report.md`, plots and cards.

    Args:
        arguments: What to evaluate.
        tasks: All tasks by name.

    Raises:
        ComicSeqError: In one sentence, what cannot be evaluated and why.
    """
    if arguments.questions is not None:
        about = read_about(arguments.questions)
        settings = {name: about[name] for name in FROZEN}
    else:
        given = {name: getattr(arguments, name) for name in FROZEN}
        settings = {name: FROZEN[name] if value is None else value for name, value in given.items()}
    table = open_split(arguments.dataset, settings["split"])
    models = load_models(arguments, table)
    console, notes = Console(), []

    def note(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    check_origins(arguments, models, note)
    frozen = (
        None if arguments.questions is None else load_questions(arguments.questions, table, arguments.dataset, tasks)
    )
    asked = models_by_task(arguments, models, frozen, list(tasks), note)
    if frozen is not None:
        questions = choose(frozen, arguments, list(asked))
    else:
        questions = draw(arguments, settings, table, [tasks[name] for name in asked], note)
    results, differences = ask_all(arguments, models, asked, table, questions, note)
    print_results(results, differences, console)
    write_everything(arguments, models, table, questions, results, differences, notes, console)


def load_models(arguments: EvaluationArguments, table: PanelTable) -> dict[str, Checkpoint]:
    """The models by name: the last part of their path where that tells them apart."""
    names = [Path(path).resolve().name if Path(path).exists() else path for path in arguments.model]
    if len(set(names)) < len(names):
        names = arguments.model
    if len(set(names)) < len(names):
        raise ComicSeqArgumentError(
            f"`model` names {next(n for n in names if names.count(n) > 1)} twice: name each once."
        )
    provenance, models = read_provenance(table.dataset), {}
    for name, path in zip(names, arguments.model, strict=True):
        models[name] = open_checkpoint(path, table, arguments.dataset, provenance=provenance)
        if torch.cuda.is_available():
            models[name].model.cuda()  # type: ignore[call-arg]
    return models


def check_origins(arguments: EvaluationArguments, models: dict[str, Checkpoint], note: Note) -> None:
    """Refuses vectors of other encoders than a model was trained on, unless they are meant; then they are noted."""
    for model in models.values():
        if model.other_origin and not arguments.other_origin:
            raise ComicSeqDataError(
                f"{model.other_origin} Use the data that the model was made for, or give --other_origin to ask all the"
                " same."
            )
        if model.other_origin:
            note(f"Warning: {model.other_origin}")


def cannot_answer(model: Checkpoint, task: str) -> str | None:
    """Why the model should not be asked `task`, or None."""
    if task in model.untrained:
        return f"{model.name} has no head for {task}"
    if not (model.model.config.task_weights or {}).get(task, 0):
        return f"{model.name} was not trained on {task}"
    return None


def models_by_task(
    arguments: EvaluationArguments,
    models: dict[str, Checkpoint],
    frozen: Questions | None,
    names: list[str],
    note: Note,
) -> dict[str, list[str]]:
    """The tasks and who is asked each: every model where the task is named, else those that were trained on it."""
    tasks = arguments.tasks
    if "all" in tasks:
        tasks = names if frozen is None else [questions.task.name for questions in frozen.sets]
    asked: dict[str, list[str]] = {}
    for task in dict.fromkeys(tasks):
        for name, model in models.items():
            reason = cannot_answer(model, task)
            if "all" in arguments.tasks and reason:
                note(f"Left out {task}: {reason}.")
            elif task in model.untrained:
                raise ComicSeqDataError(f"{reason}.")
            else:
                asked.setdefault(task, []).append(name)
    return asked


def draw(
    arguments: EvaluationArguments, settings: dict, table: PanelTable, tasks: list[Task], note: Note
) -> Questions:
    """New questions of `tasks`, of each as far as the data can serve it."""
    sets = []
    for task in tasks:
        protocols = arguments.protocol or ["same_book", "cross_book"]
        sets += askable(table, task, protocols, note if "all" in arguments.tasks else None)
    if not sets:
        raise ComicSeqDataError(f"{' '.join(arguments.model)} can be asked no question of {arguments.dataset}.")
    return draw_questions(table, sets=sets, **settings)


def choose(frozen: Questions, arguments: EvaluationArguments, tasks: list[str]) -> Questions:
    """The frozen questions of `tasks`, under the protocols that are named."""
    protocols = ("", *(arguments.protocol or PROTOCOLS))
    sets = tuple(each for each in frozen.sets if each.task.name in tasks and each.protocol in protocols)
    missing = [task for task in tasks if all(each.task.name != task for each in sets)]
    if missing or not sets:
        raise ComicSeqDataError(
            f"{arguments.questions} holds no such questions of {missing[0] if missing else 'any task'}: it has"
            f" {'; '.join(each.heading for each in frozen.sets)}."
        )
    return replace(frozen, sets=sets)


def ask_all(
    arguments: EvaluationArguments,
    models: dict[str, Checkpoint],
    asked: dict[str, list[str]],
    table: PanelTable,
    questions: Questions,
    note: Note,
) -> tuple[list[Result], list[Difference]]:
    """Every model on every question set, and, where no tasks are named, their strip vectors."""
    world = synthetic_world(arguments.dataset)
    results: list[Result] = []
    differences: list[Difference] = []
    for each in track(questions.sets, "Asking", console=Console(stderr=True)):
        answering = {name: models[name].model for name in asked[each.task.name]}
        found = compare(answering, table, each, batch_size=arguments.batch_size, world=world, note=note)
        results += found[0]
        differences += found[1]
    if "all" in arguments.tasks:
        found = retrieve({name: model.model for name, model in models.items()}, table, batch_size=arguments.batch_size)
        results += found[0]
        differences += found[1]
    return results, differences


def synthetic_world(dataset: str) -> SyntheticWorld | None:
    """The generative model behind a synthetic data set, which tells the best possible score; None for other data."""
    try:
        return SyntheticCorpus.from_provenance(read_provenance(dataset)).world
    except ComicSeqDataError:
        return None


def write_everything(
    arguments: EvaluationArguments,
    models: dict[str, Checkpoint],
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
        for name, model in models.items():
            if Path(model.name).is_dir():
                put_on_card(Path(model.name), CARD_TEMPLATE, results, name, on_card)
                console.print(f"Model card: {Path(model.name) / 'README.md'}", soft_wrap=True)
