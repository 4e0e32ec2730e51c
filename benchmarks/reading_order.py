"""Reading order from boxes on annotated pages: by rules, and by the packaged predictor, which saw drawn layouts alone.

    python -m benchmarks.reading_order DATA/openmantra/panels.json DATA/peppercarrot/panels.json \\
        DATA/mimi_eunice/panels.json --errors errors.svg

Panels are shuffled before they are asked about. Boxes are also asked as detectors find them: each edge off by a normal
error, some panels missed. Intervals: bootstrap over books and, in each, over pages; paired for differences. The pages that
the predictor reads otherwise than they are annotated are drawn as outlines, never as pictures.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from modeling_comicseq.files import write_json, write_text
from modeling_comicseq.layouts.boxes import mirror
from modeling_comicseq.layouts.drawn import jittered
from modeling_comicseq.layouts.predictor import (
    book_direction,
    load_predictor,
    looks_like,
    order_both_ways,
    order_pages,
)
from modeling_comicseq.layouts.rules import nearest_order, raster_order, xy_cut_order
from modeling_comicseq.pages.annotations import read_annotations

RULES = {"raster": raster_order, "XY-cut": xy_cut_order, "nearest": nearest_order}
OURS, BASE = "predictor", "XY-cut"
DRAWS = 5  # of what is drawn: errors of boxes, missed panels, and how panels are shuffled
JITTER, MISSED = 0.03, 0.1


class Page(NamedTuple):
    """A page whose boxes (n, 4) stand in reading order."""

    book: str
    name: str
    direction: str
    size: tuple[int, int]
    boxes: np.ndarray


def read(path: str) -> list[Page]:
    """The pages of at least two panels."""
    pages = []
    for name, entry, annotation in read_annotations(path):
        boxes = np.array([panel.box for panel in annotation.panels], np.float64).reshape(-1, 4)
        if len(boxes) > 1:
            direction = annotation.reading_direction or "ltr"
            pages.append(Page(str(entry.get("book_id", path)), name, direction, annotation.size or (1, 1), boxes))
    return pages


def changed(page: Page, rng: np.random.Generator, jitter: float, missed: float) -> np.ndarray:
    """Its boxes as a detector finds them, in reading order; two panels at least remain."""
    boxes = jittered(page.boxes, jitter, rng) if jitter else page.boxes
    kept = rng.random(len(boxes)) >= missed
    while kept.sum() < 2:
        kept[rng.integers(len(boxes))] = True
    return boxes[kept]


def scores(order: Sequence[int]) -> tuple[float, float]:
    """Share of the pairs, and of the pages, that an order of panels which stand in reading order has right."""
    first, second = np.triu_indices(len(order), 1)
    place = np.argsort(order)
    right = place[first] < place[second]
    return float(right.mean()), float(right.all())


def ask(pages: Sequence[Page], jitter: float, missed: float, told: bool, as_listed: bool) -> dict[str, np.ndarray]:
    """Pairs and pages right of each way to order `(draws, pages, 2)`."""
    found: dict[str, list] = defaultdict(list)
    for draw in range(DRAWS):
        boxes = [changed(page, np.random.default_rng((draw, n)), jitter, missed) for n, page in enumerate(pages)]
        shuffles = [
            np.arange(len(each)) if as_listed else np.random.default_rng((draw, n, 1)).permutation(len(each))
            for n, each in enumerate(boxes)
        ]
        shown = [each[shuffle] for each, shuffle in zip(boxes, shuffles, strict=True)]
        for name, orders in orders_of(pages, shown, told, as_listed).items():
            pairs = zip(orders, shuffles, strict=True)
            found[name].append([scores([int(shuffle[place]) for place in order]) for order, shuffle in pairs])
    return {name: np.array(values) for name, values in found.items()}


def orders_of(
    pages: Sequence[Page], shown: Sequence[np.ndarray], told: bool, as_listed: bool = False
) -> dict[str, list]:
    """The orders of each way; where the direction is not told, from left to right, or what a promised order looks like."""
    directions = [page.direction if told else "ltr" for page in pages]
    orders: dict[str, list] = {
        name: [rule(each, direction) for each, direction in zip(shown, directions, strict=True)]
        for name, rule in RULES.items()
    }
    if told or not as_listed:
        as_read = [mirror(each) if d == "rtl" else each for each, d in zip(shown, directions, strict=True)]
        answers = order_pages(load_predictor(), [{"panel_boxes": each} for each in as_read])
    else:
        both = order_both_ways(load_predictor(), [{"panel_boxes": each} for each in shown])
        looks: dict[str, list] = defaultdict(list)
        for page, ltr, rtl in zip(pages, *both, strict=True):
            looks[page.book].append(looks_like(ltr, rtl))
        is_rtl = {book: book_direction(seen) == "rtl" for book, seen in looks.items()}
        answers = [rtl if is_rtl[page.book] else ltr for page, ltr, rtl in zip(pages, *both, strict=True)]
    return orders | {OURS: [answer.order for answer in answers]}


def interval(values: np.ndarray, books: np.ndarray) -> list[float]:
    """Mean of `values` (pages,) and its 95 % interval by bootstrap over books, and in each over pages."""
    rng, groups = np.random.default_rng(0), [values[books == book] for book in np.unique(books)]
    means = []
    for _ in range(4000):
        drawn = [groups[book] for book in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate([group[rng.integers(len(group), size=len(group))] for group in drawn]).mean())
    return [float(values.mean()), *np.quantile(means, (0.025, 0.975)).tolist()]


def report(title: str, pages: Sequence[Page], results: dict[str, np.ndarray]) -> dict[str, Any]:
    """Prints and returns pairs and whole pages by book and over all, and what differs from XY-cut."""
    books = np.array([page.book for page in pages])
    table = Table(
        "book", "pages", *(f"{name}: {what}" for name in results for what in ("pairs", "pages")), title=title
    )
    told: dict[str, Any] = {}
    for book in [*dict.fromkeys(books), "all"] if len(set(books)) < 12 else ["all"]:
        which = (books == book) | (book == "all")
        row = {}
        for name, values in results.items():
            for place, what in enumerate(("pairs", "pages")):
                row[f"{name} {what}"] = interval(values[:, which, place].mean(0), books[which])
                less = (values - results[BASE])[:, which, place].mean(0)
                row[f"{name} {what} over {BASE}"] = interval(less, books[which])
            row[f"{name} right"] = float(values[:, which, 1].sum() / len(values))
        told[str(book)] = row
        cells = [f"{row[f'{name} {what}'][0]:.1%}" for name in results for what in ("pairs", "pages")]
        table.add_row(str(book), f"{which.sum()}", *cells)
    Console(width=180).print(table)
    for book, row in told.items():
        for what in ("pairs", "pages"):
            print(
                f"  {book}: {OURS} over {BASE}, {what}:",
                "{:+.2%} [{:+.2%}, {:+.2%}]".format(*row[f"{OURS} {what} over {BASE}"]),
            )
    return told


def outlines(pages: Sequence[Page], wrong: Sequence[tuple[int, list[int]]], columns: int = 6) -> str:
    """An SVG of pages as outlines of boxes: in each the place that it is annotated with, and in brackets the one given."""
    side, parts = 150.0, []
    for number, (which, order) in enumerate(wrong):
        page = pages[which]
        scale = side / max(page.size)
        left, top = 10 + (number % columns) * (side + 20), 24 + (number // columns) * (side + 40)
        width, height = page.size[0] * scale, page.size[1] * scale
        parts.append(f'<text x="{left}" y="{top - 5:.0f}" font-size="9">{page.book}, {page.direction}</text>')
        parts.append(
            f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{height:.1f}" fill="none" stroke="#bbb"/>'
        )
        place = np.argsort(order)
        for panel, (x0, y0, x1, y1) in enumerate(page.boxes):
            x, y, w, h = left + x0 * width, top + y0 * height, (x1 - x0) * width, (y1 - y0) * height
            moved = place[panel] != panel
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{"#e66" if moved else "#88c"}"'
                ' fill-opacity="0.15" stroke="#333"/>'
            )
            label = f"{panel + 1} ({place[panel] + 1})" if moved else f"{panel + 1}"
            parts.append(
                f'<text x="{x + w / 2:.1f}" y="{y + h / 2 + 3:.1f}" font-size="9" text-anchor="middle">{label}</text>'
            )
    rows = -(-len(wrong) // columns)
    size = f'width="{columns * (side + 20):.0f}" height="{rows * (side + 40) + 10:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def runs_against(page: Page) -> bool:
    """Whether a panel is annotated before one that stands beside it, nearer to where reading begins: their heights overlap by
    four fifths of the lower one, and the one's middle is beyond the other.
    """
    boxes = mirror(page.boxes) if page.direction == "rtl" else page.boxes
    x0, y0, x1, y1 = boxes.T
    overlap = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    beside = overlap >= 0.8 * np.minimum((y1 - y0)[:, None], y1 - y0)
    return bool((beside & ((x0 + x1)[:, None] / 2 > x1)).any(where=np.triu(np.ones(beside.shape, bool), 1)))


def seconds(run: Callable[[], Any]) -> float:
    """Processor time of the shortest of three runs."""
    times = []
    for _ in range(3):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Asks all, prints tables, and writes what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", help="annotated pages, whose panels stand in reading order")
    parser.add_argument("--errors", type=Path, help="SVG of the pages that the predictor reads otherwise")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    arguments = parser.parse_args()
    conditions = {
        "as annotated": (0.0, 0.0, True, False),
        f"edges off by {JITTER:.0%} of a side": (JITTER, 0.0, True, False),
        f"{MISSED:.0%} of the panels missed": (0.0, MISSED, True, False),
        "both": (JITTER, MISSED, True, False),
        "both, direction not told, panels as listed": (JITTER, MISSED, False, True),
        "both, direction not told, panels shuffled": (JITTER, MISSED, False, False),
    }
    figures: dict[str, Any] = {}
    for path in arguments.pages:
        pages = read(path)
        figures[path] = {
            name: report(f"{path}: {name}", pages, ask(pages, *condition)) for name, condition in conditions.items()
        }
        answers = orders_of(pages, [page.boxes for page in pages], True)
        wrong = [(number, order) for number, order in enumerate(answers[OURS]) if order != sorted(order)]
        alike = [number for number, order in wrong if answers[BASE][number].tolist() == order]
        against = [number for number, _ in wrong if runs_against(pages[number])]
        figures[path]["wrong"] = {"pages": len(wrong), "as XY-cut": len(alike), "against the direction": len(against)}
        print(f"{path}: {figures[path]['wrong']}")
        if wrong and arguments.errors is not None:
            write_text(
                arguments.errors.with_stem(f"{arguments.errors.stem}_{Path(path).parent.name}"), outlines(pages, wrong)
            )
    model = load_predictor()
    for count, number in ((6, 64), (12, 64), (40, 4)):
        boxes = np.random.default_rng(count).random((number, count, 2, 2)).round(2)
        hard = np.concatenate([boxes.min(2), boxes.max(2) + 0.01], axis=-1).clip(0, 1)
        grid = [(x, y, x + 0.9, y + 0.9) for y in range(8) for x in range(5)][:count] * np.array([0.2, 0.125] * 2)
        for name, asked in (("thrown at random", hard), ("in rows of five", [grid] * number)):
            taken = seconds(lambda asked=asked: order_pages(model, [{"panel_boxes": each} for each in asked]))
            figures[f"ms a page of {count} panels {name}"] = taken / number * 1000
            print(f"{count} panels {name}: {taken / number * 1000:.1f} ms a page")
    if arguments.output is not None:
        write_json(arguments.output, figures)


if __name__ == "__main__":
    main()
