"""What a model learns from pages: trained on some books of a Stage 3 store, asked about others, beside chance and cosines.

    python -m benchmarks.pages --store STORE --metadata STORE_METADATA --boxes panels.json --output pages.json

The store has picture and text vectors beside the fused ones, as `comicseq embed` writes it. The same pages are shown as
pictures alone, as texts alone and as both (--inputs). Books are held out in folds (--folds), or the first ones in the order
of their names are asked, those after them are for choices alone, and all others are learned from (--test_books and
--validation_books; --ask_validation asks the latter). Wrong candidates come from other pages of the same book. Answers of
all folds and seeds are pooled; intervals by bootstrap over books, paired for differences.

With --boxes, which says where the panels stand, models that read it are trained beside the one that does not (--readers).
With --states, the panels.json of drawn comics, an oracle is asked that knows what is drawn, and told is how much of the way
from cosine to it a model goes.

With --keep the models that were trained are written to a folder as checkpoints: INPUTS/READER/SEED, in folds below that of the fold.

With --model the checkpoint is asked as it is, too, and tuned on the other books. {inputs} and {seed} in its name stand for
what is shown and for the seed, as --keep names them: KEPT/{inputs}/none/{seed}. None of the asked books may stand in its
training data; pretraining on the texts of other comics is one line:

    comicseq convert --embeddings COMICS/stage3_embeddings.zarr --metadata COMICS/stage3_metadata.json --output COMICS/arrow
    python run_pretraining.py configuration/pretraining/text_only.yaml --dataset COMICS/arrow --output_dir outputs/text
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
from modeling_comicseq.checkpoints.opening import open_checkpoint, override_config, read_config
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.task import Task
from modeling_comicseq.evaluation.ablations import of_boxes
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import QuestionSet, draw_question_set
from modeling_comicseq.evaluation.results import GEOMETRY, interval
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.files import write_json
from modeling_comicseq.outputs import check_output
from modeling_comicseq.tasks import TASKS, get_tasks
from modeling_comicseq.training.arguments import PretrainingArguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.trainer import ComicSeqTrainer

from .comics.ranker import LogisticRanker
from .drawn_comics import Panel, oracle, share_right

PANEL, PICTURE, TEXT, CAPTION = (f"{each}_embeddings" for each in ("panel", "visual", "text", "caption"))
# What stands for a panel, what else a model is shown, and the tasks that ask for it.
INPUTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "pictures": (PICTURE, (PICTURE, CAPTION), ("panel_picking", "visual_closure")),
    "texts": (TEXT, (TEXT, CAPTION), ("panel_picking", "text_closure", "text_cloze")),
    "both": (PANEL, (PICTURE, TEXT, CAPTION), ("panel_picking", "visual_closure", "text_closure", "text_cloze")),
}
ALWAYS = ("caption_relevance", "character_coherence", "reading_order")
SCRATCH = "trained from scratch"
READERS: dict[str, dict] = {
    "none": {},
    "with boxes": {"box_embedding": True},
    "boxes compared": {"box_embedding": True, "box_relation_layers": 1},
}
ORACLE = "oracle"
KNOWN = ("panel_picking", "visual_closure", "text_closure")  # what the oracle answers: it fits states together
# A few dozen pages are learned by heart at once.
DROPOUT = 0.3


def shown_as(table: PanelTable, inputs: str) -> PanelTable:
    """The same pages, of which a model is shown pictures, texts, or both."""
    panel, others, _ = INPUTS[inputs]
    other = PanelTable(table.dataset)
    other.columns = {PANEL: table.columns[panel]} | {name: table.columns[name] for name in others if name in table}
    other.widths = {name: pieces[0].shape[1] for name, pieces in other.columns.items()}
    return other


def asked_tasks(table: PanelTable, inputs: str, wanted: Sequence[str] | None) -> list[Task]:
    """Those of the wanted tasks that pages can ask about when they are shown like this."""
    rows = np.arange(len(table))
    names = [name for name in INPUTS[inputs][2] + ALWAYS if wanted is None or name in wanted]
    return [task for task in get_tasks(names) if task.servable(table, rows).any()]


def train(
    model: ComicSeqForPreTraining,
    table: PanelTable,
    steps: int,
    learning_rate: float,
    seed: int,
    modality_dropout: float = 0.0,
) -> None:
    """Trains `model` in place on the pages of `table`, distractors from the same and from other books."""
    protocol = ("same_book", "cross_book")
    dataset = PretrainingDataset(table, model.config, protocol=protocol, seed=seed, modality_dropout=modality_dropout)
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


def models_of(
    arguments: argparse.Namespace,
    table: PanelTable,
    tasks: list[Task],
    inputs: str,
    seed: int,
    kept: Path | None = None,
) -> dict[str, Any]:
    """The models of one fold: trained from scratch on `table`, and where a checkpoint is named, it as it is and tuned.

    Those from scratch are written below `kept`.
    """
    widths = {name.removesuffix("_embeddings") + "_embedding_dim": width for name, width in table.widths.items()}
    dropout = {"hidden_dropout_prob": arguments.dropout, "attention_probs_dropout_prob": arguments.dropout}
    overrides = {**dropout, **widths, "task_weights": {name: float(task in tasks) for name, task in TASKS.items()}}
    models = {}
    for reader in arguments.readers if arguments.boxes else ["none"]:
        torch.manual_seed(seed)
        config = override_config(read_config(arguments.config), overrides | READERS[reader], "this benchmark")
        scratch = ComicSeqForPreTraining(config)
        train(scratch, table, arguments.steps, arguments.learning_rate, seed)
        models[SCRATCH if reader == "none" else f"{SCRATCH}, {reader}"] = scratch
        if kept is not None:
            scratch.save_pretrained(kept / inputs / reader.replace(" ", "_") / str(seed))
    if arguments.model:
        name = arguments.model.replace("{inputs}", inputs).replace("{seed}", str(seed))
        models["pretrained"] = open_checkpoint(name).model.eval()
        tuned = open_checkpoint(name, overrides=overrides).model
        train(tuned, table, arguments.steps, arguments.learning_rate, seed)
        models["pretrained, tuned"] = tuned
    return models


def ask(
    models: dict[str, ComicSeqForPreTraining],
    tables: tuple[PanelTable, PanelTable],
    task: Task,
    repeats: int,
    seed: int,
) -> tuple[QuestionSet, dict[str, np.ndarray]]:
    """The questions about the second of two tables, and how right each answerer is `(Q,)`.

    A model that reads boxes is also asked with nothing but these of the context, and without them.
    """
    training, table = tables
    questions = draw_question_set(table, task, seed=seed, repeats=repeats)
    answerers = {"chance": task.chance, **task.baselines(table, print), **task.fitted(table, training, print)}
    if task.protocols and "context-mean cosine" in answerers:
        learned_from = draw_question_set(training, task, seed=seed + 1, repeats=repeats)
        ranker = LogisticRanker().fit(batch for _, batch in learned_from.batches(training))
        answerers["ranker on cosines"] = lambda batch: task.judge(batch, ranker.scores(batch))
    books = table.book_ids[table.books[questions.rows]]
    right: dict[str, list[np.ndarray]] = defaultdict(list)
    for chosen, batch in questions.batches(table):
        answers = {name: answer(batch | {"book_ids": books[chosen]}) for name, answer in answerers.items()}
        for name, model in models.items():
            variants = {name: batch}
            for variant, ablate in of_boxes(model, batch).items():
                variants[f"{name}, {variant}"] = ablate(batch, np.arange(chosen.start, chosen.stop))
            for variant, question in variants.items():
                logits = model_logits(model, task.name, question)
                answers[variant] = task.judge(batch, logits, model.config.reading_order_target)
        for name, values in answers.items():
            right[name].append(values[task.metrics[0]])
    return questions, {name: np.concatenate(values) for name, values in right.items()}


def panels_with_states(path: Path, table: PanelTable) -> list[Panel]:
    """What is drawn in each panel of a table, in the order of the panels' numbers."""
    pages = {(page["book_id"], page["page_index"]): page["panels"] for page in json.loads(path.read_text())}
    rows = zip(table.dataset["book_id"], table.dataset["page_index"], table.num_panels, strict=True)
    found = []
    for book, page, count in rows:
        assert len(pages[book, page]) == count, f"page {page} of {book} has other panels in {path}"
        found += pages[book, page]
    return found


