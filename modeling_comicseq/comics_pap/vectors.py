"""From ComicsPAP's pictures and texts to the inputs of the heads: embedding by any panel encoder, and batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from ..data.views import Batch
from ..encoders.panel_encoder import PanelEncoder
from ..errors import ComicSeqDataError
from ..model import tasks_comicseq as tasks
from ..model.configuration_comicseq import ComicSeqConfig
from ..progress import track
from .files import SKILLS, Question, SkillFiles

MODALITIES = ("visual", "text", "caption")  # what vectors there are beside fused panels
CLOSURE = {tasks.VISUAL_CLOSURE: "visual", tasks.TEXT_CLOSURE: "text"}
QUESTIONS_AT_ONCE = 8  # about a hundred pictures in memory


class SeenPictures:
    """Embeds each picture once: panels are shown in many samples, as context of one and as option of another.

    Args:
        encoder: Reads the pictures that have not been seen.
    """

    def __init__(self, encoder: PanelEncoder):
        self.encoder = encoder
        self._vectors: dict[bytes, np.ndarray] = {}

    def encode(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Features `(n, dim)` of the pictures."""
        keyed = [
            (xxhash.xxh3_128_digest(picture.tobytes() + repr(picture.size).encode()), picture) for picture in pictures
        ]
        unseen = {key: picture for key, picture in keyed if key not in self._vectors}
        self._vectors |= zip(unseen, self.encoder.image_features(unseen.values()), strict=True)
        return np.stack([self._vectors[key] for key, _ in keyed])


def embed_skill(files: SkillFiles, pictures: SeenPictures, *, most_context: int = 31) -> list[Question]:
    """Embeds all samples of a skill and split. Pictures are read and dropped a few samples at a time; vectors stay.

    Args:
        files: The skill's files.
        pictures: Reads every picture; its encoder, captions and lettering, which without a text model stay unread.
        most_context: Most context panels of a question: those nearest to the gap are kept.

    Raises:
        ComicSeqDataError: If a sample cannot be used, or the skill asks with captions and there is no text encoder.
    """
    encoder = pictures.encoder
    check_captions([files.skill], encoder.reads_texts)
    stream = iter(track(files, files.skill, files.num_samples))
    questions: list[Question] = []
    while chunk := list(itertools.islice(stream, QUESTIONS_AT_ONCE)):
        for question in chunk:
            _keep_nearest(question, most_context)
            # Lettering counts where all of it is known and read.
            is_told = question.option_texts is not None and (question.context_texts or not question.context)
            if not encoder.reads_texts or not is_told:
                question.context_texts = question.option_texts = None
        _embed(chunk, ("context", "options"), pictures.encode)
        if encoder.reads_texts:
            _embed(chunk, ("captions", "context_texts", "option_texts"), encoder.text_features)
        questions += chunk
    return questions


def check_captions(skills: Sequence[str], has_text_encoder: bool) -> None:
    """Raises a `ComicSeqDataError` if one of `skills` asks with captions that nothing can read."""
    for skill in skills:
        if SKILLS[skill] is tasks.CAPTION_RELEVANCE and not has_text_encoder:
            raise ComicSeqDataError(
                f"The skill {skill} asks with captions, which need a text encoder: name one, or leave the skill out."
            )


