"""What can be known about a synthetic corpus: chance, cosine, and the two exact optima, task by task.

python -m benchmarks.synthetic_baselines                      # the demo corpus
python -m benchmarks.synthetic_baselines --protocol in_page --books 60
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from datasets import load_from_disk
from rich.console import Console
from rich.table import Table

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.distractors import PROTOCOLS
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.task import Task
from modeling_comicseq.evaluation.baselines import context_mean_cosine, last_panel_cosine
from modeling_comicseq.evaluation.metrics import bootstrap_mean, pairwise_accuracy
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.synthetic.optimum import candidate_log_ratio, joint_log_posterior
from modeling_comicseq.synthetic.order_optimum import MAX_PANELS, order_posterior
from modeling_comicseq.synthetic.world import SyntheticCorpus, synthesize
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.tasks.reading_order import true_orders

ORDER = TASKS["reading_order"]


def candidate_task(tables: list[PanelTable], task: Task, corpus: SyntheticCorpus, protocol: str, k: int) -> list[str]:
    """One row of the table: every answer to every question of a task, over all books."""
    metric = task.metrics[0]
    parts: dict[str, list[np.ndarray]] = {}
    books: list[np.ndarray] = []
    for table in tables:
        questions = draw_question_set(table, task, protocol, k)
        books.append(table.book_ids[table.books[questions.rows]])
        for _, batch in questions.batches(table):
            joint = joint_log_posterior(batch, corpus.world, protocol, task.shown)
            answers = {"last panel": last_panel_cosine(batch), "context mean": context_mean_cosine(batch)}
            answers |= {"alone": candidate_log_ratio(batch, corpus.world, protocol, task.shown), "joint": joint}
            results = {"chance": task.chance(batch)[metric]}
            results |= {name: task.judge(batch, scores)[metric] for name, scores in answers.items()}
            results["stated"] = np.exp(joint.max(1))
            for name, values in results.items():
                parts.setdefault(name, []).append(values)
    if not books:
        return [task.name, "0"]
    values = {name: np.concatenate(part) for name, part in parts.items()}
    means = (f"{100 * part.mean():.1f}" for part in values.values())
    return [task.name, str(len(values["joint"])), *means, _ends(values["joint"], books)]


def reading_order(tables: list[PanelTable], corpus: SyntheticCorpus) -> list[str]:
    """Pairwise accuracy of the best order by exact posterior, on the pages that are short enough to enumerate."""
    shares, stated, books = [], [], []
    for table in tables:
        questions = draw_question_set(table, ORDER)
        for asked, batch in questions.batches(table):
            short = batch["attention_mask"].sum(1) <= MAX_PANELS
            if not short.any():
                continue
            batch = {name: value[short] for name, value in batch.items()}
            posterior = order_posterior(batch["panel_embeddings"], batch["attention_mask"].astype(bool), corpus.world)
            sizes = batch["attention_mask"].sum(1)
            orders = [order[:n] for order, n in zip(posterior.by_precedence, sizes, strict=True)]
            shares.append(pairwise_accuracy(orders, true_orders(batch)))
            chosen = [
                p[np.ix_(o, o)][np.triu_indices(len(o), 1)] for p, o in zip(posterior.precedence, orders, strict=True)
            ]
            stated.append(np.array([pairs.mean() for pairs in chosen]))
            books.append(table.book_ids[table.books[questions.rows[asked][short]]])
    accuracy = np.concatenate(shares)
    name = f"{ORDER.name} (pairs, up to {MAX_PANELS} panels)"
    optimum = [f"{100 * accuracy.mean():.1f}", f"{100 * np.concatenate(stated).mean():.1f}", _ends(accuracy, books)]
    return [name, str(len(accuracy)), "50.0", "", "", "", *optimum]


def _ends(values: np.ndarray, books: list[np.ndarray]) -> str:
    _, low, high = bootstrap_mean(values, np.concatenate(books))
    return f"{100 * low:.1f}–{100 * high:.1f}"


def main() -> None:
    """Synthesizes and converts the corpus in a temporary folder, asks every page, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=int, default=240, help="number of books")
    parser.add_argument("--seed", type=int, default=0, help="seed of the books")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="same_book", help="how wrong candidates are drawn")
    parser.add_argument("--candidates", type=int, default=5, help="candidates of a question")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        synthesize(store, num_books=arguments.books, seed=arguments.seed, progress=False)
        convert_store(
            store / "stage3_embeddings.zarr",
            store / "stage3_metadata.json",
            Path(folder) / "arrow",
            fractions=(1.0, 0.0, 0.0),  # every book is asked: the world is the same in all splits
            progress=False,
        )
        splits = load_from_disk(str(Path(folder) / "arrow"))
        corpus = SyntheticCorpus.from_provenance(read_provenance(splits))
        tables = [PanelTable(split) for split in splits.values() if len(split)]
        columns = ("task", "questions", "chance", "last-panel cosine", "context-mean cosine", "per-candidate optimum")
        columns += ("joint optimum", "joint, stated", "95 % interval")
        leaky = ", leaky" if arguments.protocol == "in_page" else ""
        title = (
            f"{arguments.protocol}{leaky}, K = {arguments.candidates}, {arguments.books} books, seed {arguments.seed}, "
            f"fingerprint {corpus.fingerprint[:16]}"
        )
        output = Table(*columns, title=title)
        for task in TASKS.values():
            if arguments.protocol in task.protocols:
                output.add_row(*candidate_task(tables, task, corpus, arguments.protocol, arguments.candidates))
        output.add_row(*reading_order(tables, corpus))
        Console(width=160).print(output)


if __name__ == "__main__":
    main()
