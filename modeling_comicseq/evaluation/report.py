"""An evaluation in the terminal and as `report.md`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .results import LEAKY, RETRIEVAL, Difference, Result, heading, interval

PROTOCOLS = {
    "same_book": "wrong candidates from the nearest other pages of the book",
    "cross_book": "wrong candidates from other books",
    "later_panels": "wrong candidates are the page's own panels behind the gap",
    "in_page": "wrong candidates stand in the context, so that elimination answers",
}
WIDE = 110  # columns of a terminal that has room for intervals beside their numbers
AS_NUMBERS = ("mean reciprocal rank", "Kendall's tau")  # no shares of anything
ROWS = """\
What the rows mean, each on the same questions:

- **chance**: a guess; the mean of one over the number of candidates. In reading order, a random order.
- **last-panel cosine**, **context-mean cosine**: the candidate nearest to the panel before the asked one (its successor
  where it is the first), and nearest to the mean of the panels shown; in text-cloze by their texts. In caption
  relevance, **caption cosine**: nearest to the caption.
- **farthest from the context**: the candidate least like that mean. Well above chance, it shows that wrong candidates
  stand in the context.
- **nearest-neighbour chain**: starts at the panel least like the others and goes on to the nearest left.
- **MODEL, without context**: all panels of the context masked out. What stays is the asked slot with its position, and
  in text-cloze its picture; in closure the masked slot before the gap; in coherence a masked slot. In reading order, every
  pair of panels is scored as a page of its own.
- **MODEL, shuffled context**: the panels shown, and their texts, in random order.
- **MODEL, candidates only**: as without context, and neither the position nor the picture of the asked slot. In
  coherence, which asks for no position, this is the row without context.
- **MODEL, caption removed**: the mask embedding instead of the caption.
- **optimum**: the best possible answer on a synthetic corpus, knowing all candidates; **optimum, one candidate**: judging
  each without the others. In reading order: the order with the most pairs expected right (for perfect match: the most
  probable one), on pages up to 7 panels, and the model's score on these.

