"""Tables and files of a ComicsPAP run: accuracy by skill, the sample-weighted total, predictions to hand in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..evaluation.metrics import bootstrap_mean
from ..evaluation.results import interval, write_results, write_text
from .answers import RANDOM, SkillAnswers
from .files import LETTERING_SKILLS, SKILLS

TOTAL = "total"


@dataclass
class PapResult:
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


def pap_results(answers: Sequence[SkillAnswers], model: str) -> list[PapResult]:
    """Accuracies with 95 % intervals, by bootstrap over books where every sample names one, else over samples."""
    known = [skill for skill in answers if skill.is_known.any()]
    units = [_units(skill, number, has_books(known)) for number, skill in enumerate(known)]
    results = []
    for skill, unit in zip(known, units, strict=True):
        for answerer in (RANDOM, *skill.choices):
            results.append(_result(skill.skill, answerer, skill.right(answerer), skill.right(model), unit, model))
    if known:
        everywhere = [RANDOM, *(name for name in known[0].choices if all(name in skill.choices for skill in known))]
        model_right = np.concatenate([skill.right(model) for skill in known])
        for answerer in everywhere:
            right = np.concatenate([skill.right(answerer) for skill in known])
            results.append(_result(TOTAL, answerer, right, model_right, np.concatenate(units), model))
    return results


def has_books(answers: Sequence[SkillAnswers]) -> bool:
    """Whether every question names its book."""
    return all(skill.books is not None for skill in answers)


def _units(skill: SkillAnswers, number: int, by_book: bool) -> np.ndarray:
    names = (
        skill.books if by_book and skill.books is not None else [f"{number}/{i}" for i in range(len(skill.solutions))]
    )
    return np.asarray(names, dtype=object).astype(str)[skill.is_known]


def _result(
    skill: str, answerer: str, right: np.ndarray, model_right: np.ndarray, units: np.ndarray, model: str
) -> PapResult:
    accuracy, low, high = bootstrap_mean(right, units)
    result = PapResult(skill, answerer, accuracy, low, high, num_questions=len(right))
    if answerer == RANDOM:
        result.low = result.high = None
    if answerer != model:
        result.gain, result.gain_low, result.gain_high = bootstrap_mean(model_right - right, units)
    return result


def notes(
    answers: Sequence[SkillAnswers], image_encoder: str, text_encoder: str | None, untrained: set[str]
) -> list[str]:
    """What a reader of the numbers has to know: what the encoders could see, heads without training, what intervals cover."""
    lines = [
        f"Pictures by {image_encoder}; texts by {text_encoder}."
        if text_encoder
        else f"Pictures by {image_encoder}, no text encoder."
    ]
    for skill in answers:
        seen = (
            f"{skill.skill}: options are {skill.option_likeness:.3f} alike (mean cosine) as {skill.modality} vectors."
        )
        if skill.skill in LETTERING_SKILLS:
            seen += " They are one picture with different lettering, "
            seen += (
                "which the text encoder was given."
                if skill.with_lettering
                else f"and the lettering was given as pixels only: {image_encoder} does not read. Expect chance."
            )
        elif not skill.with_lettering:
            seen += " Lettering was seen as pixels only."
        if SKILLS[skill.skill] in untrained:
            seen += " The model's head for it is untrained: its row says nothing."
        if skill.skill == "caption_relevance":
            seen += " Asked is the panel after the captioned one. The context mean is the caption itself."
        lines.append(seen)
    over = (
        "books"
        if has_books(answers)
        else "samples, since the data set names no books: they are too narrow where books repeat"
    )
    lines.append(
        f"Brackets: 95 % intervals by bootstrap over {over}. Total: all samples pooled. Random: mean of 1 / options."
    )
    return lines


def results_tables(results: Sequence[PapResult]) -> list[Table]:
    """One table a skill, the total last."""
    tables = []
    for skill, rows in groupby(results, key=lambda result: result.skill):
        block = list(rows)
        table = Table(title=f"{skill}: {block[0].num_questions:,} questions", title_justify="left")
        for name in ("answerer", "accuracy, %", "model minus this"):
            table.add_column(name, no_wrap=True)
        for result in block:
            gain = "" if result.gain is None else interval(result.gain, result.gain_low, result.gain_high, signed=True)
            table.add_row(result.answerer, interval(result.accuracy, result.low, result.high), gain)
        tables.append(table)
    return tables


def write_report(
    folder: Path, answers: Sequence[SkillAnswers], model: str, settings: dict[str, Any], lines: Sequence[str]
) -> list[PapResult]:
    """Writes all files of a run and returns its results.

    `results.json` holds settings, results and notes; `report.md` the same to read; `results_SKILL.json` the predictions in
    the form of the benchmark's own evaluation; `predictions.csv` all of them, one line a sample.
    """
    results = pap_results(answers, model)
    document = {"settings": settings, "results": [asdict(result) for result in results], "notes": list(lines)}
    write_results(document, folder / "results.json")
    write_text(folder / "report.md", _markdown(results, model, settings, lines))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["sample_id", "skill", "prediction"])
    for skill in answers:
        rows = predictions(skill, model)
        write_text(folder / f"results_{skill.skill}.json", json.dumps(rows, indent=2) + "\n")
        writer.writerows([row["sample_id"], skill.skill, row["prediction"]] for row in rows if "prediction" in row)
    write_text(folder / "predictions.csv", table.getvalue())
    return results


def predictions(skill: SkillAnswers, model: str) -> list[dict[str, Any]]:
    """One entry a sample, as the benchmark's own evaluation writes them; with known solutions a summary comes first."""
    rows: list[dict[str, Any]] = []
    for sample_id, choice, solution in zip(skill.sample_ids, skill.choices[model], skill.solutions, strict=True):
        row = {
            "sample_id": sample_id,
            "full_prediction": f"answer: {choice}",
            "prediction": int(choice),
            "skill": skill.skill,
        }
        if solution >= 0:
            row |= {"solution_index": int(solution), "correct": bool(choice == solution)}
        rows.append(row)
    if skill.is_known.all():
        accuracy = float(skill.right(model).mean())
        rows.insert(0, {"sample_id": "summary", "accuracy": accuracy, "total_samples": len(skill.solutions)})
    return rows


def _markdown(results: Sequence[PapResult], model: str, settings: dict[str, Any], lines: Sequence[str]) -> str:
    text = [f"# ComicsPAP: {model}", "", f"Data: {settings['data']}, split {settings['split']}.", ""]
    if not results:
        text.append("The solutions of this split are hidden: there are predictions, and no accuracy.")
    else:
        text += ["| skill | questions | answerer | accuracy, % | model minus this |", "|---|---|---|---|---|"]
    for result in results:
        gain = "" if result.gain is None else interval(result.gain, result.gain_low, result.gain_high, signed=True)
        accuracy = interval(result.accuracy, result.low, result.high)
        text.append(f"| {result.skill} | {result.num_questions:,} | {result.answerer} | {accuracy} | {gain} |")
    return "\n".join([*text, "", *(f"- {line}" for line in lines), ""])


def print_report(results: Sequence[PapResult], lines: Sequence[str], console: Console) -> None:
    """Prints the tables and the notes."""
    for table in results_tables(results):
        console.print(table)
    if not results:
        console.print("The solutions of this split are hidden: there are predictions, and no accuracy.")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
