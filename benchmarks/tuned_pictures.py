"""What training through the panel encoder is worth on comics with pictures: runs of `comicseq pretrain --pages` with as much of
the encoder trained as each says, on some books, asked about others.

    python -m benchmarks.tuned_pictures --pages DIR --folds 2 --runs RUNS_DIR --output tuned_pictures.json

DIR is a data set of pages that `comicseq ingest` wrote. Books are held out in folds, as in `benchmarks.pages`, and every variant
(what is trained of the encoder, and one token a panel or two) is trained on the others, with the settings of the run file `pages`
but for those below: the small runs of `benchmarks.streams`, through the encoder. A run that stands complete in RUNS_DIR is not
trained again, so that the command can be interrupted. Wrong candidates of the questions come from other pages of the same book.

Every variant gets the same questions. Beside each model is asked the cosine of the vectors that its own encoder makes, fused ones
also where the streams are separate; with `none` trained, that is the frozen encoder's. In text-cloze each is also asked without
the picture of the panel whose text is wanted. Differences are paired; intervals are 95 % by bootstrap over books.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.scoring import score_model
from modeling_comicseq.files import write_json
from modeling_comicseq.outputs import check_output
from modeling_comicseq.pages.page_set import PageSet
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.stores import data_folder

from .page_runs import open_run
from .pages import add_training_options, sides_of

ASKED = ("panel_picking", "visual_closure", "text_closure", "text_cloze", "character_coherence")
FROZEN = "none"
STREAMS = ("fused", "separate")
MODEL, COSINE, WITHOUT_PICTURE = "model", "cosine", "model without the picture"


def words_of(
    arguments: argparse.Namespace, split: Path, output: Path, tuned: str, streams: str, seed: int
) -> list[str]:
    """The words of `comicseq` that train one variant."""
    options = {
        "pages": arguments.pages,
        "split_books": split,
        "model": arguments.model,
        "tune_encoders": tuned,
        "encoder_learning_rate": arguments.encoder_learning_rate,
        "streams": streams,
        "box_embedding": "false",
        "hidden_dropout_prob": arguments.dropout,
        "attention_probs_dropout_prob": arguments.dropout,
        "learning_rate": arguments.learning_rate,
        "max_steps": arguments.steps,
        "per_device_train_batch_size": arguments.batch_pages,
        "pages_together": arguments.pages_together,
        "seed": seed,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": "false",
        "output_dir": output,
    }
    if arguments.encoder:
        options["encoder"] = arguments.encoder
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["pretrain", "pages", *words, "--tasks", *arguments.tasks]


def train(arguments: argparse.Namespace, books: list[str], fold: int, tuned: str, streams: str, seed: int) -> Path:
    """The folder of a run that never saw `books`; it is trained where it is not there."""
    folder = arguments.runs / f"seed{seed}-fold{fold}-{tuned}-{streams}"
    if (folder / "trainer_state.json").is_file():  # which is written last
        return folder
    split = arguments.runs / f"fold{fold}.json"
    write_json(split, {"validation": books})
    data, other = data_folder(str(folder)), next(iter(sorted(arguments.runs.glob(f"*-{FROZEN}-*_data"))), None)
    if other is not None and not data.exists():
        shutil.copytree(other, data)  # with what the frozen encoder makes of all pictures and texts
    words = words_of(arguments, split, folder, tuned, streams, seed)
    subprocess.run([sys.executable, "-m", "modeling_comicseq.cli", *words], check=True, stdout=sys.stderr)
    return folder


def ask(
    path: Path, arguments: argparse.Namespace, seed: int
) -> dict[str, tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """The questions of each task about the books that a run never saw, by their fingerprint, whose book each is about, and how
    right the answers are."""
    model, tables = open_run(path, ("validation",), arguments.pages)
    table, sequence = tables["validation"], model.sequence_model
    read = table.with_streams(sequence.config.streams)
    found = {}
    for task in map(TASKS.__getitem__, arguments.tasks):
        asked = draw_question_set(table, task, seed=seed, repeats=arguments.repeats)
        metric, questions = task.metrics[0], list(asked.batches(read))
        cosine = task.baselines(table, lambda _: None)["context-mean cosine"]
        right = {
            "chance": np.concatenate([task.chance(batch)[metric] for _, batch in questions]),
            COSINE: np.concatenate([cosine(batch)[metric] for _, batch in asked.batches(table)]),
            MODEL: score_model(sequence, task, questions),
        }
        if task.name == "text_cloze":
            without = [(n, {k: v for k, v in batch.items() if k != "visual_embedding"}) for n, batch in questions]
            right[WITHOUT_PICTURE] = score_model(sequence, task, without)
        found[task.name] = asked.fingerprint, table.book_ids[table.books[asked.rows]], right
    return found


def rows_of(task: str, books: np.ndarray, right: Mapping[tuple[str, str, str], np.ndarray]) -> list[dict[str, Any]]:
    """The score of each variant's answerers, and the model's and the cosine's paired differences to what they are compared with."""
    rows = []
    for tuned, streams in dict.fromkeys(key[:2] for key in right):
        of = {who: right[tuned, streams, who] for *variant, who in right if variant == [tuned, streams]}
        frozen = {who: right[FROZEN, streams, who] for who in (MODEL, COSINE)}
        row: dict[str, Any] = {"task": task, "tuned": tuned, "streams": streams, "questions": len(books)}
        row |= {who: list(bootstrap_mean(values, books)) for who, values in of.items()}
        pairs = {"model minus own cosine": (of[MODEL], of[COSINE])}
        if tuned != FROZEN:
            pairs["model minus frozen cosine"] = of[MODEL], frozen[COSINE]
            pairs["model minus frozen model"] = of[MODEL], frozen[MODEL]
            pairs["cosine minus frozen cosine"] = of[COSINE], frozen[COSINE]
        if WITHOUT_PICTURE in of:
            pairs["model minus it without the picture"] = of[MODEL], of[WITHOUT_PICTURE]
        row |= {name: list(bootstrap_mean(one - other, books)) for name, (one, other) in pairs.items()}
        rows.append(row)
    return rows