Brackets: 95 % intervals by bootstrap over books, paired for differences."""


def print_results(results: Sequence[Result], differences: Sequence[Difference], console: Console) -> None:
    """Prints an overview: one table a protocol with the tasks as rows, then reading order, then strip vectors.

    Beside each model stand chance, the better of the two cosine baselines, what the model gains on it, and the model
    without context and with shuffled context. All rows are in `report.md`.
    """
    choices = [result for result in results if result.protocol]
    for protocol in dict.fromkeys(result.protocol for result in choices):
        mine = [result for result in choices if result.protocol == protocol]
        _print_choices(mine, differences, console, protocol)
    order = [result for result in results if result.task == "reading_order"]
    if order:
        _print_order(order, console)
    retrieval = [result for result in results if result.task in RETRIEVAL]
    if retrieval:
        _print_retrieval(retrieval, differences, console)
    for difference in differences:
        if _is_between_models(results, difference):
            gain = difference.difference
            console.print(
                f"{heading(difference.task, difference.protocol)}: {difference.answerer} minus {difference.minus} "
                f"{interval(gain.mean, gain.low, gain.high, signed=True)}",
                highlight=False,
            )
    console.print("In %; brackets are 95 % intervals by bootstrap over books, paired for differences.")


def best_cosine(block: Sequence[Result]) -> Result | None:
    """The better of the baselines that go by likeness; None where there is none."""
    cosines = [result for result in block if result.role == "baseline" and "cosine" in result.answerer]
    return max(cosines, key=lambda result: result.score.mean, default=None)


def by_set(results: Sequence[Result]) -> list[list[Result]]:
    """Results of one question set at a time."""
    return [list(block) for _, block in groupby(results, key=lambda result: (result.task, result.protocol))]


def share_of_optimum(block: Sequence[Result], model: str) -> float | None:
    """How much of the attainable gain over chance a model reaches; None where the optimum is not known.

    Attainable is what the per-candidate optimum scores; in reading order, the optimum of the pages that it knows.
    """
    known = [result for result in block if result.role == "optimum" and result.answerer != "optimum"]
    if not known:
        return None
    chance = find(block, "chance").score.mean
    subset = [result for result in block if result.role == "subset" and result.model == model]
    mine = subset[0] if subset else find(block, model)
    return (mine.score.mean - chance) / (known[0].score.mean - chance)


def find(block: Sequence[Result], answerer: str) -> Result:
    """The result of `answerer` in one question set."""
    return next(result for result in block if result.answerer == answerer)


def _print_choices(block: list[Result], differences: Sequence[Difference], console: Console, protocol: str) -> None:
    has_optimum = any(result.role == "optimum" for result in block)
    has_models = len({result.model for result in block if result.role == "model"}) > 1
    console.print(f"[bold]{LEAKY.get(protocol, protocol)}[/]: {PROTOCOLS.get(protocol, '')}")
    table = _terminal_table("task")
    if has_models:
        table.add_column("model", overflow="fold")
    columns = ["chance", "best\ncosine", "model", "minus\ncosine", "no con-\ntext", "shuf-\nfled"]
    for column in columns + ["opti-\nmum"] * has_optimum:
        table.add_column(column, justify="right", no_wrap=True)
    for results in by_set(block):
        cosine = best_cosine(results)
        optimum = next((result for result in results if result.answerer == "optimum"), None)
        for model in (result for result in results if result.role == "model"):
            ablations = {result.answerer.removeprefix(f"{model.answerer}, "): result for result in results}
            without = ablations.get("without context") or ablations.get("caption removed")
            cells = [_percent(find(results, "chance")), _percent(cosine), _fit(_with_interval(model), console)]
            cells.append(_fit(_gain(differences, model, cosine), console))
            cells += [_percent(without), _percent(ablations.get("shuffled context"))]
            cells += [_percent(optimum)] * has_optimum
            task = model.task if console.width >= WIDE else model.task.replace("_", "_\n")
            table.add_row(task, *([model.answerer] * has_models), *cells)
    console.print(table)
    console.print(_asked(block), "\n", highlight=False)


def _print_order(block: list[Result], console: Console) -> None:
    console.print("[bold]reading_order[/]: shuffled pages put in order")
    table = _terminal_table("")
    for metric in block[0].metrics:
        table.add_column(metric.replace(" ", "\n"), justify="right", no_wrap=True)
    for result in block:
        table.add_row(result.answerer, *(_fit(cell, console) for cell in _cells(result)))
    console.print(table)
    console.print(_asked(block), "\n", highlight=False)


def _print_retrieval(block: list[Result], differences: Sequence[Difference], console: Console) -> None:
    console.print("[bold]strip vectors[/]: held-out pages found by cosine")
    table = _terminal_table("")
    table.add_column("vectors", overflow="fold")
    table.add_column("nearest\nis right", justify="right", no_wrap=True)
    table.add_column("minus\nmean-pooling", justify="right", no_wrap=True)
    for result in block:
        mine = (result.task, result.answerer, result.metric)
        gains = [d.difference for d in differences if (d.task, d.answerer, d.metric) == mine]
        gain = interval(gains[0].mean, gains[0].low, gains[0].high, signed=True) if gains else ""
        found = _with_interval(result) if result.role == "model" or "mean" in result.answerer else _percent(result)
        cells = (_fit(found, console), _fit(gain, console))
        table.add_row(result.task.removesuffix("_retrieval"), result.answerer, *cells)
    console.print(table)
    console.print(_asked(block), "\n", highlight=False)


def _terminal_table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    table.add_column(first, overflow="fold")
    return table


def _fit(cell: str, console: Console) -> str:
    """The interval below its number on a narrow terminal."""
    return cell if console.width >= WIDE else cell.replace(" [", "\n[")


def _asked(block: Sequence[Result]) -> str:
    questions = [result.num_questions for result in block]
    books = [result.num_books for result in block]
    return f"{_span(questions)} questions of {_span(books)} books each."


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _percent(result: Result | None) -> str:
    return "" if result is None else f"{100 * result.score.mean:.1f}"


def _with_interval(result: Result) -> str:
    return interval(result.score.mean, result.score.low, result.score.high)


def _cells(result: Result) -> list[str]:
    """Every metric with its interval, in percent where it is a share."""
    cells = []
    for metric, score in result.metrics.items():
        if metric in AS_NUMBERS:
            ends = "" if score.low != score.low else f" [{score.low:.3f}, {score.high:.3f}]"
            cells.append(f"{score.mean:.3f}{ends}")
        else:
            cells.append(interval(score.mean, score.low, score.high))
    return cells


def _gain(differences: Sequence[Difference], model: Result, other: Result | None) -> str:
    for difference in differences:
        mine = (difference.task, difference.protocol, difference.answerer, difference.metric)
        is_mine = mine == (model.task, model.protocol, model.answerer, model.metric)
        if other is not None and is_mine and difference.minus == other.answerer:
            gain = difference.difference
            return interval(gain.mean, gain.low, gain.high, signed=True)
    return ""


def _is_between_models(results: Sequence[Result], difference: Difference) -> bool:
    """Whether two models are compared, by the metric that comes first."""
    block = [r for r in results if (r.task, r.protocol) == (difference.task, difference.protocol)]
    models = {result.answerer for result in block if result.role == "model"}
    return {difference.answerer, difference.minus} <= models and difference.metric == block[0].metric


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
    lines = ["# Evaluation", ""]
    lines += [f"- {name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in about.items()]
    lines += [f"- Note: {note}" for note in notes]
    lines += ["", *(f"![{plot.removesuffix('.png').replace('_', ' ')}]({plot})" for plot in plots)]
    for block in by_set(results):
        lines += ["", *_section(block, differences)]
    lines += ["", "## How to read this", "", ROWS, ""]
    return "\n".join(lines)


def _section(block: list[Result], differences: Sequence[Difference]) -> list[str]:
    first = block[0]
    models = [result.answerer for result in block if result.role == "model"]
    mine = [d for d in differences if (d.task, d.protocol) == (first.task, first.protocol)]
    lines = [f"## {heading(first.task, first.protocol)}", ""]
    lines.append(f"{_asked(block)} Questions `{first.questions}`.")
    for model in models:
        share = share_of_optimum(block, model)
        if share is not None:
            lines.append(f"{model} reaches {100 * share:.0f} % of the attainable gain over chance.")
    header = ["", *(_title(metric) for metric in first.metrics), *(f"{model} minus this" for model in models)]
    rows = [
        [result.answerer, *_cells(result), *(_difference(mine, model, result, block) for model in models)]
        for result in block
    ]
    lines += ["", *_table(header, rows)]
    shown = [result for result in block if result.role in ("model", "optimum")]
    baselines = [result for result in block if result.answerer == "chance"]
    cosine = best_cosine(block)
    shown = [*baselines, *([cosine] if cosine else []), *shown]
    for title, groups in (("Panels", "by_page_length"), ("Candidates", "by_candidates")):
        values = [group.value for group in getattr(first, groups)]
        if len(values) > 1:
            lines += ["", *_table([title, "questions", *(r.answerer for r in shown)], _by(shown, groups, values))]
    return lines


def _by(shown: list[Result], groups: str, values: list[int]) -> list[list[str]]:
    rows = []
    for value in values:
        found = [[group for group in getattr(result, groups) if group.value == value] for result in shown]
        cells = [interval(g[0].score.mean, g[0].score.low, g[0].score.high) if g else "" for g in found]
        rows.append([str(value), f"{found[0][0].num_questions:,}", *cells])
    return rows


def _title(metric: str) -> str:
    return metric if metric in AS_NUMBERS else f"{metric}, %"


def _difference(differences: Sequence[Difference], model: str, other: Result, block: Sequence[Result]) -> str:
    """The model minus another row; minus an optimum of some questions only, the model's answers on these."""
    subsets = [each.answerer for each in block if (each.role, each.model) == ("subset", model)]
    mine = (model, *subsets) if other.role == "optimum" else (model,)
    for d in differences:
        if d.answerer in mine and (d.minus, d.metric) == (other.answerer, other.metric):
            return interval(d.difference.mean, d.difference.low, d.difference.high, signed=True)
        if (d.answerer, d.minus, d.metric) == (other.answerer, model, other.metric):
            low, high = -d.difference.high, -d.difference.low
            return interval(-d.difference.mean, low, high, signed=True)
    return ""


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
