"""Tunes the heads and the encoder on embedded ComicsPAP questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import get_cosine_schedule_with_warmup

from ..data.views import to_tensors
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..progress import track
from .files import SKILLS, Question, by_skill
from .vectors import SkillInputs

BATCH_SIZE = 64  # questions of a step, of all skills together


def fine_tune(
    model: ComicSeqForPreTraining,
    questions: Sequence[Question],
    inputs: SkillInputs,
    *,
    epochs: int = 5,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> list[float]:
    """Trains all parameters on the questions of all skills, mixed; returns the mean loss of each epoch.

    Args:
        model: Changed in place; left in evaluation mode.
        questions: The training questions of all skills; those with hidden solutions are left out.
        inputs: Makes the batches.
        epochs: Passes over all questions.
        learning_rate: Peak learning rate of AdamW: warm-up over a tenth of the steps, then a cosine to zero.
        seed: Seed of the order of the questions, and of dropout.
    """
    asked = [question for question in questions if question.solution >= 0]
    modalities = {skill: inputs.modality(own) for skill, own in by_skill(questions).items()}
    steps_per_epoch = -(-len(asked) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    num_steps = epochs * steps_per_epoch
    schedule = get_cosine_schedule_with_warmup(optimizer, num_steps // 10, num_steps)
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    losses = np.zeros(num_steps)
    model.train()
    for step in track(range(num_steps), "Tuning"):
        if step % steps_per_epoch == 0:
            order = generator.permutation(len(asked))
        start = step % steps_per_epoch * BATCH_SIZE
        drawn = by_skill(asked[i] for i in order[start : start + BATCH_SIZE])
        batches = {
            SKILLS[skill].name: to_tensors(inputs.batch(drawn[skill], modality), model.device)
            for skill, modality in modalities.items()
            if skill in drawn
        }
        loss = model(**batches).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses[step] = loss.item()
    model.eval()
    return losses.reshape(epochs, -1).mean(1).tolist()
