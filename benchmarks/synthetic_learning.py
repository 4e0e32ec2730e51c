"""How much of what the synthetic corpus gives away a trained model has learned, task by task, on held-out books.

    python -m benchmarks.synthetic_learning --dataset DIR/dataset --model DIR/model
    python -m benchmarks.synthetic_learning --dataset DIR/dataset --model DIR/model --plain DIR/plain --plot learning.png

Beside the model: the cosine to the mean of the context, a linear probe (a logistic ranker on cosines, fitted to questions
of the training books), and, with `--plain`, a plain transformer with the concatenation heads. To train that one as long as
the model:

    python run_pretraining.py CONFIG.yaml --dataset DIR/dataset --output_dir DIR/plain \\
        --config_overrides '{similarity_term: false, contrastive_weight: 0}'

The share of the attainable gain is (answerer - chance) / (per-candidate
optimum - chance), with its 95 % interval by bootstrap over books. Reading order is judged on pages of up to 7 panels, of
which the optimum is known. `--plot` draws the validation curves that the runs left in their trainer_state.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from modeling_comicseq.checkpoints.opening import open_checkpoint
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.views import Batch, select_questions
from modeling_comicseq.evaluation.attainable import attainable_share
from modeling_comicseq.evaluation.baselines import context_mean_cosine
from modeling_comicseq.evaluation.metrics import chance_level, pairwise_accuracy
from modeling_comicseq.evaluation.questions import iterate_questions
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.scoring import judge, model_logits, true_order
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.model.modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.synthetic.optimum import candidate_log_ratio, joint_log_posterior
from modeling_comicseq.synthetic.order_optimum import MAX_PANELS, order_posterior
from modeling_comicseq.synthetic.world import SyntheticCorpus, SyntheticWorld
from modeling_comicseq.training.trainer import VALIDATION_SEED, validation_repeats

from .comics.ranker import LogisticRanker

COSINE, PROBE, PLAIN, MODEL = "context-mean cosine", "linear probe", "plain transformer", "model"
ALONE, JOINT = "per-candidate optimum", "joint optimum"


def ask_choices(
    models: dict[str, ComicSeqForPreTraining],
    train: PanelTable,
    test: PanelTable,
    task: str,
    world: SyntheticWorld,
    repeats: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How right every answerer is, question by question, and the book of each question."""
    probe = LogisticRanker().fit(batch for _, batch in iterate_questions(train, task, seed=1, repeats=2))
    right: dict[str, list[np.ndarray]] = {}
    books = []
    for rows, batch in iterate_questions(test, task, repeats=repeats):
        scores = {COSINE: context_mean_cosine(batch), PROBE: probe.scores(batch)}
        scores |= {name: model_logits(model, task, batch) for name, model in models.items()}
        scores[ALONE] = candidate_log_ratio(task, batch, world)
        scores[JOINT] = joint_log_posterior(task, batch, world)
        right.setdefault("chance", []).append(chance_level(batch["candidate_mask"]))
        for name, values in scores.items():
            right.setdefault(name, []).append(judge(task, batch, values))
        books.append(test.books[rows])
    return {name: np.concatenate(parts) for name, parts in right.items()}, np.concatenate(books)


