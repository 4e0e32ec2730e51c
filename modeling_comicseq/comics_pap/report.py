"""Tables and files of a ComicsPAP run: accuracy by skill, the sample-weighted total, predictions to hand in."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from ..evaluation.metrics import bootstrap_mean
from ..evaluation.results import interval, write_results
from ..files import write_json, write_text, written_file
from ..model.tasks_comicseq import CAPTION_RELEVANCE
from ..stores.names import normal_form
from .answers import RANDOM, SkillAnswers
from .files import LETTERING_SKILLS, SKILLS

TOTAL = "total"
FILES = ("results.json", "report.md", "predictions.csv")
HEADER = ("answerer", "accuracy, %", "model minus this")
HIDDEN = "The solutions of this split are hidden: there are predictions, and no accuracy."


@dataclass
class SkillResult:
    """How well one answerer does in one skill, or in all of them.

    Attributes:
        skill: The skill, or `total`: all samples pooled, as the benchmark weights them.
        answerer: The model, a baseline, or `random` (the mean of one over the number of options).
        accuracy: Share of the known questions that it answers rightly.
        low: Lower end of its 95 % interval; None at random, which is exact.
        high: Upper end.
        gain: Model minus this answerer on the same questions; None for the model.
        gain_low: Lower end of the paired 95 % interval.
        gain_high: Upper end.
        num_questions: Questions with a known solution.
    """

    skill: str
    answerer: str
    accuracy: float
    low: float | None
    high: float | None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    num_questions: int = 0

    def cells(self) -> tuple[str, str, str]:
        """Answerer, accuracy and what the model has over it, as they are printed."""
        gain = "" if self.gain is None else interval(self.gain, self.gain_low, self.gain_high, signed=True)
        return self.answerer, interval(self.accuracy, self.low, self.high), gain


def skill_results(answers: Sequence[SkillAnswers], model: str) -> list[SkillResult]:
    """Accuracies with 95 % intervals, by bootstrap over books where every sample names one, else over samples."""
    known = [skill for skill in answers if skill.is_known.any()]
    if not known:
        return []
    by_book = all(skill.has_books for skill in known)
    units = {}
    for number, skill in enumerate(known):
        names = [
            normal_form(question.book_id or "") if by_book else f"{number}/{i}"
            for i, question in enumerate(skill.questions)
        ]
        units[skill.skill] = np.asarray(names, dtype=str)[skill.is_known]
    results = []
    for name, skills in ({skill.skill: [skill] for skill in known} | {TOTAL: known}).items():
        unit = np.concatenate([units[skill.skill] for skill in skills])
        of_model = np.concatenate([skill.right(model) for skill in skills])
        everywhere = [answerer for answerer in skills[0].choices if all(answerer in skill.choices for skill in skills)]
        for answerer in (RANDOM, *everywhere):
            right = np.concatenate([skill.right(answerer) for skill in skills])
            accuracy, *ends = bootstrap_mean(right, unit)
            gain = (None, None, None) if answerer == model else bootstrap_mean(of_model - right, unit)
            values = (accuracy, *((None, None) if answerer == RANDOM else ends), *gain, len(right))
            results.append(SkillResult(name, answerer, *values))
    return results


def notes(answers: Sequence[SkillAnswers], origin: Mapping[str, Any], untrained: set[str]) -> list[str]:
    """What a reader of the numbers has to know: what the encoder could see, heads without training, what intervals cover."""
    vision = origin.get("visual_encoder", "a vision model without a name")
    texts = f"; texts by {origin['text_encoder']}" if "text_encoder" in origin else ", no text encoder"
    lines = [f"Pictures by {vision}{texts}."]
    for skill in answers:
        likeness = f"{skill.option_likeness:.3f} alike (mean cosine) as {skill.modality} vectors"
        seen = [f"{skill.skill}: options are {likeness}."]
        if skill.skill in LETTERING_SKILLS and skill.has_lettering:
            seen.append("They are one picture with different lettering, which the text encoder was given.")
        elif skill.skill in LETTERING_SKILLS:
            seen.append("They are one picture with different lettering, and the lettering was given as pixels only:")
            seen.append(f"{vision} does not read. Expect chance.")
        elif not skill.has_lettering:
            seen.append("Lettering was seen as pixels only.")
        if SKILLS[skill.skill].name in untrained:
            seen.append("The model's head for it is untrained: its row says nothing.")
        if SKILLS[skill.skill] is CAPTION_RELEVANCE:
            seen.append("Asked is the panel after the captioned one. The context mean is the caption itself.")
        lines.append(" ".join(seen))
    without_books = "samples, since the data set names no books: they are too narrow where books repeat"
    over = "books" if all(skill.has_books for skill in answers) else without_books
    lines.append(
        f"Brackets: 95 % intervals by bootstrap over {over}. Total: all samples pooled. Random: mean of 1 / options."
    )
    return lines


def write_report(
    folder: Path, answers: Sequence[SkillAnswers], model: str, settings: dict[str, Any], lines: Sequence[str]
) -> list[SkillResult]:
    """Writes all files of a run and returns its results.

    `results.json` holds settings, results and notes; `report.md` the same to read; `results_SKILL.json` the predictions in
    the form of the benchmark's own evaluation; `predictions.csv` all of them, one line a sample.
    """
    results = skill_results(answers, model)
    document = {"settings": settings, "results": [asdict(result) for result in results], "notes": list(lines)}
    figures, report, table_file = (folder / name for name in FILES)
    write_results(document, figures)
    write_text(report, _markdown(results, model, settings, lines))
    with written_file(table_file) as beside, beside.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["sample_id", "skill", "prediction"])
        for skill in answers:
            rows = predictions(skill, model)
            write_json(folder / f"results_{skill.skill}.json", rows)
            writer.writerows([row["sample_id"], skill.skill, row["prediction"]] for row in rows if "prediction" in row)
    return results


def predictions(skill: SkillAnswers, model: str) -> list[dict[str, Any]]:
    """One entry a sample, as the benchmark's own evaluation writes them; with known solutions a summary comes first."""
    rows: list[dict[str, Any]] = []
    if skill.is_known.all():
        accuracy = float(skill.right(model).mean())
        rows.append({"sample_id": "summary", "accuracy": accuracy, "total_samples": len(skill.questions)})
    for question, choice in zip(skill.questions, skill.choices[model].tolist(), strict=True):
        row = {"sample_id": question.sample_id, "full_prediction": f"answer: {choice}", "prediction": choice}
        row["skill"] = skill.skill
        if question.solution >= 0:
            row |= {"solution_index": question.solution, "correct": choice == question.solution}
        rows.append(row)
    return rows


def _markdown(results: Sequence[SkillResult], model: str, settings: dict[str, Any], lines: Sequence[str]) -> str:
    text = [f"# ComicsPAP: {model}", "", f"Data: {settings['data']}, split {settings['split']}.", ""]
    rows = [(result.skill, f"{result.num_questions:,}", *result.cells()) for result in results]
    if rows:
        rows = [("skill", "questions", *HEADER), ("---",) * 5, *rows]
    text += [f"| {' | '.join(row)} |" for row in rows] or [HIDDEN]
    return "\n".join([*text, "", *(f"- {line}" for line in lines), ""])


def print_report(results: Sequence[SkillResult], lines: Sequence[str], console: Console) -> None:
    """Prints one table a skill, the total last, and the notes."""
    for skill, rows in groupby(results, lambda result: result.skill):
        table = Table(*(Column(name, no_wrap=True) for name in HEADER), title_justify="left")
        for result in rows:
            table.title = f"{skill}: {result.num_questions:,} questions"
            table.add_row(*result.cells())
        console.print(table)
    if not results:
        console.print(HIDDEN)
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