def known_by_oracle(panels: list[Panel], table: PanelTable, task: Task, questions: QuestionSet) -> np.ndarray:
    """How right the oracle is, which knows the states of all panels `(Q,)`."""
    right = []
    drawn = questions.drawn
    for row, slot, candidates, answer in zip(
        questions.rows, drawn.slots, drawn.candidates, drawn.answers, strict=True
    ):
        first = table.offsets[row]
        before = panels[first : first + slot]
        after = panels[first + slot + 1 : table.offsets[row + 1]] if task.name == "panel_picking" else []
        order = [answer, *(place for place in range(len(candidates)) if place != answer and candidates[place] >= 0)]
        right.append(share_right(oracle(before, after, [panels[candidates[place]] for place in order])))
    return np.asarray(right)


def share_of_the_way(values: np.ndarray, low: np.ndarray, high: np.ndarray, books: np.ndarray) -> tuple[float, ...]:
    """How far `values` (Q,) are on the way from `low` to `high`, and its 95 % interval by bootstrap over books."""
    numbers, rng = np.unique(books, return_inverse=True)[1], np.random.default_rng(0)
    sums = np.stack([np.bincount(numbers, each) for each in (values - low, high - low)])
    drawn = sums[:, rng.integers(sums.shape[1], size=(2000, sums.shape[1]))].sum(-1)
    return float(sums[0].sum() / sums[1].sum()), *np.percentile(drawn[0] / drawn[1], (2.5, 97.5)).tolist()


