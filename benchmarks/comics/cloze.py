"""`ComicSeqForTextCloze` on the COMICS questions: pretrained on whole pages, tuned on questions, and asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from modeling_comicseq.model.configuration_comicseq import ComicSeqConfig
from modeling_comicseq.model.modeling_comicseq import ComicSeqForTextCloze

from .texts import Choices, PageQuestions


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
    return ComicSeqForTextCloze(
        ComicSeqConfig(
            hidden_size=settings.hidden_size,
            num_hidden_layers=settings.num_layers,
            num_attention_heads=4,
            intermediate_size=settings.hidden_size,
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
            panel_embedding_dim=text_width,
            candidate_encoding=settings.candidate_encoding,
        )
    )


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
    shown = np.concatenate((contexts >= 0, slot < 0), axis=1)
    return model(
        panel_embeddings=panels,
        attention_mask=torch.from_numpy(shown),
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
        return np.stack([_draw(near, settings.nearby, rng) for near in pages.nearby])

    material = Material(pages.contexts, pages.right, draw_nearby, pages.right)
    _fit(model, settings, vectors, material, settings.pretraining_epochs, settings.pretraining_rate, seed, on_step)
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
    material = Material(first.contexts, first.right, lambda _: wrong, pool)
    _fit(model, settings, vectors, material, settings.tuning_epochs, settings.tuning_rate, seed, on_step)
    return model.eval()


@dataclass
class Material:
    """What one stage of training learns from, in rows of a `TextBank`.

    Attributes:
        contexts: The texts before the asked one `(Q, 3)`.
        right: The right text `(Q,)`.
        draw_wrong: Draws the wrong texts of an epoch `(Q, W)`; -1 for none.
        pool: Where further wrong texts come from `(n,)`.
    """

    contexts: np.ndarray
    right: np.ndarray
    draw_wrong: Callable[[np.random.Generator], np.ndarray]
    pool: np.ndarray


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different entries of `rows`, in random order, filled up with -1."""
    chosen = rng.permutation(rows)[:count]
    return np.concatenate((chosen, np.full(count - len(chosen), -1)))


def _fit(
    model: ComicSeqForTextCloze,
    settings: ClozeTraining,
    vectors: torch.Tensor,
    material: Material,
    epochs: int,
    rate: float,
    seed: int,
    on_step: Callable[[], None],
) -> None:
    """Cross-entropy of the right text (candidate 0) against the wrong ones, AdamW, one cycle of the learning rate."""
    if not epochs:
        return
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)  # of the dropout
    count, size = len(material.right), min(settings.batch_size, len(material.right))
    steps = count // size
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps + 1, pct_start=0.1)
    model.train()
    for _ in range(epochs):
        order, wrong = rng.permutation(count), material.draw_wrong(rng)
        for step in range(steps):
            rows = order[step * size : (step + 1) * size]
            anywhere = rng.choice(material.pool, (size, settings.random))
            candidates = np.concatenate((material.right[rows, None], wrong[rows], anywhere), axis=1)
            candidates[:, 1:][candidates[:, 1:] == candidates[:, :1]] = -1  # the right text once more is not wrong
            contexts = _shown(material.contexts[rows], settings.with_context)
            logits = cloze_logits(model, vectors, contexts, candidates)
            loss = nn.functional.cross_entropy(logits, torch.zeros(size, dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            on_step()


def _shown(contexts: np.ndarray, with_context: bool) -> np.ndarray:
    return contexts if with_context else np.full_like(contexts, -1)


def training_steps(settings: ClozeTraining, num_pages: int, num_questions: int) -> int:
    """Steps of pretraining and tuning together, for a progress bar."""
    epochs = ((settings.pretraining_epochs, num_pages), (settings.tuning_epochs, num_questions))
    return sum(count * (size // min(settings.batch_size, size)) for count, size in epochs if count)


@torch.inference_mode()
def ask_cloze(
    model: ComicSeqForTextCloze, vectors: torch.Tensor, choices: Choices, with_context: bool = True
) -> np.ndarray:
    """Log-probability of each candidate `(Q, K)`, so that several models' answers can be averaged."""
    model.eval()
    parts = []
    for start in range(0, len(choices), 256):
        contexts = _shown(choices.contexts[start : start + 256], with_context)
        parts.append(cloze_logits(model, vectors, contexts, choices.candidates[start : start + 256]).log_softmax(-1))
    return torch.cat(parts).numpy()
