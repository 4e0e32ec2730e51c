"""Metadata that is no list of pages, or whose entries do not tell what they should."""

from __future__ import annotations

import gzip
import json

import pytest

from .commands import CONVERT, ENCODE, INDEX, INSPECT, OF_A_STORE, ORDER
from .table import check_refused, cut, each, entry, folder, garbage, link, remove, row, rows_of, write

FILE = "metadata.json"
PAGE = {"sequence_index": 0, "num_panels": 1, "canonical_id": "a/b/c.jpg"}
READERS = {name: OF_A_STORE[name] for name in ("convert", "encode", "order")}


def entries(*values) -> str:
    return json.dumps(list(values))


def text(name: str, content: str | bytes, *says: str) -> dict:
    """One fault of the file as a whole."""
    return {name: row(CONVERT, FILE, *says, breaks=write(FILE, content))}


def field(name: str, *says: str, **fields) -> dict:
    """One fault of the first entry."""
    return {name: row(CONVERT, FILE, *says, breaks=entry(**fields))}


TABLE = {
    # The file
    **each(OF_A_STORE, "nothing there", FILE, "check the path", breaks=remove(FILE)),
    **each(OF_A_STORE, "a folder", FILE, breaks=folder(FILE)),
    **each(READERS, "a link to itself", FILE, breaks=link(FILE, FILE)),
    **each(READERS, "cut in the middle", FILE, "truncated", "write the file again", breaks=cut(FILE)),
    **each(OF_A_STORE, "binary garbage", FILE, breaks=garbage(FILE)),
    **text("empty", "", "is empty", "one object a page"),
    **text("blanks alone", " \n\t ", "is empty", "one object a page"),
    **text("an object", '{"a": 1}', "is not a JSON list", "one object a page"),
    **text("a number", "7", "is not a JSON list", "'7'"),
    **text("null", "null", "is not a JSON list", "null"),
    **text("an empty list", "[]", "is an empty list", "one object a page"),
    **text("a list of numbers", "[1, 2]", "entry 0", "one object a page"),
    **text("a list in a list", "[[1]]", "entry 0", "one object a page"),
    **text("null as an entry", f"[{json.dumps(PAGE)}, null]", "entry 1", "one object a page"),
    **text("one object a line", json.dumps(PAGE) + "\n" + json.dumps(PAGE), "is not a JSON list"),
    **text("no comma", f"[{json.dumps(PAGE)} {json.dumps(PAGE)}]", "no comma after entry 0", "write the file again"),
    **text("a comma too many", f"[{json.dumps(PAGE)},]", "entry 1"),
    **text("something after the list", entries(PAGE) + "x", "'x' follows the end", "write the file again"),
    **text("a comment", "// pages\n" + entries(PAGE), "is not a JSON list"),
    **text("single quotes", "[{'sequence_index': 0}]", "entry 0", "write the file again"),
    **text("UTF-16", entries(PAGE).encode("utf-16"), "UTF-8"),
    **text("Latin-1", '[{"canonical_id": "caf\xe9"}]'.encode("latin-1"), "UTF-8"),
    **text("nested 3,000 deep", '[{"a": ' + "[" * 3000 + "]" * 3000 + "}]", "nested"),
    **text("a number of 6,000 digits", '[{"sequence_index": ' + "9" * 6000 + "}]", "entry 0"),
    "a picture": row(CONVERT, FILE, "UTF-8", breaks=write(FILE, b"\x89PNG\r\n\x1a\n\x00\x00\x00")),
    "gzip in name alone": row(CONVERT.replace(FILE, "m.json.gz"), "m.json.gz", breaks=write("m.json.gz", "[]")),
    "gzip that is cut": row(
        CONVERT.replace(FILE, "m.json.gz"), "m.json.gz", breaks=write("m.json.gz", gzip.compress(b"[" * 999)[:20])
    ),
    "the store": row(CONVERT.replace(FILE, "store.zarr"), "store.zarr"),
    "no name": row(CONVERT.replace(FILE, "''"), "empty", "name a"),
    "a protocol without its driver": row(CONVERT.replace(FILE, "s3://b/m.json"), "s3://b/m.json", "nstall"),
    "a protocol that does not exist": row(CONVERT.replace(FILE, "nowhere://b/m.json"), "nowhere://b/m.json"),
    # Entries
    **field("no row", "sequence_index", "missing", sequence_index=...),
    **field("no number of panels", "num_panels", "missing", num_panels=...),
    **field("no name", "book_id", "canonical_id", canonical_id=...),
    **field("a row below 0", "sequence_index", "-1", "whole number", sequence_index=-1),
    **field("a row that is no whole number", "sequence_index", "0.5", "whole number", sequence_index=0.5),
    **field("a row that is a word", "sequence_index", "'0'", "whole number", sequence_index="0"),
    **field("a row that is true", "sequence_index", "True", "whole number", sequence_index=True),
    **field("a row that is a list", "sequence_index", "[0]", "whole number", sequence_index=[0]),
    **field("a row that is NaN", "sequence_index", "nan", "whole number", sequence_index=float("nan")),
    **field("a row that is infinite", "sequence_index", "inf", "whole number", sequence_index=float("inf")),
    **field("a row beyond the store", "sequence_index", "24", sequence_index=24),
    **field("a row beyond 64 bits", "sequence_index", sequence_index=2**70),
    **field("a row twice", "sequence_index", "1", sequence_index=1),
    **field("panels below 0", "num_panels", "-2", "whole number", num_panels=-2),
    **field("panels as a word", "num_panels", "'many'", "whole number", num_panels="many"),
    **field("panels as an object", "num_panels", "{}", "whole number", num_panels={}),
    "more panels than slots": row(CONVERT, "page 8.jpg", "num_panels is 7", "agree", breaks=entry(num_panels=7)),
    **field("panels beyond 64 bits", "num_panels", num_panels=10**30),
    **field("a name without a folder", "book_id", "page.jpg", canonical_id="page.jpg"),
    **field("a name that ends in a slash", "page_name", "a/b/", canonical_id="a/b/"),
    **field("an empty name", "book_id", canonical_id=""),
    **field("a name of blanks", "book_id", canonical_id="  / /  "),
    **field("a name that is a list", "canonical_id", "[]", "string", canonical_id=[]),
    **field("a name that is an object", "canonical_id", "{'a': 1}", "string", canonical_id={"a": 1}),
    **field("a book that is true", "book_id", "True", "string", book_id=True),
    **field("a book that is a fraction", "book_id", "1.5", "string", book_id=1.5),
    **field("a page that is null in a list", "page_name", "[None]", "string", page_name=[None]),
    **field("half a surrogate pair", "canonical_id", "UTF-8", canonical_id="a/\ud83d/c.jpg"),
    **field("characters that are a word", "character_ids", "'Tim'", "one list", character_ids="Tim"),
    **field("characters of other panels", "character_ids", "2 lists", "one list", character_ids=[[], []]),
    **field("characters that are numbers", "character_ids", "0.5", character_ids=[[0.5]]),
    # Other readers of entries
    **each(READERS, "a row beyond the store", "sequence_index", "99", breaks=entry(sequence_index=99)),
    **each(READERS, "other panels than the mask", "num_panels", "3", breaks=entry(num_panels=3)),
    "inspect: a row beyond the store": row(INSPECT, "99", breaks=entry(sequence_index=99)),
    "inspect: no name": row(INSPECT, "book_id", breaks=entry(canonical_id=...)),
    "index: metadata of another store": row(
        INDEX + " --metadata metadata.json", "99", breaks=entry(sequence_index=99)
    ),
    "index: binary garbage": row(INDEX, "stage5_metadata.json", breaks=garbage("stage5_metadata.json")),
    "index: an empty list": row(INDEX, "stage5_metadata.json", breaks=write("stage5_metadata.json", "[]")),
    "index: no such file": row(INDEX + " --metadata nowhere.json", "nowhere.json"),
    "encode: a row twice": row(ENCODE, "sequence_index", breaks=entry(sequence_index=1)),
    "order: no name": row(ORDER, "book_id", breaks=entry(canonical_id=...)),
}

OPEN: dict[str, str] = {}


@pytest.mark.parametrize("row", rows_of(TABLE, OPEN))
def test_refused(row, place):
    check_refused(row, place)
