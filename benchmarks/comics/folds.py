"""Folds of the books that an earlier split trained on: no setting was ever chosen by a score on them.

python -m benchmarks.comics.folds --dataset DIR --output DIR [--folds 3]
comicseq convert ... --split-books DIR/fold_0.json --output ARROW_0

Each file tests a part of the data set's training books, validates on its validation books, and trains on all others.
"""

import argparse
from pathlib import Path

import numpy as np

from modeling_comicseq.data.opening import open_split
from modeling_comicseq.files import write_json


def main() -> None:
    """Writes `fold_0.json` and so on, which `comicseq convert --split-books` reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="data set that `comicseq convert` wrote")
    parser.add_argument("--output", required=True, help="folder for the files")
    parser.add_argument("--folds", type=int, default=3, help="number of folds")
    arguments = parser.parse_args()
    books = {
        split: np.unique(open_split(arguments.dataset, split).dataset["book_id"]) for split in ("train", "validation")
    }
    for number in range(arguments.folds):
        split = {
            "validation": books["validation"].tolist(),
            "test": books["train"][number :: arguments.folds].tolist(),
        }
        write_json(Path(arguments.output, f"fold_{number}.json"), split)


if __name__ == "__main__":
    main()
