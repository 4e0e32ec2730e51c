"""Text-cloze by words: a `ComicPageTextReader`, tuned by itself, whose scores are added to those of vectors.

Tuned together, one development fold said, the vectors' model learns its questions by heart in as many steps as the reader
needs. The lower layers of the text encoder are frozen: what they make of every text's words is made once and kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modeling_comicseq.encoders.panel_encoder import PanelEncoder
from modeling_comicseq.files import written_folder
from modeling_comicseq.model.reader_comicpage import MAX_TOKENS, ComicPageTextReader

from .cloze import TrainingStage, draw_candidates, losses_of
from .texts import Choices, PageQuestions
from .training import fit

AT_ONCE = 2048  # tokens in one forward pass
WEIGHT_DECAY = 0.01  # of layers that are tuned


@dataclass
class ReadingTraining:
    """How the reader is tuned.

    Attributes:
        num_layers: The text encoder's last layers that read on, and are tuned.
        pretraining_epochs: Passes over the questions made from pages; 0 leaves pretraining out.
        tuning_epochs: Passes over the questions of the files.
        rate: Peak learning rate.
        nearby: Wrong texts from nearby pages, of a question made from a page.
        random: Wrong texts from anywhere, of a question made from a page.
        batch_size: Questions in a step.
    """

    num_layers: int = 2
    pretraining_epochs: int = 0
    tuning_epochs: int = 2
    rate: float = 5e-5
    nearby: int = 2
    random: int = 1
    batch_size: int = 16


class WordBank:
    """The words of texts, as the lower layers of a text encoder read each text alone.

    Attributes:
        states: States of all tokens, one text after the other `(tokens, W)` float16.
        starts: First token of each row of a `TextBank`, and their number `(texts + 1,)`; rows that are not read have none.
    """

    def __init__(self, states: np.ndarray, starts: np.ndarray):
        self.states, self.starts = states, starts
        self.lengths = np.append(np.diff(starts), 0)  # row -1 has no token

    @classmethod
    def read(cls, texts: list[str], rows: np.ndarray, encoder: PanelEncoder, num_layers: int, cache: Path) -> WordBank:
        """Reads the texts at `rows` up to the last `num_layers` layers; what is in `cache` is not read again."""
        tokenizer, model = encoder.processor.tokenizer, encoder.model
        ids: list[list[int]] = [[] for _ in texts]
        found = tokenizer([texts[row] for row in rows], truncation=True, max_length=MAX_TOKENS)["input_ids"]
        for row, tokens in zip(rows.tolist(), found, strict=True):
            ids[row] = tokens
        lengths = np.asarray([len(each) for each in ids])
        starts = np.concatenate(([0], np.cumsum(lengths)))
        key = hashlib.sha256(f"{encoder.fingerprint} {num_layers} {ids}".encode()).hexdigest()[:16]
        folder = cache / f"words-{key}"
        if not folder.is_dir():
            with written_folder(folder, overwrite=True) as beside, torch.inference_mode():
                shape = int(starts[-1]), model.config.text_config.hidden_size
                states = np.lib.format.open_memmap(beside / "states.npy", "w+", np.float16, shape)
                for length in np.unique(lengths[rows]).tolist():
                    same = rows[lengths[rows] == length]
                    for part in np.array_split(same, -(-len(same) * length // AT_ONCE)):
                        layers, _ = model.read_tokens(torch.tensor([ids[row] for row in part]))
                        places = starts[part][:, None] + np.arange(length)
                        states[places] = layers[-1 - num_layers].numpy()
                states.flush()
        return cls(np.load(folder / "states.npy", mmap_mode="r"), starts)

    def select(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """States (T, L, W) of the texts at `rows` (T,), none of them -1, and the mask of their tokens (T, L)."""
        places = np.arange(self.lengths[rows].max())
        mask = places < self.lengths[rows][:, None]
        states = np.zeros((*mask.shape, self.states.shape[1]), np.float32)
        states[mask] = self.states[(self.starts[rows][:, None] + places)[mask]]
        return torch.from_numpy(states), torch.from_numpy(mask)


def reading_logits(
    reader: ComicPageTextReader, words: WordBank, contexts: np.ndarray, candidates: np.ndarray
) -> torch.Tensor:
    """Logits `(Q, K)`; the lowest finite one for padding.

    Args:
        reader: The reader.
        words: The words of each text.
        contexts: Rows of the texts before the slot `(Q, 3)`; -1 for none.
        candidates: Rows of the candidate texts `(Q, K)`; -1 for padding.
    """
    asked = np.concatenate((contexts, candidates), axis=1)
    rows, places = np.unique(asked, return_inverse=True)
    places = places.reshape(asked.shape) - (rows[0] < 0)
    states, mask = words.select(rows[rows >= 0])
    context, choices = torch.from_numpy(places).split([contexts.shape[1], candidates.shape[1]], dim=1)
    offsets = torch.arange(-contexts.shape[1], 0).expand(len(contexts), -1)
    with torch.autocast("cpu", torch.bfloat16):
        scores = reader(states, mask, context, offsets, choices)
    return scores.float().masked_fill(choices < 0, torch.finfo(torch.float32).min)


def build_reader(encoder: PanelEncoder, num_layers: int, seed: int) -> ComicPageTextReader:
    """A new reader of the last layers of an encoder; `seed` draws what is new in it."""
    torch.manual_seed(seed)
    reader = ComicPageTextReader(encoder.model.text_model, num_layers)
    for module in reader.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # half of the time of a step, of what is tuned for two passes
    return reader


def tune_reading(
    reader: ComicPageTextReader,
    settings: ReadingTraining,
    words: WordBank,
    pages: PageQuestions,
    questions: list[Choices],
    seed: int,
    on_step: Callable[[], None],
) -> None:
    """Tunes `reader` in place on questions made from pages and on those of the files, for a fixed number of epochs."""

    def draw_nearby(rng: np.random.Generator) -> np.ndarray:
        return draw_candidates(pages.nearby, settings.nearby, rng)

    first, wrong = questions[0], np.concatenate([each.wrong for each in questions], axis=1)
    epochs, rate = (settings.pretraining_epochs, settings.tuning_epochs), settings.rate
    made = TrainingStage(pages.contexts, pages.right, draw_nearby, pages.right, epochs[0], rate)
    asked = TrainingStage(first.contexts, first.right, lambda _: wrong, first.right, epochs[1], rate)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)  # of the dropout
    for stage, random in ((made, settings.random), (asked, 0)):
        start_epoch = losses_of(stage, random, rng, partial(reading_logits, reader, words))
        lengths = words.lengths[stage.contexts].sum(1) + words.lengths[stage.right]
        size, count = settings.batch_size, len(stage.right)
        fit(reader, start_epoch, count, stage.epochs, size, rate, WEIGHT_DECAY, rng, on_step, lengths)
    reader.eval()


@torch.inference_mode()
def ask_reading(reader: ComicPageTextReader, words: WordBank, questions: Choices) -> np.ndarray:
    """Log-probability of each candidate `(Q, K)`."""
    order = np.argsort(words.lengths[questions.contexts].sum(1) + words.lengths[questions.candidates].sum(1))
    answers = np.empty(questions.candidates.shape, np.float32)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        logits = reading_logits(reader.eval(), words, questions.contexts[rows], questions.candidates[rows])
        answers[rows] = logits.log_softmax(-1).numpy()
    return answers
