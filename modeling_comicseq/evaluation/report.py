"""An evaluation in the terminal and as `report.md`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..model.tasks_comicseq import TASKS
from .metrics import FEW_BOOKS
from .results import GEOMETRY, LEAKY, MEAN_POOL, RETRIEVAL, XY_CUT, Difference, Result, Score, heading, interval

PROTOCOLS = {
    "same_book": "wrong candidates from the nearest other pages of the book",
    "cross_book": "wrong candidates from other books",
    "later_panels": "wrong candidates are the page's own panels behind the gap",
    "in_page": "wrong candidates stand in the context, so that elimination answers",
}
WIDE = 110  # columns of a terminal that has room for intervals beside their numbers
AS_NUMBERS = ("mean reciprocal rank", "Kendall's tau")  # no shares of anything


def print_results(results: Sequence[Result], differences: Sequence[Difference], console: Console) -> None:
    """Prints an overview: a table a protocol with the tasks as rows, one a task without candidates, and strip vectors.

    Beside each model stand chance, the better of the two cosine baselines, what the model gains on it, and the model
    without context and with shuffled context. Of data with boxes, a second table has what geometry alone answers, and the
    model that is told of the context nothing but its boxes, or all but these. All rows are in `report.md`.
    """
    choices = [result for result in results if result.protocol]
    for protocol in dict.fromkeys(result.protocol for result in choices):
        console.print(f"[bold]{LEAKY.get(protocol, protocol)}[/]: {PROTOCOLS.get(protocol, '')}")
        _print_choices([result for result in choices if result.protocol == protocol], differences, console)
    for block in by_set([result for result in results if not result.protocol and result.task not in RETRIEVAL]):
        question = f": {TASKS[block[0].task].question}" if block[0].task in TASKS else ""
        console.print(f"[bold]{block[0].task}[/]{question}")
        header = ["", *(metric.replace(" ", "\n") for metric in block[0].metrics)]
        _print_table(header, [[result.answerer, *_cells(result)] for result in block], block, console)
    retrieval = [result for result in results if result.task in RETRIEVAL]
    if retrieval:
        console.print("[bold]strip vectors[/]: held-out pages found by cosine")
        lines = []
        for result in retrieval:
            found = percent(result) if result.answerer == "chance" else score_text(result.score)
            name = result.task.removesuffix("_retrieval")
            lines.append([name, result.answerer, found, _minus(differences, result, MEAN_POOL)])
        _print_table(["", "vectors", "nearest\nis right", "minus\nmean-pooling"], lines, retrieval, console)
    models = {result.answerer for result in results if result.role == "model"}
    metrics = {(result.task, result.protocol): result.metric for result in results}
    for each in differences:
        if {each.answerer, each.minus} <= models and each.metric == metrics[each.task, each.protocol]:
            gain = f"{each.answerer} minus {each.minus} {score_text(each.difference, signed=True)}"
            console.print(f"{heading(each.task, each.protocol)}: {gain}", highlight=False)
    console.print("In %; brackets are 95 % intervals by bootstrap over books, paired for differences.")


def told_by_geometry(results: Sequence[Result]) -> str | None:
    """A sentence about the question sets that are surely answered better than by chance from where panels stand alone.

    Over fewer than ten books nothing is sure.
    """
    found = []
    for block in by_set(results):
        geometry, chance = find(block, GEOMETRY), find(block, "chance")
        if geometry is not None and chance is not None and geometry.num_books >= FEW_BOOKS:
            if geometry.score.low > chance.score.mean:
                set_name = heading(geometry.task, geometry.protocol)
                found.append(f"{set_name} {score_text(geometry.score)} % (chance {percent(chance)})")
    if not found:
        return None
    return (
        f"Questions are answered from where the other panels stand, without reading one: {'; '.join(found)}. The vectors tell"
        " the shape of their panel, or what goes with it, and the right shape fits the gap."
    )


def best_cosine(block: Sequence[Result]) -> Result | None:
    """The better of the baselines that go by likeness; None where there is none."""
    cosines = [result for result in block if result.role == "baseline" and "cosine" in result.answerer]
    return max(cosines, key=lambda result: result.score.mean, default=None)


def by_set(results: Sequence[Result]) -> list[list[Result]]:
    """Results of one question set at a time."""
    return [list(block) for _, block in groupby(results, key=lambda result: (result.task, result.protocol))]


def without_context(block: Sequence[Result], model: str) -> Result | None:
    """What a model answers when it sees nothing of the question but its candidates' place."""
    return find(block, f"{model}, without context") or find(block, f"{model}, caption removed")