def print_rows(rows: list[dict[str, Any]], num_books: int, console: Console) -> None:
    first = rows[0]
    differences = list(dict.fromkeys(key for row in rows for key in row if " minus " in key))
    heading = f"{first['task']}: {first['questions']} questions of {num_books} books, chance {100 * first['chance'][0]:.1f} %"
    table = Table("tuned", "streams", "model, %", "own cosine, %", *differences, title=heading)
    for row in rows:
        cells = [interval(*row[name], signed=True) if name in row else "" for name in differences]
        table.add_row(row["tuned"], row["streams"], interval(*row[MODEL]), interval(*row[COSINE]), *cells)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", required=True, help="data set of pages with pictures")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, of this data set alone")
    parser.add_argument("--tune", nargs="+", default=[FROZEN, "projections", "last_2"], help="what is trained of it")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), help="tokens of a panel")
    parser.add_argument("--tasks", nargs="+", choices=ASKED, default=list(ASKED), help="what is asked and trained")
    parser.add_argument("--encoder", help="panel encoder; by default that of `comicseq pretrain --pages`")
    parser.add_argument("--model", default="comicseq-tiny", help="configuration of the sequence model")
    add_training_options(parser, learning_rate=1e-3)
    parser.add_argument("--encoder_learning_rate", type=float, default=3e-5, help="of the encoder (default: 3e-5)")
    parser.add_argument("--batch_pages", type=int, default=8, help="pages of a step (default: 8)")
    parser.add_argument("--pages_together", type=int, default=4, help="of them in a row of one book (default: 4)")
    parser.add_argument("--repeats", type=int, default=4, help="questions a page (default: 4)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of training and questions (default: 1)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    if FROZEN not in arguments.tune:
        parser.error(f"--tune lacks {FROZEN}, which all else is compared with: add it")
    if arguments.output:
        check_output(arguments.output, [arguments.pages], overwrite=True)
    pages = PageSet.open(arguments.pages)
    folds = sides_of(arguments, sorted({pages.page(number).row["book_id"] for number in range(len(pages))}))
    of_fold = list(itertools.product(arguments.streams, range(len(folds)), arguments.tune))
    runs = [(seed, *rest) for seed in range(arguments.seeds) for rest in of_fold]
    right: dict[str, dict[tuple[str, str, str], list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    asked: dict[str, list[np.ndarray]] = defaultdict(list)
    same: dict[tuple, str] = {}
    for seed, streams, fold, tuned in track(runs, "Runs", console=Console(stderr=True)):
        path = train(arguments, folds[fold]["test"], fold, tuned, streams, seed)
        for task, (fingerprint, books, values_of) in ask(path, arguments, seed).items():
            assert same.setdefault((task, seed, fold), fingerprint) == fingerprint, (
                "variants were asked other questions"
            )
            if (tuned, streams) == (FROZEN, arguments.streams[0]):
                asked[task].append(books)
            for who, values in values_of.items():
                right[task][tuned, streams, who].append(values)

    console, rows = Console(width=200), []
    for task, answers in right.items():
        owners = np.concatenate(asked[task])
        found = rows_of(task, owners, {key: np.concatenate(values) for key, values in answers.items()})
        print_rows(found, len(np.unique(owners)), console)
        rows += found
    if arguments.output:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        write_json(arguments.output, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
