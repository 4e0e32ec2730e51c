"""The COMICS questions, five folds by book: every row of the tables, its scores, and the tables themselves."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from modeling_comicseq.evaluation.metrics import bootstrap_mean, top1_accuracy

from .baselines import context_cosine, longest, rank, with_zeros, word_overlap
from .cloze import ClozeTraining, ask_cloze, pretrain_cloze, training_steps, tune_cloze
from .coherence import (
    CoherenceTraining,
    ask_coherence,
    coherence_steps,
    first_boxes,
    made_pairs,
    pair_questions,
    train_coherence,
)
from .questions import NUM_FOLDS, PUT_AWAY, ComicsQuestions, TextPages, comics_folds
from .texts import Choices, TextBank, page_questions

COSINE = "frozen cosine to the context mean"
RANKER = "ranker on words and cosines"
COMICSEQ = "ComicSeq, pretrained and tuned"
MANY = "ComicSeq, mean of {} models"
BOTH = "that and the ranker together"
COHERENCE = "coherence"

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
class Side:
    """Which books are learned from and which are asked.

    Attributes:
        train: Books to learn from.
        test: Books to ask.
    """

    train: set[str]
    test: set[str]


def sides(data: ComicsData, put_away: bool) -> list[Side]:
    """The five folds of the development books; or, for `put_away`, one side: those books against the tenth put away."""
    books = np.unique(
        np.concatenate([data.pages.book_ids, data.coherence.book_ids, *(each.book_ids for each in data.choices)])
    )
    fold = comics_folds(books)
    if put_away:
        return [Side(set(books[fold != PUT_AWAY].tolist()), set(books[fold == PUT_AWAY].tolist()))]
    return [
        Side(
            set(books[(fold != PUT_AWAY) & (fold != number)].tolist()),
            set(books[fold == number].tolist()),
        )
        for number in range(NUM_FOLDS)
    ]


class Lesson:
    """What may be learned on one side: its training questions, pages and texts, and nothing else.

    The wrong texts of an easy question come from any book, as the files have them. Those that are known to stand in a
    book that is asked, and in no training book, are taken out.

    Attributes:
        train: Training questions of each file.
        test: Questions to answer, of each file.
        pages: Questions made from the training books' pages.
        texts: Rows of the training texts `(n,)`.
    """

    def __init__(self, data: ComicsData, side: Side):
        self.test = [each.select(np.isin(each.book_ids, sorted(side.test))) for each in data.choices]
        withheld = np.setdiff1d(texts_of_books(data, side.test), texts_of_books(data, side.train))
        self.train = []
        for each in data.choices:
            train = each.select(np.isin(each.book_ids, sorted(side.train)))
            self.train.append(
                replace(train, candidates=np.where(np.isin(train.candidates, withheld), -1, train.candidates))
            )
        self.pages = page_questions(data.pages, side.train, data.bank)
        rows = [part.ravel() for each in self.train for part in (each.contexts, each.candidates)]
        texts = np.unique(np.concatenate([*rows, self.pages.contexts.ravel(), self.pages.right]))
        self.texts = texts[texts >= 0]


class PairsLesson:
    """The same for character coherence.

    Attributes:
        train: Training questions of the file.
        made: Questions made from the panels that training questions show.
        test: Questions to answer.
    """

    def __init__(self, data: ComicsData, side: Side):
        pairs, books = pair_questions(data.coherence, data.bank), sorted(side.train)
        self.train = pairs.select(np.isin(pairs.book_ids, books))
        self.test = pairs.select(np.isin(pairs.book_ids, sorted(side.test)))
        shown = [each.select(np.isin(each.book_ids, books)) for each in (data.coherence, data.cloze[0])]
        self.made = made_pairs(shown, data.bank)


def texts_of_books(data: ComicsData, books: set[str]) -> np.ndarray:
    """Rows of all texts known to stand in `books`: on their pages, and as contexts and right texts of their questions."""
    pages = np.flatnonzero(np.isin(data.pages.book_ids, sorted(books)))
    rows = [np.asarray([data.bank.rows[text] for text in data.pages.texts[page]], dtype=int) for page in pages]
    for each in data.choices:
        own = each.select(np.isin(each.book_ids, sorted(books)))
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


def run_cloze_side(
    data: ComicsData, side: Side, settings: ClozeTraining, num_models: int, cache: Path, progress: bool = True
) -> tuple[list[Choices], dict[str, Scores]]:
    """The questions of `side.test`, file by file, and the scores of every row for them.

    Every ComicSeq row is one model; the best is trained `num_models` times, from other seeds, and their answers averaged.
    Finished models' answers are kept in `cache` and not made again.
    """
    lesson = Lesson(data, side)
    rows: dict[str, Scores] = {}
    vectors: list[torch.Tensor] = []  # made when the first row needs them

    def answer(settings: ClozeTraining, seed: int, on_step: Callable[[], None]) -> list[Scores]:
        """The answers after pretraining, and after tuning."""
        if not vectors:
            vectors.append(torch.from_numpy(data.bank.vectors(lesson.texts, settings.text_width)))
        model = pretrain_cloze(settings, vectors[0], lesson.pages, seed, on_step)
        pretrained = [ask_cloze(model, vectors[0], each, settings.with_context) for each in lesson.test]
        model = tune_cloze(model, settings, vectors[0], lesson.train, seed, on_step)
        return [pretrained, [ask_cloze(model, vectors[0], each, settings.with_context) for each in lesson.test]]

    # What each part of the training adds: twice the tuning instead of pretraining, and both without the context.
    variants = {
        COMICSEQ: settings,
        "ComicSeq, tuned, not pretrained": replace(
            settings, pretraining_epochs=0, tuning_epochs=2 * settings.tuning_epochs
        ),
        "ComicSeq without context": replace(settings, with_context=False),
    }
    for name, variant in variants.items():
        steps = training_steps(variant, len(lesson.pages.right), len(lesson.train[0]))
        pretrained, rows[name] = _mean_of_seeds(name, answer, variant, side, [0], cache, steps, progress)
        if name == COMICSEQ:
            rows["ComicSeq, pretrained, not tuned"] = pretrained
            many = MANY.format(num_models)
            _, rows[many] = _mean_of_seeds(many, answer, variant, side, range(num_models), cache, steps, progress)
    rows = baseline_rows(lesson.train, lesson.test, data.bank, lesson.texts) | rows
    return lesson.test, _in_order(rows, [COMICSEQ, many])


def _in_order(rows: dict[str, Scores], last: Sequence[str]) -> dict[str, Scores]:
    """`rows` with those named in `last` behind the others, then the last one's and the ranker's log-probabilities added."""
    ordered = {name: scores for name, scores in rows.items() if name not in last} | {name: rows[name] for name in last}
    ordered[BOTH] = [_log_softmax(a) + _log_softmax(b) for a, b in zip(rows[last[-1]], rows[RANKER], strict=True)]
    return ordered


def run_coherence_side(
    data: ComicsData, side: Side, settings: CoherenceTraining, cache: Path, progress: bool = True
) -> tuple[list[Choices], dict[str, Scores]]:
    """The coherence questions of `side.test`, as one file, and the scores of every row for them."""
    lesson, pairs = Lesson(data, side), PairsLesson(data, side)
    choices = first_boxes(data.coherence, data.bank)
    rows: dict[str, Scores] = {}
    vectors: list[torch.Tensor] = []

    def answer(settings: CoherenceTraining, seed: int, on_step: Callable[[], None]) -> list[Scores]:
        """The answers after the questions made from pages, and after those of the file."""
        if not vectors:
            vectors.append(torch.from_numpy(data.bank.vectors(lesson.texts, settings.text_width)))
        answers = []
        for model in train_coherence(settings, vectors[0], pairs.made, pairs.train, seed, on_step):
            answers.append([ask_coherence(model, vectors[0], pairs.test, settings.with_context)])
        return answers

    variants = {COMICSEQ: settings, "ComicSeq without context": replace(settings, with_context=False)}
    for name, variant in variants.items():
        steps = coherence_steps(variant, len(pairs.made), len(pairs.train))
        pretrained, rows[name] = _mean_of_seeds(name, answer, variant, side, [0], cache, steps, progress)
        if name == COMICSEQ:
            rows["ComicSeq, pretrained, not tuned"] = pretrained
    learned, asked = ([choices.select(np.isin(choices.book_ids, sorted(books)))] for books in (side.train, side.test))
    rows = baseline_rows(learned, asked, data.bank, lesson.texts) | rows
    return asked, _in_order(rows, [COMICSEQ])


def _mean_of_seeds(
    name: str,
    answer: Callable[[Any, int, Callable[[], None]], list[Scores]],
    settings: Any,
    side: Side,
    seeds: Sequence[int],
    cache: Path,
    steps: int,
    progress: bool,
) -> list[Scores]:
    """Mean over `seeds` of what `answer` returns; each seed's answers are kept in `cache` and not made again."""
    kept: list[list[Scores]] = []
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(name, total=len(seeds) * steps)
        for number, seed in enumerate(seeds):
            key = f"{type(settings).__name__} {asdict(settings)} {seed} {sorted(side.train)} {sorted(side.test)}"
            file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
            if not file.is_file():
                _keep(file, answer(settings, seed, lambda: bar.advance(task)))
            bar.update(task, completed=(number + 1) * steps)
            kept.append(_kept(file))
    return [[np.mean(part, axis=0) for part in zip(*stages, strict=True)] for stages in zip(*kept, strict=True)]


