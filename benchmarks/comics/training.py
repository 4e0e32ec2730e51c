"""What text-cloze and character coherence share: the model's configuration, one stage of training, and asking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from modeling_comicseq.model.configuration_comicseq import ComicSeqConfig

QUESTIONS_AT_ONCE = 256
SORTED = 16  # batches whose questions are sorted by length together


def build_config(settings: Any, panel_width: int, intermediate_size: int, **fields: Any) -> ComicSeqConfig:
    """The configuration of a model for panels of `panel_width`, as `ClozeTraining` or `CoherenceTraining` say."""
    return ComicSeqConfig(
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=4,
        intermediate_size=intermediate_size,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        panel_embedding_dim=panel_width,
        **fields,
    )


def shown(contexts: np.ndarray, with_context: bool) -> np.ndarray:
    """`contexts`, or as many empty ones."""
    return contexts if with_context else np.full_like(contexts, -1)


def count_steps(batch_size: int, *stages: tuple[int, int]) -> int:
    """Steps of all stages together, each of `(epochs, questions)`, for a progress bar."""
    return sum(epochs * (count // min(batch_size, count)) for epochs, count in stages if epochs)


def fit(
    model: nn.Module,
    start_epoch: Callable[[], Callable[[np.ndarray], torch.Tensor]],
    num_questions: int,
    epochs: int,
    batch_size: int,
    rate: float,
    weight_decay: float,
    rng: np.random.Generator,
    on_step: Callable[[], None],
    lengths: np.ndarray | None = None,
) -> None:
    """One stage of training, `model` in place: AdamW, one cycle of the learning rate, whole batches in random order.

    Args:
        model: What is trained.
        start_epoch: Makes what gives the loss of some questions, of which it is handed the numbers `(n,)`.
        num_questions: Questions to learn from.
        epochs: Passes over them.
        batch_size: Questions in a step.
        rate: Peak learning rate.
        weight_decay: As in AdamW.
        rng: Draws the order of the questions.
        on_step: Called after every step.
        lengths: Length of each question `(n,)`, where those of about one length are to stand together, against padding.
    """
    if not epochs:
        return
    size = min(batch_size, num_questions)
    steps = num_questions // size
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps + 1, pct_start=0.1)
    model.train()
    for _ in range(epochs):
        order, loss_of = rng.permutation(num_questions), start_epoch()
        if lengths is not None:
            order = by_length(order, lengths, size, rng)
        for step in range(steps):
            loss = loss_of(order[step * size : (step + 1) * size])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            on_step()


def by_length(order: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """`order` (n,) with some batches' questions at a time sorted by length, and the batches shuffled anew; its rest is left out."""
    order = order[: len(order) // size * size]
    parts = [order[start : start + SORTED * size] for start in range(0, len(order), SORTED * size)]
    batches = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts]).reshape(-1, size)
    return batches[rng.permutation(len(batches))].ravel()


@torch.inference_mode()
def ask(
    model: nn.Module,
    logits: Callable[..., torch.Tensor],
    vectors: torch.Tensor,
    questions: Any,
    with_context: bool = True,
) -> np.ndarray:
    """Log-probability of each candidate `(Q, K)`, so that several models' answers can be averaged.

    Args:
        model: The model.
        logits: `cloze_logits` or `pair_logits`.
        vectors: Vector of each text, zeros in the last row `(texts + 1, T)`.
        questions: `Choices` or `PairQuestions`.
        with_context: False hides the context.
    """
    model.eval()
    parts = []
    for start in range(0, len(questions), QUESTIONS_AT_ONCE):
        chosen = slice(start, start + QUESTIONS_AT_ONCE)
        contexts = shown(questions.contexts[chosen], with_context)
        parts.append(logits(model, vectors, contexts, questions.candidates[chosen]).log_softmax(-1))
    return torch.cat(parts).numpy()
