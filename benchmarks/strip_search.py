"""What strip vectors find on held-out books: their book, their other half, and their page by words, a panel or a picture.

Compared are the mean of the Stage 3 vectors, the whitened mean that strips start from where `strip_pooling` is "residual", fitted
on the other books, and the strips of models: of a checkpoint (--model), which none of the asked books may have trained, or of
one that is trained here on the other books (--steps).

    python -m benchmarks.strip_search --store STORE --metadata STORE_METADATA --folds 3 --steps 60
    python -m benchmarks.strip_search --store STORE --metadata STORE_METADATA --fractions 0.7 0.1 0.2 --model outputs/model

Same book: the nearest page is of the page's book. Other half: the first half of a page's panels finds the second among those of
all pages, encoded apart. Words, panel, picture: the vector of a panel's text, of the panel, or of its picture alone, given to the
model as a strip of this one panel of that modality, finds its page, of which nothing of the query is left: of a panel whose text
is asked for, the page has the picture (or nothing where the store has no pictures), and the other way round. Beside them stands what a search compares words and pictures with where the index has such vectors: the mean of a page's texts, or
pictures, alone. Every panel of a page of two and more is asked once. Recall at 1 and at 10, %, and the median rank.

With --folds, books are held out in turn and their pages searched for among all; with --fractions (by hash, as `comicseq convert` has
them) or --test_books (the first by name), among the pages of the held-out books. Brackets: 95 % intervals by bootstrap over books; of
the gain over the mean, paired.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_from_disk
from rich.console import Console
from rich.table import Table

from modeling_comicseq import ComicSeqForPreTraining, ComicSeqModel
from modeling_comicseq.checkpoints.opening import open_checkpoint, override_config, read_config
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.results import interval
from modeling_comicseq.evaluation.retrieval import half_page_retrieval, same_book_retrieval
from modeling_comicseq.files import write_json
from modeling_comicseq.model.strips_comicseq import ComicSeqStripMean
from modeling_comicseq.outputs import check_output
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.whitening import fit_strip_mean

from .pages import sides_of, train
from .strip_retrieval import mean
from .words_to_page import ranks

PANEL, PICTURE, TEXT = (f"{each}_embeddings" for each in ("panel", "visual", "text"))
MEAN, WHITENED = "mean of the Stage 3 panels", "whitened mean"
ALONE = "mean of the texts, or pictures, alone"
STRIPS, STATES = "strips of {}", "mean of the contextualised panels of {}"
PAGES_AT_A_TIME = 256
Make = Callable[
    [np.ndarray, np.ndarray, str], np.ndarray
]  # panels (B, N, P), mask (B, N) and modality to vectors (B, D)
Scores = dict[str, np.ndarray]  # by measure, one value a query


def vectors_of(make: Make, strips: list[np.ndarray], modality: str = "panel") -> np.ndarray:
    """The vectors (n, D) that `make` makes of strips of panels (N, P)."""
    found = []
    for lo in range(0, len(strips), PAGES_AT_A_TIME):
        some = strips[lo : lo + PAGES_AT_A_TIME]
        counts = np.array([len(each) for each in some])
        real = np.arange(counts.max()) < counts[:, None]
        panels = np.zeros((*real.shape, some[0].shape[1]), np.float32)
        panels[real] = np.concatenate(some)
        found.append(make(panels, real, modality))
    return np.concatenate(found)


class Pages:
    """The pages of a table: their panels, pictures and texts, and the name of their book."""

    def __init__(self, table: PanelTable):
        numbers = [table.pool.of_pages(np.array([page]))[0] for page in range(len(table.pool.page_sizes))]
        self.books = table.book_ids[table.books[table.first_rows]]
        self.columns = {
            name: [table.gather(name, each).astype(np.float32) for each in numbers]
            for name in (PANEL, PICTURE, TEXT)
            if name in table
        }
        self.panels = self.columns[PANEL]

    def queries(self, column: str) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
        """Each query (1, P) of a column, the page it is of, and the panels (N, P) of that page without it."""
        rest = {PICTURE: TEXT, TEXT: PICTURE}.get(column)
        for page, panels in enumerate(self.panels):
            for slot, vector in enumerate(self.columns[column][page] if len(panels) > 1 else ()):
                if not vector.any():
                    continue
                others = None if rest not in self.columns else self.columns[rest][page][slot]
                own = np.delete(panels, slot, axis=0)
                if others is not None and others.any():
                    own = np.insert(own, slot, others, axis=0)
                yield vector[None], page, own


def measure(make: Make, pages: Pages, distractors: Pages | None) -> tuple[Scores, dict[str, np.ndarray]]:
    """What `make` finds of `pages` among them and the distractors, and the book of each query, by measure."""
    asked = len(pages.panels)
    strips = vectors_of(make, pages.panels + ([] if distractors is None else distractors.panels))
    books = np.concatenate((pages.books, [] if distractors is None else distractors.books))
    hits = same_book_retrieval(strips, books).hits[:asked]
    known = ~np.isnan(hits)
    found, owners = {"same book": hits[known]}, {"same book": pages.books[known]}
    long = [page for page, panels in enumerate(pages.panels) if len(panels) > 1]
    everywhere = [pages.panels[page] for page in long]
    everywhere += [] if distractors is None else [panels for panels in distractors.panels if len(panels) > 1]
    middle = [(len(panels) + 1) // 2 for panels in everywhere]
    halves = [
        vectors_of(make, [panels[part] for panels, part in zip(everywhere, parts, strict=True)])
        for parts in ([slice(0, each) for each in middle], [slice(each, None) for each in middle])
    ]
    found["other half"] = half_page_retrieval(*halves).hits[: len(long)]
    owners["other half"] = pages.books[long]
    for column, name in ((TEXT, "words"), (PANEL, "panel"), (PICTURE, "picture")):
        if column not in pages.columns:
            continue
        queries, right, own = map(list, zip(*pages.queries(column), strict=True))
        modality = column.removesuffix("_embeddings")
        vectors = (vectors_of(make, queries, modality), strips, vectors_of(make, own))
        places = ranks(*vectors, np.array(right)).astype(float)
        for most in (1, 10):
            found[f"{name} at {most}"] = (places <= most).astype(float)
        found[f"{name}: rank"] = places
        for measured in (f"{name} at 1", f"{name} at 10", f"{name}: rank"):
            owners[measured] = pages.books[right]
    return found, owners


def measure_alone(pages: Pages, distractors: Pages | None) -> Scores:
    """As `measure`, of words and pictures that are compared with the mean of a page's texts or pictures alone, as search does."""
    found: Scores = {}
    for column, name in ((TEXT, "words"), (PICTURE, "picture")):
        if column not in pages.columns:
            continue
        among = pages.columns[column] + ([] if distractors is None else distractors.columns[column])
        means = np.stack([each.sum(axis=0) for each in among])  # whose length does not count
        vectors, right, _ = map(list, zip(*pages.queries(column), strict=True))
        vectors = np.concatenate(vectors)
        places = ranks(vectors, means, means[right] - vectors, np.array(right)).astype(float)
        found |= {f"{name} at {most}": (places <= most).astype(float) for most in (1, 10)}
        found[f"{name}: rank"] = places
    return found


