"""Text-cloze on the COMICS questions, five folds by book: every row of the table, its scores, and the table itself."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from .comics import NUM_FOLDS, PUT_AWAY, TextPages, comics_folds
from .comics_baselines import context_cosine, longest, rank, with_zeros, word_overlap
from .comics_cloze import ClozeTraining, ask_cloze, train_cloze, training_steps
from .comics_text import Choices, TextBank, page_questions
from .metrics import bootstrap_mean, top1_accuracy

COSINE = "frozen cosine to the context mean"
COMICSEQ = "ComicSeq, pretrained and tuned"
BOTH = "the same and the ranker on words and cosines"

Scores = list[np.ndarray]  # one matrix (Q, K) a file


@dataclass
class ClozeData:
    """What a run of the table needs.

    Attributes:
        names: A name for each file, `easy` and `hard`.
        choices: The questions of each file; question i of every file asks about the same panel.
        pages: Whole pages of the same corpus.
        bank: All texts.
    """

    names: list[str]
    choices: list[Choices]
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


def sides(data: ClozeData, put_away: bool) -> list[Side]:
    """The five folds of the development books; or, for `put_away`, one side: those books against the tenth put away."""
    books = np.unique(np.concatenate([data.pages.book_ids, *(each.book_ids for each in data.choices)]))
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

    Attributes:
        train: Training questions of each file.
        test: Questions to answer, of each file.
        pages: Questions made from the training books' pages.
        texts: Rows of the training texts `(n,)`.
    """

    def __init__(self, data: ClozeData, side: Side):
        self.data = data
        self.train = [each.select(np.isin(each.book_ids, sorted(side.train))) for each in data.choices]
        self.test = [each.select(np.isin(each.book_ids, sorted(side.test))) for each in data.choices]
        self.pages = page_questions(data.pages, side.train, data.bank)
        rows = [part.ravel() for each in self.train for part in (each.contexts, each.candidates)]
        texts = np.unique(np.concatenate([*rows, self.pages.contexts.ravel(), self.pages.right]))
        self.texts = texts[texts >= 0]

    def vectors(self, width: int) -> torch.Tensor:
        """Text vectors `(texts + 1, width)` whose axes and weights come from the training texts."""
        return torch.from_numpy(self.data.bank.vectors(self.texts, width))


def model_rows(settings: ClozeTraining) -> dict[str, ClozeTraining]:
    """The ComicSeq rows: what each part of the training adds."""
    return {
        "ComicSeq, not tuned on questions": replace(settings, tuning_epochs=0),
        "ComicSeq without pretraining": replace(settings, pretraining_epochs=0, tuning_epochs=3),
        "ComicSeq without context": replace(settings, with_context=False),
        COMICSEQ: settings,
    }


def baseline_rows(lesson: Lesson) -> dict[str, Scores]:
    """Scores of the rows without ComicSeq."""
    bank = lesson.data.bank
    frozen = with_zeros(bank.blocks[-1])
    joined = [
        replace_answers(each, np.concatenate([each.candidates, *_wrong_elsewhere(lesson.train, n)], axis=1))
        for n, each in enumerate(lesson.train)
    ]
    rows = {
        "chance": [np.zeros(each.candidates.shape) for each in lesson.test],
        "longest candidate": [longest(each, bank) for each in lesson.test],
        "word overlap": [word_overlap(each, bank) for each in lesson.test],
        COSINE: [context_cosine(each, frozen) for each in lesson.test],
    }
    for name, context in (("ranker without context", False), ("ranker on words and cosines", True)):
        rows[name] = [rank(joined[0], each, bank, lesson.texts, context) for each in lesson.test]
    return rows


def _wrong_elsewhere(files: Sequence[Choices], own: int) -> list[np.ndarray]:
    return [each.wrong for number, each in enumerate(files) if number != own]


def replace_answers(choices: Choices, candidates: np.ndarray) -> Choices:
    """`choices` with more `candidates` behind their own."""
    return replace(choices, candidates=candidates)


