"""The texts of the COMICS questions as rows of matrices: what each question shows, and what each text looks like."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from modeling_comicseq.encoders.panel_encoder import PanelEncoder
from modeling_comicseq.files import written_file

from .lexical import count_words, project_words, weight_words
from .questions import Boxes, ComicsQuestions, TextPages

LEXICAL_WIDTH = 512
PRINCIPAL_SAMPLE = 10_000  # texts that the principal axes are taken from
# How much each part of a text vector counts in a cosine is the square of these: about the weights that the ranker on the
# development books gives to likeness by the last layer, by an earlier layer and by words.
LAST_LAYER, EARLIER_LAYER, WORDS, LENGTH = 2.0, 1.4, 1.2, 0.6


class TextBank:
    """Every distinct text once.

    Attributes:
        texts: The texts; a panel's text are those of its boxes, joined by a space.
        rows: Row of each text.
        blocks: Their vectors by the frozen encoder, one block `(texts, dim)` a layer.
        num_words: Words of each text `(texts,)`.
    """

    def __init__(
        self,
        questions: Sequence[ComicsQuestions],
        pages: TextPages,
        encoder: PanelEncoder,
        cache: str | Path | None = None,
        progress: bool = False,
    ):
        found = {text for page in pages.texts for text in page}
        for each in questions:
            for panels in each.contexts:
                found.update(panel_text(boxes) for boxes in panels)
            found.update(box for panels in (*each.contexts, *each.candidates) for boxes in panels for box in boxes)
        self.texts = sorted(found - {""})
        self.rows = {text: row for row, text in enumerate(self.texts)} | {"": -1}
        vectors = embed_texts(encoder, self.texts, cache=cache, progress=progress)
        self.blocks = np.split(vectors, len(encoder.model.config.text_layers), axis=1)
        self.num_words = np.asarray([len(text.split()) for text in self.texts])

    @cached_property
    def word_counts(self) -> sparse.csr_matrix:
        """Dampened counts of words `(texts, columns)`."""
        return count_words(self.texts)

    def row(self, boxes: Boxes) -> int:
        """Row of the text of a panel, -1 where it has none."""
        return self.rows[panel_text(boxes)]

    def tf_idf(self, training: np.ndarray) -> sparse.csr_matrix:
        """Unit vectors of words `(texts, columns)`; how rare a word is, is counted on the rows `training` alone."""
        return weight_words(self.word_counts, training)

    def vectors(self, training: np.ndarray, width: int) -> np.ndarray:
        """One vector `(texts + 1, width)` a text, for ComicSeq; the last row is zeros, for row -1.

        Each layer of the encoder, words and length make a block; the blocks stand side by side and are
        turned onto their principal axes. Means, rarity of terms and axes come from the rows `training` alone.
        """
        layers = [unit(block - block[training].mean(0)) for block in self.blocks]
        lexical = unit(project_words(self.tf_idf(training), LEXICAL_WIDTH))
        length = np.log1p(self.num_words).astype(np.float32)
        length = (length - length[training].mean()) / length[training].std()
        shape = np.stack([length, length**2 - 1, np.ones_like(length)], axis=1)
        blocks = [
            *(EARLIER_LAYER * layer for layer in layers[:-1]),
            LAST_LAYER * layers[-1],
            WORDS * lexical,
            LENGTH * shape,
        ]
        full = np.concatenate(blocks, axis=1)
        if width < full.shape[1]:
            sample = full[training[:: max(1, len(training) // PRINCIPAL_SAMPLE)]]
            _, axes = np.linalg.eigh(sample.T @ sample)
            full = full @ axes[:, ::-1][:, :width]
        return np.concatenate((full, np.zeros((1, full.shape[1]), np.float32))).astype(np.float32)


def embed_texts(
    encoder: PanelEncoder, texts: Sequence[str], *, cache: str | Path | None = None, progress: bool = False
) -> np.ndarray:
    """Vectors `(n, dim)` of `texts`; with a `cache` folder, the same texts are never read twice by the same encoder.

    The file is named by a hash of encoder and texts and holds float16, whose rounding is far below the encoder's own
    noise; vectors are rounded alike with and without a cache.
    """
    distinct = sorted(set(texts))
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for text in distinct:
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    file = None if cache is None else Path(cache) / f"{digest.hexdigest()[:16]}.npy"
    if file is not None and file.is_file():
        vectors = np.load(file)
    else:
        vectors = encoder.text_features(distinct, progress).astype(np.float16)
        if file is not None:
            with written_file(file) as beside, beside.open("wb") as part:
                np.save(part, vectors)
    place = {text: row for row, text in enumerate(distinct)}
    return vectors[[place[text] for text in texts]].astype(np.float32)


def panel_text(boxes: Boxes) -> str:
    """The text of a panel: that of its boxes, as the Stage 3 metadata has it."""
    return " ".join(box for box in boxes if box)


def unit(vectors: np.ndarray) -> np.ndarray:
    """`vectors` (..., dim) at length 1; those of zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