def ask_order(
    models: dict[str, ComicSeqForPreTraining], test: PanelTable, world: SyntheticWorld, repeats: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The same of reading order: shares of pairs that are right. A likeness knows no direction, so cosines are chance."""
    right: dict[str, list[np.ndarray]] = {}
    books = []
    targets = {model.config.reading_order_target for model in models.values()}
    for target in sorted(targets):
        for rows, every in iterate_questions(test, "reading_order", repeats=repeats, reading_order_target=target):
            short = every["attention_mask"].sum(1) <= MAX_PANELS
            if not short.any():
                continue
            batch = select_questions(every, short)
            for name, model in models.items():
                if model.config.reading_order_target == target:
                    answers = judge("reading_order", batch, model_logits(model, "reading_order", batch), target)
                    right.setdefault(name, []).append(answers)
            if target == min(targets):
                right.setdefault(JOINT, []).append(order_optimum(batch, world, target))
                books.append(test.books[rows[short]])
    answers = {name: np.concatenate(parts) for name, parts in right.items()}
    chance = np.full(len(answers[JOINT]), 0.5)
    return {"chance": chance, **answers, ALONE: answers[JOINT]}, np.concatenate(books)


def order_optimum(batch: Batch, world: SyntheticWorld, target: str) -> np.ndarray:
    """Share of the pairs that the best possible order of each page puts right `(Q,)`."""
    posterior = order_posterior(batch["panel_embeddings"], batch["attention_mask"], world)
    counts = batch["attention_mask"].sum(1)
    orders = [order[:count] for order, count in zip(posterior.by_precedence, counts, strict=True)]
    truth = [true_order(labels[:n, :n], target) for labels, n in zip(batch["labels"], counts, strict=True)]
    return pairwise_accuracy(orders, truth)


def validation_curves(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps of the validations of a run, and the accuracy of each task (and the score) at them."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    validations = [entry for entry in history if "eval_score" in entry]
    steps = np.asarray([entry["step"] for entry in validations])
    names = {f"eval_{task}_accuracy": task for task in DEFAULT_TASK_WEIGHTS} | {"eval_score": "score"}
    return steps, {
        label: np.asarray([entry[name] for entry in validations])
        for name, label in names.items()
        if validations and name in validations[0]
    }


def validation_limits(table: PanelTable, task: str, world: SyntheticWorld) -> tuple[float, float]:
    """Chance and optimum of the questions that a run is validated on (of reading order: of those up to 7 panels)."""
    chance, optimum = [], []
    for _, batch in iterate_questions(table, task, seed=VALIDATION_SEED, repeats=validation_repeats(table)):
        if task == "reading_order":
            batch = select_questions(batch, batch["attention_mask"].sum(1) <= MAX_PANELS)
            if not len(batch["labels"]):
                continue
            optimum.append(order_optimum(batch, world, "adjacency"))
            chance.append(np.full(len(optimum[-1]), 0.5))
        else:
            optimum.append(judge(task, batch, candidate_log_ratio(task, batch, world)))
            chance.append(chance_level(batch["candidate_mask"]))
    return float(np.concatenate(chance).mean()), float(np.concatenate(optimum).mean())


def plot_curves(runs: dict[str, Path], table: PanelTable, world: SyntheticWorld, path: Path) -> None:
    """One field a task: validation accuracy by step, between chance and optimum."""
    from matplotlib.figure import Figure

    curves = {name: validation_curves(folder) for name, folder in runs.items()}
    figure = Figure(figsize=(14, 6), layout="constrained")
    fields = figure.subplots(2, 4).ravel()
    for axes, task in zip(fields, [*DEFAULT_TASK_WEIGHTS, "score"], strict=True):
        if task != "score":
            chance, optimum = validation_limits(table, task, world)
            axes.axhline(100 * chance, color="#999999", linestyle=":", label="chance")
            axes.axhline(100 * optimum, color="#009E73", linestyle="--", label="optimum")
            axes.axhline(100 * (chance + 0.8 * (optimum - chance)), color="#E69F00", linewidth=0.8, label="80 % of it")
        for (name, (steps, values)), colour in zip(curves.items(), ("#0072B2", "#D55E00"), strict=False):
            if task in values:
                axes.plot(steps, 100 * values[task], color=colour, label=name)
        axes.set_title("mean of all tasks" if task == "score" else task, fontsize="medium")
        axes.grid(alpha=0.3)
    fields[0].legend(fontsize="small")
    figure.supxlabel("optimiser steps")
    figure.supylabel("validation accuracy (reading order: pairwise), %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Asks all tasks and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="data set that `comicseq convert` wrote of a synthetic store")
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--plain", help="checkpoint folder of the plain transformer")
    parser.add_argument("--split", default="test", help="split to ask questions from")
    parser.add_argument("--repeats", type=int, default=3, help="questions that each page asks in each task")
    parser.add_argument("--plot", type=Path, help="PNG file for the learning curves")
    arguments = parser.parse_args()

    corpus = SyntheticCorpus.from_provenance(read_provenance(arguments.dataset))
    train, test = open_split(arguments.dataset, "train"), open_split(arguments.dataset, arguments.split)
    runs = {MODEL: Path(arguments.model)}
    if arguments.plain:
        runs = {PLAIN: Path(arguments.plain)} | runs
    models = {name: open_checkpoint(str(folder)).model.eval() for name, folder in runs.items()}

    accuracies = Table("task", title=f"same_book, K = 5, fingerprint {corpus.fingerprint[:16]}, accuracy in %")
    shares = Table("task", "questions", title="share of the attainable gain, %")
    names = ["chance", COSINE, PROBE, *models, ALONE, JOINT]
    for name in names:
        accuracies.add_column(name, justify="right")
    for name in (COSINE, PROBE, *models):
        shares.add_column(name, justify="right")
    for task in DEFAULT_TASK_WEIGHTS:
        if task == "reading_order":
            right, books = ask_order(models, test, corpus.world, arguments.repeats)
        else:
            right, books = ask_choices(models, train, test, task, corpus.world, arguments.repeats)
        accuracies.add_row(task, *(f"{100 * right[name].mean():.1f}" if name in right else "" for name in names))
        cells = []
        for name in (COSINE, PROBE, *models):
            if name in right:
                share = attainable_share(right[name], right["chance"], right[ALONE], books)
                cells.append(interval(*share))
            else:
                cells.append("")
        shares.add_row(task, str(len(books)), *cells)
    console = Console(width=150)
    console.print(accuracies)
    console.print(shares)
    if arguments.plot:
        plot_curves(
            dict(reversed(runs.items())), open_split(arguments.dataset, "validation"), corpus.world, arguments.plot
        )
        console.print(f"Learning curves: {arguments.plot}")


if __name__ == "__main__":
    main()
