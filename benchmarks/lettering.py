"""How well the lettering of comics is read, against texts that are given.

Boxes of panels are given, too, so that only reading and grouping are measured. Each panel's texts are joined in reading order,
and compared letter by letter without regard to case: the character error rate is how many letters must be put in, taken out
or exchanged, for each letter that is written. It is told with blanks and without them, and beside it which share of the
letters of each script are read at all, wherever in the panel. In brackets 95 % intervals by bootstrap over pages.

    comicseq draw --books 24 --pages 6 --seed 7 --output drawn
    python -m benchmarks.lettering drawn --pages 60
    python -m benchmarks.lettering $COMICSEQ_DATA/openmantra --texts text_ja --pages 30
"""

from __future__ import annotations

import argparse
import time
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from modeling_comicseq.pages.annotations import read_annotations
from modeling_comicseq.pages.balloons import assign_texts
from modeling_comicseq.pages.ocr import get_ocr
from modeling_comicseq.progress import track


def count_edits(read: str, written: str) -> int:
    """The least number of letters to put in, take out or exchange between two texts (Levenshtein)."""
    before = np.arange(len(written) + 1)
    letters = np.array(list(written))
    for row, letter in enumerate(read, 1):
        exchanged = before[:-1] + (letters != letter)
        best = np.minimum(before[1:] + 1, exchanged)
        # One more letter of the written text each: the running minimum of what came before, plus the steps since.
        steps = np.arange(len(written) + 1)
        before = np.minimum.accumulate(np.concatenate([[row], best]) - steps) + steps
    return int(before[-1])


def plain(text: str) -> str:
    """The text in one form of its letters, in small letters, with single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def script_of(letter: str) -> str:
    """`kana`, `kanji`, `latin`, or `other` such as marks and digits."""
    name = unicodedata.name(letter, "")
    scripts = {"HIRAGANA": "kana", "KATAKANA": "kana", "CJK UNIFIED": "kanji", "LATIN": "latin"}
    return next((script for start, script in scripts.items() if name.startswith(start)), "other")


def main() -> None:
    """Prints the rates of a folder's pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ocr", default="rapidocr")
    parser.add_argument("--texts", default="text", help="under which key a panel's texts stand")
    parser.add_argument("--pages", type=int, default=60, help="how many pages, evenly spaced")
    parser.add_argument("--scale", type=float, default=1.0, help="pages are enlarged by this before they are read")
    arguments = parser.parse_args()
    read = get_ocr(arguments.ocr)
    pages = list(read_annotations(arguments.folder / "panels.json"))
    pages = [pages[index] for index in np.unique(np.linspace(0, len(pages) - 1, arguments.pages).astype(int))]

    seconds, counts = 0.0, []  # a page: edits and letters with blanks, then without
    panels, touched = 0, 0
    known, seen = Counter[str](), Counter[str]()
    for name, entry, annotation in track(pages, "Reading"):
        with Image.open(arguments.folder / name) as image:
            image = image.convert("RGB")
        image = image.resize([round(side * arguments.scale) for side in image.size])
        start = time.perf_counter()
        lines = read(image)
        seconds += time.perf_counter() - start
        boxes = np.array([panel.box for panel in annotation.panels]).reshape(-1, 4)
        texts = assign_texts(lines, boxes, annotation.reading_direction)
        row = [0, 0, 0, 0]
        for panel, found in zip(entry["panels"], texts, strict=False):
            written, got = plain(" ".join(panel[arguments.texts])), plain(" ".join(found))
            panels += bool(written)
            touched += bool(written) and bool(got)
            for place, (one, other) in enumerate([(got, written), (got.replace(" ", ""), written.replace(" ", ""))]):
                row[2 * place] += count_edits(one, other)
                row[2 * place + 1] += len(other)
            for letter, times in Counter(written.replace(" ", "")).items():
                known[script_of(letter)] += times
                seen[script_of(letter)] += min(times, got.count(letter))
        counts.append(row)

    totals, rng = np.array(counts), np.random.default_rng(0)
    chosen = totals[rng.integers(0, len(totals), (1000, len(totals)))].sum(1)
    table = Table("", "value", title=f"{arguments.folder.name}: {len(pages)} pages, {panels} panels with text")
    for place, what in enumerate(["character error rate", "the same without blanks"]):
        rates = chosen[:, 2 * place] / chosen[:, 2 * place + 1]
        rate = totals[:, 2 * place].sum() / totals[:, 2 * place + 1].sum()
        low, high = np.percentile(rates, [2.5, 97.5])
        table.add_row(what, f"{rate:.3f} [{low:.3f}, {high:.3f}]")
    table.add_row("panels with text where something is read", f"{touched / max(panels, 1):.3f}")
    for script, number in known.most_common():
        table.add_row(f"letters read, {script}", f"{seen[script] / number:.3f} of {number}")
    table.add_row("s a page", f"{seconds / len(pages):.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
