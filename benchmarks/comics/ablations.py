"""Pretraining on real comics: the default against cosine and a logistic ranker, and against itself with one thing changed.

python -m benchmarks.comics.ablations --dataset DIR [DIR ...] --output DIR [--runs default "no contrastive loss" ...]
    [--default_seeds 42 43 44] [--seeds 42 ...]

Every run has the same configuration, steps and questions but for what its name says. A run that is there is not trained
again. Scores are of the test books, with 95 % intervals by bootstrap over books; the runs of several seeds are averaged
question by question. The ranker is fitted to questions of the training books. Several data sets are folds: each has runs
of its own, and their questions are pooled (`benchmarks.comics.folds` makes folds of books that no choice was made on).

"10 candidates" and "20 candidates" are larger pools. In about every second question the wrong ones come from anywhere in
the other books, as those of a batch would; under joint encoding they must be encoded in the question's own context, so
that candidates taken over from the batch would cost as much.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.scoring import score_model
from modeling_comicseq.files import write_json
from modeling_comicseq.tasks import TASKS

from .ranker import LogisticRanker

# Name: (fields of the model configuration, arguments of the run)
RUNS: dict[str, tuple[dict, list[str]]] = {
    "default": ({}, []),
    "no contrastive loss": ({"contrastive_weight": 0.0}, []),
    "nt_xent": ({"contrastive_objective": "nt_xent"}, []),
    "cohesion": ({"contrastive_objective": "cohesion"}, []),
    "independent candidates": ({"candidate_encoding": "independent"}, []),
    "raw-vector heads": ({"candidate_encoding": "independent", "num_hidden_layers": 0}, []),
    "no similarity term": ({"similarity_term": False}, []),
    "10 candidates": ({}, ["--num_candidates", "10"]),
    "20 candidates": ({}, ["--num_candidates", "20"]),
    "position base 10000": ({"position_base": 10000}, []),
    "masked panels": ({"masked_panel_weight": 0.5}, []),
    "in_page training (leaky)": ({}, ["--protocol", "in_page"]),
    "same_book training": ({}, ["--protocol", "same_book"]),
}
QUESTIONS = [
    ("panel_picking", "same_book"),
    ("panel_picking", "cross_book"),
    ("text_closure", "same_book"),
    ("text_closure", "cross_book"),
    ("character_coherence", "same_book"),
    ("reading_order", "same_book"),
]


def train(name: str, seed: int, dataset: str, output: Path, arguments: argparse.Namespace) -> Path:
    folder = output / f"{name.replace(' ', '_')}-{seed}"
    if not (folder / "README.md").is_file():
        changes, extra = RUNS[name]
        command = [sys.executable, "run_pretraining.py", arguments.config, "--dataset", dataset]
        command += ["--output_dir", str(folder), "--seed", str(seed), "--config_overrides", json.dumps(changes)]
        subprocess.run([*command, "--save_total_limit", "1", *extra], check=True, env=os.environ)
    return folder


def ask(dataset: str, repeats: int, folders: dict[str, list[Path]]) -> dict:
    """Right answers of every answerer, question by question, for each set of questions."""
    train_table, test_table = (open_split(dataset, split) for split in ("train", "test"))
    answers: dict = {}
    for name, protocol in QUESTIONS:
        task = TASKS[name]
        metric = task.metrics[0]
        asked = draw_question_set(test_table, task, protocol, repeats=repeats)
        questions = list(asked.batches(test_table))
        right = {
            baseline: np.concatenate([answer(batch)[metric] for _, batch in questions])
            for baseline, answer in task.baselines(test_table, print).items()
        }
        if task.protocols:
            learned_from = draw_question_set(train_table, task, protocol, seed=1)
            ranker = LogisticRanker().fit(batch for _, batch in learned_from.batches(train_table))
            scores = [task.judge(batch, ranker.scores(batch)) for _, batch in questions]
            right["logistic ranker"] = np.concatenate([values[metric] for values in scores])
        for run, paths in folders.items():
            models = (ComicSeqForPreTraining.from_pretrained(path).eval() for path in paths)
            right[run] = np.mean([score_model(model, task, questions) for model in models], axis=0)
        answers[name, protocol] = right, test_table.book_ids[test_table.books[asked.rows]]
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, nargs="+", help="data sets that `comicseq convert` wrote")
    parser.add_argument("--output", required=True, help="folder of the runs and of ablations.json")
    parser.add_argument("--config", default="configuration/pretraining/text_only.yaml")
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[42], help="seeds of every run but the default")
    parser.add_argument("--default_seeds", nargs="*", type=int, default=[42, 43, 44])
    parser.add_argument("--repeats", type=int, default=5, help="questions that each test page asks in each task")
    arguments = parser.parse_args()

    folds = []
    for number, dataset in enumerate(arguments.dataset):
        output = Path(arguments.output) / (f"fold_{number}" if len(arguments.dataset) > 1 else "")
        folders = {
            name: [
                train(name, seed, dataset, output, arguments)
                for seed in (arguments.default_seeds if name == "default" else arguments.seeds)
            ]
            for name in arguments.runs
        }
        folds.append(ask(dataset, arguments.repeats, folders))
    results = []
    for task, protocol in folds[0]:
        answers = [fold[task, protocol] for fold in folds]
        right = {name: np.concatenate([values[name] for values, _ in answers]) for name in answers[0][0]}
        books = np.concatenate([asked for _, asked in answers])
        table = Table(title=f"{task}, {protocol}: {len(books):,} questions of {len(np.unique(books))} books, %")
        for column in ("answerer", "score", "default minus it"):
            table.add_column(column)
        for name, values in right.items():
            row = {"task": task, "protocol": protocol, "answerer": name, "score": bootstrap_mean(values, books)}
            cells = [name, interval(*row["score"])]
            if "default" in right and name != "default":
                row["default_minus_it"] = bootstrap_mean(right["default"] - values, books)
                cells.append(interval(*row["default_minus_it"], signed=True))
            table.add_row(*cells)
            results.append(row)
        Console().print(table)
    write_json(Path(arguments.output, "ablations.json"), results)


if __name__ == "__main__":
    main()
