"""How often a page's nearest strips come from its own book: mean-pooled Stage 3 against the strip vectors of a model.

Beside them stands the mean of the model's contextualised panels, which is what a search by pages could use instead.
The pages are those of held-out books of a converted data set; of a long page, the first window. Chance and the intervals are
over books; the gain is paired, model minus mean on the same pages. Half pages: the first half of a page's panels must find
its second half among those of all pages, the halves encoded apart.

    python -m benchmarks.strip_retrieval --model outputs/comics_text/model --dataset outputs/comics_text/dataset

With --stage3 and --stage5 the strips are read from stores instead, of the books of the data set's split, or of all without
one:

    python -m benchmarks.strip_retrieval --stage3 stage3_embeddings.zarr --stage5 stage5_embeddings.zarr --dataset dataset
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_comicseq import ComicSeqModel
from modeling_comicseq.checkpoints.opening import open_checkpoint
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.errors import ComicSeqDataError, ComicSeqError
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.report import interval
from modeling_comicseq.evaluation.retrieval import half_page_retrieval, same_book_retrieval
from modeling_comicseq.files import write_json
from modeling_comicseq.outputs import check_output
from modeling_comicseq.stores.pages import read_pages
from modeling_comicseq.stores.vectors import VectorStore, find_metadata, mean_panels

from .book_ranking import book_ranking

PAGES_AT_A_TIME = 128
MEAN = "Mean of the Stage 3 panels"
STRIPS = "Strip vectors of {}"
STATES = "Mean of the contextualised panels of {}"


def mean(vectors: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean (B, D) of the real ones of `vectors` (B, N, D)."""
    return np.where(real[..., None], vectors, 0).sum(axis=1) / real.sum(axis=1, keepdims=True)


def makers(model: ComicSeqModel, name: str) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """What makes a page's vector (B, D) of its panels (B, N, P) and their mask (B, N), by name."""

    @torch.no_grad()
    def encode(panels: np.ndarray, real: np.ndarray) -> BaseModelOutputWithPooling:
        return model(torch.from_numpy(panels), torch.from_numpy(real).long())

    return {
        MEAN: mean,
        STRIPS.format(name): lambda panels, real: encode(panels, real).pooler_output.numpy(),
        STATES.format(name): lambda panels, real: mean(encode(panels, real).last_hidden_state.numpy(), real),
    }


