"""A plain question sampler, one question at a time: what the package's views do, written to be read."""

from __future__ import annotations

from typing import Any

import numpy as np

from modeling_comicseq.synthetic.optimum import Shown
from modeling_comicseq.synthetic.world import SyntheticCorpus

Book = dict[str, list[np.ndarray]]
SHOWN: dict[str, Shown] = {
    "panel_picking": "page",
    "character_coherence": "page",
    "visual_closure": "before",
    "text_closure": "before",
    "caption_relevance": "nothing",
    "text_cloze": "page",
}


def draw_books(corpus: SyntheticCorpus) -> list[Book]:
    """All books of a corpus."""
    return [corpus.book_vectors(book) for book in range(corpus.num_books)]


def distractors(
    books: list[Book], book: int, page: int, panel: int, k: int, protocol: str, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """(book, page, panel) of up to k-1 wrong candidates."""
    lengths = [len(p) for p in books[book]["panel"]]
    if protocol == "same_book":
        others = [p for p in range(len(lengths)) if p != page]
        others.sort(key=lambda p: (abs(p - page), rng.random()))
        return [(book, p, int(rng.integers(lengths[p]))) for p in others[: k - 1]]
    if protocol == "cross_book":
        chosen = rng.choice([b for b in range(len(books)) if b != book], size=k - 1, replace=False)
        pages = [int(rng.integers(len(books[b]["panel"]))) for b in chosen]
        return [(int(b), p, int(rng.integers(len(books[b]["panel"][p])))) for b, p in zip(chosen, pages, strict=True)]
    first = panel + 1 if protocol == "later_panels" else 0
    pool = [p for p in range(first, lengths[page]) if p != panel]
    return [(book, page, int(p)) for p in rng.permutation(pool)[: k - 1]]


def ask(
    books: list[Book],
    task: str,
    *,
    k: int = 5,
    protocol: str = "same_book",
    modality: str = "panel",
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """One question for every page that can serve the task, as a batch of the task's head (labels: the right column)."""
    rng = np.random.default_rng(seed)
    pages = [(b, p) for b, book in enumerate(books) for p in range(len(book["panel"]))]
    pages = [pages[i] for i in rng.permutation(len(pages))]
    context_kind = modality if "closure" in task else "panel"
    item_kind = "text" if task == "text_cloze" else context_kind
    rows: dict[str, list[np.ndarray | int]] = {}
    for book, page in pages:
        n = len(books[book]["panel"][page])
        if n < 2:
            continue
        asked = int(rng.integers(1, n) if "closure" in task else rng.integers(n))
        wrong = distractors(books, book, page, asked, k, protocol, rng)
        if not wrong:
            continue
        label = int(rng.integers(len(wrong) + 1))
        wrong.insert(label, (book, page, asked))
        width = books[book]["panel"][page].shape[1]
        candidates = np.full((k, width), np.nan, np.float32)
        candidates[: len(wrong)] = [books[b][item_kind][p][i] for b, p, i in wrong]
        row: dict[str, np.ndarray | int] = {
            ("candidate_text_embeddings" if task == "text_cloze" else "candidate_embeddings"): candidates,
            "candidate_mask": np.arange(k) < len(wrong),
            "labels": label,
        }
        panels = books[book][context_kind][page]
        if task == "caption_relevance":
            row["caption_embeddings"] = books[book]["caption"][page][asked]
        else:
            kept = np.arange(asked) if "closure" in task else np.arange(n)
            if task == "character_coherence":
                kept = np.delete(kept, asked)
            context = np.full((16, width), np.nan, np.float32)
            context[: len(kept)] = panels[kept]
            row["panel_embeddings"], row["attention_mask"] = context, np.arange(16) < len(kept)
            if task == "character_coherence":
                row["position_ids"] = np.pad(kept, (0, 16 - len(kept)))
                row["candidate_position"] = asked
            if task in ("panel_picking", "text_cloze"):
                context[asked] = np.nan
                row["mask_position"] = asked
            if task == "text_cloze":
                row["text_embeddings"] = np.full((16, width), np.nan, np.float32)
                row["text_embeddings"][:n] = books[book]["text"][page]
                row["text_embeddings"][asked] = np.nan
                row["visual_embedding"] = books[book]["visual"][page][asked]
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        if limit is not None and len(rows["labels"]) == limit:
            break
    batch = {name: np.stack(values) for name, values in rows.items()}
    return batch | {"modality": modality} if "closure" in task else batch


def shuffled_pages(
    books: list[Book], *, longest: int = 7, seed: int = 0, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pages of 2 to `longest` panels in random order: vectors (B, longest, P), mask, place (B, longest) of each."""
    rng = np.random.default_rng(seed)
    pages = [p for book in books for p in book["panel"] if 2 <= len(p) <= longest]
    pages = [pages[i] for i in rng.permutation(len(pages))[:limit]]
    vectors = np.full((len(pages), longest, pages[0].shape[1]), np.nan, np.float32)
    mask, places = np.zeros((len(pages), longest), bool), np.full((len(pages), longest), -1)
    for row, page in enumerate(pages):
        order = rng.permutation(len(page))
        vectors[row, : len(page)], mask[row, : len(page)], places[row, : len(page)] = page[order], True, order
    return vectors, mask, places
