"""Stores, metadata, pages and outputs of tables and transcripts that are not as they should be."""

from __future__ import annotations

import pytest

from .commands import EXPORT_TABLE
from .table import (
    change,
    check_refused,
    cut_chunks,
    folder,
    garbage,
    put,
    remove,
    row,
    rows_of,
    write,
)

METADATA = "stage5_metadata.json"
STAGE_3 = EXPORT_TABLE.replace("stage5.zarr", "store.zarr --metadata metadata.json")
TRANSCRIPTS = "export-table --store stage5.zarr --transcripts out"
OF_PAGES = "export-table --pages pages --transcripts out"

TABLE = {
    "no such store": row(EXPORT_TABLE, "stage5.zarr", "cannot be opened", breaks=remove("stage5.zarr")),
    "chunks that are cut": row(EXPORT_TABLE, "is damaged", breaks=cut_chunks("stage5.zarr/contextualized_panels")),
    "no panel at all": row(EXPORT_TABLE, "no page with panels", breaks=put("panel_masks", ..., False, "stage5.zarr")),
    "metadata of garbage": row(EXPORT_TABLE, METADATA, breaks=garbage(METADATA)),
    "metadata that are not there": row(EXPORT_TABLE, METADATA, "--metadata", breaks=remove(METADATA)),
    "metadata of another store": row(
        EXPORT_TABLE, "sequence_index 99", breaks=write(METADATA, '[{"sequence_index": 99, "num_panels": 1, "canonical_id": "a/b/c"}]')
    ),
    "one cluster": row(EXPORT_TABLE + " --clusters 1", "--clusters", "2", code=2),
    "fewer than no neighbours": row(EXPORT_TABLE + " --neighbours -1", "--neighbours", code=2),
    "a model for a Stage 5 store": row(EXPORT_TABLE + " --model order", "Stage 5", "--model"),
    "a model without that head": row(STAGE_3 + " --model picking", "picking", "reading order"),
    "a model of another width": row(
        STAGE_3 + " --model order", "order", breaks=change("order/config.json", panel_embedding_dim=9)
    ),
    "pages that are none": row(EXPORT_TABLE + " --pages data", "data", "pictures"),
    "the store as output": row(EXPORT_TABLE.replace("--output out", "--output stage5.zarr"), "is the input"),
    "an output that is there": row(EXPORT_TABLE, "out", "--overwrite", breaks=write("out/a.txt", "mine")),
    "transcripts that are there": row(TRANSCRIPTS, "out", "--overwrite", breaks=write("out/a.txt", "mine")),
    "transcripts in the tables": row(EXPORT_TABLE + " --transcripts out", "out", "name two"),
    "transcripts below the tables": row(EXPORT_TABLE + " --transcripts out/books", "out/books", "name two"),
    "transcripts at a URL": row(TRANSCRIPTS.replace("out", "s3://bucket/x"), "is a URL", "local"),
    "transcripts of no pages": row(OF_PAGES, "pages", breaks=folder("pages")),
    "transcripts of nothing": row("export-table --transcripts out", "data set of pages"),
    "a language of markup": row(TRANSCRIPTS + " --language '<b>'", "--language", "'<b>'", "en"),
    "nothing to write": row("export-table --store stage5.zarr", "--output", "--transcripts"),
    "tables of pages alone": row("export-table --pages pages --output out", "--store"),
}  # fmt: skip


@pytest.mark.parametrize("row", rows_of(TABLE))
def test_refused(row, place):
    check_refused(row, place)
