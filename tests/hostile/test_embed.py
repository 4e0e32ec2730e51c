"""Pages, encoders and stores that `comicseq embed` cannot take, and what it must not write over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Image, load_from_disk

from ..pages.made_pages import content
from .commands import EMBED, EMBED_INTO
from .table import Breaks, array, check_refused, cut, folder, garbage, remove, row, rows_of, weights, write

PAGE = ("comic_pages: page 'one/1.png'",)
METADATA = "bare/stage3_metadata.json"
WITH_JSON = EMBED_INTO.replace("embed", "embed about.json", 1)
FIRST = {"image": "Book 00/page 8.jpg"}


def pages(**changes) -> Breaks:
    """Other values in the first row of the data set of pages; `...` takes the column away."""

    def breaks(place: Path) -> None:
        data = load_from_disk(str(place / "comic_pages")).cast_column("image", Image(decode=False))
        data = data.remove_columns([name for name, value in changes.items() if value is ...])
        features = data.features
        rows = data.to_list()
        rows[0] |= {name: value for name, value in changes.items() if value is not ...}
        remove("comic_pages")(place)
        type(data).from_list(rows, features=features).save_to_disk(str(place / "comic_pages"))

    return breaks


def about(*entries: dict) -> Breaks:
    """Page JSON of the store's first pages."""
    return write("about.json", json.dumps(list(entries)))


def texts(*values) -> Breaks:
    """Other texts in the first entry of the bare store's metadata."""

    def breaks(place: Path) -> None:
        entries = json.loads((place / METADATA).read_text())
        entries[0]["texts"] = list(values)
        (place / METADATA).write_text(json.dumps(entries))

    return breaks


