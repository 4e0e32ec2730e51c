"""Lists of findings that are none, of other stores, or of changed metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modeling_comicseq.stores.stage3 import Stage3Store

from .commands import CONVERT
from .table import Breaks, check_refused, entry, folder, garbage, row, rows_of, write

FILE = "findings.json"
LEAVE_OUT = f"{CONVERT} --leave-out {FILE}"
PAGE = {"row": 0, "page": "library/Book 00/page 8.jpg"}
COPY = {"kind": "copy", "says": "", "pages": [PAGE], "of": None}


def listed(*findings: Any, **fields: Any) -> Breaks:
    """A list of these findings in the store, with other fields in it."""

    def breaks(place: Path) -> None:
        store = {"store": "store.zarr", "fingerprint": Stage3Store.open("store.zarr").fingerprint()}
        content = {"format": "comicseq findings", "version": 1, "stores": [store | {"findings": list(findings)}]}
        (place / FILE).write_text(json.dumps(content | fields))

    return breaks


def of(name: str, *says: str, breaks: Breaks | tuple[Breaks, ...] = ()) -> dict:
    """A row of a list that is not as it should be."""
    return {name: row(LEAVE_OUT, FILE, *says, breaks=breaks)}


TABLE = {
    **of("nothing there", "cannot be read"),
    **of("a folder", breaks=folder(FILE)),
    **of("binary garbage", "cannot be read", breaks=garbage(FILE)),
    **of("nested too deep", "cannot be read", breaks=write(FILE, "[" * 100_000)),
    **of("a list of pages", "no list of findings", "comicseq inspect", breaks=write(FILE, "[]")),
    **of("the figures beside it", "no list of findings", breaks=write(FILE, '{"stores": [{"stage": 3}]}')),
    **of("of another version", "version 2", "inspect", breaks=listed(version=2)),
    **of("of no store", "no store", "inspect", breaks=listed(stores=[])),
    **of("of stores that are numbers", "no store", "inspect", breaks=listed(stores=[1])),
    **of(
        "of another store", "other.zarr", "inspect", breaks=listed(stores=[{"store": "other.zarr", "fingerprint": "0"}])
    ),
    **of("of a kind that is not known", "finding 0", "'ugly'", "copy", breaks=listed({"kind": "ugly"})),
    **of("a finding that is a word", "finding 1", "'copy'", breaks=listed(COPY, "copy")),
    **of("pages that are a number", "finding 0", "pages is 3", breaks=listed(COPY | {"pages": 3})),
    **of("a page without a row", "finding 0", "no row", breaks=listed(COPY | {"pages": [{"page": "a"}]})),
    **of("a row that is a word", "finding 0", breaks=listed(COPY | {"pages": [PAGE | {"row": "0"}]})),
    **of("a page of a hundred letters", "row 0 is", "changed", breaks=listed(COPY | {"pages": [PAGE | {"page": "a" * 999}]})),
    **of("a row that is not there", "sequence_index 99", "changed", breaks=listed(COPY | {"pages": [PAGE | {"row": 99}]})),
    **of("pages that were renamed", "page 8.jpg", "changed", breaks=(listed(COPY), entry(canonical_id="a/b/c.jpg"))),
    "that is the output": row(f"{CONVERT} --leave-out out/{FILE}", "out", "holds", breaks=write(f"out/{FILE}", "[]")),
    "all pages": row(
        f"{CONVERT.partition(' --split')[0]} --leave-out {FILE}", "no usable page", "24 of them as --leave-out says",
        breaks=listed(COPY | {"pages": [{"row": r, "page": f"library/Book {r // 4:02d}/page {r % 4 + 8}.jpg"} for r in range(24)]}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", rows_of(TABLE))
def test_refused(row, place):
    check_refused(row, place)
