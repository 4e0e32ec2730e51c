"""`ComicSeqForCharacterCoherence` on the COMICS questions: whose box holds which of two texts?

The texts of a panel's two boxes come in two orders, one of them right. A panel is given as two text vectors side by
side, that of its first box and that of its last, so a candidate is the pair in one order or in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from modeling_comicseq.model.modeling_comicseq import ComicSeqForCharacterCoherence

from .questions import ComicsQuestions
from .texts import Choices, TextBank
from .training import build_config, fit, shown


@dataclass
class CoherenceTraining:
    """How the model is made; the defaults are those of the reported figures.

    Attributes:
        hidden_size: Width of the encoder.
        num_layers: Its layers.
        dropout: Dropout everywhere.
        text_width: Width of the text vectors.
        page_epochs: Passes over the questions made from pages.
        tuning_epochs: Passes over the questions of the file.
        rate: Peak learning rate.
        batch_size: Questions in a step.
        with_context: False hides the context, in training and when asked.
    """

    text_width: int = 512
    hidden_size: int = 256
    num_layers: int = 2
    dropout: float = 0.3
    page_epochs: int = 2
    tuning_epochs: int = 2
    rate: float = 3e-4
    batch_size: int = 96
    with_context: bool = True


@dataclass
class PairQuestions:
    """Which of two pairs of texts is in the right order?

    Attributes:
        contexts: First and last box of the panels before `(Q, 3, 2)`, in rows of a `TextBank`; -1 for none.
        candidates: The pairs `(Q, 2, 2)`.
        answers: The right pair `(Q,)`.
        book_ids: Book of each question `(Q,)`.
    """

    contexts: np.ndarray
    candidates: np.ndarray
    answers: np.ndarray
    book_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.answers)

    def select(self, chosen: np.ndarray) -> PairQuestions:
        """The questions at `chosen`, a mask `(Q,)` or indices."""
        return PairQuestions(
            self.contexts[chosen], self.candidates[chosen], self.answers[chosen], self.book_ids[chosen]
        )


def pair_questions(questions: ComicsQuestions, bank: TextBank) -> PairQuestions:
    """The questions of the file in rows of `bank`."""
    return PairQuestions(
        np.asarray([[_ends(boxes, bank) for boxes in panels] for panels in questions.contexts]),
        np.asarray([[_ends(boxes, bank) for boxes in pair] for pair in questions.candidates]),
        questions.answers,
        questions.book_ids,
    )


def first_boxes(questions: ComicsQuestions, bank: TextBank) -> Choices:
    """The same questions as a choice of the text of the first box, for the baselines of text-cloze."""
    return Choices(
        np.asarray([[bank.row(boxes) for boxes in panels] for panels in questions.contexts]),
        np.asarray([[bank.rows[pair[0]] for pair in pairs] for pairs in questions.candidates]),
        questions.answers,
        questions.book_ids,
        questions.pages,
        questions.panels,
    )


def made_pairs(questions: list[ComicsQuestions], bank: TextBank) -> PairQuestions:
    """Questions made from the contexts of `questions`: neighbouring boxes of a panel, in their order or swapped.

    The context are the panels before, as far as the question shows them. Right and swapped take turns as candidate 0.
    """
    seen: dict[tuple[str, int, int], tuple[str, list[list[int]]]] = {}
    for each in questions:
        for book, panels in zip(each.book_ids, each.contexts, strict=True):
            for slot, boxes in enumerate(panels):
                before = [_ends(panel, bank) for panel in panels[:slot]]
                context = [[-1, -1]] * (3 - slot) + before
                for first, second in zip(boxes, boxes[1:], strict=False):
                    pair = (str(book), bank.rows[first], bank.rows[second])
                    # The same panel stands in several contexts: the longest is kept.
                    if first != second and sum(row[0] >= 0 for row in before) >= sum(
                        row[0] >= 0 for row in seen.get(pair, ("", []))[1]
                    ):
                        seen[pair] = (str(book), context)
    pairs = np.asarray([key[1:] for key in seen], dtype=int).reshape(-1, 2)
    answers = np.arange(len(pairs)) % 2
    ordered = np.stack((pairs, pairs[:, ::-1]), axis=1)
    return PairQuestions(
        np.asarray([context for _, context in seen.values()], dtype=int).reshape(-1, 3, 2),
        np.where(answers[:, None, None] == 0, ordered, ordered[:, ::-1]),
        answers,
        np.asarray([book for book, _ in seen.values()]),
    )


def _ends(boxes: tuple[str, ...], bank: TextBank) -> list[int]:
    """Rows of the first and the last box of a panel."""
    return [bank.rows[boxes[0]], bank.rows[boxes[-1]]] if boxes else [-1, -1]


def pair_logits(
    model: ComicSeqForCharacterCoherence, vectors: torch.Tensor, contexts: np.ndarray, candidates: np.ndarray
) -> torch.Tensor:
    """Logits `(Q, 2)` of the pairs `candidates` (Q, 2, 2) after the panels `contexts` (Q, 3, 2)."""
    is_panel: np.ndarray = np.any(contexts >= 0, axis=-1)
    is_panel[~is_panel.any(1), -1] = True  # the model wants a panel: one without text, which is zeros
    return model(
        panel_embeddings=vectors[contexts].flatten(2),
        attention_mask=torch.from_numpy(is_panel),
        candidate_embeddings=vectors[candidates].flatten(2),
    ).logits


def train_coherence(
    settings: CoherenceTraining,
    vectors: torch.Tensor,
    made: PairQuestions,
    questions: PairQuestions,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[ComicSeqForCharacterCoherence]:
    """Yields a model trained on pairs `made` from pages, then the same tuned on the `questions` of the file.

    A fixed number of epochs is run, so that nothing is chosen by looking at a score.

    Args:
        settings: How to train.
        vectors: Vector of each text, zeros in the last row `(texts + 1, T)`.
        made: Questions made from panels of training books.
        questions: The questions of the file about training books.
        seed: Seed of the weights and of all draws.
        on_step: Called after every step.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = ComicSeqForCharacterCoherence(build_config(settings, 2 * vectors.shape[1], 2 * settings.hidden_size))
    for stage, epochs in ((made, settings.page_epochs), (questions, settings.tuning_epochs)):

        def loss(rows: np.ndarray, stage: PairQuestions = stage) -> torch.Tensor:
            contexts = shown(stage.contexts[rows], settings.with_context)
            logits = pair_logits(model, vectors, contexts, stage.candidates[rows])
            # One of the two orders is right, so the pair is judged as a choice: the logits' difference is what counts.
            return torch.nn.functional.cross_entropy(logits, torch.from_numpy(stage.answers[rows]))

        fit(model, lambda: loss, len(stage), epochs, settings.batch_size, settings.rate, 0.01, rng, on_step)
        yield model.eval()
