"""Answers to ComicsPAP's questions: the model's, those of cosine, and the benchmark's way to count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.draws import Draws
from ..data.views import Batch
from ..evaluation.baselines import context_mean_cosine, last_panel_cosine
from ..evaluation.scoring import model_logits
from ..model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.tasks_comicseq import CAPTION_RELEVANCE
from ..vectors import unit
from .files import SKILLS
from .vectors import MODALITIES, Question, SkillInputs

RANDOM = "random"


@dataclass
class SkillAnswers:
    """What each answerer chose in one skill.

    Attributes:
        skill: The skill.
        questions: The questions (Q).
        choices: By answerer, the chosen options `(Q,)`.
        modality: What panels were given as: `panel` (fused), `visual` or `text`.
        option_likeness: Mean cosine between the options of a question as the model was given them.
    """

    skill: str
    questions: Sequence[Question]
    choices: dict[str, np.ndarray]
    modality: str = "panel"
    option_likeness: float = 0.0

    def __post_init__(self):
        self.solutions = np.asarray([question.solution for question in self.questions])
        self.is_known = self.solutions >= 0  # questions whose solution is not hidden `(Q,)`
        self.has_books = all(question.book_id is not None for question in self.questions)
        self.has_lettering = all(question.option_texts is not None for question in self.questions)

    def right(self, answerer: str) -> np.ndarray:
        """How right the answers to the known questions are `(n,)`: 1 or 0, and 1 over the number of options at random."""
        if answerer == RANDOM:
            return 1 / np.asarray([len(question.options) for question in self.questions])[self.is_known]
        return (self.choices[answerer] == self.solutions)[self.is_known].astype(float)


def read_modalities(model: ComicSeqForPreTraining) -> list[str]:
    """The modalities that a model has learned to read: the biases of their projections are zero until then."""
    projections = {name: getattr(model.comicseq.embeddings, f"{name}_projection") for name in MODALITIES}
    return [name for name, module in projections.items() if bool((module.projection.bias != 0).any())]


def untrained_heads(model: ComicSeqForPreTraining, missing: set[str]) -> set[str]:
    """The tasks whose head is missing from the checkpoint, or was never drawn in its training."""
    weights = model.config.task_weights or DEFAULT_TASK_WEIGHTS
    return missing | {task for task in DEFAULT_TASK_WEIGHTS if not weights.get(task, 0)}


def answer_skill(
    model: ComicSeqForPreTraining, name: str, questions: Sequence[Question], inputs: SkillInputs
) -> SkillAnswers:
    """Asks the model, under `name`, and the two cosine baselines the questions of one skill."""
    skill = questions[0].skill
    scores: dict[str, list[np.ndarray]] = {}
    likeness = []
    for batch in inputs.batches(questions):
        shown = batch | ({"mask_position": batch["candidate_position"]} if "candidate_position" in batch else {})
        logits = model_logits(model, SKILLS[skill].name, batch)
        answers = {
            "last panel": last_panel_cosine(shown),
            "context mean": context_mean_cosine(shown),
            name: np.where(batch["candidate_mask"] == 1, logits, -np.inf),
        }
        if SKILLS[skill] is CAPTION_RELEVANCE:
            del answers["last panel"]  # the caption is all there is
        for answerer, values in answers.items():
            scores.setdefault(answerer, []).extend(values)
        likeness.append(_likeness(batch))
    choices = {answerer: choose(values) for answerer, values in scores.items()}
    mean = float(np.concatenate(likeness).mean())
    return SkillAnswers(skill, questions, choices, inputs.modality(questions), mean)


def choose(scores: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """The best option of each question `(Q,)`; a tie is decided by lot, so that no place of the options is favoured."""
    lots = Draws(seed, 0, np.arange(len(scores))).uniform("tie", max(len(row) for row in scores))
    best = [np.where(row == row.max(), lot[: len(row)], -1) for row, lot in zip(scores, lots, strict=True)]
    return np.asarray([row.argmax() for row in best])


def _likeness(batch: Batch) -> np.ndarray:
    """Mean cosine between the options of each question `(B,)`."""
    options, real = unit(batch["candidate_embeddings"]), batch["candidate_mask"]
    pairs = real[:, :, None] * real[:, None] * (1 - np.eye(real.shape[1], dtype=real.dtype))
    return (options @ options.transpose(0, 2, 1) * pairs).sum((1, 2)) / np.maximum(pairs.sum((1, 2)), 1)