BOX = [0.1, 0.1, 0.5, 0.5]
TABLE = {
    # Pages
    "nothing there": row(
        EMBED.replace("comic_pages", "./comic_page"), "There is no ./comic_page", "did you mean `comic_pages`"
    ),
    "a text file": row(EMBED.replace("comic_pages", "notes.txt"), "notes.txt cannot be opened as a data set"),
    "a folder of pictures": row(EMBED.replace("comic_pages", "comics"), "comics is no data set of pages"),
    "a converted store": row(EMBED.replace("comic_pages", "data"), "data has not one column of pictures"),
    "cut off": row(EMBED, "comic_pages cannot be opened", breaks=cut("comic_pages/data-00000-of-00001.arrow")),
    "garbage": row(EMBED, "comic_pages cannot be opened", breaks=garbage("comic_pages/state.json")),
    "no pictures": row(EMBED, "comic_pages has not one column of pictures", "`image`", breaks=pages(image=...)),
    "no boxes": row(EMBED, "no column 'boxes'", "comicseq ingest", breaks=pages(boxes=...)),
    "no names": row(EMBED, "no column 'page_name'", breaks=pages(page_name=...)),
    "a box outside": row(EMBED, *PAGE, "outside the page", "correct", breaks=pages(boxes=[BOX, [0.1, 0.1, 1.5, 0.5]])),
    "a NaN box": row(EMBED, *PAGE, "not finite", breaks=pages(boxes=[BOX, [0.1, np.nan, 0.3, 0.5]])),
    "a box that is not known": row(EMBED, *PAGE, "panel 1 stands", "leave the page out", breaks=pages(boxes=[BOX, [0] * 4])),
    "fewer texts than boxes": row(EMBED, *PAGE, "1 texts for 2 boxes", breaks=pages(texts=[["a"]])),
    "a truncated picture": row(
        EMBED, *PAGE, "cut off or damaged", breaks=pages(image={"bytes": content()[:60], "path": None})
    ),
    "no picture": row(EMBED, *PAGE, "no picture", "leave the row out", breaks=pages(image=None)),
    "a direction that is none": row(EMBED, *PAGE, "ltr or rtl", breaks=pages(reading_direction="up")),
    # Encoders
    "no such encoder": row(EMBED.replace("panel", "./pannel"), "./pannel"),
    "an encoder that is none": row(EMBED.replace("encoder panel", "encoder data"), "data"),
    "a sequence model": row(EMBED.replace("encoder panel", "encoder model"), "model"),
    "no encoder": row(EMBED.replace("encoder panel", "encoder +"), "+"),
    "an encoder of NaN": row(
        EMBED, *PAGE, "panel makes", "not finite", "check its weights", breaks=weights("panel", visual_projection=np.nan)
    ),
    # Outputs
    "an output in the pages": row(EMBED.replace("out.zarr", "comic_pages/out.zarr"), "lies in the input comic_pages"),
    "an output in the encoder": row(EMBED.replace("out.zarr", "panel/out.zarr"), "lies in the input panel"),
    "another store": row(EMBED.replace("out.zarr", "store.zarr") + " --overwrite", "store.zarr exists", "Stage 3"),
    "a file": row(EMBED.replace("out.zarr", "notes.txt"), "notes.txt is a file"),
    "metadata of another": row(EMBED, "out_metadata.json exists", breaks=write("out_metadata.json", "[]")),
    "a URL without its driver": row(EMBED.replace("out.zarr", "s3://bucket/out.zarr"), "s3"),
    # Options
    "neither output nor store": row("embed comic_pages", "--output", "--into"),
    "both": row(EMBED + " --into store.zarr", "--output", "--into"),
    "no pages": row(EMBED.replace(" comic_pages", ""), "no pages are named"),
    "metadata without a store": row(EMBED + " --metadata metadata.json", "--into", "leave them out"),
    "a format for a store that is there": row(EMBED_INTO + " --zarr-format 2", "leave it out"),
    "no such precision": row(EMBED + " --dtype int8", "--dtype", "int8", code=2),
    "nothing in a batch": row(EMBED + " --batch-size 0", "--batch-size", code=2),
    # Into a store
    "into nothing": row(EMBED_INTO.replace("bare/", "nowhere/"), "nowhere/stage3_embeddings.zarr"),
    "into a Stage 5 store": row(EMBED_INTO.replace("bare/stage3_embeddings.zarr", "stage5.zarr"), "panel_embeddings"),
    "into, no metadata": row(EMBED_INTO, "stage3_metadata.json beside it", breaks=remove(METADATA)),
    "into, cut metadata": row(EMBED_INTO, "truncated", breaks=cut(METADATA)),
    "into, other numbers of texts": row(
        EMBED_INTO, METADATA, "page 8.jpg", "2 panels are described but the store has 1", breaks=texts("a", "b")
    ),
    "into, no pages": row(WITH_JSON, "about.json", "check the path"),
    "into, a number": row(WITH_JSON, "about.json is not a JSON list", breaks=write("about.json", "7")),
    "into, other pages": row(WITH_JSON, "names no page of the metadata", breaks=about({"image": "x.png", "panels": []})),
    "into, a page twice": row(WITH_JSON, "page 8.jpg", "stands twice", breaks=about(*[FIRST | {"texts": ["a"]}] * 2)),
    "into, too many panels": row(
        WITH_JSON, "about.json", "page 8.jpg", "3 panels are described", "has 1",
        breaks=about(FIRST | {"panels": [{"text": "a"}] * 3}),
    ),
    "into, nothing is told": row(
        WITH_JSON, "about.json tells nothing of the panels", breaks=about(FIRST | {"panels": [{}]})
    ),
    "into, more panels than slots": row(
        EMBED_INTO, METADATA, "num_panels is 4", "3 slots",
        breaks=(
            array("panel_embeddings", (6, 3, 8), store="bare/stage3_embeddings.zarr"),
            array("panel_masks", (6, 3), "bool", store="bare/stage3_embeddings.zarr"),
        ),
    ),
    "into, what is no array": row(EMBED_INTO, "panel_boxes", breaks=folder("bare/stage3_embeddings.zarr/panel_boxes")),
}  # fmt: skip

OPEN: dict[str, str] = {}


@pytest.mark.parametrize("row", rows_of(TABLE, OPEN))
def test_refused(row, place):
    check_refused(row, place)
