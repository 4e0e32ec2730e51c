"""From ComicsPAP's pictures and texts to the inputs of the heads: embedding by any encoder pair, and batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash
from PIL import Image
from rich.console import Console
from rich.progress import track

from ..data.views import Batch
from ..encoders.image import ImageEncoder
from ..encoders.projection import PanelProjection
from ..encoders.text import TextEncoder
from ..errors import ComicSeqDataError
from ..model.configuration_comicseq import ComicSeqConfig
from .files import SKILLS, PapFiles, PapSample

SAMPLES_AT_ONCE = 8  # about a hundred pictures in memory


@dataclass
class PapQuestion:
    """One question as the encoders see it: unit vectors (n, dim), an empty text is a vector of zeros.

    Attributes:
        sample_id: Its id in the data set.
        index: Place of the asked panel among the context.
        solution: The right option, -1 where it is hidden.
        context_pictures: One vector a context panel, at most those nearest to the gap that the model has positions for.
        option_pictures: One vector an option.
        context_texts: Likewise for the lettering; None where it is not known.
        option_texts: Likewise.
        caption: The caption's vector (dim,), in caption relevance.
        book_id: The book, None where the data set does not tell.
    """

    sample_id: str
    index: int
    solution: int
    context_pictures: np.ndarray
    option_pictures: np.ndarray
    context_texts: np.ndarray | None = None
    option_texts: np.ndarray | None = None
    caption: np.ndarray | None = None
    book_id: str | None = None


class SeenPictures:
    """Embeds each picture once: panels are shown in many samples, as context of one and as option of another.

    Args:
        encoder: Reads the pictures that have not been seen.
    """

    def __init__(self, encoder: ImageEncoder):
        self.encoder = encoder
        self._vectors: dict[int, np.ndarray] = {}

    def encode(self, pictures: Iterable[Image.Image]) -> np.ndarray:
        """Unit vectors `(n, dim)` of the pictures."""
        keys, unseen = [], {}
        for picture in pictures:
            key = xxhash.xxh3_128_intdigest(picture.tobytes() + repr(picture.size).encode())
            keys.append(key)
            if key not in self._vectors:
                unseen[key] = picture
        self._vectors |= zip(unseen, self.encoder.encode(unseen.values()), strict=True)
        return np.stack([self._vectors[key] for key in keys])


def embed_skill(
    files: PapFiles,
    pictures: SeenPictures,
    text_encoder: TextEncoder | None,
    *,
    most_context: int = 31,
    progress: bool = True,
) -> list[PapQuestion]:
    """Embeds all samples of a skill and split. Pictures are read and dropped a few samples at a time; vectors stay.

    Args:
        files: The skill's files.
        pictures: Reads every picture.
        text_encoder: Reads captions and lettering; None to leave the lettering unread.
        most_context: Most context panels of a question: those nearest to the gap are kept.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ComicSeqDataError: If a sample cannot be used, or the skill asks with captions and there is no text encoder.
    """
    check_captions([files.skill], text_encoder is not None)
    bar = Console(stderr=True)
    stream = iter(track(files, files.skill, total=files.num_samples, console=bar, disable=not progress))
    questions: list[PapQuestion] = []
    while chunk := list(itertools.islice(stream, SAMPLES_AT_ONCE)):
        questions += _embed([_near_gap(sample, most_context) for sample in chunk], pictures, text_encoder)
    return questions


def check_captions(skills: Sequence[str], has_text_encoder: bool) -> None:
    """Raises a `ComicSeqDataError` if one of `skills` asks with captions that nothing can read."""
    if "caption_relevance" in skills and not has_text_encoder:
        raise ComicSeqDataError(
            "The skill caption_relevance asks with captions, which need a text encoder: name one, or leave the skill out."
        )


def _near_gap(sample: PapSample, most: int) -> PapSample:
    excess = len(sample.context) - most
    if excess <= 0:
        return sample
    start = min(max(sample.index - (most + 1) // 2, 0), excess)
    sample.context, sample.index = sample.context[start : start + most], sample.index - start
    if sample.context_texts is not None:
        sample.context_texts = sample.context_texts[start : start + most]
    return sample


def _embed(samples: Sequence[PapSample], seen: SeenPictures, text_encoder: TextEncoder | None) -> list[PapQuestion]:
    pictures = seen.encode(image for sample in samples for image in (*sample.context, *sample.options))
    texts = None
    if text_encoder is not None:
        texts = text_encoder.encode([text for sample in samples for text in _texts(sample)])
    questions = []
    picture, text = 0, 0
    for sample in samples:
        options_from, end = picture + len(sample.context), picture + len(sample.context) + len(sample.options)
        question = PapQuestion(
            sample.sample_id,
            sample.index,
            sample.solution,
            pictures[picture:options_from],
            pictures[options_from:end],
            book_id=sample.book_id,
        )
        picture = end
        if texts is not None:
            own, text = texts[text : text + len(_texts(sample))], text + len(_texts(sample))
            if sample.skill == "caption_relevance":
                question.caption, own = own[0], own[1:]
            if len(own):
                question.context_texts, question.option_texts = np.split(own, [len(sample.context)])
        questions.append(question)
    return questions


def _texts(sample: PapSample) -> list[str]:
    """The caption where the skill has one, then the lettering of context and options where all of it is known."""
    caption = [sample.caption] if sample.skill == "caption_relevance" else []
    context = sample.context_texts if sample.context else []
    if context is None or sample.option_texts is None:
        return caption
    return [*caption, *context, *sample.option_texts]


class PapInputs:
    """Makes batches of a skill's head from questions, at the widths that a model reads.

    Args:
        config: The model's configuration.
        picture_dim: Width of the picture encoder's vectors.
        text_dim: Width of the text encoder's vectors, None without one.
        modalities: Which of `visual`, `text` and `caption` the model has learned to read beside fused panels.
    """

    def __init__(self, config: ComicSeqConfig, picture_dim: int, text_dim: int | None, modalities: Sequence[str]):
        self.config, self.picture_dim, self.text_dim = config, picture_dim, text_dim
        self.modalities = tuple(modalities)

    def modality(self, skill: str, questions: Sequence[PapQuestion]) -> str:
        """What panels and options of a skill are given as: closure by its own modality where the model reads it."""
        if skill == "visual_closure" and "visual" in self.modalities:
            return "visual"
        has_texts = all(question.option_texts is not None for question in questions)
        return "text" if skill == "text_closure" and "text" in self.modalities and has_texts else "panel"

    def batches(
        self, skill: str, questions: Sequence[PapQuestion], batch_size: int = 64
    ) -> Iterator[tuple[slice, Batch]]:
        """Yields `(questions, batch)`: which of them, and the inputs and labels of the skill's head."""
        modality = self.modality(skill, questions)
        for start in range(0, len(questions), batch_size):
            chosen = slice(start, start + batch_size)
            yield chosen, self.batch(skill, questions[chosen], modality)

    def batch(self, skill: str, questions: Sequence[PapQuestion], modality: str) -> Batch:
        """The inputs of the skill's head and, where the solutions are known, its labels."""
        options = [self._vectors(q.option_pictures, q.option_texts, modality) for q in questions]
        batch: Batch = {}
        batch["candidate_embeddings"], batch["candidate_mask"] = _pad(options)
        batch["labels"] = self._labels(skill, questions, batch["candidate_mask"])
        if skill == "caption_relevance":
            captions = np.stack([q.caption for q in questions if q.caption is not None])
            batch["caption_embeddings"] = self._caption_projection.texts(captions)
            return batch
        contexts = [self._vectors(q.context_pictures, q.context_texts, modality) for q in questions]
        gaps = [q.index for q in questions]
        if SKILLS[skill] in ("visual_closure", "text_closure"):
            # The panels before the gap; where it is the page's first, those behind it are all there is.
            contexts = [context[:gap] if gap else context for context, gap in zip(contexts, gaps, strict=True)]
            batch["panel_embeddings"], batch["attention_mask"] = _pad(contexts)
            batch["modality"] = modality  # type: ignore[assignment]
            return batch
        contexts = [np.insert(context, gap, 0, axis=0) for context, gap in zip(contexts, gaps, strict=True)]
        batch["panel_embeddings"], batch["attention_mask"] = _pad(contexts)
        if SKILLS[skill] == "panel_picking":
            batch["mask_position"] = np.asarray(gaps)
        else:
            batch["attention_mask"][np.arange(len(gaps)), gaps] = 0
            batch["candidate_position"] = np.asarray(gaps)
        return batch

    @staticmethod
    def _labels(skill: str, questions: Sequence[PapQuestion], candidate_mask: np.ndarray) -> np.ndarray:
        solutions = np.asarray([q.solution for q in questions])
        if SKILLS[skill] != "character_coherence":
            return np.where(solutions < 0, -100, solutions)
        is_right = np.arange(candidate_mask.shape[1]) == solutions[:, None]
        return np.where((candidate_mask == 1) & (solutions[:, None] >= 0), is_right, -100)

    def _vectors(self, pictures: np.ndarray, texts: np.ndarray | None, modality: str) -> np.ndarray:
        if modality == "visual":
            return self._visual_projection.pictures(pictures)
        if modality == "text":
            assert texts is not None
            return self._text_projection.texts(texts)
        return self._panel_projection.fuse(pictures, texts)

    def _projection(self, width: int) -> PanelProjection:
        return PanelProjection(self.picture_dim, self.text_dim, width)

    @cached_property
    def _panel_projection(self) -> PanelProjection:
        return self._projection(self.config.panel_embedding_dim)

    @cached_property
    def _visual_projection(self) -> PanelProjection:
        return self._projection(self.config.visual_embedding_dim or self.config.panel_embedding_dim)

    @cached_property
    def _text_projection(self) -> PanelProjection:
        return self._projection(self.config.text_embedding_dim or self.config.panel_embedding_dim)

    @cached_property
    def _caption_projection(self) -> PanelProjection:
        return self._projection(self.config.caption_embedding_dim or self.config.panel_embedding_dim)


def _pad(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, P) of several lengths as one array `(B, N, P)` and its mask `(B, N)`."""
    lengths = np.asarray([len(row) for row in rows])
    padded = np.zeros((len(rows), lengths.max(), rows[0].shape[1]), dtype=np.float32)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded, (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
