"""`comicseq convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from .options import Embeddings, Metadata, Overwrite, VectorType


def convert(
    embeddings: Embeddings,
    metadata: Metadata,
    output: Annotated[Path, typer.Option(help="Folder of the data set to create.")],
    dtype: VectorType = "float16",
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(help="Shares of train, validation and test among the books, by a hash of the book's id."),
    ] = (0.8, 0.1, 0.1),
    split_books: Annotated[
        Path | None,
        typer.Option(
            help='JSON file `{"train": [...], "validation": [...], "test": [...]}` of book ids, instead of --fractions. '
            "Without a train list, all other books are trained on."
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, help="Most panels of a row; pages with more become overlapping windows.")
    ] = 16,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Panels from one window's start to the next; at most --window.",
            show_default="half of --window",
        ),
    ] = None,
    num_proc: Annotated[int, typer.Option(min=1, help="Processes to convert with.")] = 1,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option(
            help="What a page with a fault does: stop the conversion, or be left out and listed in `skipped.json`."
        ),
    ] = "stop",
    overwrite: Overwrite = False,
) -> None:
    """Convert a **Stage 3 store** to an Arrow data set for training, evaluation and tuning.

    The output opens with `datasets.load_from_disk`: one row a page, only its real panels, split into train,
    validation and test by book. Every page is checked on the way. The output appears complete or not at all; after an
    interrupt, the same command goes on from the parts that are finished.

    Example: `comicseq convert --embeddings data/stage3_embeddings.zarr --metadata data/stage3_metadata.json
    --output data/arrow --num-proc 4`
    """

    from ..data.conversion import convert_store
    from ..stores.provenance import read_provenance

    convert_store(
        embeddings,
        metadata,
        output,
        dtype=dtype,
        fractions=fractions,
        split_books=split_books,
        window=window,
        stride=stride,
        num_proc=num_proc,
        on_error=on_error,
        overwrite=overwrite,
    )
    provenance = read_provenance(output)
    table = Table("split", "books", "pages", "panels", "rows", title=str(output))
    for split, counts in provenance["counts"].items():
        table.add_row(split, *(f"{counts[key]:,}" for key in ("books", "pages", "panels", "rows")))
    Console().print(table)
    skipped = provenance["conversion"]["skipped"]
    if skipped:
        typer.echo(f"{skipped:,} pages left out, see {output / 'skipped.json'}")