def page_vectors(make: Callable, table: PanelTable, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Vectors that `make` makes of the panels `first` to `end` (B,) of a table."""
    found = []
    for lo in range(0, len(first), PAGES_AT_A_TIME):
        starts, counts = first[lo : lo + PAGES_AT_A_TIME], (end - first)[lo : lo + PAGES_AT_A_TIME]
        slots = np.arange(counts.max())
        real = slots < counts[:, None]
        panels = table.gather("panel_embeddings", np.where(real, starts[:, None] + slots, -1)).astype(np.float32)
        found.append(make(panels, real))
    return np.concatenate(found)


def of_dataset(name: str, dataset: str, split: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Strips by their makers, ranks of half pages by their makers, and the books of the strips."""
    table = open_split(dataset, split)
    model = open_checkpoint(name, table, dataset).model.comicseq.eval()
    rows = np.unique(table.pages, return_index=True)[1]
    rows = rows[table.num_panels[rows] > 0]
    first, end = table.offsets[rows], table.offsets[rows + 1]
    long = end - first > 1
    middle = first + (end - first + 1) // 2
    makes = makers(model, name)
    strips = {maker: page_vectors(make, table, first, end) for maker, make in makes.items()}
    halves = {
        maker: half_page_retrieval(
            page_vectors(make, table, first[long], middle[long]), page_vectors(make, table, middle[long], end[long])
        ).hits
        for maker, make in makes.items()
    }
    books = table.books[rows]
    return strips, {"books": books[long], **halves}, books


def of_stores(stage3: str, stage5: str, chosen: set[str] | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Strips of two stores of the same pages, by their makers, and their books."""
    pages, strips = {}, {}
    for maker, url in ((MEAN, stage3), (STRIPS.format(stage5), stage5), (STATES.format(stage5), stage5)):
        store = VectorStore.open(url)
        named = read_pages(find_metadata(store, None), store.pages)
        blocks = list(store.blocks("panel"))
        if maker == STRIPS.format(stage5):
            vectors = np.concatenate([store.read_strips(lo, hi) for lo, hi in blocks])
        else:
            vectors = np.concatenate([mean_panels(*store.read_panels(lo, hi)) for lo, hi in blocks])
        usable = np.isfinite(vectors).all(axis=1)
        found = [
            (row, (page, book))
            for row, page, book in zip(
                named.rows, named.strings("canonical_id"), named.strings("book_id"), strict=True
            )
            if usable[row] and (chosen is None or book in chosen)
        ]
        rows = [row for row, _ in found]
        pages[maker] = [page for _, page in found]
        strips[maker] = vectors[rows]
    first, second, _ = pages.values()
    if first != second or not first:
        raise ComicSeqDataError(f"{stage3} and {stage5} do not hold the same pages: encode this Stage 3 store again.")
    return strips, np.asarray([book for _, book in first])


def compare(
    console: Console, title: str, scores: dict[str, np.ndarray], books: np.ndarray, chance: float | None
) -> dict:
    """Prints the scores (pages,) of each maker with intervals, and the gain of each over the mean."""
    asked = ~np.isnan(scores[MEAN])
    table = Table(title=f"{title}: {asked.sum():,} pages of {len(np.unique(books[asked]))} books")
    table.add_column("strip vectors")
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("over the mean", justify="right", no_wrap=True)
    results = {"chance": chance, "pages": int(asked.sum()), "books": len(np.unique(books[asked]))}
    if chance is not None:
        table.add_row("chance", f"{100 * chance:.1f}", "")
    for maker, values in scores.items():
        measured = bootstrap_mean(values[asked], books[asked])
        gain = bootstrap_mean((values - scores[MEAN])[asked], books[asked])
        table.add_row(maker, interval(*measured), "" if maker == MEAN else interval(*gain, signed=True))
        results[maker] = {"mean_low_high": measured, "gain_low_high": None if maker == MEAN else gain}
    console.print(table)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint")
    parser.add_argument("--dataset", help="a data set of `comicseq convert`")
    parser.add_argument("--split", default="test", help="its split, of books the model never saw (default: test)")
    parser.add_argument("--stage3", help="a Stage 3 store, its metadata beside it")
    parser.add_argument("--stage5", help="the Stage 5 store made from it, its metadata beside it")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    from_stores = bool(arguments.stage3 and arguments.stage5)
    if from_stores == bool(arguments.model) or not (from_stores or arguments.dataset):
        parser.error("give --model and --dataset, or --stage3 and --stage5")
    console = Console()
    halves = None
    try:
        if arguments.output:
            inputs = (arguments.model, arguments.dataset, arguments.stage3, arguments.stage5)
            check_output(arguments.output, inputs, overwrite=True)
        if not from_stores:
            strips, halves, books = of_dataset(arguments.model, arguments.dataset, arguments.split)
        else:
            chosen = (
                set(open_split(arguments.dataset, arguments.split).book_ids.tolist()) if arguments.dataset else None
            )
            strips, books = of_stores(arguments.stage3, arguments.stage5, chosen)
    except ComicSeqError as error:
        raise SystemExit(f"Error: {error}") from None
    nearest = {maker: same_book_retrieval(vectors, books) for maker, vectors in strips.items()}
    chance = nearest[MEAN].chance
    hits = {maker: found.hits for maker, found in nearest.items()}
    results = {"nearest": compare(console, "Nearest page is of the same book", hits, books, chance)}
    rankings = {maker: book_ranking(vectors, books) for maker, vectors in strips.items()}
    for place, title in enumerate(("R-precision", "Average precision")):
        scores = {maker: ranking[place] for maker, ranking in rankings.items()}
        # Average precision by chance is a little above the share of right pages, and depends on the books' sizes.
        level = None if place else chance
        results[title] = compare(console, f"{title} of the book's pages", scores, books, level)
    if halves:
        half_books = halves.pop("books")
        title = "First half finds its second half"
        results["half pages"] = compare(console, title, halves, half_books, 1 / len(half_books))
    console.print("Brackets: 95 % intervals by bootstrap over books, paired for the gain.")
    if arguments.output:
        settings = vars(arguments) | {"output": str(arguments.output)}
        write_json(arguments.output, {"settings": settings, "results": results})


if __name__ == "__main__":
    main()
