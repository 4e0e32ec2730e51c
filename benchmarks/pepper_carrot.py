"""Real comics with pictures and texts, leaving episodes out: a model trained on the other episodes, beside cosine and chance.

The Stage 3 store holds a few books (episodes). Each fold trains on the others' pages for a minute and asks the fold's own:
panel picking, closure by picture and by text, and reading order. Wrong candidates come from other pages of the same episode.
Answers of all folds and seeds are pooled; intervals by bootstrap over episodes, paired for differences.

With --boxes, which says where the panels stand, models that read it are trained beside the one that does not; the head for
reading order of one of them compares the boxes of every two panels.

With --model the checkpoint is asked as it is, too, and tuned on the other episodes. None of the asked episodes may stand in
its training data; pretraining on the texts of other comics is one line:

    comicseq convert --embeddings COMICS/stage3_embeddings.zarr --metadata COMICS/stage3_metadata.json --output COMICS/arrow
    python run_pretraining.py configuration/pretraining/text_only.yaml --dataset COMICS/arrow \\
        --output_dir outputs/text
    python -m benchmarks.pepper_carrot --store PEPPER/stage3_embeddings.zarr --metadata PEPPER/stage3_metadata.json \\
        --model outputs/text
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from datasets import load_from_disk
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.checkpoints.opening import open_checkpoint, override_config, read_config
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.task import Task
from modeling_comicseq.evaluation.ablations import of_boxes
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.files import write_json
from modeling_comicseq.outputs import check_output
from modeling_comicseq.tasks import TASKS, get_tasks
from modeling_comicseq.training.arguments import PretrainingArguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.trainer import ComicSeqTrainer

ASKED = get_tasks(("panel_picking", "visual_closure", "text_closure", "reading_order"))
# A few dozen pages are learned by heart at once.
SCRATCH = "trained from scratch"
READERS: dict[str, dict] = {
    "": {},
    ", with boxes": {"box_embedding": True},
    ", boxes compared": {"box_embedding": True, "box_relation_layers": 1},
}
REGULARISED = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}


def task_weights() -> dict[str, float]:
    """Sampling weights: the tasks that are asked are trained alike, the others not at all."""
    return {name: float(task in ASKED) for name, task in TASKS.items()}


def train(model: ComicSeqForPreTraining, table: PanelTable, steps: int, learning_rate: float, seed: int) -> None:
    """Trains `model` in place on the pages of `table`, distractors from the same and from other episodes."""
    dataset = PretrainingDataset(table, model.config, protocol=("same_book", "cross_book"), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = PretrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=64,
            learning_rate=learning_rate,
            seed=seed,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        ComicSeqTrainer(model=model, args=arguments, train_dataset=dataset, validation_table=None).train()
    model.eval()


def ask(
    models: dict[str, ComicSeqForPreTraining],
    tables: tuple[PanelTable, PanelTable],
    task: Task,
    repeats: int,
    seed: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The book of every question `(Q,)`, and how right each answerer is `(Q,)`, about the second of two tables.

    A model that reads boxes is also asked with nothing but these of the context, and without them.
    """
    training, table = tables
    questions = draw_question_set(table, task, seed=seed, repeats=repeats)
    baselines = {"chance": task.chance, **task.baselines(table, print), **task.fitted(table, training, print)}
    books = table.book_ids[table.books[questions.rows]]
    right: dict[str, list[np.ndarray]] = defaultdict(list)
    for chosen, batch in questions.batches(table):
        answers = {name: answer(batch | {"book_ids": books[chosen]}) for name, answer in baselines.items()}
        for name, model in models.items():
            variants = {name: batch}
            for variant, ablate in of_boxes(model, batch).items():
                variants[f"{name}, {variant}"] = ablate(batch, np.arange(chosen.start, chosen.stop))
            for variant, question in variants.items():
                logits = model_logits(model, task.name, question)
                answers[variant] = task.judge(batch, logits, model.config.reading_order_target)
        for name, values in answers.items():
            right[name].append(values[task.metrics[0]])
    return books, {name: np.concatenate(values) for name, values in right.items()}