def makers(models: dict[str, ComicSeqModel], fitted: ComicSeqStripMean) -> dict[str, Make]:
    """What is compared, by name."""

    def whitened(panels: np.ndarray, real: np.ndarray, modality: str) -> np.ndarray:
        return fitted(torch.from_numpy(panels), torch.from_numpy(real), modality).numpy()

    def strips(model: ComicSeqModel) -> Make:
        def make(panels: np.ndarray, real: np.ndarray, modality: str) -> np.ndarray:
            modality = modality if model.config.strip_pooling == "residual" else "panel"
            outputs = model(torch.from_numpy(panels), torch.from_numpy(real).long(), modality=modality)
            return outputs.pooler_output.numpy()

        return make

    def states(model: ComicSeqModel) -> Make:
        def make(panels: np.ndarray, real: np.ndarray, modality: str) -> np.ndarray:
            return mean(model(torch.from_numpy(panels), torch.from_numpy(real).long()).last_hidden_state.numpy(), real)

        return make

    found: dict[str, Make] = {MEAN: lambda panels, real, modality: mean(panels, real), WHITENED: whitened}
    for name, model in models.items():
        found |= {STRIPS.format(name): strips(model), STATES.format(name): states(model)}
    return found


def new_model(arguments: argparse.Namespace, table: PanelTable) -> ComicSeqForPreTraining:
    """A model with the whitened mean of the table's panels, before its first step."""
    widths = {name.removesuffix("_embeddings") + "_embedding_dim": width for name, width in table.widths.items()}
    dropout = {"hidden_dropout_prob": arguments.dropout, "attention_probs_dropout_prob": arguments.dropout}
    rows = np.arange(len(table))
    weights = {name: task.spec.sampling_weight * task.servable(table, rows).any() for name, task in TASKS.items()}
    fields = {**widths, **dropout, "task_weights": weights, "strip_pooling": "residual"}
    config = read_config(arguments.config)
    fields |= {"hidden_size": table.widths[PANEL], "contrastive_views": arguments.views}
    torch.manual_seed(arguments.seed)
    model = ComicSeqForPreTraining(override_config(config, fields, "this benchmark"))
    fit_strip_mean(model.comicseq.pooler.strip_mean, table)
    return model.eval()


