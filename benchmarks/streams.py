"""One token a panel or two: models with fused and with separate streams, with and without modality dropout, on the same pages.

    python -m benchmarks.streams --store STORE --metadata STORE_METADATA --folds 2 --seeds 3 --output streams.json

The store has picture and text vectors beside the fused ones, as `comicseq embed` writes it; folds, questions and training are
those of `benchmarks.pages`. Each model is asked with pictures and texts, with pictures alone and with texts alone, and
text-cloze also without the asked panel's picture; beside them are models that were trained on pictures alone and on texts
alone. All answers are to the same questions: differences are paired, with 95 % intervals by bootstrap over books.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_from_disk
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.checkpoints.opening import override_config, read_config
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.panels import BOTH, PICTURES, TEXTS, PanelTable
from modeling_comicseq.data.task import Task
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import QuestionSet, draw_question_set
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.ridge import BookRidge
from modeling_comicseq.files import write_json
from modeling_comicseq.outputs import check_output
from modeling_comicseq.tasks import TASKS

from .pages import PANEL, PICTURE, TEXT, add_training_options, asked_tasks, shown_as, sides_of, train

SHOWN = {"": BOTH, "pictures alone": PICTURES, "texts alone": TEXTS}
WITHOUT_PICTURE = "without its picture"
FUSED = "fused"


def models_of(arguments: argparse.Namespace, table: PanelTable, seed: int) -> dict[str, tuple[Any, str]]:
    """The models of one fold by name, and what of the pages each reads: `"both"`, `"pictures"` or `"texts"`."""
    wanted: dict[str, tuple[str, str, float]] = {}
    for streams in (FUSED, "separate"):
        wanted[streams] = streams, "both", 0.0
        wanted[f"{streams}, dropout"] = streams, "both", arguments.modality_dropout
    if not arguments.without_single:
        wanted |= {f"trained on {inputs}": (FUSED, inputs, 0.0) for inputs in ("pictures", "texts")}
    models = {}
    for name, (streams, inputs, modality_dropout) in wanted.items():
        shown = shown_as(table, inputs).with_streams(streams)
        tasks = asked_tasks(shown, inputs, arguments.tasks)
        widths = {each.removesuffix("s") + "_dim": width for each, width in shown.widths.items()}
        weights = {task: float(TASKS[task] in tasks) for task in TASKS}
        dropout = {"hidden_dropout_prob": arguments.dropout, "attention_probs_dropout_prob": arguments.dropout}
        overrides = {**dropout, **widths, "streams": streams, "task_weights": weights}
        torch.manual_seed(seed)
        model = ComicSeqForPreTraining(override_config(read_config(arguments.config), overrides, "this benchmark"))
        train(model, shown, arguments.steps, arguments.learning_rate, seed, modality_dropout)
        models[name] = model, inputs
    return models


def ask(
    models: dict[str, tuple[Any, str]], table: PanelTable, task: Task, questions: QuestionSet
) -> dict[tuple[str, str], np.ndarray]:
    """How right each model is, by its name and by what it was shown `(Q,)`."""
    right: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for chosen, batch in questions.batches(table):
        for name, answer in {"chance": task.chance, **task.baselines(table, lambda _: None)}.items():
            right[name, ""].append(answer(batch)[task.metrics[0]])
        for name, (model, inputs) in models.items():
            if task.name not in (model.config.task_weights or {}) or not model.config.task_weights[task.name]:
                continue
            own = shown_as(table, inputs).with_streams(model.config.streams)
            is_of_both = inputs == "both" and questions.has_modalities(own)
            variants = {
                shown: questions.batch(own, chosen, SHOWN[shown]) for shown in (SHOWN if is_of_both else ("",))
            }
            if "visual_embedding" in variants[""]:
                variants[WITHOUT_PICTURE] = {k: v for k, v in variants[""].items() if k != "visual_embedding"}
            for shown, variant in variants.items():
                right[name, shown].append(task.answer(model, variant)[task.metrics[0]])
    return {key: np.concatenate(values) for key, values in right.items()}


def rows_of(task: str, books: np.ndarray, right: dict[tuple[str, str], np.ndarray]) -> list[dict[str, Any]]:
    """The score of each answerer and its paired differences, each where there is the other: to the fused model that is shown the
    same, to itself that is shown all, to the model that was trained on what it is shown alone, and, shown all, to the one that
    was trained on texts alone: what pictures add."""
    rows = []
    for (name, shown), values in right.items():
        row: dict[str, Any] = {"task": task, "answerer": name, "shown": shown, "questions": len(values)}
        row["score"] = list(bootstrap_mean(values, books))
        others = {"fused": (FUSED, shown), "all shown": (name, "")}
        others["trained on it"] = f"trained on {shown.removesuffix(' alone')}", ""
        if not shown:
            others["trained on texts"] = "trained on texts", ""
        for what, other in others.items():
            if other in right and other != (name, shown):
                row[f"minus {what}"] = list(bootstrap_mean(values - right[other], books))
        rows.append(row)
    return rows


def _books(table: PanelTable) -> np.ndarray:
    """The book of each panel of the pool `(n,)`."""
    pages, rows = np.unique(table.pages, return_index=True)
    assert len(pages) == len(table.pool.page_sizes)
    return np.repeat(table.book_ids[table.books[rows]], table.pool.page_sizes)


def read_off_fused(tables: Sequence[PanelTable]) -> dict[str, float]:
    """How much of the variance of picture and of text vectors a ridge regression on the fused ones tells, fitted on the panels of
    other books."""
    fused, *halves = (
        np.concatenate([table.gather(name, table.pool.panels) for table in tables]) for name in (PANEL, PICTURE, TEXT)
    )
    books = np.concatenate([_books(table) for table in tables])
    told = {}
    for name, vectors in zip((PICTURE, TEXT), halves, strict=True):
        inputs, targets = fused - fused.mean(0), vectors - vectors.mean(0)
        left = targets - BookRidge(inputs, targets, books).predict(inputs, books)
        told[name] = float(1 - (left**2).sum() / (targets**2).sum())
    return told


def print_rows(rows: list[dict[str, Any]], metric: str, num_books: int, console: Console) -> None:
    columns = ("minus fused", "minus all shown", "minus trained on it", "minus trained on texts")
    title = f"{rows[0]['task']}: {rows[0]['questions']} questions of {num_books} books"
    table = Table("answerer", f"{metric}, %", *columns, title=title)
    for row in rows:
        name = row["answerer"] + (f", {row['shown']}" if row["shown"] else "")
        cells = [interval(*row[column], signed=True) if column in row else "" for column in columns]
        table.add_row(name, interval(*row["score"]), *cells)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="Stage 3 store of the books, with picture and text vectors")
    parser.add_argument("--metadata", required=True, help="its metadata")
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, help="what is asked and trained (default: all that can be)"
    )
    parser.add_argument("--without_single", action="store_true", help="train no models on one modality alone")
    parser.add_argument("--config", default="configuration/model/comicseq-tiny.json", help="model configuration")
    parser.add_argument(
        "--modality_dropout", type=float, default=0.3, help="share of it, where there is (default: 0.3)"
    )
    add_training_options(parser, learning_rate=1e-3)
    parser.add_argument("--repeats", type=int, default=2, help="questions a page (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of training and questions (default: 3)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    if arguments.output:
        check_output(arguments.output, [arguments.store, arguments.metadata], overwrite=True)
    books = sorted({page["book_id"] for page in json.loads(Path(arguments.metadata).read_text())})
    asked: dict[str, list[np.ndarray]] = defaultdict(list)
    right: dict[str, dict[tuple[str, str], list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for sides in track(sides_of(arguments, books), "Folds", console=Console(stderr=True)):
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "arrow"
            convert_store(
                arguments.store, arguments.metadata, data, dtype="float32", split_books=sides, progress=False
            )
            splits = load_from_disk(str(data))
            training, table = PanelTable(splits["train"]), PanelTable(splits["test"])
            assert not set(training.book_ids) & set(table.book_ids)
            told = read_off_fused((training, table))
            for seed in range(arguments.seeds):
                models = models_of(arguments, training, seed)
                for task in asked_tasks(shown_as(table, "both"), "both", arguments.tasks):
                    questions = draw_question_set(table, task, seed=seed, repeats=arguments.repeats)
                    asked[task.name].append(table.book_ids[table.books[questions.rows]])
                    for key, values in ask(models, table, task, questions).items():
                        right[task.name][key].append(values)
            del splits, training, table, models  # nothing may keep the folder's files mapped

    console, rows = Console(width=150), []
    said = " and ".join(f"{100 * share:.0f} % of the variance of {name}" for name, share in told.items())
    console.print(f"From fused vectors, regressions fitted on other books tell {said}.")
    for name, answers in right.items():
        owners = np.concatenate(asked[name])
        found = rows_of(name, owners, {key: np.concatenate(values) for key, values in answers.items()})
        print_rows(found, TASKS[name].metrics[0], len(np.unique(owners)), console)
        rows += found
    if arguments.output:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        write_json(arguments.output, {"settings": settings, "told by fused vectors": told, "results": rows})


if __name__ == "__main__":
    main()
