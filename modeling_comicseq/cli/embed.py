"""`comicseq embed`."""

from typing import Annotated, Literal

import typer
from typer import Argument, Option

from .options import Overwrite, VectorType


def embed(
    pages: Annotated[
        str, Argument(help="Data set of pages: a folder that `comicseq ingest` wrote, or one on the Hub.")
    ],
    output: Annotated[str, Option(help="Stage 3 Zarr store to write: a local path or any fsspec URL.")],
    encoder: Annotated[
        str,
        Option(
            help="Panel encoder: a checkpoint (a folder or on the Hub), or VISION+TEXT of two models, either of which can"
            " be left out (+TEXT).",
        ),
    ] = "efficientnet-lite0+all-MiniLM-L6-v2",
    dtype: VectorType = "float32",
    zarr_format: Annotated[Literal["3", "2"], Option(help="Zarr format of the store; 2 for older readers.")] = "3",
    batch_size: Annotated[
        int | None, Option(min=1, help="Pictures, or texts, that are encoded together.", show_default="the encoder's")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Encode the panels of a data set of pages: pictures and texts in, a **Stage 3 store** out, which `convert` takes.

    One row a page: `panel_embeddings`, which fuse picture and text, `visual_embeddings`, `text_embeddings`,
    `caption_embeddings`, `panel_masks`, `panel_boxes`, and beside it the metadata with the texts: `NAME_metadata.json` beside
    `NAME.zarr` or `NAME_embeddings.zarr`. What no panel has, or the encoder does not give, is left out; a page without panels
    keeps its row, which is empty. The origin of the vectors is noted in the store. Memory does not grow with the number of
    pages. The output appears complete or not at all; after an interrupt, the same command goes on from the parts that are
    finished. A GPU is used where there is one.

    Example: `comicseq embed outputs/pages --output data/stage3_embeddings.zarr`

    Several GPUs or processes: `accelerate launch --multi_gpu --num_processes 2 --num_machines 1
    -m modeling_comicseq.cli embed …`; without a GPU, this starts two processes on the processor.
    """
    from accelerate import PartialState

    from ..errors import counted
    from ..library.embed import embed_pages

    made = embed_pages(
        pages,
        output,
        encoder=encoder,
        dtype=dtype,
        zarr_format=int(zarr_format),
        batch_size=batch_size,
        overwrite=overwrite,
    )
    if PartialState().is_main_process:
        counts = [counted(made["pages"], "page"), counted(made["panels"], "panel")]
        counts += [f"{made[name]:,} with {name}" for name in ("texts", "captions") if made[name]]
        typer.echo(f"{output}: {', '.join(counts)}")
        if made["pages_without_panels"]:
            typer.echo(f"{counted(made['pages_without_panels'], 'page')} without panels: empty rows")
    PartialState().destroy_process_group()
