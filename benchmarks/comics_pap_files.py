"""Writes parquet files in ComicsPAP's schema from a folder of comic pages with panel boxes and texts.

The folder holds `panels.json`: a list of pages with `book_id`, `page_index`, `image` (a path in the folder) and `panels`,
each with a `box` [x0, y0, x1, y1] and `text`, a list of strings. Questions of three skills are drawn from a seed:

- sequence_filling: a panel is taken out of its page; the wrong options are panels of the nearest other pages of the book.
- visual_closure: the panels before a gap are shown; the options are those of sequence_filling for that gap.
- caption_relevance: the text of a panel stands for its caption; the panel after it on the page is asked for.

Books go to `train` or `val` by a list. `context_texts`, `option_texts` and `book_id` are written beside the schema's columns.

    python -m benchmarks.comics_pap_files --comic FOLDER --val BOOK BOOK --output DIR
    comicseq comics-pap --model CHECKPOINT --data DIR --output REPORT
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NUM_OPTIONS = 5
LONGEST_SIDE = 448  # twice what most picture encoders read
SKILLS = ("sequence_filling", "visual_closure", "caption_relevance")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("context", pa.list_(IMAGE)),
        ("options", pa.list_(IMAGE)),
        ("index", pa.int32()),
        ("solution_index", pa.int32()),
        ("split", pa.string()),
        ("task_type", pa.string()),
        ("previous_panel_caption", pa.string()),
        ("context_texts", pa.list_(pa.string())),
        ("option_texts", pa.list_(pa.string())),
        ("book_id", pa.string()),
    ]
)

Panel = tuple[int, int]  # page, place on it


class Comic:
    """The pages of a folder, in the order of their books.

    Args:
        folder: The folder of `panels.json`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        pages = json.loads((folder / "panels.json").read_text(encoding="utf-8"))
        self.pages = sorted(pages, key=lambda page: (page["book_id"], page["page_index"]))
        self._pictures: dict[Panel, dict[str, Any]] = {}

    def text(self, panel: Panel) -> str:
        """What is lettered in a panel, on one line."""
        return " ".join(self.pages[panel[0]]["panels"][panel[1]]["text"])

    def picture(self, panel: Panel) -> dict[str, Any]:
        """A panel as the schema has it: the bytes of a JPEG."""
        if panel not in self._pictures:
            self._pictures[panel] = self._cut(panel)
        return self._pictures[panel]

    def _cut(self, panel: Panel) -> dict[str, Any]:
        page = self.pages[panel[0]]
        with Image.open(self.folder / page["image"]) as whole:
            cut = whole.convert("RGB").crop(page["panels"][panel[1]]["box"])
        cut.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        content = io.BytesIO()
        cut.save(content, "JPEG", quality=92)
        return {"bytes": content.getvalue(), "path": None}

    def distractors(self, page: int, count: int, generator: np.random.Generator) -> list[Panel]:
        """Panels of the nearest other pages of the book: one from each, then a second from each, and so on."""
        book = self.pages[page]["book_id"]
        others = [i for i, other in enumerate(self.pages) if other["book_id"] == book and i != page]
        others.sort(key=lambda other: abs(other - page))
        decks = [generator.permutation(len(self.pages[other]["panels"])) for other in others]
        rounds = range(max((len(deck) for deck in decks), default=0))
        drawn = [(p, int(deck[i])) for i in rounds for p, deck in zip(others, decks, strict=True) if i < len(deck)]
        return drawn[:count]


