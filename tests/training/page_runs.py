"""Pages and a tiny panel encoder on the disk, for runs that train through it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.library.page_sets import rows_of, write_pages
from tests.page_inputs import WORDS, panel_model, panel_processor

from .processes import FIELDS, MODEL

BOOKS, PAGES = 4, 6
WIDTH = 8


def write_encoder(folder: Path, dropout: float = 0.0) -> Path:
    folder.mkdir()
    model = panel_model(width=WIDTH)
    model.config.text_config.hidden_dropout_prob = dropout
    model.save_pretrained(folder)
    panel_processor(folder).save_pretrained(folder)
    return folder


def page_rows(boxes: bool = True) -> list[dict]:
    """Rows of pages of some books with texts of known words, among them panels without text and a page that stands twice."""
    draw = np.random.default_rng(5)
    rows = rows_of(tuple(draw.integers(2, 5, BOOKS * PAGES).tolist()))
    for number, row in enumerate(rows):
        row |= {
            "book_id": f"Book {number // PAGES}",
            "page_index": number % PAGES,
            "page_name": f"{number % PAGES}.png",
        }
        said = [" ".join(draw.choice(WORDS, draw.integers(1, 7))) for _ in row["boxes"]]
        row["texts"] = [[text] if place != 1 else [] for place, text in enumerate(said)]
        row["captions"] = [f"a {text} on the roof" for text in said]
        row["character_ids"] = row["reading_direction"] = None
    names = ("image", "boxes", "texts", "captions")
    rows[PAGES - 1] |= {name: rows[2 * PAGES][name] for name in names}
    return rows


def write_inputs(folder: Path) -> None:
    """Writes the pages, the encoder and the configuration that `argv` names."""
    write_pages(folder / "pages", page_rows())
    write_encoder(folder / "encoder")
    write_encoder(folder / "dropping", dropout=0.2)
    (folder / "model.json").write_text(json.dumps({**MODEL, "panel_embedding_dim": WIDTH}))
    split = {"train": [f"Book {book}" for book in range(BOOKS - 1)], "validation": [f"Book {BOOKS - 1}"]}
    (folder / "split.json").write_text(json.dumps(split))


def argv(folder: Path, output: Path, tuned: str = "all", **fields) -> list[str]:
    values = FIELDS | {"pages": folder / "pages", "encoder": folder / "encoder", "model": folder / "model.json"}
    values |= {"split_books": folder / "split.json", "output_dir": output, "pages_together": 3} | fields
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return [*words, "--tune_encoders", *tuned.split()]
