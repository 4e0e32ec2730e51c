"""How well panels are found, against boxes that are given, beside a plain cut by connected components.

Each folder has a `panels.json` and its pictures. A panel is found where a box overlaps its given box by so much (IoU), one box
for one panel. F1 counts panels of all pages together, in brackets its 95 % interval by bootstrap over books, or over pages
where a folder has fewer than ten books. The pages that were looked at while the settings of the gutter cut were chosen are
also told apart from the rest. Drawn comics of seeds 7 and 8 were among them, those of seed 9 were not.

    comicseq draw --books 24 --pages 6 --seed 9 --output drawn
    python -m benchmarks.panel_finding $COMICSEQ_DATA/peppercarrot $COMICSEQ_DATA/mimi_eunice $COMICSEQ_DATA/openmantra drawn
    python -m benchmarks.panel_finding drawn --detector NAME
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from modeling_comicseq.layouts.boxes import iou
from modeling_comicseq.pages.annotations import read_annotations
from modeling_comicseq.pages.panel_detector import load_panel_detector
from modeling_comicseq.pages.panel_finding import PANEL_FINDERS
from modeling_comicseq.progress import track

OVERLAPS = (0.5, 0.75)
FEW_BOOKS = 10


def is_tuned(folder: str, book: str, place: int) -> bool:
    """Whether a page, by its place among those of its folder, was looked at while settings of the gutter cut were chosen."""
    if folder == "mimi_eunice":
        return place < 120 or place % 6 == 0
    return book == "openmantra-tojime_no_siora" or (folder in ("openmantra", "peppercarrot") and place % 2 == 0)


def components(image: Image.Image) -> np.ndarray:
    """The plain cut: boxes (n, 4) of what hangs together on white paper, without specks and what lies inside of another."""
    ink = np.asarray(image.convert("L")) < 245
    labels, _ = ndimage.label(ink)
    height, width = ink.shape
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]).reshape(-1, 4)
    boxes = boxes / (width, height, width, height)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    boxes = boxes[areas > 0.01]
    inside = ((boxes[:, None, :2] >= boxes[None, :, :2]) & (boxes[:, None, 2:] <= boxes[None, :, 2:])).all(2)
    return boxes[inside.sum(1) == 1].astype(np.float32)


def count_hits(found: np.ndarray, given: np.ndarray, overlap: float) -> int:
    """How many panels are found, each by a box of its own."""
    good = iou(found, given) >= overlap
    return int(good[linear_sum_assignment(~good)].sum())


def count_page(find: Callable[[Image.Image], np.ndarray], image: Image.Image, given: np.ndarray) -> list[float]:
    """Panels found at each overlap, boxes, panels, seconds."""
    start = time.perf_counter()
    found = find(image)
    seconds = time.perf_counter() - start
    return [*(count_hits(found, given, overlap) for overlap in OVERLAPS), len(found), len(given), seconds]


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 at each overlap (..., 2) of counts (..., pages, 5)."""
    total = counts.sum(-2)
    return 2 * total[..., :2] / total[..., 2:4].sum(-1, keepdims=True)


def with_interval(
    counts: np.ndarray, books: list[str], minus: np.ndarray | None = None, draws: int = 1000
) -> list[str]:
    """F1 at each overlap and its interval, as words; or how much it is above that of `minus`, paired."""
    names, units = np.unique(books, return_inverse=True)
    if len(names) < FEW_BOOKS:
        units = np.arange(len(counts))
    chosen = np.random.default_rng(0).integers(0, units.max() + 1, (draws, units.max() + 1))
    value, drawn = np.zeros(len(OVERLAPS)), np.zeros((draws, len(OVERLAPS)))
    for sign, each in ((1, counts), (-1, minus)):
        if each is not None:
            totals = np.stack([np.bincount(units, column) for column in each.T], 1)
            value, drawn = value + sign * f1(each), drawn + sign * f1(totals[chosen])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    form = "+.3f" if minus is not None else ".3f"
    return [
        f"{middle:{form}} [{below:{form}}, {above:{form}}]"
        for middle, below, above in zip(value, low, high, strict=True)
    ]


def main() -> None:
    """Prints a row for each folder, part of it and finder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--detector", help="an object-detection checkpoint of transformers")
    arguments = parser.parse_args()
    finders: dict[str, Callable[[Image.Image], np.ndarray]] = {"components": components, **PANEL_FINDERS}
    if arguments.detector:
        finders[arguments.detector] = load_panel_detector(arguments.detector)

    table = Table("pages", "n", "panels", "finder", *(f"F1 at {overlap}" for overlap in OVERLAPS), "s a page")
    for folder in arguments.folders:
        rows, books, tuned = [], [], []
        for name, entry, annotation in track(list(read_annotations(folder / "panels.json")), folder.name):
            with Image.open(folder / name) as image:
                image.load()
            given = np.array([panel.box for panel in annotation.panels if panel.box]).reshape(-1, 4)
            rows.append([count_page(find, image, given) for find in finders.values()])
            books.append(entry["book_id"])
            tuned.append(is_tuned(folder.name, entry["book_id"], len(tuned)))
        counts, book, is_chosen = np.array(rows), np.array(books), np.array(tuned)
        parts = {"": is_chosen | True, ", tuned": is_chosen, ", rest": ~is_chosen}
        if 1 < len(set(books)) < FEW_BOOKS:
            parts |= {f", {name.removeprefix(folder.name + '-')}": book == name for name in dict.fromkeys(books)}
        for part, chosen in parts.items():
            for number, finder in enumerate(finders):
                if chosen.any():
                    its = counts[chosen, number]
                    figures = with_interval(its, book[chosen].tolist())
                    seconds = f"{its[:, 4].mean():.2f}"
                    place = (f"{folder.name}{part}", f"{len(its)}", f"{its[:, 3].sum():.0f}")
                    table.add_row(*place, finder, *figures, seconds)
                    if number:
                        gain = with_interval(its, book[chosen].tolist(), minus=counts[chosen, 0])
                        table.add_row(*place, f"{finder} over components", *gain)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