def share_of_optimum(block: Sequence[Result], model: str) -> float | None:
    """How much of the attainable gain over chance a model reaches; None where the optimum is not known.

    Attainable is what the per-candidate optimum scores; in reading order, the optimum of the pages that it knows, which sees
    no boxes: nothing is said of a model that reads them.
    """
    if find(block, XY_CUT) and find(block, f"{model}, content alone"):
        return None
    known = [result for result in block if result.role == "optimum" and result.answerer != "optimum"]
    if not known:
        return None
    chance = next(result for result in block if result.answerer == "chance").score.mean
    mine = [result for result in block if result.role in ("subset", "model") and result.model == model]
    return (mine[0].score.mean - chance) / (known[0].score.mean - chance)


def find(block: Sequence[Result], answerer: str) -> Result | None:
    """The result of `answerer` in one question set, if it is there."""
    return next((result for result in block if result.answerer == answerer), None)


def score_text(score: Score, signed: bool = False, percent: bool = True) -> str:
    """A score with its interval, in percent or as it is."""
    return interval(score.mean, score.low, score.high, signed, percent)


def percent(result: Result | None) -> str:
    """A score in percent; nothing where there is none."""
    return "" if result is None else f"{100 * result.score.mean:.1f}"


def _print_choices(results: list[Result], differences: Sequence[Difference], console: Console) -> None:
    blocks = by_set(results)
    has_models = len({result.model for result in results if result.role == "model"}) > 1
    header = ["task", "chance", "best\ncosine", "model", "minus\ncosine", "no\ncon-\ntext", "shuf-\nfled"]
    has_optimum = any(result.role == "optimum" for result in results)
    lines, unread = [], []
    for block in blocks:
        cosine = best_cosine(block)
        for model in (result for result in block if result.role == "model"):
            name = model.answerer
            cells = [f"{model.task}\n{name}" if has_models else model.task, percent(find(block, "chance"))]
            cells += [percent(cosine), score_text(model.score)]
            cells.append(_minus(differences, model, cosine.answerer) if cosine is not None else "")
            cells += [percent(without_context(block, name)), percent(find(block, f"{name}, shuffled context"))]
            lines.append(cells + [percent(find(block, "optimum"))] * has_optimum)
            others = [GEOMETRY, f"{name}, boxes alone", f"{name}, content alone"]
            unread.append(cells[:2] + [_score_of(find(block, each)) for each in [*others, name]])
    _print_table(header + ["opti-\nmum"] * has_optimum, lines, results, console)
    if any(result.answerer == GEOMETRY for result in results):
        console.print("[bold]without reading the context[/]: from where its panels stand")
        header = ["task", "chance", "geometry\nalone", "boxes\nalone", "content\nalone", "model"]
        _print_table(header, unread, results, console)


def _score_of(result: Result | None) -> str:
    return "" if result is None else score_text(result.score)


def _print_table(header: list[str], lines: list[list[str]], results: Sequence[Result], console: Console) -> None:
    """Prints a table, with the intervals below their numbers on a narrow terminal and the names of tasks always whole."""
    is_wide = console.width >= WIDE
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1 if is_wide else 0, 0, 0))
    for title in header:
        if title in ("", "task", "vectors"):
            longest = max(len(result.task) for result in results) if title == "task" else None
            table.add_column(title, overflow="fold", min_width=longest)
        else:
            table.add_column(title, justify="right", no_wrap=True, overflow="fold")
    for cells in lines:
        table.add_row(*(cell if is_wide else cell.replace(" [", "\n[") for cell in cells))
    console.print(table)
    console.print(_asked(results), "\n", highlight=False)


