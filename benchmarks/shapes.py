"""What pictures tell of a panel's shape, by how they are made square, and what that costs.

    python -m benchmarks.shapes --store STORE --metadata STORE_METADATA --boxes panels.json --pictures FOLDER

An encoder reads squares, and panels are none. They are squashed, padded, cut to the square in their middle, resized by one
factor for the whole page and then cut, or three squares along the longer side are averaged; and from the features of squashed
ones the directions are erased that tell how wide a panel is for its height, and its area, linearly: as found in the books that
everything else is fitted on, or, with --erase_by, in the panels of other comics (a folder with a panels.json).

For each: how often the right candidate is found from where the other panels stand alone (`geometry alone`, chance 20 %), what
cosine and a ranker on cosines get, and the share of the variance of shape and area that a ridge regression reads. All is
fitted on the other folds of books; wrong candidates are of the same book.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.encoders.panel_encoder import PanelEncoder, load_panel_encoder
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.results import GEOMETRY, interval
from modeling_comicseq.evaluation.ridge import fit_ridge
from modeling_comicseq.files import write_json
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.vectors import unit

from .comics.ranker import LogisticRanker
from .honesty import PANEL, shapes, with_vectors

PICTURE = "visual_embeddings"
ASKED = ("panel_picking", "visual_closure")
GREY = (127, 127, 127)
SIDE = 224  # pixels of the encoder's square
COSINE, RANKER = "context-mean cosine", "ranker on cosines"
Squares = Callable[[Image.Image, Image.Image], list[Image.Image]]


def _one_scale(picture: Image.Image, page: Image.Image) -> list[Image.Image]:
    """All panels of a page reduced alike, so that half its shorter side fills the square; what is over is cut off."""
    scale = 2 * SIDE / min(page.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BICUBIC)
    left, top = ((side - SIDE) // 2 for side in small.size)
    whole = Image.new("RGB", (SIDE, SIDE), GREY)
    cut = small.crop((max(0, left), max(0, top), min(small.width, left + SIDE), min(small.height, top + SIDE)))
    whole.paste(cut, ((SIDE - cut.width) // 2, (SIDE - cut.height) // 2))
    return [whole]


def _three(picture: Image.Image, page: Image.Image) -> list[Image.Image]:
    """The squares at both ends of the longer side, and in the middle."""
    (width, height), side = picture.size, min(picture.size)
    ends = [picture.crop((0, 0, side, side)), picture.crop((width - side, height - side, width, height))]
    return [*ends, ImageOps.fit(picture, (side, side))]


# A panel and its page to squares, whose vectors are averaged.
SQUARES: dict[str, Squares] = {
    "squashed": lambda picture, page: [picture],
    "padded": lambda picture, page: [ImageOps.pad(picture, (max(picture.size),) * 2, color=GREY)],
    "middle": lambda picture, page: [ImageOps.fit(picture, (min(picture.size),) * 2)],
    "one scale": _one_scale,
    "mean of three squares": _three,
}


def shape_directions(features: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """An orthonormal basis (P, F) of the directions of `features` (n, P) that vary with `shapes` (n, F).

    Without them, no feature is correlated with a shape, and no linear regression finds one (Shao, Ziser and Cohen, 2023).
    Least-squares concept erasure (Belrose et al., 2023) turns less of the vectors, but needs the inverse of their
    covariance, of which a few hundred panels tell little.
    """
    centred = (shapes - shapes.mean(0)) / shapes.std(0)
    return np.linalg.qr((features - features.mean(0)).T @ centred)[0]


def erased(features: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Features (n, P) without some directions (P, F). In an encoder, the visual projection can take this over."""
    return features - features @ directions @ directions.T


def cut_pictures(
    encoder: PanelEncoder, boxes: Path, pictures: Path, rows: Iterable[int], ways: Iterable[str]
) -> dict[str, np.ndarray]:
    """Picture features `(panels, P)` of the panels of some pages, whose crops are made square in some `ways`."""
    pages = json.loads(boxes.read_text())
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for row in track(list(rows), "Pictures", console=Console(stderr=True)):
        page = Image.open(pictures / pages[row]["image"]).convert("RGB")
        crops = [page.crop(panel["box"]) for panel in pages[row]["panels"]]
        for name in ways:
            each = [SQUARES[name](crop, page) for crop in crops]
            features = encoder.image_features([square for several in each for square in several])
            found[name].append(features.reshape(len(crops), -1, features.shape[1]).mean(1))
    return {name: unit(np.concatenate(vectors)) for name, vectors in found.items()}


def directions_of(encoder: PanelEncoder, folder: Path) -> np.ndarray:
    """The directions that tell shapes in the pictures of a folder of comics with a panels.json."""
    pages = json.loads((folder / "panels.json").read_text())
    features = cut_pictures(encoder, folder / "panels.json", folder, range(len(pages)), ["squashed"])["squashed"]
    boxes = np.array([np.array(panel["box"]) / (page["size"] * 2) for page in pages for panel in page["panels"]])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return shape_directions(features, np.column_stack((np.log(width / height), width * height)))