def model_scores(
    lesson: Lesson, settings: ClozeTraining, vectors: torch.Tensor, seeds: Sequence[int], on_step: Callable[[], None]
) -> Scores:
    """Mean log-probabilities of the models of several `seeds`."""
    totals: Scores = [np.zeros(each.candidates.shape) for each in lesson.test]
    for seed in seeds:
        model = train_cloze(settings, vectors, lesson.pages, lesson.train, seed, on_step)
        for total, each in zip(totals, lesson.test, strict=True):
            total += ask_cloze(model, vectors, each, settings.with_context) / len(seeds)
    return totals


def run_side(
    data: ClozeData,
    side: Side,
    settings: ClozeTraining,
    seeds: Sequence[int],
    cache: Path,
    progress: bool = True,
) -> dict[str, Scores]:
    """Scores of every row for the questions of `side.test`. Finished rows are kept in `cache` and not made again."""
    lesson = Lesson(data, side)
    rows = baseline_rows(lesson)
    vectors: torch.Tensor | None = None
    bar = Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn(), console=Console(stderr=True))
    bar.disable = not progress
    with bar:
        for name, row_settings in model_rows(settings).items():
            key = f"{name} {asdict(row_settings)} {list(seeds)} {sorted(side.train)} {sorted(side.test)}"
            file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
            if file.is_file():
                with np.load(file) as kept:
                    rows[name] = [kept[each] for each in data.names]
                continue
            vectors = lesson.vectors(settings.text_width) if vectors is None else vectors
            steps = len(seeds) * training_steps(row_settings, len(lesson.pages.right), len(lesson.train[0]))
            task = bar.add_task(name, total=steps)
            rows[name] = model_scores(lesson, row_settings, vectors, seeds, lambda task=task: bar.advance(task))
            _keep(file, dict(zip(data.names, rows[name], strict=True)))
    ranker = rows["ranker on words and cosines"]
    rows[BOTH] = [
        both + _log_softmax(words) for both, words in zip(rows[COMICSEQ], ranker, strict=True)
    ]
    return rows


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.asarray(scores, dtype=np.float64)).log_softmax(-1).numpy()


def _keep(file: Path, arrays: dict[str, np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]
    os.replace(part.name, file)


def run_table(
    data: ClozeData,
    settings: ClozeTraining,
    seeds: Sequence[int],
    cache: Path,
    put_away: bool = False,
    progress: bool = True,
) -> list[dict]:
    """Every row with its accuracy, interval and paired difference to the frozen cosine, file by file.

    Intervals are bootstrapped over books. Each question is answered by models that saw nothing of its book.
    """
    parts = [run_side(data, side, settings, seeds, cache, progress) for side in sides(data, put_away)]
    asked = [Lesson(data, side).test for side in sides(data, put_away)]
    results = []
    for name in parts[0]:
        row: dict = {"row": name}
        for number, file in enumerate(data.names):
            right = np.concatenate(
                [top1_accuracy(p[name][number], a[number].answers) for p, a in zip(parts, asked, strict=True)]
            )
            cosine = np.concatenate(
                [top1_accuracy(p[COSINE][number], a[number].answers) for p, a in zip(parts, asked, strict=True)]
            )
            books = np.concatenate([a[number].book_ids for a in asked])
            accuracy, gain = bootstrap_mean(right, books), bootstrap_mean(right - cosine, books)
            row[file] = dict(zip(("accuracy", "low", "high"), accuracy, strict=True))
            row[file] |= dict(zip(("difference", "difference_low", "difference_high"), gain, strict=True))
            row[file]["questions"] = len(right)
            row[file]["books"] = len(np.unique(books))
        results.append(row)
    return results


def cloze_table(results: list[dict], names: Sequence[str], title: str) -> Table:
    """The results as a table of per cents with 95 % intervals."""
    table = Table("row", *(f"{name}, %" for name in names), *(f"{name}, against cosine" for name in names), title=title)
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
