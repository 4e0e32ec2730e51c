"""How hard drawn comics are: cosine of frozen picture and text vectors beside an oracle that knows what is drawn.

`python -m benchmarks.drawn_comics --books DIR` asks about the books that `comicseq draw` has drawn into a folder: which of
five panels was taken out of a page (picking), and which comes after its first panels (closure). Wrong candidates are one
panel from each of the four nearest pages of the book, as in `same_book`. It says whether the books are those of the frozen
corpus, whose difficulty is that of the fused vectors, which a Stage 3 store has.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from modeling_comicseq.pages.drawn.corpus import FINGERPRINTS, VERSION, fingerprint
from modeling_comicseq.vectors import unit

Panel = dict[str, Any]
CANDIDATES = 5


def which_corpus(folder: Path, most: int) -> str:
    """Whether the first books of a folder are those of the frozen corpus, in words."""
    entries = json.loads((folder / "panels.json").read_text())
    names = list(dict.fromkeys(entry["book_id"] for entry in entries))[:most]
    found = fingerprint(entry for entry in entries if entry["book_id"] in set(names))
    is_frozen = FINGERPRINTS.get(len(names)) == found
    return f"fingerprint {found}, " + (
        f"the frozen corpus, version {VERSION}" if is_frozen else "not the frozen corpus"
    )


def read_books(folder: Path, most: int) -> list[list[list[Panel]]]:
    """Books of pages of panels; each panel knows its picture's file and a number of its own."""
    books: dict[str, list[list[Panel]]] = {}
    for entry in json.loads((folder / "panels.json").read_text()):
        page = [panel | {"image": entry["image"]} for panel in entry["panels"]]
        books.setdefault(entry["book_id"], []).append(page)
    chosen = list(books.values())[:most]
    for number, panel in enumerate(panel for book in chosen for page in book for panel in page):
        panel["number"] = number
    return chosen


def vectors_of(folder: Path, books: list[list[list[Panel]]]) -> dict[str, np.ndarray]:
    """Unit vectors of each panel's picture, of its texts, and of both fused as in a Stage 3 store; zeros without a text."""
    panels = [panel for book in books for page in book for panel in page]
    encoder = load_panel_encoder()
    texts = encoder.encode_texts([" ".join(panel["text"]) for panel in panels])
    pictures = encoder.encode_images(_cuts(folder, books))
    found = {"pictures": pictures, "texts": texts, "fused": encoder.fuse(pictures, texts)}
    return {name: unit(vectors) for name, vectors in found.items()}


def _cuts(folder: Path, books: list[list[list[Panel]]]) -> Iterator[Image.Image]:
    for page in (page for book in books for page in book):
        with Image.open(folder / page[0]["image"]) as image:
            yield from [image.crop(panel["box"]) for panel in page]


def questions(books: list[list[list[Panel]]], closure: bool, seed: int = 0):
    """Panels before, panels after, and candidates of which the first is the right one; with the book's number."""
    rng = random.Random(seed)
    for number, book in enumerate(books):
        for place, page in enumerate(book):
            others = sorted(
                (each for each in range(len(book)) if each != place), key=lambda each: (abs(each - place), each)
            )
            if len(page) < 3 or len(others) < CANDIDATES - 1:
                continue
            slot = rng.randrange(2, len(page)) if closure else rng.randrange(len(page))
            wrong = [rng.choice(book[other]) for other in others[: CANDIDATES - 1]]
            yield number, page[:slot], [] if closure else page[slot + 1 :], [page[slot], *wrong]


def differences(one: dict[str, Any], other: dict[str, Any]) -> int:
    """In how many things two scenes differ."""
    count = 0
    for key in one:
        if isinstance(one[key], dict):
            count += sum(one[key].get(name) != other[key].get(name) for name in one[key].keys() | other[key].keys())
        elif isinstance(one[key], list):
            count += len(set(one[key]) ^ set(other[key]))
        else:
            count += one[key] != other[key]
    return count


def oracle(before: list[Panel], after: list[Panel], candidates: list[Panel]) -> list[float]:
    """How well each candidate begins where the panel before it ends, and ends where the next begins."""
    scores = []
    for candidate in candidates:
        score = 0
        if before:
            score -= differences(before[-1]["state"]["after"], candidate["state"]["before"])
        if after:
            score -= differences(candidate["state"]["after"], after[0]["state"]["before"])
        scores.append(float(score))
    return scores


def cosine(vectors: np.ndarray) -> Callable[[list[Panel], list[Panel], list[Panel]], list[float]]:
    """Cosine to the mean of the panels that are shown."""

    def score(before: list[Panel], after: list[Panel], candidates: list[Panel]) -> list[float]:
        mean = vectors[[panel["number"] for panel in before + after]].mean(0)
        return (vectors[[panel["number"] for panel in candidates]] @ mean).tolist()

    return score


def share_right(scores: list[float]) -> float:
    """1 where the first is the best, 0 where it is not, and a share where several are."""
    best = max(scores)
    return (scores[0] == best) / scores.count(best)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--books", type=Path, required=True, help="What `comicseq draw` has written.")
    parser.add_argument("--most", type=int, default=60, help="Books to ask about.")
    arguments = parser.parse_args()
    books = read_books(arguments.books, arguments.most)
    vectors = vectors_of(arguments.books, books)
    scorers = {f"cosine, {name}": cosine(of) for name, of in vectors.items()} | {"oracle": oracle}
    rng = np.random.default_rng(0)
    print(f"{len(books)} books, {len(vectors['fused'])} panels; {which_corpus(arguments.books, arguments.most)}")
    print(f"Top-1 of {CANDIDATES}, %, with 95 % intervals by bootstrap over books")
    print("| scorer | picking | closure |\n|---|---|---|\n| chance | 20.0 | 20.0 |")
    for name, score in scorers.items():
        cells = []
        for closure in (False, True):
            right: dict[int, list[float]] = {}
            for book, *question in questions(books, closure):
                right.setdefault(book, []).append(share_right(score(*question)))
            sums = np.array([(sum(each), len(each)) for each in right.values()])
            drawn = sums[rng.integers(len(sums), size=(2000, len(sums)))].sum(1)
            low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
            cells.append(f"{100 * sums[:, 0].sum() / sums[:, 1].sum():.1f} [{low:.1f}, {high:.1f}]")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