def picture_variants(
    tables: Sequence[PanelTable], pictures: dict[str, np.ndarray], encoder: PanelEncoder
) -> list[dict[str, PanelTable]]:
    """The picture vectors of the splits for training and test, in all variants."""
    place = {row: start for row, start in zip(pictures["rows"].tolist(), pictures["starts"].tolist(), strict=True)}
    own = []
    for table in tables:
        rows = zip(table.dataset["sequence_index"], table.num_panels, strict=True)
        own.append(np.concatenate([np.arange(place[row], place[row] + count) for row, count in rows]))
    features = {name: pictures[name] for name in SQUARES}
    directions = {"these books": shape_directions(features["squashed"][own[0]], shapes(tables[0]))}
    if "erase_by" in pictures:
        directions["other comics"] = pictures["erase_by"]
    for name, each in directions.items():
        features[f"squashed, erased by {name}"] = erased(features["squashed"], each)
    project = encoder.model.visual_projection.weight.detach().numpy().T
    vectors = {name: (each @ project).astype(np.float32) for name, each in features.items()}
    return [
        {name: with_vectors(table, **{PANEL: v[rows], PICTURE: v[rows]}) for name, v in vectors.items()}
        for table, rows in zip(tables, own, strict=True)
    ]


def read_shapes(training: PanelTable, test: PanelTable) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of a ridge regression from picture vectors to shape and area `(2,)`, and those of their means."""
    vectors, targets = np.concatenate(training.columns[PICTURE]).astype(np.float64), shapes(training)
    middle, mean = vectors.mean(0), targets.mean(0)
    vectors, targets = vectors - middle, targets - mean
    weights = fit_ridge(vectors.T @ vectors, vectors.T @ targets, (targets**2).sum(0), len(targets))
    truth = shapes(test)
    found = (np.concatenate(test.columns[PICTURE]) - middle) @ weights + mean
    return ((truth - found) ** 2).sum(0), ((truth - truth.mean(0)) ** 2).sum(0)


def ask(training: PanelTable, test: PanelTable, name: str, repeats: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The book of each question `(Q,)`, and how right geometry, cosine and the ranker are `(Q,)`."""
    task = TASKS[name]
    learned_from = draw_question_set(training, task, seed=1, repeats=repeats)
    ranker = LogisticRanker().fit(batch for _, batch in learned_from.batches(training))
    answerers = {GEOMETRY: task.fitted(test, training, print)[GEOMETRY], COSINE: task.baselines(test, print)[COSINE]}
    answerers[RANKER] = lambda batch: task.judge(batch, ranker.scores(batch))
    questions = draw_question_set(test, task, repeats=repeats)
    right: dict[str, list[np.ndarray]] = defaultdict(list)
    for _, batch in questions.batches(test):
        for answerer, answer in answerers.items():
            right[answerer].append(answer(batch)[task.metrics[0]])
    return test.book_ids[test.books[questions.rows]], {each: np.concatenate(v) for each, v in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="Stage 3 store, of which pages and books are taken")
    parser.add_argument("--metadata", required=True, help="its metadata")
    parser.add_argument(
        "--boxes", required=True, type=Path, help="a panels.json with a page for each row of the store"
    )
    parser.add_argument("--pictures", required=True, type=Path, help="folder of the images that it names")
    parser.add_argument("--erase_by", type=Path, help="folder of other comics, with their panels.json")
    parser.add_argument("--folds", type=int, default=4, help="folds of books (default: 4)")
    parser.add_argument("--repeats", type=int, default=4, help="questions a page (default: 4)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    options = {"boxes": arguments.boxes, "dtype": "float32", "progress": False}
    encoder = load_panel_encoder("efficientnet-lite0+")
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "arrow")
        convert_store(arguments.store, arguments.metadata, data, fractions=(1, 0, 0), **options)
        table = open_split(data, "train")
        rows, books = np.asarray(table.dataset["sequence_index"]), sorted(table.book_ids.tolist())
        pictures = cut_pictures(encoder, arguments.boxes, arguments.pictures, rows, SQUARES)
        pictures |= {"rows": rows, "starts": table.offsets[:-1]}
        del table
    if arguments.erase_by:
        pictures["erase_by"] = directions_of(encoder, arguments.erase_by)
    asked: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    right: dict[tuple[str, str], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    errors: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for fold in track(range(arguments.folds), "Folds", console=Console(stderr=True)):
        held_out = books[fold :: arguments.folds]
        sides = {"train": [book for book in books if book not in held_out], "test": held_out}
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "arrow")
            convert_store(arguments.store, arguments.metadata, data, split_books=sides, **options)
            tables = [open_split(data, side) for side in ("train", "test")]
            training, test = picture_variants(tables, pictures, encoder)
            for variant in training:
                errors[variant].append(read_shapes(training[variant], test[variant]))
                for name in ASKED:
                    names, answers = ask(training[variant], test[variant], name, arguments.repeats)
                    asked[variant, name].append(names)
                    for answerer, values in answers.items():
                        right[variant, name][answerer].append(values)
            del tables, training, test  # nothing may keep the folder's files mapped
    columns = [f"{answerer}, {name}" for answerer in (GEOMETRY, COSINE, RANKER) for name in ASKED]
    printed, found = Table("pictures", *columns, "read: shape", "area"), []
    for variant, each in errors.items():
        missed, whole = (sum(parts) for parts in zip(*each, strict=True))
        row = {"pictures": variant, "read": (1 - missed / whole).tolist()}
        for name in ASKED:
            names = np.concatenate(asked[variant, name])
            for answerer, values in right[variant, name].items():
                row[f"{answerer}, {name}"] = list(bootstrap_mean(np.concatenate(values), names))
        printed.add_row(
            variant, *(interval(*row[c]) for c in columns), *(f"{100 * share:.0f} %" for share in row["read"])
        )
        found.append(row)
    Console(width=200).print(printed)
    if arguments.output:
        write_json(arguments.output, found)


if __name__ == "__main__":
    main()
