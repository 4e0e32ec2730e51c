"""`comicseq convert`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer import Option

from .options import Boxes, Embeddings, Metadata, Overwrite, ReadingDirection, VectorType


def convert(
    embeddings: Embeddings,
    metadata: Metadata,
    output: Annotated[Path, Option(help="Folder of the data set to create.")],
    dtype: VectorType = "float16",
    fractions: Annotated[
        tuple[float, float, float],
        Option(
            metavar="TRAIN VALIDATION TEST", show_default="0.8 0.1 0.1", help="Shares of the splits among the books."
        ),
    ] = (0.8, 0.1, 0.1),
    split_books: Annotated[
        Path | None, Option(help="JSON file of book ids, instead of --fractions; see above.")
    ] = None,
    window: Annotated[int, Option(min=1, help="Most panels of a row; longer pages become windows.")] = 16,
    stride: Annotated[
        int | None, Option(min=1, help="Panels from a window's start to the next.", show_default="half of --window")
    ] = None,
    num_proc: Annotated[int, Option(min=1, help="Processes to convert with.")] = 1,
    on_error: Annotated[
        Literal["stop", "skip"], Option(help="A page with a fault stops the conversion, or is skipped.")
    ] = "stop",
    origin: Annotated[
        list[str] | None, Option(help="Where the vectors come from, once for each KEY=VALUE; see above.")
    ] = None,
    boxes: Boxes = None,
    reading_direction: ReadingDirection = None,
    leave_out: Annotated[
        Path | None, Option(metavar="FINDINGS", help="Leave out the pages that `comicseq inspect` listed.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a **Stage 3 store** to an Arrow data set for training, evaluation and tuning.

    The output opens with `datasets.load_from_disk`: one row a page, only its real panels, split into train,
    validation and test by book. Every page is checked on the way. The output appears complete or not at all; after an
    interrupt, the same command starts again.

    Books are split by a hash of their id, in the shares that `--fractions` gives, or as `--split-books` says, a JSON file
    `{"train": [...], "validation": [...], "test": [...]}` of book ids: without a train list, all other books are trained
    on. Pages of more than `--window` panels become overlapping windows, `--stride` panels apart, which is at most
    `--window`. Skipped pages are listed in `skipped.json`.

    `--origin visual_encoder=NAME --origin text_encoder=NAME --origin fusion=sum` says where the vectors come from, where
    the store's attributes and metadata do not; a JSON file of an object does, too. It goes with the data set and its
    models, which refuse vectors of another origin.

    **Where panels stand** is in the store's array `panel_boxes`, in the metadata, or in the file that `--boxes` names:
    a `panels.json`, COCO, a folder with the JSON file of each page, or what `comicseq ingest` wrote, whose pages are found
    by book and name.
    `--reading-direction` is that of the pages of which nothing else tells it.

    `--leave-out findings.json` leaves out what `comicseq inspect` found on this store: blank pages, copies, pages that are
    listed twice, and the rest of what it lists by page. What is to stay can be taken out of the file. The pages that were
    left out stand in `left_out.json`.

    Example: `comicseq convert --embeddings data/stage3_embeddings.zarr --metadata data/stage3_metadata.json
    --output data/arrow --num-proc 4`
    """

    from ..data.conversion import convert_store
    from ..evaluation.probe import places_for_card
    from ..stores.findings import describe
    from ..stores.origin import parse_origin
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
        origin=parse_origin(origin or []),
        boxes=boxes,
        reading_direction=reading_direction,
        leave_out=leave_out,
        overwrite=overwrite,
        probe=places_for_card,
    )
    provenance = read_provenance(output)
    table = Table("split", "books", "pages", "panels", "rows", title=str(output))
    for split, counts in provenance["counts"].items():
        table.add_row(split, *(f"{counts[key]:,}" for key in ("books", "pages", "panels", "rows")))
    Console().print(table)
    if provenance.get("place"):
        typer.echo(provenance["place"]["sentence"])
    if "panel_boxes" in provenance:
        typer.echo("boxes of {panels:,} panels on {pages:,} pages from {source}".format(**provenance["panel_boxes"]))
    if "reading_directions" in provenance:
        typer.echo(
            "read from left to right: {ltr:,} pages, from right to left: {rtl:,}".format(
                **provenance["reading_directions"]
            )
        )
    if "left_out" in provenance:
        typer.echo(
            describe(provenance["left_out"])
            + (f", see {output / 'left_out.json'}" if provenance["left_out"]["pages"] else "")
        )
    skipped = provenance["conversion"]["skipped"]
    if skipped:
        typer.echo(f"{skipped:,} pages left out, see {output / 'skipped.json'}")