def print_task(
    title: str, task: Task, books: np.ndarray, right: dict[str, np.ndarray], console: Console
) -> list[dict[str, Any]]:
    """Prints one task's table; returns its rows for the JSON file."""
    nearest = next(
        each
        for each in ("context-mean cosine", "caption cosine", "nearest-neighbour chain", "chance")
        if each in right
    )
    beside = [each for each in (nearest, "ranker on cosines", GEOMETRY, SCRATCH) if each in right]
    heading = f"{task.name}, {title}: {len(books)} questions of {len(np.unique(books))} books"
    columns = [f"{task.metrics[0]}, %", *(f"minus {each}" for each in beside)]
    table = Table("answerer", *columns, *(["share of the way"] if ORACLE in right else []), title=heading)
    rows = []
    for name, values in right.items():
        row = {"inputs": title, "task": task.name, "questions": len(books), "answerer": name}
        row |= {"score": list(bootstrap_mean(values, books))}
        row |= {f"minus {other}": list(bootstrap_mean(values - right[other], books)) for other in beside}
        cells = [interval(*row["score"])]
        cells += ["" if name == other else interval(*row[f"minus {other}"], signed=True) for other in beside]
        if ORACLE in right:
            row["share of the way"] = list(share_of_the_way(values, right[nearest], right[ORACLE], books))
            cells.append(interval(*row["share of the way"], signed=True) if name.startswith(SCRATCH) else "")
        table.add_row(name, *cells)
        rows.append(row)
    console.print(table)
    return rows


def sides_of(arguments: argparse.Namespace, books: list[str]) -> list[dict[str, list[str]]]:
    """The books that each fold learns from, and those that it asks about."""
    if arguments.test_books:
        behind = arguments.test_books + arguments.validation_books
        test, validation = books[: arguments.test_books], books[arguments.test_books : behind]
        return [{"train": books[behind:], "test": validation if arguments.ask_validation else test}]
    folds = [books[fold :: arguments.folds] for fold in range(arguments.folds)]
    return [{"train": [book for book in books if book not in held_out], "test": held_out} for held_out in folds]


