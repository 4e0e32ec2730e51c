"""`comicseq encode`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .options import Embeddings, Model, Overwrite, VectorType


def encode(
    model: Model,
    embeddings: Embeddings,
    metadata: Annotated[
        str,
        typer.Option(
            help="Its metadata: a JSON list with one object a page; path or URL. Pages that it does not name are left out."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            help="Stage 5 Zarr store to write: a local path or any fsspec URL. `NAME_metadata.json` is written beside "
            "`NAME.zarr` or `NAME_embeddings.zarr`."
        ),
    ],
    dtype: VectorType = "float32",
    zarr_format: Annotated[
        Literal["3", "2"], typer.Option(help="Zarr format of the store; 2 for older readers.")
    ] = "3",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pages that are encoded together.", show_default="256, on a GPU 2048")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Encode a library of comics into a **Stage 5 store**: one vector a panel in its context, and one a page.

    The store has one row for each page of the metadata, in the order of the Stage 3 store: `contextualized_panels
    (pages, slots, D)`, `strip_embeddings (pages, D)`, `panel_masks (pages, slots)`, and beside it the metadata of those
    rows. Pages with more panels than the model takes are encoded in overlapping windows whose panels are averaged. Every
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
        overwrite=overwrite,
    )
    if PartialState().is_main_process:
        typer.echo(f"{output}: {encoded['pages']:,} pages, {encoded['panels']:,} panels")
    PartialState().destroy_process_group()
