"""What the vectors of a Stage 3 store tell of a panel's place and shape, which nobody should have to read a page for.

    python -m benchmarks.honesty --store stage3_embeddings.zarr --metadata stage3_metadata.json --boxes panels.json

Places: the share of the pairs of a page that a ridge regression from the vector to the place, fitted by books, puts in
order; for the vectors as they are, shuffled on their pages, and with the panel's number as the third of seven features of a
composition, which goes through a random network and is added at several strengths.

Shapes, with --boxes: how often the right candidate is found from where the other panels stand alone, by a ridge regression
fitted on other books, in folds; for the vectors as they are, dealt out anew among all panels, and these with the panel's own
shape in the composition. What the pictures tell, made square in several ways, is asked by `benchmarks.shapes`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.probe import probe_tables
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.results import GEOMETRY, interval
from modeling_comicseq.tasks import TASKS

PANEL = "panel_embeddings"
ASKED = ("panel_picking", "visual_closure", "text_closure")  # coherence asks as picking does


def composition(features: np.ndarray, width: int) -> np.ndarray:
    """Unit vectors `(n, width)` of seven features: those given (n, F), in the third place and on, the others noise."""
    noise, network = np.random.default_rng(0), np.random.default_rng(1)
    seven = noise.standard_normal((len(features), 7)) / 2
    seven[:, 2 : 2 + features.shape[1]] = features
    hidden = np.maximum(seven @ network.standard_normal((7, 128)), 0) @ network.standard_normal((128, width))
    return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)


def planted(table: PanelTable, column: str, features: np.ndarray, strength: float) -> np.ndarray:
    """The vectors of a column with the features, as long as `strength` times theirs."""
    vectors = np.concatenate(table.columns[column])
    lengths = np.linalg.norm(vectors, axis=1).mean()
    return (vectors + strength * lengths * composition(features, vectors.shape[1])).astype(np.float32)


def numbers(table: PanelTable) -> np.ndarray:
    """The number of each panel on its page `(panels, 1)`."""
    return (np.arange(table.offsets[-1]) - np.repeat(table.offsets[:-1], table.num_panels))[:, None]


def shapes(table: PanelTable) -> np.ndarray:
    """How wide each panel is for its height, and its area `(panels, 2)`."""
    width, height = np.split((boxes := np.concatenate(table.boxes))[:, 2:] - boxes[:, :2], 2, axis=1)
    return np.hstack((np.log(width / height), 3 * width * height))


def shuffled(table: PanelTable, column: str, by: np.ndarray) -> np.ndarray:
    """The vectors of a column in random order among those that are equal in `by` (panels,)."""
    order = np.argsort(by, kind="stable")
    source = np.lexsort((np.random.default_rng(0).random(len(by)), by))
    vectors = np.concatenate(table.columns[column])
    moved = np.empty_like(vectors)
    moved[order] = vectors[source]
    return moved


def with_vectors(table: PanelTable, **columns: np.ndarray) -> PanelTable:
    """A table of the same pages with other vectors."""
    other = PanelTable(table.dataset)
    other.columns |= {name: [vectors] for name, vectors in columns.items()}
    return other


def print_places(table: PanelTable, console: Console) -> list[dict]:
    """Prints what the probe makes of the vectors; returns the rows for the JSON file."""
    page = np.repeat(np.arange(len(table)), table.num_panels)
    variants = {"as they are": table, "shuffled": with_vectors(table, **{PANEL: shuffled(table, PANEL, page)})}
    for strength in (1.0, 0.5, 0.2, 0.1):
        vectors = planted(table, PANEL, numbers(table), strength)
        variants[f"number, {strength:g} of the length"] = with_vectors(table, **{PANEL: vectors})
    rows, printed = [], Table("vectors", "pairs in order, %", "verdict")
    for name, variant in variants.items():
        place = probe_tables([variant])
        if place is None:
            raise SystemExit("There are too few pages or books.")
        printed.add_row(name, interval(place.pairs, place.low, place.high), place.verdict)
        rows.append({"vectors": name} | place.to_json())
    console.print(printed)
    return rows


def fold_variants(table: PanelTable) -> dict[str, PanelTable]:
    """The vectors of a split in all variants."""
    everywhere = np.zeros(table.offsets[-1])
    dealt = with_vectors(table, **{name: shuffled(table, name, everywhere) for name in table.columns})
    variants = {"as they are": table, "dealt out anew": dealt}
    for strength in (0.5, 0.25):
        columns = {column: planted(dealt, column, shapes(table), strength) for column in table.columns}
        variants[f"these, and shape, {strength:g} of the length"] = with_vectors(table, **columns)
    return variants


def print_shapes(arguments: argparse.Namespace, options: dict, books: list[str], console: Console) -> list[dict]:
    """Prints how often geometry alone finds the right candidate; returns the rows for the JSON file."""
    values: dict[tuple[str, str, str], list[np.ndarray]] = defaultdict(list)
    asked: dict[tuple[str, str, str], list[np.ndarray]] = defaultdict(list)
    for fold in track(range(arguments.folds), "Folds", console=Console(stderr=True)):
        held_out = books[fold :: arguments.folds]
        sides = {"train": [book for book in books if book not in held_out], "test": held_out}
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "arrow")
            convert_store(arguments.store, arguments.metadata, data, split_books=sides, **options)
            training, test = (fold_variants(open_split(data, side)) for side in ("train", "test"))
            for variant, table in test.items():
                for name in ASKED:
                    task = TASKS[name]
                    if not task.servable(table, np.arange(len(table))).any():
                        continue
                    geometry = task.fitted(table, training[variant], print)[GEOMETRY]
                    for protocol in ("same_book", "cross_book"):
                        questions = draw_question_set(table, task, protocol, repeats=arguments.repeats)
                        for chosen, batch in questions.batches(table):
                            key = (name, protocol, variant)
                            values[key].append(geometry(batch)[task.metrics[0]])
                            asked[key].append(table.book_ids[table.books[questions.rows[chosen]]])
    printed = Table("task, wrong candidates", *dict.fromkeys(variant for *_, variant in values))
    rows, lines = [], defaultdict(dict)
    for (name, protocol, variant), parts in values.items():
        score = bootstrap_mean(np.concatenate(parts), np.concatenate(asked[name, protocol, variant]))
        rows.append({"task": name, "protocol": protocol, "vectors": variant, "score": list(score)})
        lines[f"{name}, {protocol}"][variant] = interval(*score)
    for heading, cells in lines.items():
        printed.add_row(heading, *(cells.get(str(column.header), "") for column in printed.columns[1:]))
    console.print(printed)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="Stage 3 store")
    parser.add_argument("--metadata", required=True, help="its metadata")
    parser.add_argument("--boxes", help="where the panels stand, a panels.json with a page for each row of the store")
    parser.add_argument("--folds", type=int, default=4, help="folds of books (default: 4)")
    parser.add_argument("--repeats", type=int, default=4, help="questions a page (default: 4)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    console, found = Console(width=200), {}
    options = {"boxes": arguments.boxes, "dtype": "float32", "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "arrow")
        convert_store(arguments.store, arguments.metadata, data, fractions=(1, 0, 0), **options)
        table = open_split(data, "train")
        found["places"] = print_places(table, console)
        books = sorted(table.book_ids.tolist())
        del table
    if arguments.boxes:
        found["shapes"] = print_shapes(arguments, options, books, console)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
