"""How often the text of one panel finds its page: by vectors, by words, and by both.

From each page whose panels have texts, one panel of at least three words is drawn. Its text is the query, and its page the
one right answer among all pages. In the rows "left out" nothing of that text stands in the page: the panel is there with its
picture alone, or not at all where the store has no pictures, and its words are not among those of the page. In the rows "as
it is" the page is indexed as it is, as a reader's search would find it.

    python -m benchmarks.words_to_page --stage3 stage3_embeddings.zarr --model outputs/model --dataset outputs/arrow

Vectors are compared by cosine: the query's text vector with the means of the panel encoder's vectors (Stage 3), and the strip
of a page of this one panel with the strips of the model. Words and both go through the engine of `comicseq index`, whose
words index and reciprocal ranks they use. Brackets: 95 % intervals by bootstrap over books.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from rich.console import Console
from rich.table import Table

from modeling_comicseq.checkpoints.opening import open_checkpoint
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.errors import ComicSeqError
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.report import interval
from modeling_comicseq.files import write_json
from modeling_comicseq.library.encoder import PageEncoder, encoder_of, query_modality
from modeling_comicseq.library.index.engine import connect
from modeling_comicseq.stores.pages import read_pages
from modeling_comicseq.stores.stage3 import Stage3Store
from modeling_comicseq.stores.vectors import VectorStore, find_metadata
from modeling_comicseq.vectors import unit

FEWEST_WORDS = 3
FOUND = (1, 10)
MEAN, TEXTS = "mean of Stage 3 panels", "mean of their texts alone"
STRIPS, AS_TEXT = "strips of the model", "strips, text as the modality text"


def read(store: Stage3Store, metadata: str, chosen: set[str] | None) -> list[dict[str, Any]]:
    """Pages with their texts and vectors: those of at least two panels, of which one has words enough."""
    named = read_pages(metadata, store.pages, text="rest")
    columns = [name for name in ("panel_embeddings", "visual_embeddings", "text_embeddings") if name in store.arrays]
    arrays = {name: np.asarray(store.arrays[name][:]) for name in columns}
    mask = np.asarray(store.mask[:]) != 0
    pages = []
    for page in named.table.to_pylist():
        if chosen is not None and page["book_id"] not in chosen:
            continue
        texts = orjson.loads(page["text"]).get("texts") or []
        texts = [" ".join(each) if isinstance(each, list) else each or "" for each in texts]
        real = np.flatnonzero(mask[page["row"]])
        if len(texts) < len(real) or len(real) < 2:
            continue
        page |= {"texts": texts[: len(real)]}
        page |= {name: arrays[name][page["row"], real].astype(np.float32) for name in columns}
        pages.append(page)
    return pages


def draw_queries(pages: list[dict[str, Any]], most: int, seed: int) -> list[tuple[int, int]]:
    """Page and panel of each query: a panel a page."""
    rng = np.random.default_rng(seed)
    queries = []
    for number in rng.permutation(len(pages)):
        wordy = [at for at, text in enumerate(pages[number]["texts"]) if len(text.split()) >= FEWEST_WORDS]
        if wordy:
            queries.append((int(number), int(rng.choice(wordy))))
    return queries[:most]


def panels_of(page: dict[str, Any], left_out: int | None) -> np.ndarray:
    """The panel vectors of a page, without the text of one of its panels."""
    panels = page["panel_embeddings"]
    if left_out is None:
        return panels
    if "visual_embeddings" not in page:
        return np.delete(panels, left_out, axis=0)
    panels = panels.copy()
    panels[left_out] = page["visual_embeddings"][left_out]
    return panels


def mean_texts(page: dict[str, Any], left_out: int | None) -> np.ndarray:
    """The mean of the vectors of a page's texts, zeros where it has none."""
    said = [at for at, text in enumerate(page["texts"]) if text.strip() and at != left_out]
    return page["text_embeddings"][said].mean(axis=0) if said else np.zeros(page["text_embeddings"].shape[1])


def strips_of(encode: PageEncoder, pages: list[np.ndarray], modality: str = "panel") -> np.ndarray:
    """The strip vectors of pages of these panels, whose vectors are of a modality."""
    found = []
    for lo in range(0, len(pages), 128):
        some = pages[lo : lo + 128]
        counts = np.array([len(each) for each in some])
        found.append(encode(np.concatenate(some), counts, modality=modality)[1].numpy())
    return np.concatenate(found)


