"""`comicseq encode`."""

from typing import Annotated, Literal

import typer
from typer import Option

from .options import Boxes, Embeddings, Metadata, Model, OtherOrigin, Overwrite, ReadingDirection, VectorType


def encode(
    model: Model,
    embeddings: Embeddings,
    metadata: Metadata,
    output: Annotated[str, Option(help="Stage 5 Zarr store to write: a local path or any fsspec URL.")],
    dtype: VectorType = "float32",
    zarr_format: Annotated[Literal["3", "2"], Option(help="Zarr format of the store; 2 for older readers.")] = "3",
    batch_size: Annotated[
        int | None, Option(min=1, help="Pages that are encoded together.", show_default="256, on a GPU 2048")
    ] = None,
    boxes: Boxes = None,
    reading_direction: ReadingDirection = None,
    overwrite: Overwrite = False,
    other_origin: OtherOrigin = False,
) -> None:
    """Encode a library of comics into a **Stage 5 store**: one vector a panel in its context, and one a page.

    The store has one row for each page of the metadata, in the order of the Stage 3 store: `contextualized_panels
    (pages, slots, D)`, `strip_embeddings (pages, D)`, `panel_masks (pages, slots)`, and beside it the metadata of those
    rows: `NAME_metadata.json` beside `NAME.zarr` or `NAME_embeddings.zarr`. Pages that the metadata do not name are left
    out. A model that reads where panels stand is told so, where the store or its metadata tell it, or `--boxes`. Pages with
    more panels than the model takes are encoded in overlapping windows whose panels are averaged. Every
    page is checked on the way. The output appears complete or not at all; after an interrupt, the same command goes on
    from the parts that are finished. A GPU is used where there is one.

    Example: `comicseq encode --model outputs/model --embeddings data/stage3_embeddings.zarr
    --metadata data/stage3_metadata.json --output data/stage5_embeddings.zarr`

    Several GPUs or processes: `accelerate launch --multi_gpu --num_processes 2 --num_machines 1
    -m modeling_comicseq.cli encode …`; without a GPU, this starts two processes on the processor.
    """
    from accelerate import PartialState

    from ..library.encode import encode_store

    encoded = encode_store(
        model,
        embeddings,
        metadata,
        output,
        dtype=dtype,
        zarr_format=int(zarr_format),
        batch_size=batch_size,
        boxes=boxes,
        reading_direction=reading_direction,
        overwrite=overwrite,
        other_origin=other_origin,
    )
    if PartialState().is_main_process:
        typer.echo(f"{output}: {encoded['pages']:,} pages, {encoded['panels']:,} panels")
    PartialState().destroy_process_group()
