"""Boxes and reading directions that are none, or of other pages."""

from __future__ import annotations

import json

import numpy as np
import pytest

from .commands import CONVERT
from .table import array, check_refused, cut, cut_chunks, entry, folder, garbage, link, put, row, rows_of, write

FILE = "beside.json"
WITH_FILE = f"{CONVERT} --boxes {FILE}"
BOX = [0.1, 0.1, 0.5, 0.5]
ONE = {"panels": [{"box": [1, 1, 5, 5]}], "size": [10, 10]}  # the first page has one panel
PAGE = {"book_id": "Book 00", "image": "page 8.jpg"}
FULL = array("panel_boxes", (24, 6, 4), "float32")


def field(name: str, *says: str, **fields) -> dict:
    """One fault of the first entry of the metadata."""
    return {name: row(CONVERT, "metadata.json", "page 8.jpg", *says, breaks=entry(**fields))}


def file(name: str, content, *says: str) -> dict:
    """One fault of a file of boxes."""
    text = content if isinstance(content, str) else json.dumps(content)
    return {f"file: {name}": row(WITH_FILE, FILE, *says, breaks=write(FILE, text))}


def stored(name: str, box, *says: str) -> dict:
    """One fault of the store's array."""
    breaks = (FULL, put("panel_boxes", ..., np.tile(BOX, (24, 6, 1))), put("panel_boxes", (0, 0), box))
    return {f"array: {name}": row(CONVERT, "panel_boxes, panel 0,", "page 8.jpg", "correct", *says, breaks=breaks)}


TABLE = {
    **field("words", "panel_boxes is 'here'", "give one box a panel", panel_boxes="here"),
    **field("an object", "give one box a panel", panel_boxes={"0": BOX}),
    **field("three numbers", "give four numbers", panel_boxes=[BOX[:3]]),
    **field("two boxes for one panel", "2 boxes for 1 panels", "give one a panel", panel_boxes=[BOX, BOX]),
    **field("no box for one panel", "0 boxes for 1 panels", panel_boxes=[]),
    **field("a number of 300 digits", "not finite", "correct the box", panel_boxes=[[0, 0, 10**300, 1]]),
    **field("a number of 400 digits", "give four numbers", panel_boxes=[[0, 0, 10**400, 1]]),
    **field("pixels of no page", "size: [width, height]", panels=[{"box": [1, 1, 5, 5]}]),
    **field("pixels of an endless page", "size is [inf, 5]", **ONE | {"size": [float("inf"), 5]}),
    **field("pixels of an empty page", "size is [0, 0]", **ONE | {"size": [0, 0]}),
    **field("a direction that is none", "reading_direction is 'down'", "give ltr or rtl", reading_direction="down"),
    **field("a direction that is a list", "reading_direction is ['ltr']", "ltr or rtl", reading_direction=["ltr"]),
    **stored("inverted", [0.5, 0.1, 0.1, 0.5], "is inverted"),
    **stored("no area", [0.5, 0.1, 0.5, 0.5], "has no area"),
    **stored("pixels", [10, 10, 500, 500], "is outside the page"),
    **stored("NaN", np.nan, "is not finite"),
    "array: no boxes of another page": row(
        CONVERT, "panel_boxes", "(24, 6, 4)", breaks=array("panel_boxes", (4, 6, 4))
    ),
    "array: flat": row(CONVERT, "panel_boxes", "(24, 6, 4)", breaks=array("panel_boxes", (24, 24), "float32")),
    "array: whole numbers": row(CONVERT, "panel_boxes", "float32", breaks=array("panel_boxes", (24, 6, 4), "int16")),
    "array: a group": row(CONVERT, "panel_boxes", "write it again", breaks=folder("store.zarr/panel_boxes")),
    "array: chunks that are cut": row(
        CONVERT, "panel_boxes", "is damaged", "restore", breaks=(FULL, cut_chunks("store.zarr/panel_boxes"))
    ),
    "file: nothing there": row(WITH_FILE, FILE, "check the path"),
    "file: an empty folder": row(WITH_FILE, FILE, "holds no JSON file", breaks=folder(FILE)),
    "file: a link to itself": row(WITH_FILE, FILE, breaks=link(FILE, FILE)),
    "file: garbage": row(WITH_FILE, FILE, breaks=garbage(FILE)),
    "file: cut": row(
        WITH_FILE,
        FILE,
        "truncated",
        breaks=(write(FILE, json.dumps([PAGE | {"panels": ONE["panels"] * 50}])), cut(FILE)),
    ),
    "file: a name of 300 letters": row(f"{CONVERT} --boxes {'x' * 300}", "x" * 100, "check the path"),
    "file: a protocol that does not exist": row(f"{CONVERT} --boxes nowhere://a/b.json", "nowhere"),
    "file: a data set of another kind": row(
        f"{CONVERT} --boxes data", "data is no data set of pages", "comicseq ingest"
    ),
    "file: that is the output": row(f"{CONVERT} --boxes out", "out"),
    **file("nothing in it", "", "is empty"),
    **file("a number", "7", "is not a JSON list"),
    **file("an object of something", {"a": 1}, "has the keys ['a']", "COCO"),
    **file("of other books", [PAGE | ONE | {"book_id": "no"}], "names no page of the metadata", "'page 8.jpg'"),
    **file("a page twice", [PAGE | ONE] * 2, "page 8.jpg", "stands twice", "keep one"),
    **file("too many", [PAGE | ONE | {"panels": ONE["panels"] * 2}], "page 8.jpg", "2 boxes for 1 panels"),
    **file("off the page", [PAGE | ONE | {"size": [3, 3]}], "page 8.jpg", "outside the page", "correct the box"),
    **file("COCO without sizes", {"images": [{"id": 1}], "annotations": []}, "no COCO file", "width"),
    "a direction of the command line": row(f"{CONVERT} --reading-direction up", "'up'", "ltr", code=2),
}

OPEN: dict[str, str] = {}


@pytest.mark.parametrize("row", rows_of(TABLE, OPEN))
def test_refused(row, place):
    check_refused(row, place)