def fold_models(arguments: argparse.Namespace, table: PanelTable, seed: int) -> dict[str, ComicSeqForPreTraining]:
    """The models of one fold: trained from scratch on `table`, and where a checkpoint is named, it as it is and tuned."""
    widths = {name.removesuffix("_embeddings") + "_embedding_dim": width for name, width in table.widths.items()}
    overrides = {**REGULARISED, **widths, "task_weights": task_weights()}
    models = {}
    for words, fields in READERS.items() if arguments.boxes else [("", {})]:
        torch.manual_seed(seed)
        config = override_config(read_config(arguments.config), overrides | fields, "this benchmark")
        scratch = ComicSeqForPreTraining(config)
        train(scratch, table, arguments.steps, arguments.learning_rate, seed)
        models[SCRATCH + words] = scratch
    if arguments.model:
        models["pretrained"] = open_checkpoint(arguments.model).model.eval()
        tuned = open_checkpoint(arguments.model, overrides=overrides).model
        train(tuned, table, arguments.steps, arguments.learning_rate, seed)
        models["pretrained, tuned"] = tuned
    return models


def print_task(task: Task, books: np.ndarray, right: dict[str, np.ndarray], console: Console) -> list[dict]:
    """Prints one task's table; returns its rows for the JSON file."""
    rows = []
    nearest = "context-mean cosine" if task.protocols else "nearest-neighbour chain"
    title = f"{task.name}: {len(books)} questions"
    table = Table("answerer", f"{task.metrics[0]}, %", f"minus {nearest}", f"minus {SCRATCH}", title=title)
    for name, values in right.items():
        score = bootstrap_mean(values, books)
        gains = {other: bootstrap_mean(values - right[other], books) for other in (nearest, SCRATCH)}
        shown = ["" if name == other else interval(*gain, signed=True) for other, gain in gains.items()]
        table.add_row(name, interval(*score), *shown)
        minus = {"minus_nearest": list(gains[nearest]), "minus_scratch": list(gains[SCRATCH])}
        rows.append({"task": task.name, "answerer": name, "score": list(score), **minus})
    console.print(table)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="Stage 3 store of the episodes")
    parser.add_argument("--metadata", required=True, help="its metadata")
    parser.add_argument("--boxes", help="where the panels stand, as `comicseq convert --boxes` takes it")
    parser.add_argument("--model", help="checkpoint to start from as well")
    parser.add_argument(
        "--config", default="configuration/model/comicseq-small.json", help="model configuration to train from scratch"
    )
    parser.add_argument("--folds", type=int, default=4, help="folds of episodes (default: 4)")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of each training (default: 60)")
    parser.add_argument("--learning_rate", type=float, default=2e-4, help="peak learning rate (default: 2e-4)")
    parser.add_argument("--repeats", type=int, default=4, help="questions a page (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="first seed of training and questions")
    parser.add_argument("--seeds", type=int, default=1, help="how many of them (default: 1)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    if arguments.output:
        check_output(arguments.output, [arguments.store, arguments.metadata, arguments.model], overwrite=True)
    books = sorted({page["book_id"] for page in json.loads(Path(arguments.metadata).read_text())})
    asked: dict[str, list[np.ndarray]] = defaultdict(list)
    right: dict[str, dict[str, list[np.ndarray]]] = {task.name: defaultdict(list) for task in ASKED}
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    for fold in track(range(arguments.folds), "Folds", console=Console(stderr=True)):
        held_out = books[fold :: arguments.folds]
        rest = [book for book in books if book not in held_out]
        with tempfile.TemporaryDirectory() as folder:
            convert_store(
                arguments.store,
                arguments.metadata,
                Path(folder) / "arrow",
                split_books={"train": rest, "test": held_out},
                boxes=arguments.boxes,
                progress=False,
            )
            splits = load_from_disk(str(Path(folder) / "arrow"))
            train_table, test_table = PanelTable(splits["train"]), PanelTable(splits["test"])
            assert not set(train_table.book_ids) & set(test_table.book_ids)
            for seed in seeds:
                models = fold_models(arguments, train_table, seed)
                for task in ASKED:
                    names, answers = ask(models, (train_table, test_table), task, arguments.repeats, seed)
                    asked[task.name].append(names)
                    for name, values in answers.items():
                        right[task.name][name].append(values)
            del splits, train_table, test_table  # nothing may keep the folder's files mapped

    console = Console(width=120)
    rows = []
    for task in ASKED:
        pooled = {name: np.concatenate(values) for name, values in right[task.name].items()}
        rows += print_task(task, np.concatenate(asked[task.name]), pooled, console)
    if arguments.output:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        write_json(arguments.output, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