def _keep(file: Path, stages: list[Scores]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{stage}-{number}": scores for stage, each in enumerate(stages) for number, scores in enumerate(each)}
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]
    os.replace(part.name, file)


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
    coherence: CoherenceTraining,
    num_models: int,
    cache: Path,
    put_away: bool = False,
    progress: bool = True,
) -> dict[str, list[dict]]:
    """Rows of both tasks. Each question is answered by models that saw nothing of its book."""
    made_cloze = [run_cloze_side(data, side, cloze, num_models, cache, progress) for side in sides(data, put_away)]
    made_pairs = [run_coherence_side(data, side, coherence, cache, progress) for side in sides(data, put_away)]
    return {
        "text_cloze": summarise(made_cloze, data.names),
        "character_coherence": summarise(made_pairs, [COHERENCE]),
    }


def summarise(parts: Sequence[tuple[list[Choices], dict[str, Scores]]], names: Sequence[str]) -> list[dict]:
    """Accuracy of every row and its paired difference to the frozen cosine, with intervals by bootstrap over books.

    Args:
        parts: Questions and scores, side by side.
        names: A name for each file of questions.
    """
    results = []
    for row in parts[0][1]:
        result: dict = {"row": row}
        for number, name in enumerate(names):
            asked = [test[number] for test, _ in parts]
            books = np.concatenate([each.book_ids for each in asked])
            right, cosine = (
                np.concatenate([top1_accuracy(r[which][number], t[number].answers) for t, r in parts])
                for which in (row, COSINE)
            )
            accuracy, gain = bootstrap_mean(right, books), bootstrap_mean(right - cosine, books)
            result[name] = dict(zip(("accuracy", "low", "high"), accuracy, strict=True))
            result[name] |= dict(zip(("difference", "difference_low", "difference_high"), gain, strict=True))
            result[name] |= {"questions": len(right), "books": len(np.unique(books))}
        results.append(result)
    return results


def results_table(results: list[dict], names: Sequence[str], title: str) -> Table:
    """The results as a table of per cents with 95 % intervals."""
    table = Table("row", *(f"{name}, %" for name in names), *(f"{name}, minus cosine" for name in names), title=title)
    for row in results:
        cells = [_cell(row[name]["accuracy"], row[name]["low"], row[name]["high"]) for name in names]
        cells += [
            _cell(row[name]["difference"], row[name]["difference_low"], row[name]["difference_high"], sign="+")
            for name in names
        ]
        table.add_row(row["row"], *cells)
    return table


def _cell(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
