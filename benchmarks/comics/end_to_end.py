"""What training through the text encoder is worth: runs of `comicseq pretrain --pages` on books that none was trained on.

python -m benchmarks.comics.end_to_end --runs tuned=DIR [DIR ...] --runs frozen=DIR [DIR ...] --output FILE.json
    [--split test] [--repeats 5]

DIR is the folder of a run, or a checkpoint in it; beside the run's folder stands DIR_data, which the run has made, with the
split that none of its steps has seen. The first runs named are compared with all else. Runs of one name are seeds: their
answers are averaged question by question. For every name, the cosines and the logistic ranker read the vectors of that name's
own encoder; the ranker is fitted to questions about the validation books, as an encoder knows its training books. The model is
also asked with the panels of the context in random order, and with the nearest of them alone. All get the same questions;
intervals are 95 % by bootstrap over books, paired where two are compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from modeling_comicseq.data.views import Batch
from modeling_comicseq.evaluation.ablations import Ablation, shuffled_context
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.scoring import score_model
from modeling_comicseq.files import write_json
from modeling_comicseq.tasks import TASKS

from ..page_runs import open_run
from .ranker import LogisticRanker

QUESTIONS = [
    (task, protocol)
    for task in ("panel_picking", "text_closure", "character_coherence")
    for protocol in ("same_book", "cross_book")
]
# A candidate of ComicSeq does not see the others.
RANKERS = {"logistic ranker": (), "logistic ranker, each candidate alone": ("other candidates",)}


def nearest_panel(batch: Batch, numbers: np.ndarray) -> Batch:
    """Of the context, the panel that is nearest to the asked place is all that is left, of two the one before it."""
    shown = batch["attention_mask"].astype(bool)
    slots, end = np.arange(shown.shape[1]), shown.sum(1)
    asked = batch.get("mask_position", end)[:, None]
    distance = np.where(shown & (slots != asked), 2 * np.abs(slots - asked) + (slots > asked), 2 * shown.shape[1] + 2)
    nearest = slots == distance.argmin(1)[:, None]
    return batch | {"attention_mask": (nearest | (shown & (slots == asked))).astype(batch["attention_mask"].dtype)}


# What of the context the model's answers rest on.
CONTEXTS: dict[str, Ablation] = {"its order shuffled": shuffled_context, "the nearest panel alone": nearest_panel}


def answers(path: Path, split: str, repeats: int) -> tuple[dict, dict]:
    """Right answers of the model of a run and of what its vectors alone tell, and the book of each question."""
    model, tables = open_run(path, ("validation", split))
    found, books = {}, {}
    for name, protocol in QUESTIONS:
        task, asked = TASKS[name], draw_question_set(tables[split], TASKS[name], protocol, repeats=repeats)
        questions, metric = list(asked.batches(tables[split])), TASKS[name].metrics[0]
        right = {"model": score_model(model.sequence_model, task, questions)}
        for cut, ablation in CONTEXTS.items():
            less = [(place, ablation(batch, np.arange(len(asked))[place])) for place, batch in questions]
            right[f"model, {cut}"] = score_model(model.sequence_model, task, less)
        for baseline, answer in task.baselines(tables[split], print).items():
            right[baseline] = np.concatenate([answer(batch)[metric] for _, batch in questions])
        learned_from = draw_question_set(tables["validation"], task, protocol, seed=1, repeats=5)
        learned = [batch for _, batch in learned_from.batches(tables["validation"], 256)]
        for each, without in RANKERS.items():
            ranker = LogisticRanker(without=without).fit(learned)
            judged = [task.judge(batch, ranker.scores(batch))[metric] for _, batch in questions]
            right[each] = np.concatenate(judged)
        found[name, protocol] = right
        books[name, protocol] = tables[split].book_ids[tables[split].books[asked.rows]]
    return found, books


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", action="append", required=True, help="NAME=DIR, and further seeds DIR")
    parser.add_argument("--output", required=True, help="JSON file of the results")
    parser.add_argument("--split", default="test")
    parser.add_argument("--repeats", type=int, default=5, help="questions that each page asks")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    everything: dict = {key: {} for key in QUESTIONS}
    for first, *others in arguments.runs:
        name, _, path = first.partition("=")
        seeds = [answers(Path(each), arguments.split, arguments.repeats) for each in (path, *others)]
        for key in QUESTIONS:
            for who in seeds[0][0][key]:
                everything[key][name, who] = np.mean([found[key][who] for found, _ in seeds], axis=0)
        books = seeds[0][1]
    lead = next(iter(everything[QUESTIONS[0]]))
    results = []
    for task, protocol in QUESTIONS:
        asked = books[task, protocol]
        table = Table(title=f"{task}, {protocol}: {len(asked):,} questions of {len(np.unique(asked))} books, %")
        for column in ("vectors of", "answerer", "score", f"{lead[0]} {lead[1]} minus it"):
            table.add_column(column)
        right = everything[task, protocol]
        for (name, who), values in right.items():
            row = {
                "task": task,
                "protocol": protocol,
                "vectors": name,
                "answerer": who,
                "score": bootstrap_mean(values, asked),
            }
            row["lead_minus_it"] = bootstrap_mean(right[lead] - values, asked)
            table.add_row(name, who, interval(*row["score"]), interval(*row["lead_minus_it"], signed=True))
            results.append(row)
        Console().print(table)
    write_json(Path(arguments.output), results)


if __name__ == "__main__":
    main()