@torch.no_grad()
def ask(
    arguments: argparse.Namespace, learned: PanelTable, asked: PanelTable
) -> tuple[dict[str, Scores], dict[str, np.ndarray]]:
    """What everything that is compared finds on the pages of `asked`, by name, and the books of the queries."""
    model = new_model(arguments, learned)
    fitted = new_model(arguments, learned).comicseq.pooler.strip_mean
    models = {each: open_checkpoint(each).model.comicseq.eval() for each in arguments.model}
    if arguments.steps:
        with torch.enable_grad():
            train(model, learned, arguments.steps, arguments.learning_rate, arguments.seed)
        models[f"a model after {arguments.steps} steps"] = model.comicseq
    pages, among = Pages(asked), Pages(learned) if arguments.folds else None
    found: dict[str, Scores] = {}
    owners: dict[str, np.ndarray] = {}
    for name, make in makers(models, fitted).items():
        found[name], owners = measure(make, pages, among)
    return {ALONE: measure_alone(pages, among)} | found, owners


def report(found: dict[str, Scores], owners: dict[str, np.ndarray], console: Console) -> dict[str, Any]:
    """Prints each measure of everything that is compared, and its gain over the mean."""
    results: dict[str, Any] = {}
    for measured, books in owners.items():
        table = Table(
            title=f"{measured}: {len(books):,} queries of {len(np.unique(books))} books", title_justify="left"
        )
        for column in ("", "median" if measured.endswith("rank") else "%", "over the mean"):
            table.add_column(column, no_wrap=True)
        for name, scores in found.items():
            if measured not in scores:
                continue
            values = scores[measured]
            if measured.endswith("rank"):
                results[f"{measured}, {name}"] = float(np.median(values))
                table.add_row(name, f"{np.median(values):.0f}", "")
                continue
            level, gain = bootstrap_mean(values, books), bootstrap_mean(values - found[MEAN][measured], books)
            results[f"{measured}, {name}"] = {"mean_low_high": level, "gain_low_high": gain}
            table.add_row(name, interval(*level), "" if name == MEAN else interval(*gain, signed=True))
        console.print(table)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="Stage 3 store of the books")
    parser.add_argument("--metadata", required=True, help="its metadata")
    parser.add_argument("--model", nargs="+", default=[], help="checkpoints, which no asked book has trained")
    parser.add_argument("--folds", type=int, default=0, help="folds of books")
    parser.add_argument("--test_books", type=int, default=0, help="ask the first books instead: how many")
    parser.add_argument("--validation_books", type=int, default=0, help="how many after them are left out")
    parser.add_argument("--fractions", type=float, nargs=3, help="ask the test split of these shares instead")
    parser.add_argument("--ask_validation", action="store_true", help="ask the validation books, not the test books")
    parser.add_argument(
        "--config", default="configuration/model/comicseq-tiny.json", help="configuration of a model that is trained"
    )
    parser.add_argument("--views", choices=("halves", "neighbours"), default="halves", help="its `contrastive_views`")
    parser.add_argument("--steps", type=int, default=0, help="steps of its training (default: none is trained)")
    parser.add_argument("--learning_rate", type=float, default=3e-4)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    if sum(map(bool, (arguments.folds, arguments.test_books, arguments.fractions))) != 1:
        parser.error("give one of --folds, --test_books and --fractions")
    if arguments.output:
        check_output(arguments.output, [arguments.store, arguments.metadata, *arguments.model], overwrite=True)
    books = sorted({page["book_id"] for page in json.loads(Path(arguments.metadata).read_text())})
    found: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    owners: dict[str, list] = defaultdict(list)
    splits_by: list[dict[str, Any]] = [{"fractions": tuple(arguments.fractions)}] if arguments.fractions else []
    splits_by = splits_by or [{"split_books": sides} for sides in sides_of(arguments, books)]
    asked = "validation" if arguments.fractions and arguments.ask_validation else "test"
    for by in splits_by:
        with tempfile.TemporaryDirectory() as folder:
            convert_store(
                arguments.store, arguments.metadata, Path(folder, "arrow"), dtype="float32", progress=False, **by
            )
            splits = load_from_disk(str(Path(folder, "arrow")))
            fold, fold_owners = ask(arguments, PanelTable(splits["train"]), PanelTable(splits[asked]))
            del splits  # nothing may keep the folder's files mapped
        for name, scores in fold.items():
            for measured, values in scores.items():
                found[name][measured].append(values)
        for measured, each in fold_owners.items():
            owners[measured].append(each)
    pooled = {name: {key: np.concatenate(each) for key, each in scores.items()} for name, scores in found.items()}
    results = report(pooled, {key: np.concatenate(each) for key, each in owners.items()}, Console(width=120))
    if arguments.output:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        write_json(arguments.output, {"settings": settings, "results": results})


if __name__ == "__main__":
    main()