def questions(comic: Comic, skill: str, books: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
    """The samples of one skill, at most one a page, as rows of the schema but for the split."""
    for page, content in enumerate(comic.pages):
        count = len(content["panels"])
        generator = np.random.default_rng([seed, SKILLS.index(skill), page])
        asked = _asked(comic, skill, page, count, generator)
        if content["book_id"] not in books or asked is None:
            continue
        others = {"sequence_filling": range(count), "visual_closure": range(asked), "caption_relevance": ()}[skill]
        context = [(page, place) for place in others if place != asked]
        # Options vary in number, as they do in the benchmark.
        wrong = comic.distractors(page, int(generator.integers(2, NUM_OPTIONS)), generator)
        if not wrong:
            continue
        solution = int(generator.integers(len(wrong) + 1))
        options = [*wrong[:solution], (page, asked), *wrong[solution:]]
        is_caption = skill == "caption_relevance"
        yield {
            "sample_id": f"{skill}-{content['book_id']}-{content['page_index']}",
            "context": [comic.picture(panel) for panel in context],
            "options": [comic.picture(panel) for panel in options],
            "index": -1 if is_caption else asked,
            "solution_index": solution,
            "task_type": skill,
            "previous_panel_caption": comic.text((page, asked - 1)) if is_caption else "",
            "context_texts": [comic.text(panel) for panel in context],
            "option_texts": [comic.text(panel) for panel in options],
            "book_id": content["book_id"],
        }


def _asked(comic: Comic, skill: str, page: int, count: int, generator: np.random.Generator) -> int | None:
    """The panel of a page that is asked for, None where there is none: closure and captions need one before it."""
    if count < 2:
        return None
    if skill == "sequence_filling":
        return int(generator.integers(count))
    after = range(1, count)
    if skill == "caption_relevance":
        after = [place for place in after if comic.text((page, place - 1)).strip()]  # type: ignore[assignment]
    return int(generator.choice(after)) if len(after) else None


def write_comics_pap(
    folder: Path, output: Path, books: dict[str, Sequence[str]], seed: int = 0, repeats: dict[str, int] | None = None
) -> dict[str, dict[str, list[int]]]:
    """Writes `output`/SKILL/SPLIT-00000.parquet for each split of `books`.

    Args:
        folder: The comic.
        output: Folder to write to.
        books: Book ids of each split.
        seed: Seed of the questions.
        repeats: How often each split asks a page, each time of other panels; once by default.

    Returns:
        The number of options of every sample, by split and skill.
    """
    comic = Comic(folder)
    counts: dict[str, dict[str, list[int]]] = {}
    for split, ids in books.items():
        for skill in SKILLS:
            path = output / skill / f"{split}-00000.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            counts.setdefault(split, {})[skill] = number_of_options = []
            with pq.ParquetWriter(path, SCHEMA) as writer:
                for repeat in range((repeats or {}).get(split, 1)):
                    for row in questions(comic, skill, ids, seed + repeat):
                        row |= {"split": split, "sample_id": f"{row['sample_id']}-{repeat}"}
                        number_of_options.append(len(row["options"]))
                        writer.write_table(pa.Table.from_pylist([row], schema=SCHEMA))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comic", type=Path, required=True, help="folder of panels.json and its pages")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--val", nargs="*", default=[], help="books to ask; by default all")
    parser.add_argument("--repeats", type=int, default=1, help="training questions a page, of each skill")
    parser.add_argument("--seed", type=int, default=0, help="seed of the questions")
    arguments = parser.parse_args()
    every = {page["book_id"] for page in Comic(arguments.comic).pages}
    if unknown := set(arguments.val) - every:
        parser.error(f"{arguments.comic} has no book {sorted(unknown)[0]!r} but {', '.join(sorted(every))}")
    books = {"val": sorted(arguments.val or every)}
    if arguments.val:
        books["train"] = sorted(every - set(arguments.val))
    counts = write_comics_pap(
        arguments.comic, arguments.output, books, arguments.seed, repeats={"train": arguments.repeats}
    )
    for split, skills in counts.items():
        for skill, options in skills.items():
            print(f"{split} {skill}: {len(options)} samples, random {100 * np.mean(1 / np.asarray(options)):.2f} %")


if __name__ == "__main__":
    main()
