"""Answers to ComicsPAP's questions: the model's, those of cosine, and the benchmark's way to count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..data.draws import Draws
from ..data.views import Batch
from ..evaluation.baselines import context_mean_cosine, last_panel_cosine
from ..evaluation.scoring import model_logits
from ..model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from ..model.modeling_comicseq import ComicSeqForPreTraining
from .files import SKILLS
from .vectors import PapInputs, PapQuestion

RANDOM = "random"
MODALITIES = ("visual", "text", "caption")  # beside fused panels


@dataclass
class SkillAnswers:
    """What each answerer chose in one skill.

    Attributes:
        skill: The skill.
        sample_ids: The questions `(Q,)`.
        solutions: The right options `(Q,)`, -1 where hidden.
        num_options: Their number `(Q,)`.
        books: Book of each question, None where the data set does not tell.
        modality: What panels were given as: `panel` (fused), `visual` or `text`.
        with_lettering: Whether the lettering of the panels was known as text.
        option_likeness: Mean cosine between the options of a question as the model was given them.
        choices: By answerer, the chosen options `(Q,)`.
    """

    skill: str
    sample_ids: list[str]
    solutions: np.ndarray
    num_options: np.ndarray
    books: list[str] | None
    modality: str
    with_lettering: bool
    option_likeness: float
    choices: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_known(self) -> np.ndarray:
        """Questions whose solution is not hidden `(Q,)`."""
        return self.solutions >= 0

    def right(self, answerer: str) -> np.ndarray:
        """How right the answers to the known questions are `(n,)`: 1 or 0, and 1 over the number of options at random."""
        if answerer == RANDOM:
            return 1 / self.num_options[self.is_known]
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
    model: ComicSeqForPreTraining, name: str, skill: str, questions: Sequence[PapQuestion], inputs: PapInputs
) -> SkillAnswers:
    """Asks the model, under `name`, and the two cosine baselines."""
    scores: dict[str, list[np.ndarray]] = {}
    likeness = []
    for _, batch in inputs.batches(skill, questions):
        asked = batch["mask_position"] if "mask_position" in batch else _gaps(batch)
        shown = batch if asked is None else batch | {"mask_position": asked}
        answers = {
            "last panel": last_panel_cosine(shown),
            "context mean": context_mean_cosine(shown),
            name: np.where(batch["candidate_mask"] == 1, model_logits(model, SKILLS[skill], batch), -np.inf),
        }
        if skill == "caption_relevance":
            del answers["last panel"]  # the caption is all there is
        for answerer, values in answers.items():
            scores.setdefault(answerer, []).extend(values)
        likeness.append(_likeness(batch))
    books = [question.book_id for question in questions]
    return SkillAnswers(
        skill,
        [question.sample_id for question in questions],
        np.asarray([question.solution for question in questions]),
        np.asarray([len(question.option_pictures) for question in questions]),
        [str(book) for book in books] if all(book is not None for book in books) else None,
        inputs.modality(skill, questions),
        all(question.option_texts is not None for question in questions),
        float(np.concatenate(likeness).mean()),
        {answerer: choose(values) for answerer, values in scores.items()},
    )


def _gaps(batch: Batch) -> np.ndarray | None:
    """The gap of each row of character coherence `(B,)`: the first slot that is not shown; None in the other skills."""
    if "attention_mask" not in batch or "modality" in batch:
        return None
    return np.argmin(batch["attention_mask"], axis=1)


def choose(scores: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """The best option of each question `(Q,)`; a tie is decided by lot, so that no place of the options is favoured."""
    lots = Draws(seed, 0, np.arange(len(scores))).uniform("tie", max(len(row) for row in scores))
    best = [np.where(row == row.max(), lot[: len(row)], -1) for row, lot in zip(scores, lots, strict=True)]
    return np.asarray([row.argmax() for row in best])


def _likeness(batch: Batch) -> np.ndarray:
    """Mean cosine between the options of each question `(B,)`."""
    options = batch["candidate_embeddings"]
    options = options / np.maximum(np.linalg.norm(options, axis=-1, keepdims=True), 1e-12)
    cosine = options @ options.transpose(0, 2, 1)
    real = batch["candidate_mask"][:, :, None] * batch["candidate_mask"][:, None]
    real = real * (1 - np.eye(real.shape[1], dtype=real.dtype))
    return (cosine * real).sum((1, 2)) / np.maximum(real.sum((1, 2)), 1)