@dataclass
class Choices:
    """Multiple-choice questions in rows of a `TextBank`.

    Attributes:
        contexts: The texts before the asked one `(Q, 3)`, the nearest last; -1 for none.
        candidates: The candidate texts `(Q, K)`; -1 for padding.
        answers: The right candidate `(Q,)`.
        book_ids: Book of each question `(Q,)`.
        pages: Its page `(Q,)`.
        panels: Its panel `(Q,)`.
    """

    contexts: np.ndarray
    candidates: np.ndarray
    answers: np.ndarray
    book_ids: np.ndarray
    pages: np.ndarray
    panels: np.ndarray

    def __len__(self) -> int:
        return len(self.answers)

    def select(self, chosen: np.ndarray) -> Choices:
        """The questions at `chosen`, a mask `(Q,)` or indices."""
        fields = ("contexts", "candidates", "answers", "book_ids", "pages", "panels")
        return Choices(**{name: getattr(self, name)[chosen] for name in fields})

    @property
    def right(self) -> np.ndarray:
        """Row of the right text `(Q,)`."""
        return self.candidates[np.arange(len(self)), self.answers]

    @property
    def wrong(self) -> np.ndarray:
        """Rows of the wrong texts `(Q, K - 1)`."""
        is_wrong = np.arange(self.candidates.shape[1]) != self.answers[:, None]
        return self.candidates[is_wrong].reshape(len(self), -1)


def cloze_choices(questions: ComicsQuestions, bank: TextBank) -> Choices:
    """Text-cloze questions in rows of `bank`."""
    return Choices(
        np.asarray([[bank.row(boxes) for boxes in panels] for panels in questions.contexts]),
        np.asarray([[bank.row(boxes) for boxes in panels] for panels in questions.candidates]),
        questions.answers,
        questions.book_ids,
        questions.pages,
        questions.panels,
    )


@dataclass
class PageQuestions:
    """Questions made from whole pages: every panel with a text is asked for, given up to three panels before it.

    Attributes:
        contexts: The texts before it `(Q, 3)`, the nearest last; -1 for none.
        right: The panel's own text `(Q,)`.
        nearby: Texts of the book's pages up to three away (of any other page of the book where there is none).
        book_ids: Book of each question `(Q,)`.
        pages: Its page `(Q,)`.
    """

    contexts: np.ndarray
    right: np.ndarray
    nearby: list[np.ndarray]
    book_ids: np.ndarray
    pages: np.ndarray


def page_questions(pages: TextPages, books: set[str], bank: TextBank) -> PageQuestions:
    """Questions from the pages of `books` and of no other book."""
    contexts, right, nearby, book_ids, numbers = [], [], [], [], []
    for book in sorted(books):
        members = np.flatnonzero(pages.book_ids == book)
        texts = [np.asarray([bank.rows[text] for text in pages.texts[member]]) for member in members]
        distance = np.abs(pages.pages[members][:, None] - pages.pages[members][None])
        for page, of_page in enumerate(texts):
            others = [n for n in range(len(texts)) if distance[page, n] > 0]
            close = [n for n in others if distance[page, n] <= 3] or others
            pool = np.concatenate([texts[n] for n in close]) if close else np.zeros(0, dtype=int)
            for panel in range(1, len(of_page)):
                before = of_page[max(0, panel - 3) : panel]
                if of_page[panel] < 0 or (before < 0).all():
                    continue
                contexts.append([-1] * (3 - len(before)) + before.tolist())
                right.append(of_page[panel])
                nearby.append(pool[pool >= 0])
                book_ids.append(book)
                numbers.append(pages.pages[members[page]])
    return PageQuestions(
        np.asarray(contexts, dtype=int).reshape(-1, 3),
        np.asarray(right, dtype=int),
        nearby,
        np.asarray(book_ids),
        np.asarray(numbers, dtype=int),
    )