def ranks(queries: np.ndarray, full: np.ndarray, own: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of each query's own page, from 1 on, among all pages, of which that one is as in `own`."""
    queries, full, own = unit(queries), unit(full), unit(own)
    scores = queries @ full.T
    mine = (queries * own).sum(axis=1)
    scores[np.arange(len(queries)), right] = -2
    return 1 + (scores >= mine[:, None]).sum(axis=1)


class Engine:
    """The engine's table of pages: each as it is, and as it is without the text of a query."""

    def __init__(self, folder: str, pages: list[dict], queries: list[tuple[int, int]], vectors: dict[str, tuple]):
        import pyarrow as pa

        asked = dict(queries)
        rows: list[dict[str, Any]] = []
        for number, page in enumerate(pages):
            for left_out in (None, asked[number]) if number in asked else (None,):
                words = "\n".join(text for at, text in enumerate(page["texts"]) if text.strip() and at != left_out)
                rows.append({"page": number, "is_full": left_out is None, "words": words or None})
        place = {number: at for at, (number, _) in enumerate(queries)}
        columns: dict[str, Any] = {name: pa.array([row[name] for row in rows]) for name in ("page", "is_full")}
        columns["words"] = pa.array([row["words"] for row in rows], pa.string())
        for name, (full, own, _) in vectors.items():
            values = np.stack([full[row["page"]] if row["is_full"] else own[place[row["page"]]] for row in rows])
            flat = pa.array(unit(values).astype(np.float32).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        self.table = connect(folder).create_table("pages", pa.table(columns))
        from lancedb.index import FTS

        self.table.create_index("words", config=FTS(base_tokenizer="icu", remove_stop_words=False))

    def rank(self, number: int, text: str, column: str | None, vector: np.ndarray | None, left_out: bool) -> int:
        """The rank of the page, 11 where it is not among the first ten."""
        from lancedb.query import MatchQuery
        from lancedb.rerankers import RRFReranker

        words = MatchQuery(text, "words")
        if column is None:
            query = self.table.search(words, query_type="fts").select(["page", "_score"])
        else:
            query = self.table.search(query_type="hybrid", vector_column_name=column)
            query = query.vector(vector).text(words).rerank(RRFReranker()).distance_type("cosine").select(["page"])
        where = f"(is_full and page <> {number}) or (not is_full and page = {number})" if left_out else "is_full"
        found = query.where(where, prefilter=True).limit(max(FOUND)).to_arrow()["page"].to_pylist()
        return found.index(number) + 1 if number in found else max(FOUND) + 1


def measure(arguments: argparse.Namespace) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """The ranks of the queries' pages by the name of each row, the queries' books, and the number of pages."""
    store = Stage3Store.open(arguments.stage3)
    metadata = find_metadata(VectorStore.open(arguments.stage3), arguments.metadata)
    chosen = set(open_split(arguments.dataset, "test").book_ids.tolist()) if arguments.dataset else None
    pages = read(store, metadata, chosen)
    queries = draw_queries(pages, arguments.queries, arguments.seed)
    right = np.array([number for number, _ in queries])
    source = "text_embeddings" if "text_embeddings" in store.arrays else "panel_embeddings"
    texts = np.stack([pages[number][source][at] for number, at in queries])
    full = [panels_of(page, None) for page in pages]
    own = [panels_of(pages[number], at) for number, at in queries]
    mean = [np.stack([each.mean(axis=0) for each in some]) for some in (full, own)]
    vectors: dict[str, tuple] = {MEAN: (*mean, texts)}
    if source == "text_embeddings":
        of_texts = [mean_texts(page, None) for page in pages]
        vectors[TEXTS] = (
            np.stack(of_texts),
            np.stack([mean_texts(pages[number], at) for number, at in queries]),
            texts,
        )
    if arguments.model:
        encode = PageEncoder(encoder_of(open_checkpoint(arguments.model).model), torch.device("cpu"))
        strips = [strips_of(encode, some) for some in (full, own)]
        modality = query_modality(encode.model.config, "text", texts.shape[1])
        vectors[STRIPS] = (*strips, strips_of(encode, list(texts[:, None]), modality))
        if source == "text_embeddings":
            vectors[AS_TEXT] = (*strips, strips_of(encode, list(texts[:, None]), "text"))
    found = {}
    for name, (of_full, of_own, asked) in vectors.items():
        found[f"{name}, left out"] = ranks(asked, of_full, of_own, right)
        found[f"{name}, as it is"] = ranks(asked, of_full, of_full[right], right)
    columns = {"mean": vectors[MEAN]} | ({"strip": vectors[STRIPS]} if STRIPS in vectors else {})
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(folder, pages, queries, columns)
        for column, name in ((None, "words"), ("mean", f"words and {MEAN}"), ("strip", f"words and {STRIPS}")):
            if column is not None and column not in columns:
                continue
            for left_out in (True, False):
                found[f"{name}, {'left out' if left_out else 'as it is'}"] = np.array(
                    [
                        engine.rank(
                            number,
                            pages[number]["texts"][at],
                            column,
                            None if column is None else unit(columns[column][2][place]),
                            left_out,
                        )
                        for place, (number, at) in enumerate(queries)
                    ]
                )
    return found, np.array([pages[number]["book_id"] for number, _ in queries]), len(pages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage3", required=True, help="a Stage 3 store whose metadata have texts")
    parser.add_argument("--metadata", help="its metadata (default: the JSON beside it)")
    parser.add_argument("--model", help="a checkpoint, whose strips are compared, too")
    parser.add_argument(
        "--dataset", help="a data set of `comicseq convert`: its test books alone, which the model never saw"
    )
    parser.add_argument("--queries", type=int, default=400, help="at most so many (default: 400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    try:
        found, books, count = measure(arguments)
    except ComicSeqError as error:
        raise SystemExit(f"Error: {error}") from None
    title = f"{len(books):,} queries, {count:,} pages, {len(np.unique(books))} books of the queries"
    table = Table(title=title)
    table.add_column("compared")
    for most in FOUND:
        table.add_column(f"recall at {most}, %", justify="right", no_wrap=True)
    table.add_row("chance", *(f"{100 * min(1, most / count):.1f}" for most in FOUND))
    results: dict[str, Any] = {"queries": len(books), "pages": count}
    for name, places in found.items():
        measured = [bootstrap_mean((places <= most).astype(float), books) for most in FOUND]
        table.add_row(name, *(interval(*each) for each in measured))
        results[name] = {f"recall_at_{most}": each for most, each in zip(FOUND, measured, strict=True)}
    Console(width=140).print(table)
    if arguments.output:
        settings = json.loads(json.dumps(vars(arguments), default=str))
        write_json(arguments.output, {"settings": settings, "results": results})


if __name__ == "__main__":
    main()
