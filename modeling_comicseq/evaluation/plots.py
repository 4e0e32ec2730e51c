"""Plots of an evaluation as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, no state, drawn by Agg

from ..files import written_file
from .report import best_cosine, by_set
from .results import Result, heading

PLOTS = ("scores.png", "by_page_length.png")
# Okabe and Ito's colours, which all readers can tell apart.
CHANCE, COSINE, OPTIMUM = "#999999", "#E69F00", "#009E73"
MODELS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


def plot_results(results: Sequence[Result], folder: Path) -> list[str]:
    """Writes `scores.png` (every task with its intervals) and `by_page_length.png`; returns the names of the files."""
    blocks = [block for block in by_set(results) if block[0].by_page_length]
    if not blocks:
        return []
    for name, (figure, labels) in zip(PLOTS, (_scores(blocks), _by_length(blocks)), strict=True):
        figure.legend(list(labels.values()), list(labels), loc="outside upper center", ncols=5, fontsize="small")
        with written_file(folder / name) as beside:
            figure.savefig(beside, dpi=120, format="png")
    return list(PLOTS)


def _shown(block: list[Result], same_questions: bool = False) -> list[tuple[Result, str, str]]:
    """The rows of a question set that are drawn, with their labels and colours.

    Args:
        block: All rows.
        same_questions: Of models, their answers on the questions of an optimum that is known for some only.
    """
    shown = [(result, "chance", CHANCE) for result in block if result.answerer == "chance"]
    shown += [(result, "best cosine", COSINE) for result in block if result is best_cosine(block)]
    best = [result for result in block if result.role == "optimum" and ", " not in result.answerer]
    shown += [(result, "optimum", OPTIMUM) for result in best]
    subsets = [result for result in block if result.role == "subset"] if same_questions else []
    models = subsets or [result for result in block if result.role == "model"]
    return shown + [(each, each.model, MODELS[number % len(MODELS)]) for number, each in enumerate(models)]


def _scores(blocks: list[list[Result]]) -> tuple[Figure, dict[str, Any]]:
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(blocks)), layout="constrained")
    axes = figure.add_subplot()
    labels: dict[str, Any] = {}
    names = []
    for line, block in enumerate(blocks):
        shown = _shown(block, same_questions=True)
        names.append(heading(block[0].task, block[0].protocol))
        if any(result.role == "subset" for result, _, _ in shown):
            names[-1] += f"\n{shown[-1][0].answerer.removeprefix(shown[-1][0].model).strip()}"
        for number, (result, label, colour) in enumerate(shown):
            score = result.score
            errors = np.nan_to_num([[score.mean - score.low], [score.high - score.mean]]).clip(min=0)
            height = line + 0.5 * (number / max(len(shown) - 1, 1) - 0.5)
            bar = axes.errorbar(100 * score.mean, height, xerr=100 * errors, fmt="o", markersize=4, color=colour)
            labels.setdefault(label, bar)
    axes.set_yticks(range(len(blocks)), names)
    axes.invert_yaxis()
    axes.set_xlabel("top-1 accuracy (reading order: pairwise), %")
    axes.set_xlim(-2, 102)  # a whole dot at either end
    axes.grid(axis="x", alpha=0.3)
    return figure, labels


def _by_length(blocks: list[list[Result]]) -> tuple[Figure, dict[str, Any]]:
    columns = min(3, len(blocks))
    rows = -(-len(blocks) // columns)
    figure = Figure(figsize=(3.6 * columns, 0.5 + 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    labels: dict[str, Any] = {}
    for axes, block in zip(grid, blocks, strict=False):
        for result, label, colour in _shown(block):
            lengths = [group.value for group in result.by_page_length]
            mean, low, high = 100 * np.asarray([astuple(group.score) for group in result.by_page_length]).T
            (line,) = axes.plot(lengths, mean, marker=".", color=colour)
            axes.fill_between(lengths, low, high, color=colour, alpha=0.15, linewidth=0)
            labels.setdefault(label, line)
        axes.set_title(heading(block[0].task, block[0].protocol), fontsize="small")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in grid[len(blocks) :]:
        axes.remove()
    figure.supxlabel("panels on the page", fontsize="small")
    figure.supylabel("%", fontsize="small")
    return figure, labels
