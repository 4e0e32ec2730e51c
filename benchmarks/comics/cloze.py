"""`ComicSeqForTextCloze` on the COMICS questions: pretrained on whole pages, tuned on questions, and asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from modeling_comicseq.model.modeling_comicseq import ComicSeqForTextCloze

from .texts import Choices, PageQuestions
from .training import build_config, fit, shown


@dataclass
class ClozeTraining:
    """How a model of the COMICS questions is made; the defaults are those of the reported figures.

    Attributes:
        text_width: Width of the text vectors.
        hidden_size: Width of the encoder.
        num_layers: Layers of the encoder.
        dropout: Dropout everywhere.
        pretraining_epochs: Passes over the questions made from pages; 0 leaves pretraining out.
        tuning_epochs: Passes over the questions of the files; 0 asks the pretrained model as it is.
        pretraining_rate: Peak learning rate of pretraining.
        tuning_rate: Peak learning rate of tuning.
        nearby: Wrong texts from nearby pages, of a question made from a page.
        random: Wrong texts from anywhere, of every question in training.
        batch_size: Questions in a step.
        candidate_encoding: As in `ComicSeqConfig`.
        with_context: False hides the context, in training and when asked.
    """

    text_width: int = 512
    hidden_size: int = 512
    num_layers: int = 1
    dropout: float = 0.3
    pretraining_epochs: int = 2
    tuning_epochs: int = 2
    pretraining_rate: float = 2e-4
    tuning_rate: float = 1e-4
    nearby: int = 4
    random: int = 4
    batch_size: int = 96
    candidate_encoding: str = "independent"
    with_context: bool = True


def build_cloze_model(settings: ClozeTraining, text_width: int, seed: int) -> ComicSeqForTextCloze:
    """A new model for texts of `text_width`; `seed` draws its weights."""
    torch.manual_seed(seed)
    config = build_config(settings, text_width, settings.hidden_size, candidate_encoding=settings.candidate_encoding)
    return ComicSeqForTextCloze(config)


def cloze_logits(
    model: ComicSeqForTextCloze, vectors: torch.Tensor, contexts: np.ndarray, candidates: np.ndarray
) -> torch.Tensor:
    """Logits `(Q, K)`: the context's panels, an empty slot behind them, and the candidates for it.

    Args:
        model: The model.
        vectors: Vector of each text, zeros in the last row `(texts + 1, T)`.
        contexts: Rows of the texts before the slot `(Q, 3)`; -1 for none.
        candidates: Rows of the candidate texts `(Q, K)`; -1 for padding.
    """
    slot = np.full((len(contexts), 1), -1)
    panels = vectors[np.concatenate((contexts, slot), axis=1)]
    is_panel = np.concatenate((contexts >= 0, slot < 0), axis=1)
    return model(
        panel_embeddings=panels,
        attention_mask=torch.from_numpy(is_panel),
        mask_position=torch.full((len(contexts),), contexts.shape[1]),
        text_embeddings=panels,
        candidate_text_embeddings=vectors[candidates],
        candidate_mask=torch.from_numpy(candidates >= 0),
    ).logits


def pretrain_cloze(
    settings: ClozeTraining,
    vectors: torch.Tensor,
    pages: PageQuestions,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> ComicSeqForTextCloze:
    """A new model, pretrained on questions made from the pages of training books.

    A fixed number of epochs is run, so that nothing is chosen by looking at a score.

    Args:
        settings: How to train.
        vectors: Vector of each text, zeros in the last row `(texts + 1, T)`.
        pages: Questions made from pages.
        seed: Seed of the weights and of all draws.
        on_step: Called after every step.
    """
    model = build_cloze_model(settings, vectors.shape[1], seed)

    def draw_nearby(rng: np.random.Generator) -> np.ndarray:
        return draw_candidates(pages.nearby, settings.nearby, rng)

    stage = TrainingStage(
        pages.contexts, pages.right, draw_nearby, pages.right, settings.pretraining_epochs, settings.pretraining_rate
    )
    _train(model, settings, vectors, stage, seed, on_step)
    return model.eval()


def tune_cloze(
    model: ComicSeqForTextCloze,
    settings: ClozeTraining,
    vectors: torch.Tensor,
    questions: list[Choices],
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> ComicSeqForTextCloze:
    """Tunes `model` in place on `questions` of training books, for a fixed number of epochs, and returns it.

    Files that ask about the same panels (easy and hard) are joined: a panel's wrong texts are those of all files.
    Arguments are those of `pretrain_cloze`.
    """
    first = questions[0]
    wrong = np.concatenate([each.wrong for each in questions], axis=1)
    pool = np.concatenate([first.right, wrong[wrong >= 0]])
    stage = TrainingStage(
        first.contexts, first.right, lambda _: wrong, pool, settings.tuning_epochs, settings.tuning_rate
    )
    _train(model, settings, vectors, stage, seed, on_step)
    return model.eval()


@dataclass
class TrainingStage:
    """One stage of training, in rows of a `TextBank`.

    Attributes:
        contexts: The texts before the asked one `(Q, 3)`.
        right: The right text `(Q,)`.
        draw_wrong: Draws the wrong texts of an epoch `(Q, W)`; -1 for none.
        pool: Where further wrong texts come from `(n,)`.
        epochs: Passes over the questions.
        rate: Peak learning rate.
    """

    contexts: np.ndarray
    right: np.ndarray
    draw_wrong: Callable[[np.random.Generator], np.ndarray]
    pool: np.ndarray
    epochs: int
    rate: float


def draw_candidates(pools: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different entries of each of `pools`, `(Q, count)`, filled up with -1."""
    return np.stack([_draw(rows, count, rng) for rows in pools])


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different entries of `rows`, in random order, filled up with -1."""
    chosen = rng.permutation(rows)[:count]
    return np.concatenate((chosen, np.full(count - len(chosen), -1)))


def _train(
    model: ComicSeqForTextCloze,
    settings: ClozeTraining,
    vectors: torch.Tensor,
    stage: TrainingStage,
    seed: int,
    on_step: Callable[[], None],
) -> None:
    """One stage of training, `model` in place."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)  # of the dropout

    def logits(contexts: np.ndarray, candidates: np.ndarray) -> torch.Tensor:
        return cloze_logits(model, vectors, shown(contexts, settings.with_context), candidates)

    start_epoch = losses_of(stage, settings.random, rng, logits)
    fit(model, start_epoch, len(stage.right), stage.epochs, settings.batch_size, stage.rate, 0.05, rng, on_step)


def losses_of(
    stage: TrainingStage,
    random: int,
    rng: np.random.Generator,
    logits: Callable[[np.ndarray, np.ndarray], torch.Tensor],
) -> Callable[[], Callable[[np.ndarray], torch.Tensor]]:
    """What `fit` calls at the start of each epoch: cross-entropy of the right text (candidate 0) against the wrong ones.

    Args:
        stage: The questions.
        random: Further wrong texts of each, from its pool.
        rng: Draws them.
        logits: Logits `(Q, K)` of candidates `(Q, K)` in contexts `(Q, 3)`.
    """

    def start_epoch() -> Callable[[np.ndarray], torch.Tensor]:
        wrong = stage.draw_wrong(rng)

        def loss(rows: np.ndarray) -> torch.Tensor:
            anywhere = rng.choice(stage.pool, (len(rows), random))
            candidates = np.concatenate((stage.right[rows, None], wrong[rows], anywhere), axis=1)
            candidates[:, 1:][candidates[:, 1:] == candidates[:, :1]] = -1  # the right text once more is not wrong
            scores = logits(stage.contexts[rows], candidates)
            return nn.functional.cross_entropy(scores, torch.zeros(len(rows), dtype=torch.long))

        return loss

    return start_epoch
