"""What strip vectors are worth: pages of one book, and the two halves of a page, found among held-out pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import xxhash

from ..data.draws import Draws
from ..data.panels import PanelTable
from ..data.views import Batch, box_inputs, half_pages, materialise, strip_inputs, to_tensors
from ..model.modeling_comicseq import ComicSeqForPreTraining, ComicSeqModel
from ..stores.stage3 import BOX_ARRAY
from ..stores.windows import expand_windows
from .metrics import BookBootstrap
from .questions import split_fingerprint
from .results import MEAN_POOL, Difference, Result, Score
from .retrieval import half_page_retrieval, same_book_retrieval

MOST_PAGES = 4000  # every page is compared with every other
Encoder = Callable[[Batch], np.ndarray]


def mean_pool(batch: Batch) -> np.ndarray:
    """The mean of each strip's panel vectors `(B, P)`."""
    mask = batch["attention_mask"][..., None].astype(np.float32)
    return (batch["panel_embeddings"].astype(np.float32) * mask).sum(1) / mask.sum(1)


def strip_vectors(model: ComicSeqForPreTraining) -> Encoder:
    """What gives a model's vectors of strips `(B, D)`, however long they are."""

    @torch.no_grad()
    def encode(batch: Batch) -> np.ndarray:
        was_training = model.training
        model.eval()
        read = ("panel_embeddings", "attention_mask", *([BOX_ARRAY] if model.config.box_embedding else []))
        strips = to_tensors({name: batch[name] for name in read if name in batch}, model.device)
        limit, mask = model.config.max_position_embeddings, strips["attention_mask"]
        vectors = model.comicseq(**{name: each[:, :limit] for name, each in strips.items()}).pooler_output
        for strip in torch.nonzero(mask[:, limit:].any(1)).flatten():
            panels = {name: each[strip, mask[strip].bool()] for name, each in strips.items()}
            vectors[strip] = _long_strip(model.comicseq, panels["panel_embeddings"], panels.get(BOX_ARRAY))
        model.train(was_training)
        return vectors.float().cpu().numpy()

    return encode


