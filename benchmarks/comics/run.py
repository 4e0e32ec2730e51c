"""The COMICS questions, five folds by book: every row of the tables, its scores, and the tables themselves."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from modeling_comicseq.encoders.panel_encoder import PanelEncoder
from modeling_comicseq.evaluation.metrics import bootstrap_mean, top1_accuracy
from modeling_comicseq.files import written_file

from .baselines import context_cosine, longest, rank, with_zeros, word_overlap
from .cloze import ClozeTraining, cloze_logits, pretrain_cloze, tune_cloze
from .coherence import CoherenceTraining, first_boxes, made_pairs, pair_logits, pair_questions, train_coherence
from .questions import HELD_OUT, NUM_FOLDS, ComicsQuestions, TextPages, comics_folds
from .reading import ReadingTraining, WordBank, ask_reading, build_reader, tune_reading
from .texts import Choices, TextBank, page_questions
from .training import ask, count_steps

COSINE = "frozen cosine to the context mean"
RANKER = "ranker on words and cosines"
COMICSEQ = "ComicSeq, pretrained and tuned"
MANY = "ComicSeq, mean of {} models"
WORDS = "words alone"
READING = "ComicSeq and words"
READING_RANKER = "ComicSeq, words and the ranker"
WITHOUT_CONTEXT = "ComicSeq without context"
NOT_PRETRAINED = "ComicSeq, tuned, not pretrained"
BOTH = "that and the ranker together"
COHERENCE = "coherence"
# Rows that every other is compared with, question by question.
REFERENCES = {"cosine": COSINE, "ranker": RANKER, "not pretrained": NOT_PRETRAINED, "vectors alone": COMICSEQ}

Scores = list[np.ndarray]  # one matrix (Q, K) a file


@dataclass
class ComicsData:
    """What the tables are made from.

    Attributes:
        names: A name for each text-cloze file, `easy` and `hard`.
        choices: The questions of each; question i of every file asks about the same panel.
        cloze: The same as they were read.
        coherence: The questions of character coherence.
        pages: Whole pages of the same corpus.
        bank: All texts.
    """

    names: list[str]
    choices: list[Choices]
    cloze: list[ComicsQuestions]
    coherence: ComicsQuestions
    pages: TextPages
    bank: TextBank


@dataclass
class Reading:
    """The rows whose candidates read the words of the context.

    Attributes:
        settings: How it is tuned.
        encoder: The text encoder whose last layers are.
        cache: Folder where what its lower layers make of the texts is kept.
    """

    settings: ReadingTraining
    encoder: PanelEncoder
    cache: Path

    def words(self, data: ComicsData) -> WordBank:
        """The words of all texts of text-cloze and of the pages."""
        rows = [part.ravel() for each in data.choices for part in (each.contexts, each.candidates)]
        rows += [np.asarray([data.bank.rows[text] for text in page], dtype=int) for page in data.pages.texts]
        wanted = np.setdiff1d(np.concatenate(rows), [-1])
        return WordBank.read(data.bank.texts, wanted, self.encoder, self.settings.num_layers, self.cache)


@dataclass
class Fold:
    """One split by book.

    Attributes:
        train: Books to learn from.
        test: Books to ask.
    """

    train: set[str]
    test: set[str]


def make_folds(data: ComicsData, held_out: bool) -> list[Fold]:
    """The five folds of the development books; or, for `held_out`, one: all of those against the held-out split."""
    books = np.unique(
        np.concatenate([data.pages.book_ids, data.coherence.book_ids, *(each.book_ids for each in data.choices)])
    )
    fold = comics_folds(books)
    development = fold != HELD_OUT
    asked = [~development] if held_out else [fold == number for number in range(NUM_FOLDS)]
    return [Fold(set(books[development & ~test].tolist()), set(books[test].tolist())) for test in asked]


class ClozeData:
    """What may be learned from in one fold: its training questions, pages and texts, and nothing else.

    The wrong texts of an easy question come from any book, as the files have them. Those that are known to stand in a
    book that is asked, and in no training book, are taken out.

    Attributes:
        train: Training questions of each file.
        test: Questions to answer, of each file.
        pages: Questions made from the training books' pages.
        texts: Rows of the training texts `(n,)`.
    """

    def __init__(self, data: ComicsData, fold: Fold):
        self.test = [of_books(each, fold.test) for each in data.choices]
        withheld = np.setdiff1d(book_texts(data, fold.test), book_texts(data, fold.train))
        self.train = []
        for train in (of_books(each, fold.train) for each in data.choices):
            allowed = np.where(np.isin(train.candidates, withheld), -1, train.candidates)
            self.train.append(replace(train, candidates=allowed))
        self.pages = page_questions(data.pages, fold.train, data.bank)
        rows = [part.ravel() for each in self.train for part in (each.contexts, each.candidates)]
        texts = np.unique(np.concatenate([*rows, self.pages.contexts.ravel(), self.pages.right]))
        self.texts = texts[texts >= 0]


class CoherenceData:
    """The same for character coherence.

    Attributes:
        train: Training questions of the file.
        made: Questions made from the panels that training questions show.
        test: Questions to answer.
    """

    def __init__(self, data: ComicsData, fold: Fold):
        pairs = pair_questions(data.coherence, data.bank)
        self.train, self.test = of_books(pairs, fold.train), of_books(pairs, fold.test)
        self.made = made_pairs([of_books(each, fold.train) for each in (data.coherence, data.cloze[0])], data.bank)


def of_books(questions: Any, books: set[str]) -> Any:
    """Those of `questions` that are about `books`."""
    return questions.select(np.isin(questions.book_ids, sorted(books)))


def book_texts(data: ComicsData, books: set[str]) -> np.ndarray:
    """Rows of all texts known to stand in `books`: on their pages, and as contexts and right texts of their questions."""
    pages = np.flatnonzero(np.isin(data.pages.book_ids, sorted(books)))
    rows = [np.asarray([data.bank.rows[text] for text in data.pages.texts[page]], dtype=int) for page in pages]
    for own in (of_books(each, books) for each in data.choices):
        rows += [own.contexts.ravel(), own.right]
    return np.setdiff1d(np.concatenate(rows), [-1])


def baseline_rows(train: list[Choices], test: list[Choices], bank: TextBank, texts: np.ndarray) -> dict[str, Scores]:
    """Scores of the rows without ComicSeq; the rankers learn from the wrong texts of all files of `train` together."""
    frozen = with_zeros(bank.blocks[-1])
    rows = {
        "chance": [np.zeros(each.candidates.shape) for each in test],
        "longest candidate": [longest(each, bank) for each in test],
        "word overlap": [word_overlap(each, bank) for each in test],
        COSINE: [context_cosine(each, frozen) for each in test],
    }
    joined = replace(
        train[0], candidates=np.concatenate([train[0].candidates, *(each.wrong for each in train[1:])], axis=1)
    )
    for name, context in (("ranker without context", False), (RANKER, True)):
        rows[name] = rank(joined, test, bank, texts, context)
    return rows


def run_cloze_fold(
    data: ComicsData,
    fold: Fold,
    settings: ClozeTraining,
    num_models: int,
    cache: Path,
    progress: bool = True,
    reading: Reading | None = None,
) -> tuple[list[Choices], dict[str, Scores]]:
    """The questions of `fold.test`, file by file, and the scores of every row for them.

    Every ComicSeq row is one model; the best is trained `num_models` times, from other seeds, and their answers averaged.
    With `reading`, there are rows of a reader of words, tuned by itself: alone, with ComicSeq, and with the ranker, too.
    Finished models' answers are kept in `cache` and not made again.
    """
    learned = ClozeData(data, fold)

    @functools.cache
    def vectors() -> torch.Tensor:
        return torch.from_numpy(data.bank.vectors(learned.texts, settings.text_width))

    def answer(settings: ClozeTraining, seed: int, on_step: Callable[[], None]) -> list[Scores]:
        """The answers after pretraining, and after tuning."""

        def asked() -> Scores:
            return [ask(model, cloze_logits, vectors(), each, settings.with_context) for each in learned.test]

        model = pretrain_cloze(settings, vectors(), learned.pages, seed, on_step)
        pretrained = asked()
        tune_cloze(model, settings, vectors(), learned.train, seed, on_step)
        return [pretrained, asked()]

    def steps(settings: ClozeTraining) -> int:
        stages = (
            (settings.pretraining_epochs, len(learned.pages.right)),
            (settings.tuning_epochs, len(learned.train[0])),
        )
        return count_steps(settings.batch_size, *stages)

    # What each part of the training adds: twice the tuning instead of pretraining, and both without the context.
    only_tuned = replace(settings, pretraining_epochs=0, tuning_epochs=2 * settings.tuning_epochs)
    without_context = replace(settings, with_context=False)
    variants = {
        COMICSEQ: (settings, 1),
        MANY.format(num_models): (settings, num_models),
        NOT_PRETRAINED: (only_tuned, 1),
        WITHOUT_CONTEXT: (without_context, 1),
    }
    rows = baseline_rows(learned.train, learned.test, data.bank, learned.texts)
    rows |= _comicseq_rows(variants, answer, steps, fold, cache, progress)
    rows = _in_order(rows, [COMICSEQ, MANY.format(num_models)])
    if reading is None:
        return learned.test, rows

    def read(settings: ReadingTraining, seed: int, on_step: Callable[[], None]) -> list[Scores]:
        """The answers after tuning."""
        words, reader = reading.words(data), build_reader(reading.encoder, settings.num_layers, seed)
        tune_reading(reader, settings, words, learned.pages, learned.train, seed, on_step)
        return [[ask_reading(reader, words, each) for each in learned.test]]

    def reading_steps(settings: ReadingTraining) -> int:
        stages = (
            (settings.pretraining_epochs, len(learned.pages.right)),
            (settings.tuning_epochs, len(learned.train[0])),
        )
        return count_steps(settings.batch_size, *stages)

    rows |= _comicseq_rows({WORDS: (reading.settings, 1)}, read, reading_steps, fold, cache, progress)
    rows[READING] = _together(rows[COMICSEQ], rows[WORDS])
    rows[READING_RANKER] = _together(rows[READING], rows[RANKER])
    return learned.test, rows


def run_coherence_fold(
    data: ComicsData, fold: Fold, settings: CoherenceTraining, cache: Path, progress: bool = True
) -> tuple[list[Choices], dict[str, Scores]]:
    """The coherence questions of `fold.test`, as one file, and the scores of every row for them."""
    texts, pairs = ClozeData(data, fold).texts, CoherenceData(data, fold)

    @functools.cache
    def vectors() -> torch.Tensor:
        return torch.from_numpy(data.bank.vectors(texts, settings.text_width))

    def answer(settings: CoherenceTraining, seed: int, on_step: Callable[[], None]) -> list[Scores]:
        """The answers after the questions made from pages, and after those of the file."""
        stages = train_coherence(settings, vectors(), pairs.made, pairs.train, seed, on_step)
        return [[ask(model, pair_logits, vectors(), pairs.test, settings.with_context)] for model in stages]

    def steps(settings: CoherenceTraining) -> int:
        stages = (settings.page_epochs, len(pairs.made)), (settings.tuning_epochs, len(pairs.train))
        return count_steps(settings.batch_size, *stages)

    variants = {COMICSEQ: (settings, 1), WITHOUT_CONTEXT: (replace(settings, with_context=False), 1)}
    choices = first_boxes(data.coherence, data.bank)
    learned, asked = [of_books(choices, fold.train)], [of_books(choices, fold.test)]
    rows = baseline_rows(learned, asked, data.bank, texts)
    rows |= _comicseq_rows(variants, answer, steps, fold, cache, progress)
    return asked, _in_order(rows, [COMICSEQ])


def _in_order(rows: dict[str, Scores], last: Sequence[str]) -> dict[str, Scores]:
    """`rows` with those named in `last` behind the others, then the last one's and the ranker's log-probabilities added."""
    ordered = {name: scores for name, scores in rows.items() if name not in last} | {name: rows[name] for name in last}
    ordered[BOTH] = _together(rows[last[-1]], rows[RANKER])
    return ordered


def _together(one: Scores, other: Scores) -> Scores:
    """Log-probabilities of two rows added."""
    return [_log_softmax(a) + _log_softmax(b) for a, b in zip(one, other, strict=True)]


def _comicseq_rows(
    variants: dict[str, tuple[Any, int]],
    answer: Callable[[Any, int, Callable[[], None]], list[Scores]],
    steps: Callable[[Any], int],
    fold: Fold,
    cache: Path,
    progress: bool,
) -> dict[str, Scores]:
    """Scores of every row of ComicSeq: the mean over models of several seeds of what `answer` returns last.

    Args:
        variants: The settings of each row and its number of models.
        answer: Trains and asks one model of these settings and this seed; its answers after each stage of training.
        steps: Steps of one such training.
        fold: The books.
        cache: Folder where each model's answers are kept; those that are there are not made again.
        progress: Whether to show progress bars on stderr.
    """
    rows: dict[str, Scores] = {}
    for name, (settings, num_models) in variants.items():
        kept: list[list[Scores]] = []
        with Progress(console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task(name, total=num_models * steps(settings))
            for seed in range(num_models):
                key = f"{type(settings).__name__} {asdict(settings)} {seed} {sorted(fold.train)} {sorted(fold.test)}"
                file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
                if not file.is_file():
                    _keep(file, answer(settings, seed, functools.partial(bar.advance, task)))
                bar.update(task, completed=(seed + 1) * steps(settings))
                kept.append(_kept(file))
        stages = [[np.mean(part, axis=0) for part in zip(*each, strict=True)] for each in zip(*kept, strict=True)]
        rows[name] = stages[-1]
        if name == COMICSEQ:
            rows["ComicSeq, pretrained, not tuned"] = stages[0]
    return rows


def _keep(file: Path, stages: list[Scores]) -> None:
    arrays = {f"{stage}-{number}": scores for stage, each in enumerate(stages) for number, scores in enumerate(each)}
    with written_file(file) as beside, beside.open("wb") as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]


def _kept(file: Path) -> list[Scores]:
    stages: list[Scores] = []
    with np.load(file) as arrays:
        for name in arrays:
            if name.endswith("-0"):
                stages.append([])
            stages[-1].append(arrays[name])
    return stages


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.asarray(scores, dtype=np.float64)).log_softmax(-1).numpy()


def run_table(
    data: ComicsData,
    cloze: ClozeTraining,
    coherence: CoherenceTraining | None,
    num_models: int,
    cache: Path,
    held_out: bool = False,
    progress: bool = True,
    reading: Reading | None = None,
    only: int | None = None,
) -> dict[str, list[dict]]:
    """Rows of both tasks. Each question is answered by models that saw nothing of its book.

    Args:
        data: The questions.
        cloze: How models of text-cloze are made.
        coherence: Likewise of character coherence; without, only text-cloze is asked.
        num_models: As in `run_cloze_fold`.
        cache: Folder of finished rows.
        held_out: Whether to ask the held-out books instead of the folds.
        progress: Whether to show progress bars.
        reading: As in `run_cloze_fold`.
        only: The number of one fold.
    """
    folds = make_folds(data, held_out)[slice(None) if only is None else slice(only, only + 1)]
    parts = [run_cloze_fold(data, fold, cloze, num_models, cache, progress, reading) for fold in folds]
    results = {"text_cloze": summarise(parts, data.names)}
    if coherence is not None:
        parts = [run_coherence_fold(data, fold, coherence, cache, progress) for fold in folds]
        results["character_coherence"] = summarise(parts, [COHERENCE])
    return results


def summarise(parts: Sequence[tuple[list[Choices], dict[str, Scores]]], names: Sequence[str]) -> list[dict]:
    """Accuracy of every row and its paired differences to `REFERENCES`, with intervals by bootstrap over books.

    Args:
        parts: Questions and scores, fold by fold.
        names: A name for each file of questions.
    """
    rows = list(parts[0][1])
    results: list[dict] = [{"row": row} for row in rows]
    for number, name in enumerate(names):
        books = np.concatenate([test[number].book_ids for test, _ in parts])
        right = {
            row: np.concatenate([top1_accuracy(scores[row][number], test[number].answers) for test, scores in parts])
            for row in rows
        }
        for result in results:
            accuracy = bootstrap_mean(right[result["row"]], books)
            result[name] = dict(zip(("accuracy", "low", "high"), accuracy, strict=True)) | {
                "minus": {
                    short: bootstrap_mean(right[result["row"]] - right[row], books)
                    for short, row in REFERENCES.items()
                    if row in right
                },
                "questions": len(books),
                "books": len(np.unique(books)),
            }
    return results


def results_table(results: list[dict], name: str, title: str) -> Table:
    """The results on one file of questions as a table of per cents with 95 % intervals."""
    references = results[0][name]["minus"]
    table = Table("row", f"{name}, %", *(f"minus {short}" for short in references), title=title)
    for row in results:
        result = row[name]
        cells = [_cell(*values, sign="+") for values in result["minus"].values()]
        table.add_row(row["row"], _cell(result["accuracy"], result["low"], result["high"]), *cells)
    return table


def _cell(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
