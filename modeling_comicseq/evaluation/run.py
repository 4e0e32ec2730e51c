"""An evaluation from its arguments to its files: models are opened, asked, compared and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ..checkpoints.opening import Checkpoint, open_checkpoint
from ..data.distractors import PROTOCOLS
from ..data.opening import open_split, splits_of, tell_twins, training_split
from ..data.panels import PanelTable
from ..data.task import Task
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..files import write_text
from ..model.tasks_comicseq import STRIP_EMBEDDING
from ..outputs import check_report
from ..progress import track
from ..stores.provenance import read_provenance
from ..synthetic.world import SyntheticCorpus, SyntheticWorld
from .arguments import FROZEN, EvaluationArguments
from .card import only_on_card, put_on_card
from .compare import compare
from .metrics import few_books
from .plots import PLOTS, plot_results
from .probe import Place, probe_tables
from .question_sets import Questions, draw_questions, load_questions, read_about
from .report import print_results, report_markdown, told_by_geometry
from .results import Difference, Result, results_json, write_results
from .strips import retrieve

Note = Callable[[str], None]


def evaluate(arguments: EvaluationArguments, tasks: Mapping[str, Task]) -> None:
    """Asks the models the questions, prints the results and writes `results.json`, `report.md`, plots and cards.

    Args:
        arguments: What to evaluate.
        tasks: All tasks by name.

    Raises:
        ComicSeqError: In one sentence, what cannot be evaluated and why.
    """
    given = {name: getattr(arguments, name) for name in FROZEN}
    settings: dict[str, Any] = FROZEN | {name: value for name, value in given.items() if value is not None}
    if arguments.questions is not None:
        settings = read_about(arguments.questions)
    local = [path for path in arguments.model if Path(path).is_dir()]
    folder = Path(arguments.output_dir or (local[0] if len(local) == len(arguments.model) == 1 else "evaluation"))
    inputs = [path for path in (arguments.dataset, arguments.questions) if path is not None]
    splits_of(arguments.dataset)  # of a folder above it, the output would be said to lie in it
    check_report(folder, ("results.json", "report.md", *PLOTS), ('"settings": {', '"questions": {'), inputs)
    table = open_split(arguments.dataset, settings["split"])
    models = open_models(arguments, table)
    console, beside, notes = Console(), Console(stderr=True), []

    def note(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)
            beside.print(sentence, soft_wrap=True, highlight=False, markup=False)

    training = training_split(arguments.dataset, settings["split"])
    place = probe_tables([table] if training is None else [table, training])
    twins = tell_twins(table, f"the split {settings['split']!r}")
    if twins is not None:
        note(f"Warning: {twins}")
    for model in models.values():
        for warning in model.notes:
            note(f"Warning: {warning}")
    frozen = None
    if arguments.questions is not None:
        frozen = load_questions(arguments.questions, table, arguments.dataset, tasks, note)
    everything, names = "all" in arguments.tasks, arguments.tasks
    if everything:
        names = list(tasks) if frozen is None else [each.task.name for each in frozen.sets]
    asked = models_by_task(models, names, everything, note)
    if frozen is not None:
        questions = choose(frozen, arguments, list(asked))
    else:
        chosen, left_out = [tasks[name] for name in asked], note if everything else None
        protocols = arguments.protocol or ["same_book", "cross_book"]
        questions = draw_questions(table, tasks=chosen, protocols=protocols, left_out=left_out, **settings)
    if not questions.sets:
        raise ComicSeqDataError(f"{' '.join(arguments.model)} can be asked no question of {arguments.dataset}.")

    world = synthetic_world(table)
    results: list[Result] = []
    differences: list[Difference] = []
    for each in track(questions.sets, "Asking"):
        answering = {name: models[name].model for name in asked[each.task.name]}
        found = compare(
            answering,
            table,
            each,
            training=training,
            batch_size=arguments.batch_size,
            world=world,
            modalities=arguments.modalities,
            note=note,
        )
        results += found[0]
        differences += found[1]
    if everything:
        embedding = {name: each.model for name, each in models.items() if STRIP_EMBEDDING.name not in each.untrained}
        for name in [name for name in models if name not in embedding]:
            note(f"Left out {STRIP_EMBEDDING.title}: {models[name].name} has no strip vectors.")
        found = retrieve(embedding, table, batch_size=arguments.batch_size) if embedding else ([], [])
        results += found[0]
        differences += found[1]
    if sentence := told_by_geometry(results):
        note(sentence)
    if few := few_books(min(result.num_books for result in results)):
        note(few)
    print_results(results, differences, console)
    if place is not None:
        console.print(place.sentence(), soft_wrap=True, highlight=False)
    write_everything(folder, arguments, table, questions, results, differences, notes, models, place, console)


def open_models(arguments: EvaluationArguments, table: PanelTable) -> dict[str, Checkpoint]:
    """The models by name: the last part of their path where that tells them apart.

    Raises:
        ComicSeqError: A model cannot be read, does not fit the data, or was made for vectors of other encoders and it is
            not said that this is meant.
    """
    names = [Path(path).resolve().name if Path(path).exists() else path for path in arguments.model]
    if len(set(names)) < len(names):
        names = arguments.model
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ComicSeqArgumentError(f"`model` names {twice} twice: name each once.")
    origin = read_provenance(table.dataset).get("origin", {})
    models = {}
    for name, path in zip(names, arguments.model, strict=True):
        models[name] = open_checkpoint(
            path, table, arguments.dataset, origin=origin, other_origin=arguments.other_origin
        )
        if torch.cuda.is_available():
            models[name].model.cuda()  # type: ignore[call-arg]
    return models


def models_by_task(
    models: Mapping[str, Checkpoint], tasks: Sequence[str], everything: bool, note: Note
) -> dict[str, list[str]]:
    """The tasks and who is asked each: with `everything` those that were trained on it, else every model."""
    asked: dict[str, list[str]] = {}
    for task in dict.fromkeys(tasks):
        for name, model in models.items():
            if task in model.untrained:
                reason = f"{model.name} has no head for {task}"
                if not everything:
                    raise ComicSeqDataError(f"{reason}.")
                note(f"Left out {task}: {reason}.")
            elif everything and not (model.model.config.task_weights or {}).get(task, 0):
                note(f"Left out {task}: {model.name} was not trained on {task}.")
            else:
                asked.setdefault(task, []).append(name)
    return asked


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


def synthetic_world(table: PanelTable) -> SyntheticWorld | None:
    """The generative model behind a synthetic data set, which tells the best possible score; None for other data."""
    try:
        return SyntheticCorpus.from_provenance(read_provenance(table.dataset)).world
    except ComicSeqDataError:
        return None


def write_everything(
    folder: Path,
    arguments: EvaluationArguments,
    table: PanelTable,
    questions: Questions,
    results: Sequence[Result],
    differences: Sequence[Difference],
    notes: Sequence[str],
    models: Mapping[str, Checkpoint],
    place: Place | None,
    console: Console,
) -> None:
    """Writes results.json, report.md and its plots; and onto the cards of local models, unless `output_dir` is given."""
    about = questions.about(table)
    content = {"settings": asdict(arguments), "questions": about, "notes": notes}
    found_place = None if place is None else place.to_json()
    write_results(content | {"place": found_place} | results_json(results, differences), folder / "results.json")
    asked = {
        "dataset": Path(arguments.dataset).resolve().name,
        "split": questions.split,
        "data_fingerprint": about["data_fingerprint"],
        "questions_fingerprint": questions.fingerprint,
    }
    if place is not None:
        asked["place"] = place.sentence()
    in_report = {"models": arguments.model} | asked | {"questions a page and task": questions.repeats}
    plots = plot_results(results, folder)
    write_text(folder / "report.md", report_markdown(results, differences, in_report, notes, plots))
    console.print(f"Written to {folder}: {', '.join(['results.json', 'report.md', *plots])}", soft_wrap=True)
    if arguments.output_dir is None:
        is_part = arguments.tasks != ["all"] or arguments.protocol is not None or arguments.questions is not None
        local = {name: Path(model.name) for name, model in models.items() if Path(model.name).is_dir()}
        for name, path in local.items():
            said = f"Model card: {path / 'README.md'}"
            if is_part and (more := only_on_card(path, results)):
                said += (
                    f" keeps its scores, which are of more questions ({more[0]}, say): replace them with --tasks all"
                )
            else:
                put_on_card(path, results, name, asked)
            console.print(said, soft_wrap=True, highlight=False)
