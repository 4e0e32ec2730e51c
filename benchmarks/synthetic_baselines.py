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
from modeling_comicseq.evaluation.baselines import BASELINES
from modeling_comicseq.evaluation.metrics import bootstrap_mean, chance_level, pairwise_accuracy, top1_accuracy
from modeling_comicseq.evaluation.questions import iterate_questions, right_candidates
from modeling_comicseq.evaluation.scoring import true_order
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.synthetic.optimum import TASKS, candidate_log_ratio, joint_log_posterior
from modeling_comicseq.synthetic.order_optimum import MAX_PANELS, order_posterior
from modeling_comicseq.synthetic.world import SyntheticCorpus, synthesize


def candidate_task(tables: list[PanelTable], task: str, corpus: SyntheticCorpus, protocol: str, k: int) -> list[str]:
    """One row of the table: every answer to every question of a task, over all books."""
    parts: dict[str, list[np.ndarray]] = {}
    books: list[np.ndarray] = []
    for table in tables:
        for rows, batch in iterate_questions(table, task, protocol=protocol, num_candidates=k):
            right = right_candidates(batch)
            joint = joint_log_posterior(task, batch, corpus.world, protocol)
            answers = {name: score(batch) for name, score in BASELINES.items()}
            answers |= {"alone": candidate_log_ratio(task, batch, corpus.world, protocol), "joint": joint}
            results = {"chance": chance_level(batch["candidate_mask"])}
            results |= {name: top1_accuracy(scores, right) for name, scores in answers.items()}
            results["stated"] = np.exp(joint.max(1))
            for name, values in results.items():
                parts.setdefault(name, []).append(values)
            books.append(np.asarray(table.book_ids)[table.books[rows]])
    if not books:
        return [task, "0"]
    values = {name: np.concatenate(part) for name, part in parts.items()}
    _, low, high = bootstrap_mean(values["joint"], np.concatenate(books))
    interval = f"{100 * low:.1f}–{100 * high:.1f}"
    return [task, str(len(values["joint"])), *(f"{100 * part.mean():.1f}" for part in values.values()), interval]


def reading_order(tables: list[PanelTable], corpus: SyntheticCorpus) -> list[str]:
    """Pairwise accuracy of the best order by exact posterior, on the pages that are short enough to enumerate."""
    shares, stated, books = [], [], []
    for table in tables:
        for rows, batch in iterate_questions(table, "reading_order", reading_order_target="precedence"):
            short = batch["attention_mask"].sum(1) <= MAX_PANELS
            if not short.any():
                continue
            vectors, mask = batch["panel_embeddings"][short], batch["attention_mask"][short].astype(bool)
            posterior = order_posterior(vectors, mask, corpus.world)
            sizes = mask.sum(1)
            orders = [order[:n] for order, n in zip(posterior.by_precedence, sizes, strict=True)]
            labels = [page[:n, :n] for page, n in zip(batch["labels"][short], sizes, strict=True)]
            shares.append(pairwise_accuracy(orders, [true_order(page, "precedence") for page in labels]))
            chosen = [
                p[np.ix_(o, o)][np.triu_indices(len(o), 1)] for p, o in zip(posterior.precedence, orders, strict=True)
            ]
            stated.append(np.array([pairs.mean() for pairs in chosen]))
            books.append(np.asarray(table.book_ids)[table.books[rows[short]]])
    accuracy = np.concatenate(shares)
    _, low, high = bootstrap_mean(accuracy, np.concatenate(books))
    cells = ["50.0", "", "", "", f"{100 * accuracy.mean():.1f}", f"{100 * np.concatenate(stated).mean():.1f}"]
    return [
        f"reading_order (pairs, up to {MAX_PANELS} panels)",
        str(len(accuracy)),
        *cells,
        f"{100 * low:.1f}–{100 * high:.1f}",
    ]


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
        tasks = TASKS if arguments.protocol != "later_panels" else ("visual_closure", "text_closure")
        for task in tasks:
            output.add_row(*candidate_task(tables, task, corpus, arguments.protocol, arguments.candidates))
        output.add_row(*reading_order(tables, corpus))
        Console(width=160).print(output)


if __name__ == "__main__":
    main()
