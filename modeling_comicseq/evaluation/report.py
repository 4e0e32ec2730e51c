"""Results of an evaluation as a terminal table and as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

LEAKY = {"in_page": "in_page (leaky)"}


@dataclass
class Result:
    """How well one answerer does on one set of questions.

    Attributes:
        task: The task.
        protocol: Where wrong candidates came from; empty for reading order.
        answerer: The model's folder, or the name of a baseline.
        score: Mean top-1 accuracy, or mean pairwise accuracy for reading order.
        low: Lower end of its 95 % interval over books.
        high: Upper end.
        gain: Model minus this answerer on the same questions; None for the model itself.
        gain_low: Lower end of the paired 95 % interval over books.
        gain_high: Upper end.
        num_questions: Questions asked.
        num_books: Books they come from.
    """

    task: str
    protocol: str
    answerer: str
    score: float
    low: float
    high: float
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    num_questions: int = 0
    num_books: int = 0


def print_results(results: list[Result], console: Console) -> None:
    """Prints one table a task and protocol: every answerer with its interval, and what the model gains on it."""
    for (task, protocol), group in groupby(results, key=lambda result: (result.task, result.protocol)):
        block = list(group)
        metric = "pairwise accuracy" if task == "reading_order" else "top-1 accuracy"
        heading = f"{task}, {LEAKY.get(protocol, protocol)}" if protocol else task
        console.print(f"[bold]{heading}[/]: {block[0].num_questions:,} questions, {block[0].num_books} books")
        table = Table()
        table.add_column("answerer", no_wrap=True)
        table.add_column(f"{metric}, %", justify="right", no_wrap=True)
        table.add_column("model minus this", justify="right", no_wrap=True)
        for result in block:
            gain = ""
            if result.gain is not None:
                gain = interval(result.gain, result.gain_low, result.gain_high, signed=True)
            table.add_row(result.answerer, interval(result.score, result.low, result.high), gain)
        console.print(table)
    console.print("Brackets: 95 % intervals by bootstrap over books, paired for differences.")


def interval(value: float, low: float | None, high: float | None, signed: bool = False) -> str:
    """Percent with its interval, as in `41.2 [38.0, 44.1]`."""
    sign = "+" if signed else ""
    if low is None or high is None or low != low:
        return f"{100 * value:{sign}.1f}"
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def write_results(results: list[Result], settings: dict, path: Path) -> None:
    """Writes settings and results as JSON, beside the target first and then in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps({"settings": settings, "results": [asdict(r) for r in results]}, indent=2) + "\n")
    os.replace(beside, path)