def add_training_options(parser: argparse.ArgumentParser, learning_rate: float) -> None:
    """Options about which books are asked, as `sides_of` reads them, and about each training."""
    parser.add_argument("--folds", type=int, default=4, help="folds of books (default: 4)")
    parser.add_argument("--test_books", type=int, default=0, help="ask the first books instead of folds: how many")
    parser.add_argument("--validation_books", type=int, default=0, help="how many after them are for choices alone")
    parser.add_argument("--ask_validation", action="store_true", help="ask the validation books, not the test books")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of each training (default: 60)")
    parser.add_argument(
        "--learning_rate", type=float, default=learning_rate, help=f"peak learning rate (default: {learning_rate})"
    )
    parser.add_argument("--dropout", type=float, default=DROPOUT, help=f"dropout of all kinds (default: {DROPOUT})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="Stage 3 store of the books")
    parser.add_argument("--metadata", required=True, help="its metadata")
    parser.add_argument("--boxes", help="where the panels stand, as `comicseq convert --boxes` takes it")
    parser.add_argument("--states", type=Path, help="panels.json of drawn comics, for the oracle")
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, default=list(INPUTS), help="what is shown of a panel")
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, help="what is asked and trained (default: all that can be)"
    )
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS), help="models, with --boxes")
    parser.add_argument("--model", help="checkpoint to start from as well")
    parser.add_argument("--keep", type=Path, help="folder for the models that were trained from scratch")
    parser.add_argument(
        "--config", default="configuration/model/comicseq-small.json", help="model configuration to train from scratch"
    )
    add_training_options(parser, learning_rate=2e-4)
    parser.add_argument("--repeats", type=int, default=4, help="questions a page (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="first seed of training and questions")
    parser.add_argument("--seeds", type=int, default=1, help="how many of them (default: 1)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    if arguments.output:
        check_output(arguments.output, [arguments.store, arguments.metadata, arguments.model], overwrite=True)
    books = sorted({page["book_id"] for page in json.loads(Path(arguments.metadata).read_text())})
    asked: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    right: dict[tuple[str, str], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    folds = sides_of(arguments, books)
    for fold, sides in enumerate(track(folds, "Folds", console=Console(stderr=True))):
        kept = arguments.keep / f"fold{fold}" if arguments.keep and len(folds) > 1 else arguments.keep
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "arrow"
            convert_store(
                arguments.store,
                arguments.metadata,
                data,
                dtype="float32",
                split_books=sides,
                boxes=arguments.boxes,
                progress=False,
            )
            splits = load_from_disk(str(data))
            both = PanelTable(splits["train"]), PanelTable(splits["test"])
            assert not set(both[0].book_ids) & set(both[1].book_ids)
            for inputs in arguments.inputs:
                tables = shown_as(both[0], inputs), shown_as(both[1], inputs)
                tasks = asked_tasks(tables[1], inputs, arguments.tasks)
                states = panels_with_states(arguments.states, tables[1]) if arguments.states else None
                for seed in seeds:
                    models = models_of(arguments, tables[0], tasks, inputs, seed, kept)
                    for task in tasks:
                        questions, answers = ask(models, tables, task, arguments.repeats, seed)
                        if states is not None and task.name in KNOWN:
                            answers[ORACLE] = known_by_oracle(states, tables[1], task, questions)
                        asked[inputs, task.name].append(tables[1].book_ids[tables[1].books[questions.rows]])
                        for name, values in answers.items():
                            right[inputs, task.name][name].append(values)
            del splits, both, tables  # nothing may keep the folder's files mapped

    console = Console(width=170)
    rows = []
    for (inputs, task_name), answers in right.items():
        pooled = {name: np.concatenate(values) for name, values in answers.items()}
        rows += print_task(inputs, TASKS[task_name], np.concatenate(asked[inputs, task_name]), pooled, console)
    if arguments.output:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        write_json(arguments.output, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