def _keep_nearest(question: Question, most: int) -> None:
    """Cuts the context to the `most` panels nearest to the gap."""
    excess = len(question.context) - most
    if excess > 0:
        start = min(max(question.index - (most + 1) // 2, 0), excess)
        question.context, question.index = question.context[start : start + most], question.index - start
        if question.context_texts is not None:
            question.context_texts = question.context_texts[start : start + most]


def _embed(questions: Sequence[Question], fields: Sequence[str], encode: Callable[[list[Any]], np.ndarray]) -> None:
    """Replaces what the `fields` of all questions hold by its vectors, read together."""
    held = [(question, name) for question in questions for name in fields if getattr(question, name) is not None]
    items = [getattr(question, name) for question, name in held]
    vectors = encode([item for part in items for item in part])
    parts = np.split(vectors, np.cumsum([len(part) for part in items])[:-1])
    for (question, name), part in zip(held, parts, strict=True):
        setattr(question, name, part)


class SkillInputs:
    """Makes batches of a skill's head from questions, at the widths that a model reads.

    Args:
        config: The model's configuration.
        encoder: What has read the questions.
        modalities: Which of `visual`, `text` and `caption` the model has learned to read beside fused panels.

    Raises:
        ComicSeqDataError: If the encoder has learned to give vectors of another width than the model reads.
    """

    def __init__(self, config: ComicSeqConfig, encoder: PanelEncoder, modalities: Sequence[str]):
        self.modalities, self.has_streams = modalities, config.has_streams
        names = MODALITIES if self.has_streams else ("panel", *MODALITIES)
        self.projections = {name: encoder.projection(getattr(config, f"{name}_embedding_dim")) for name in names}

    def modality(self, questions: Sequence[Question]) -> str:
        """What panels and options of a skill are given as: closure by its own modality where the model reads it."""
        modality = CLOSURE.get(SKILLS[questions[0].skill])
        if modality is None or modality not in self.modalities:
            return "panel"
        has_texts = all(question.option_texts is not None for question in questions)
        return modality if modality == "visual" or has_texts else "panel"

    def batches(self, questions: Sequence[Question], batch_size: int = 64) -> Iterator[Batch]:
        """Yields the inputs and labels of a skill's head, a few questions at a time."""
        modality = self.modality(questions)
        for start in range(0, len(questions), batch_size):
            yield self.batch(questions[start : start + batch_size], modality)

    def batch(self, questions: Sequence[Question], modality: str) -> Batch:
        """The inputs of a skill's head, panels and options as `modality`, and its labels (-100 where hidden)."""
        task, batch = SKILLS[questions[0].skill], dict[str, Any]()
        options = [self._vectors(question.options, question.option_texts, modality) for question in questions]
        batch["candidate_embeddings"], batch["candidate_mask"] = _pad(options)
        solutions = np.asarray([question.solution for question in questions])
        batch["labels"] = np.where(solutions < 0, -100, solutions)
        if task is tasks.CHARACTER_COHERENCE:
            is_right = np.arange(batch["candidate_mask"].shape[1]) == solutions[:, None]
            is_asked = (batch["candidate_mask"] == 1) & (solutions[:, None] >= 0)
            batch["labels"] = np.where(is_asked, is_right, -100)
        if task is tasks.CAPTION_RELEVANCE:
            captions = np.concatenate([question.captions for question in questions])
            return batch | {"caption_embeddings": self.projections["caption"].texts(captions)}
        gaps = np.asarray([question.index for question in questions])
        contexts = [self._vectors(question.context, question.context_texts, modality) for question in questions]
        if task in CLOSURE:
            # The panels before the gap; where it is the page's first, those behind it are all there is.
            contexts = [context[:gap] if gap else context for context, gap in zip(contexts, gaps, strict=True)]
            batch["modality"] = modality
        else:
            contexts = [np.insert(context, gap, 0, axis=0) for context, gap in zip(contexts, gaps, strict=True)]
        batch["panel_embeddings"], batch["attention_mask"] = _pad(contexts)
        if task is tasks.PANEL_PICKING:
            batch["mask_position"] = gaps
        elif task is tasks.CHARACTER_COHERENCE:
            batch["attention_mask"][np.arange(len(gaps)), gaps] = 0
            batch["candidate_position"] = gaps
        return batch

    def panels(self, pictures: np.ndarray, texts: np.ndarray | None) -> np.ndarray:
        """Panel vectors (..., P) of picture and text features: fused, or with separate streams side by side."""
        if not self.has_streams:
            return self.projections["panel"].fuse(pictures, texts)
        visual, text = (self.projections[name] for name in ("visual", "text"))
        shown = visual.pictures(pictures)
        said = np.zeros((*shown.shape[:-1], text.width), shown.dtype) if texts is None else text.texts(texts)
        return np.concatenate((shown, said), axis=-1)

    def _vectors(self, pictures: np.ndarray, texts: Any, modality: str) -> np.ndarray:
        if modality == "panel":
            return self.panels(pictures, texts)
        projection = self.projections[modality]
        if modality == "visual":
            return projection.pictures(pictures)
        return projection.texts(texts)


def _pad(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, P) of several lengths as one array `(B, N, P)` and its mask `(B, N)`."""
    padded = pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True).numpy()
    lengths = np.asarray([len(row) for row in rows])
    return padded, (np.arange(padded.shape[1]) < lengths[:, None]).astype(np.int64)