def _long_strip(encoder: ComicSeqModel, panels: torch.Tensor, boxes: torch.Tensor | None) -> torch.Tensor:
    """The vector `(D,)` of a strip with more panels (N, P) than the encoder takes, as `comicseq encode` makes it.

    Panels are encoded in overlapping windows, those in several get the mean; the strip query attends to all of them.
    """
    limit = encoder.config.max_position_embeddings
    _, starts, _ = expand_windows(np.array([len(panels)]), limit, max(1, limit // 2))
    members = torch.from_numpy(starts[:, None] + np.arange(limit)).to(panels.device)
    states = encoder(panels[members], panel_boxes=None if boxes is None else boxes[members]).last_hidden_state
    total = states.new_zeros(len(panels), states.shape[-1]).index_add(0, members.flatten(), states.flatten(0, 1))
    merged = total / torch.bincount(members.flatten(), minlength=len(panels))[:, None]
    real = torch.ones(1, len(panels), dtype=torch.bool, device=panels.device)
    return encoder.pooler(merged[None], real, panels[None])[0][0]


def retrieve(
    models: Mapping[str, ComicSeqForPreTraining], table: PanelTable, *, seed: int = 0, batch_size: int = 256
) -> tuple[list[Result], list[Difference]]:
    """Same-book and same-page retrieval by cosine, of each model's strip vectors and of mean-pooled Stage 3 vectors.

    Same book: whether a page's nearest page is of its book. Same page: whether the first half of a page, panels drawn at
    random, is nearest to its second half among those of all pages; the halves are encoded apart.

    Args:
        models: The models by name.
        table: Held-out pages. Of more than 4,000, whole books are drawn up to that number. A page in several windows is
            one page with all its panels.
        seed: Seed of the books and of the halves.
        batch_size: Pages in a batch.

    Returns:
        Results of the tasks `same_book_retrieval` and `half_page_retrieval`, and what the models gain on mean-pooling.
        None for a task that the pages cannot serve.
    """
    rows, pool = _first_rows(table, seed), table.pool
    encoders = {MEAN_POOL: mean_pool} | {name: strip_vectors(model) for name, model in models.items()}
    read_by = {MEAN_POOL: "fused"} | {name: model.config.streams for name, model in models.items()}
    results: list[Result] = []
    differences: list[Difference] = []

    def report(
        task: str, rows: np.ndarray, chance: dict[str, float], values: dict[str, dict[str, np.ndarray]]
    ) -> None:
        """Adds the results of one task to those that are returned."""
        data, place = split_fingerprint(table), np.ascontiguousarray(rows, dtype="<i8").tobytes()
        asked = f"xxh3:{xxhash.xxh3_128(f'{task} {data} {seed}'.encode() + place).hexdigest()}"
        bootstrap = BookBootstrap(table.books[rows])
        about: dict[str, Any] = {"num_questions": len(rows), "num_books": bootstrap.num_books, "questions": asked}
        guess = {metric: Score(level, level, level) for metric, level in chance.items()}
        results.append(Result(task, "", "chance", "baseline", "", guess, **about))
        for name, metrics in values.items():
            role, model = ("model", name) if name in models else ("baseline", "")
            found = {metric: bootstrap.add(column) for metric, column in metrics.items()}
            results.append(Result(task, "", name, role, model, found, **about))
        for name in models:
            for metric, column in values[name].items():
                gain = bootstrap.add(column - values[MEAN_POOL][metric])
                differences.append(Difference(task, "", name, MEAN_POOL, metric, gain))
        bootstrap.intervals()

    def encode(rows: np.ndarray, strips: Callable[[np.ndarray], Batch]) -> dict[str, np.ndarray]:
        """Each encoder's vectors of what `strips` makes of some rows at a time."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
        for start in range(0, len(rows), batch_size):
            view = strips(rows[start : start + batch_size])
            batches = {streams: materialise(view, table.with_streams(streams)) for streams in {*read_by.values()}}
            for name, encoder in encoders.items():
                parts[name].append(encoder(batches[read_by[name]]))
        return {name: np.concatenate(part) for name, part in parts.items()}

    def whole(rows: np.ndarray) -> np.ndarray:
        return pool.of_pages(table.pages[rows])

    def whole_strips(rows: np.ndarray) -> Batch:
        return strip_inputs(whole(rows)) | box_inputs(table, whole(rows))

    def half(which: int) -> Callable[[np.ndarray], Batch]:  # without boxes, which fit each other
        return lambda rows: strip_inputs(np.split(half_pages(whole(rows), Draws(seed, 0, rows)), 2)[which])

    books = table.books[rows]
    has_mates = np.bincount(books)[books] > 1
    if has_mates.any() and len(np.unique(books)) > 1:
        found = {name: same_book_retrieval(vectors, books) for name, vectors in encode(rows, whole_strips).items()}
        hits = {name: {"precision at 1": each.hits[has_mates]} for name, each in found.items()}
        report("same_book_retrieval", rows[has_mates], {"precision at 1": found[MEAN_POOL].chance}, hits)
    rows = rows[pool.page_sizes[table.pages[rows]] >= 2]
    if len(rows) > 1:
        firsts, seconds = encode(rows, half(0)), encode(rows, half(1))
        values = {}
        for name, first in firsts.items():
            right, ranks = half_page_retrieval(first, seconds[name])
            values[name] = {"top-1 accuracy": right, "mean reciprocal rank": 1 / ranks}
        inverse = 1 / np.arange(1, len(rows) + 1)
        chance = {"top-1 accuracy": 1 / len(rows), "mean reciprocal rank": float(np.mean(inverse))}
        report("half_page_retrieval", rows, chance, values)
    return results, differences


def _first_rows(table: PanelTable, seed: int) -> np.ndarray:
    """The first row of each page, of whole books. A page that stands twice is one: it would find itself."""
    _, rows = np.unique(table.pages, return_index=True)
    rows = rows[table.twins == np.arange(len(rows))]
    if len(rows) > MOST_PAGES:
        books = np.random.default_rng(seed).permutation(len(table.book_ids))
        sizes = np.bincount(table.books[rows], minlength=len(books))[books]
        rows = rows[np.isin(table.books[rows], books[np.cumsum(sizes) <= MOST_PAGES])]
    return np.sort(rows)
