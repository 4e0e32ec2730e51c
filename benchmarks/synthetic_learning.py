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
from modeling_comicseq.data.task import Answer, Task
from modeling_comicseq.evaluation.baselines import context_mean_cosine
from modeling_comicseq.evaluation.questions import QuestionSet, draw_question_set
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.model.modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.synthetic.world import SyntheticCorpus, SyntheticWorld
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.trainer import VALIDATION_SEED, validation_repeats

from .attainable import attainable_share
from .comics.ranker import LogisticRanker

COSINE, PROBE, PLAIN, MODEL = "context-mean cosine", "linear probe", "plain transformer", "model"
ALONE, JOINT = "per-candidate optimum", "joint optimum"


def judge_all(
    questions: QuestionSet, table: PanelTable, world: SyntheticWorld, answers: dict[str, Answer]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How right a guess, the `answers` and both optima are, question by question, and the book of each question.

    Of reading order, these are the pages that are short enough for an optimum, which is joint.
    """
    task = questions.task
    optima = task.optima(questions, table, world, print)
    answers = {"chance": task.chance, **answers, ALONE: optima[0].answer, JOINT: optima[-1].answer}
    right: dict[str, list[np.ndarray]] = {name: [] for name in answers}
    for _, batch in questions.batches(table):
        for name, answer in answers.items():
            right[name].append(answer(batch)[task.metrics[0]])
    chosen = slice(None) if optima[0].chosen is None else optima[0].chosen
    books = table.books[questions.rows[chosen]]
    return {name: np.concatenate(values)[chosen] for name, values in right.items()}, books


def answers_of(models: dict[str, ComicSeqForPreTraining], train: PanelTable, task: Task) -> dict[str, Answer]:
    """What the models answer and, where there are candidates, cosine and the linear probe."""
    answers: dict[str, Answer] = {}
    if task.protocols:  # a likeness knows no direction: in reading order cosines are chance
        learned_from = draw_question_set(train, task, seed=1, repeats=2)
        probe = LogisticRanker().fit(batch for _, batch in learned_from.batches(train))
        answers[COSINE] = lambda batch: task.judge(batch, context_mean_cosine(batch))
        answers[PROBE] = lambda batch: task.judge(batch, probe.scores(batch))
    for name, model in models.items():
        answers[name] = lambda batch, model=model: task.judge(
            batch, model_logits(model, task.name, batch), model.config.reading_order_target
        )
    return answers


def validation_curves(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps of the validations of a run, and the accuracy of each task (and the score) at them."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    validations = [entry for entry in history if "eval_score" in entry]
    steps = np.asarray([entry["step"] for entry in validations])
    names = {f"eval_{task}_accuracy": task for task in TASKS} | {"eval_score": "score"}
    return steps, {
        label: np.asarray([entry[name] for entry in validations])
        for name, label in names.items()
        if validations and name in validations[0]
    }


def plot_curves(runs: dict[str, Path], table: PanelTable, world: SyntheticWorld, path: Path) -> None:
    """One field a task: validation accuracy by step, between chance and optimum."""
    from matplotlib.figure import Figure

    curves = {name: validation_curves(folder) for name, folder in runs.items()}
    figure = Figure(figsize=(14, 6), layout="constrained")
    fields = figure.subplots(2, 4).ravel()
    for axes, task in zip(fields, [*TASKS, "score"], strict=True):
        if task != "score":
            repeats = validation_repeats(table)
            questions = draw_question_set(table, TASKS[task], seed=VALIDATION_SEED, repeats=repeats)
            right, _ = judge_all(questions, table, world, {})
            chance, optimum = right["chance"].mean(), right[ALONE].mean()
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
    for task in TASKS.values():
        questions = draw_question_set(test, task, repeats=arguments.repeats)
        right, books = judge_all(questions, test, corpus.world, answers_of(models, train, task))
        accuracies.add_row(task.name, *(f"{100 * right[name].mean():.1f}" if name in right else "" for name in names))
        cells = []
        for name in (COSINE, PROBE, *models):
            if name in right:
                share = attainable_share(right[name], right["chance"], right[ALONE], books)
                cells.append(interval(*share))
            else:
                cells.append("")
        shares.add_row(task.name, str(len(books)), *cells)
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