def _asked(block: Sequence[Result]) -> str:
    questions, books = (
        sorted({getattr(result, count) for result in block}) for count in ("num_questions", "num_books")
    )
    spans = [" to ".join(f"{end:,}" for end in dict.fromkeys((ends[0], ends[-1]))) for ends in (questions, books)]
    return f"{spans[0]} questions of {spans[1]} books each."


def _cells(result: Result) -> list[str]:
    """Every metric with its interval, in percent where it is a share."""
    return [score_text(score, percent=metric not in AS_NUMBERS) for metric, score in result.metrics.items()]


def _minus(differences: Sequence[Difference], mine: Result, other: str) -> str:
    """What a result has more than that of `other`, by its first metric; nothing where they were not compared."""
    for each in differences:
        if (each.task, each.protocol, each.metric) == (mine.task, mine.protocol, mine.metric):
            gain = each.difference
            if (each.answerer, each.minus) == (mine.answerer, other):
                return score_text(gain, signed=True)
            if (each.answerer, each.minus) == (other, mine.answerer):
                return score_text(Score(-gain.mean, -gain.high, -gain.low), signed=True)
    return ""


def report_markdown(
    results: Sequence[Result],
    differences: Sequence[Difference],
    about: dict,
    notes: Sequence[str],
    plots: Sequence[str],
) -> str:
    """The whole report: every row of every question set, by page length and candidates, with the plots.

    Args:
        results: All results.
        differences: All paired differences.
        about: `models`, `dataset`, `split` and `questions`, the fingerprint of all question sets.
        notes: What was left out, and warnings.
        plots: File names of the plots.
    """
    sections = [_section(block, differences) for block in by_set(results)]
    return fill("report.md", about=about, notes=notes, plots=plots, sections=sections)


def fill(template: str, **values: Any) -> str:
    """Fills the template of that name, which lies beside this file."""
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    return (
        Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True).from_string(text).render(values)
    )


def _section(block: list[Result], differences: Sequence[Difference]) -> dict[str, Any]:
    """What the report says of one question set: its heading, shares of the optimum by model, and tables."""
    first = block[0]
    models = [result for result in block if result.role == "model"]
    header = ["", *(metric if metric in AS_NUMBERS else f"{metric}, %" for metric in first.metrics)]
    header += [f"{model.answerer} minus this" for model in models]
    # An optimum of some questions only is set against the model's answers on these.
    ours = [[each for each in block if each.model == m.model and each.role in ("subset", "model")] for m in models]
    rows = []
    for result in block:
        gains = ["".join(_minus(differences, mine, result.answerer) for mine in answers) for answers in ours]
        rows.append([result.answerer, *_cells(result), *gains])
    tables = [(header, rows)]
    shown = [result for result in block if result.answerer == "chance" or result is best_cosine(block)]
    shown += [result for result in block if result.role in ("model", "optimum")]
    for title, groups in (("Panels", "by_page_length"), ("Candidates", "by_candidates")):
        values = [group.value for group in getattr(first, groups)]
        if len(values) > 1:
            header = [title, "questions", *(result.answerer for result in shown)]
            tables.append((header, [_group(shown, groups, value) for value in values]))
    shares = {model.answerer: share_of_optimum(block, model.answerer) for model in models}
    return {
        "heading": heading(first.task, first.protocol),
        "asked": f"{_asked(block)} Questions `{first.questions}`.",
        "shares": {name: share for name, share in shares.items() if share is not None},
        "tables": tables,
    }


def _group(shown: list[Result], groups: str, value: int) -> list[str]:
    """The line of the questions with `value` panels, or candidates."""
    found = [next((group for group in getattr(result, groups) if group.value == value), None) for result in shown]
    count = next(group.num_questions for group in found if group is not None)
    return [str(value), f"{count:,}", *("" if group is None else score_text(group.score) for group in found)]
