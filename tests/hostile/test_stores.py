"""Stage 3 and Stage 5 stores that are none, are damaged, or hold what no store holds."""

from __future__ import annotations

import numpy as np
import pytest

from .commands import CONVERT, ENCODE, INDEX, INSPECT, INSPECT_5, OF_A_STORE, ORDER
from .table import (
    array,
    check_refused,
    cut,
    cut_chunks,
    each,
    folder,
    garbage,
    link,
    put,
    remove,
    row,
    rows_of,
    write,
)

READERS = {name: OF_A_STORE[name] for name in ("convert", "encode", "order")}
STAGE_5 = {"index": INDEX, "inspect": INSPECT_5}


def every(name: str, *says: str, breaks=(), commands=OF_A_STORE) -> dict:
    return each(commands, name, *says, breaks=breaks)


def of(store: str, command: str) -> str:
    return command.replace("store.zarr", store)


TABLE = {
    # Places
    **every("nothing there", "store.zarr", breaks=remove("store.zarr")),
    **every("a file", "store.zarr", breaks=write("store.zarr", "hello")),
    **every("an empty folder", "store.zarr", breaks=folder("store.zarr")),
    **every("a link that leads nowhere", "store.zarr", breaks=link("store.zarr", "nowhere"), commands=READERS),
    **every("a link to itself", "store.zarr", breaks=link("store.zarr", "store.zarr"), commands=READERS),
    "convert: the folder above the store": row(
        of("above", CONVERT),
        "above/stage3_embeddings.zarr",
        "did you mean",
        breaks=(write("above/stage3_embeddings.zarr/zarr.json", "{}"),),
    ),
    "convert: a checkpoint": row(of("model", CONVERT), "model", "check the path"),
    "convert: the metadata": row(of("metadata.json", CONVERT), "metadata.json", "check the path"),
    "convert: a data set": row(of("data", CONVERT), "data", "check the path"),
    "convert: a Stage 5 store": row(of("stage5.zarr", CONVERT), "stage5.zarr", "panel_embeddings"),
    "encode: a Stage 5 store": row(of("stage5.zarr", ENCODE), "stage5.zarr", "panel_embeddings"),
    "convert: no name": row(of("''", CONVERT), "empty", "name a"),
    "convert: a blank": row(of("' '", CONVERT), "check the path"),
    "convert: a name of 300 letters": row(of("x" * 300, CONVERT), "x" * 100, "check the path"),
    "convert: a name with a line break": row(of("'a\nb.zarr'", CONVERT), "check the path"),
    "convert: a name with control characters": row(of("'a\x07\x1b[31mb.zarr'", CONVERT), "check the path"),
    "convert: a name in Unicode": row(of("'漫画 😀.zarr'", CONVERT), "漫画 😀.zarr", "check the path"),
    "convert: a protocol that does not exist": row(of("nowhere://bucket/store", CONVERT), "nowhere"),
    "convert: a protocol without its driver": row(of("s3://bucket/store", CONVERT), "s3://bucket/store", "nstall"),
    "encode: a protocol without its driver": row(of("gs://bucket/store", ENCODE), "gs://bucket/store", "nstall"),
    "order: a protocol without its driver": row(of("s3://bucket/store", ORDER), "s3://bucket/store", "nstall"),
    "inspect: a protocol without its driver": row(of("s3://bucket/store", INSPECT), "s3://bucket/store", "nstall"),
    "index: a protocol without its driver": row(
        INDEX.replace("stage5.zarr", "s3://bucket/store"), "s3://bucket/store", "nstall"
    ),
    "convert: nothing in memory": row(of("memory://nothing", CONVERT), "memory://nothing", "check the path"),
    # Descriptions
    **every("a description that is cut", "store.zarr", breaks=cut("store.zarr/zarr.json"), commands=READERS),
    **every("a description of binary garbage", "store.zarr", breaks=garbage("store.zarr/zarr.json")),
    **every("an empty description", "store.zarr", breaks=write("store.zarr/zarr.json", ""), commands=READERS),
    **every("a list as description", "store.zarr", breaks=write("store.zarr/zarr.json", "[1]"), commands=READERS),
    **every("another format", "store.zarr", breaks=write("store.zarr/zarr.json", '{"zarr_format": 9}')),
    **every(
        "an array's description of binary garbage",
        "store.zarr",
        "panel_embeddings",
        breaks=garbage("store.zarr/panel_embeddings/zarr.json"),
    ),
    "convert: an array's description that is cut": row(
        CONVERT, "store.zarr", "visual_embeddings", breaks=cut("store.zarr/visual_embeddings/zarr.json")
    ),
    "convert: a description that is a folder": row(
        CONVERT, "store.zarr", breaks=(remove("store.zarr/zarr.json"), folder("store.zarr/zarr.json"))
    ),
    # Arrays
    **every("no vectors", "store.zarr", "'panel_embeddings'", breaks=remove("store.zarr/panel_embeddings")),
    **every("no mask", "store.zarr", "'panel_masks'", "write the mask", breaks=remove("store.zarr/panel_masks")),
    **every("two axes", "(24, 8)", "(pages, slots, width)", breaks=array("panel_embeddings", (24, 8))),
    **every("no page", "(0, 6, 8)", "(pages, slots, width)", breaks=array("panel_embeddings", (0, 6, 8))),
    **every("vectors without width", "(24, 6, 0)", breaks=array("panel_embeddings", (24, 6, 0)), commands=READERS),
    **every("whole numbers", "int16", "float16 or float32", breaks=array("panel_embeddings", (24, 6, 8), "int16")),
    "convert: double precision": row(
        CONVERT, "float64", "float16 or float32", breaks=array("panel_embeddings", (24, 6, 8), "float64")
    ),
    "convert: complex numbers": row(
        CONVERT, "complex64", "float16 or float32", breaks=array("panel_embeddings", (24, 6, 8), "complex64")
    ),
    "convert: words for numbers": row(
        CONVERT, "store vectors as float16 or float32", breaks=array("panel_embeddings", (24, 6, 8), "U4")
    ),
    **every(
        "a mask of other pages", "panel_masks", "(23, 6)", "(24, 6)", breaks=array("panel_masks", (23, 6), "bool")
    ),
    **every("a mask of three axes", "panel_masks", "(24, 6, 1)", breaks=array("panel_masks", (24, 6, 1), "bool")),
    "convert: a mask of words": row(CONVERT, "panel_masks", "bool", breaks=array("panel_masks", (24, 6), "U1")),
    "convert: pictures of other pages": row(
        CONVERT, "visual_embeddings", "(23, 6, 6)", "(24, 6, width)", breaks=array("visual_embeddings", (23, 6, 6))
    ),
    "convert: texts of other slots": row(
        CONVERT, "text_embeddings", "(24, 5, 4)", "(24, 6, width)", breaks=array("text_embeddings", (24, 5, 4))
    ),
    "convert: captions of pages with slots": row(
        CONVERT, "page_caption_embeddings", "(24, 6, 4)", breaks=array("page_caption_embeddings", (24, 6, 4))
    ),
    "convert: a group where an array belongs": row(
        CONVERT,
        "panel_embeddings",
        breaks=(
            remove("store.zarr/panel_embeddings"),
            write("store.zarr/panel_embeddings/zarr.json", '{"zarr_format": 3, "node_type": "group"}'),
        ),
    ),
    # Numbers
    **every("chunks that are cut", "store.zarr", "panel_embeddings", breaks=cut_chunks("store.zarr/panel_embeddings")),
    **every("a mask whose chunks are cut", "store.zarr", "panel_masks", breaks=cut_chunks("store.zarr/panel_masks")),
    "convert: pictures whose chunks are cut": row(
        CONVERT, "visual_embeddings", breaks=cut_chunks("store.zarr/visual_embeddings")
    ),
    **every("NaN", "Book 00/page 8.jpg", breaks=put("panel_embeddings", (0, 0, 3), np.nan), commands=READERS),
    **every("infinity", "Book 00/page 8.jpg", breaks=put("panel_embeddings", (0, 0, 3), -np.inf), commands=READERS),
    **every("zeros", "Book 00/page 8.jpg", breaks=put("panel_embeddings", (0, 0), 0), commands=READERS),
    "pretrain: NaN": row(OF_A_STORE["pretrain"], "page 8.jpg", breaks=put("panel_embeddings", (0, 0, 3), np.nan)),
    "convert: NaN in a picture": row(
        CONVERT, "visual_embeddings", "page 8.jpg", breaks=put("visual_embeddings", (0, 0, 3), np.nan)
    ),
    "convert: NaN in a caption": row(
        CONVERT, "caption_embeddings", "page 8.jpg", breaks=put("caption_embeddings", (0, 0, 3), np.nan)
    ),
    "convert: a page without panels": row(CONVERT, "page 8.jpg", "panel", breaks=put("panel_masks", 0, False)),
    "convert: a mask with a hole": row(CONVERT, "page 9.jpg", breaks=put("panel_masks", 1, [False] + [True] * 5)),
    "convert: every page is faulty and skipped": row(
        CONVERT + " --on-error skip", "store.zarr", breaks=put("panel_embeddings", ..., np.nan)
    ),
    "convert: a mask of 2": row(
        CONVERT,
        "page 8.jpg",
        "the mask holds 2",
        breaks=(array("panel_masks", (24, 6), "uint8"), put("panel_masks", ..., 2)),
    ),
    "convert: a mask of NaN": row(
        CONVERT,
        "page 8.jpg",
        "the mask holds nan",
        breaks=(
            array("panel_masks", (24, 6), "float32"),
            put("panel_masks", ..., 0),
            put("panel_masks", (..., 0), np.nan),
        ),
    ),
    # Stage 5
    **each(STAGE_5, "nothing there", "stage5.zarr", "give a store of `comicseq encode`", breaks=remove("stage5.zarr")),
    **each(STAGE_5, "a file", "stage5.zarr", breaks=write("stage5.zarr", "hello")),
    **each(STAGE_5, "an empty folder", "stage5.zarr", breaks=folder("stage5.zarr")),
    **each(STAGE_5, "a description of binary garbage", "stage5.zarr", breaks=garbage("stage5.zarr/zarr.json")),
    **each(STAGE_5, "neither kind of vectors", "stage5.zarr", breaks=remove("stage5.zarr/contextualized_panels")),
    **each(STAGE_5, "no strips", "stage5.zarr", "strip_embeddings", breaks=remove("stage5.zarr/strip_embeddings")),
    **each(STAGE_5, "no mask", "stage5.zarr", "panel_masks", breaks=remove("stage5.zarr/panel_masks")),
    **each(
        STAGE_5,
        "strips of other pages",
        "strip_embeddings",
        "(23, 16)",
        breaks=array("strip_embeddings", (23, 16), "float32", "stage5.zarr"),
    ),
    **each(
        STAGE_5,
        "strips of whole numbers",
        "strip_embeddings",
        "int32",
        breaks=array("strip_embeddings", (24, 16), "int32", "stage5.zarr"),
    ),
    **each(
        STAGE_5,
        "no page",
        "contextualized_panels",
        "(0, 6, 16)",
        breaks=array("contextualized_panels", (0, 6, 16), "float32", "stage5.zarr"),
    ),
    **each(STAGE_5, "chunks that are cut", "stage5.zarr", breaks=cut_chunks("stage5.zarr/strip_embeddings")),
    **each(STAGE_5, "no panel at all", "stage5.zarr", breaks=put("panel_masks", ..., False, "stage5.zarr")),
    **each(STAGE_5, "no metadata beside it", "stage5_metadata.json", breaks=remove("stage5_metadata.json")),
    "index: strips of NaN alone": row(
        INDEX, "stage5.zarr", breaks=put("strip_embeddings", ..., np.nan, "stage5.zarr")
    ),
}

OPEN: dict[str, str] = {}


@pytest.mark.parametrize("row", rows_of(TABLE, OPEN))
def test_refused(row, place):
    check_refused(row, place)
