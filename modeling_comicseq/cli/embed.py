"""`comicseq embed`."""

from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from .options import Overwrite


def embed(
    pages: Annotated[
        str | None,
        Argument(
            help="Data set of pages: a folder that `comicseq ingest` wrote, or one on the Hub. With --into also page JSON, or"
            " nothing: then what the store's own metadata say.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None, Option(help="Stage 3 Zarr store to write: a local path or any fsspec URL.", show_default=False)
    ] = None,
    into: Annotated[
        str | None,
        Option(metavar="STORE", help="Stage 3 Zarr store that gets what it lacks, instead.", show_default=False),
    ] = None,
    metadata: Annotated[
        str | None, Option(help="Metadata of the store --into which is written.", show_default="that beside it")
    ] = None,
    encoder: Annotated[
        str,
        Option(
            help="Panel encoder: a checkpoint (a folder or on the Hub), or VISION+TEXT of two models, either of which can"
            " be left out (+TEXT).",
        ),
    ] = "efficientnet-lite0+all-MiniLM-L6-v2",
    dtype: Annotated[
        Literal["float16", "float32"] | None,
        Option(help="Precision of the stored vectors.", show_default="float32, that of the store with --into"),
    ] = None,
    zarr_format: Annotated[
        Literal["3", "2"] | None,
        Option(help="Zarr format of the store; 2 for older readers.", show_default="3, that of the store with --into"),
    ] = None,
    batch_size: Annotated[
        int | None, Option(min=1, help="Pictures that are encoded together.", show_default="32, without a GPU 4")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Encode the panels of a data set of pages: pictures and texts in, a **Stage 3 store** out, which `convert` takes.

    `--output`: one row a page, with `panel_embeddings`, which fuse picture and text, `visual_embeddings`, `text_embeddings`,
    `caption_embeddings`, `panel_masks`, `panel_boxes`, and beside it the metadata with the texts: `NAME_metadata.json` beside
    `NAME.zarr` or `NAME_embeddings.zarr`. What no panel has, or the encoder does not give, is left out; a page without panels
    keeps its row, which is empty. The output appears complete or not at all.

    `--into`: a store that lacks them gets vectors of texts, captions and pictures, boxes, characters and reading directions,
    from a data set of pages, from page JSON, or from the texts of its own metadata. Pages are matched by book and name, panels
    by their order: panels without a box are skipped where the store has skipped them. What is there stays, but for
    `--overwrite`; `panel_embeddings` always do. The store can be read at any moment.

    The origin of vectors is noted in the store. Memory does not grow with the number of pages. After an interrupt, the same
    command goes on from the parts that are finished. A GPU is used where there is one.

    Example: `comicseq embed outputs/pages --output data/stage3_embeddings.zarr`

    Example: `comicseq embed pages.json --into data/stage3_embeddings.zarr --metadata data/stage3_metadata.json`

    Several GPUs or processes: `accelerate launch --multi_gpu --num_processes 2 --num_machines 1
    -m modeling_comicseq.cli embed …`; without a GPU, this starts two processes on the processor.
    """
    from accelerate import PartialState

    from ..errors import ComicSeqArgumentError

    if (output is None) == (into is None):
        raise ComicSeqArgumentError("name either --output, a store to write, or --into, one that gets what it lacks")
    options: dict[str, Any] = {"encoder": encoder, "batch_size": batch_size, "overwrite": overwrite}
    if into is not None:
        if zarr_format is not None:
            raise ComicSeqArgumentError("--zarr-format is that of the store with --into; leave it out")
        _into(into, pages, metadata=metadata, dtype=dtype, **options)
    elif pages is None:
        raise ComicSeqArgumentError("no pages are named; name a data set of pages, as `comicseq ingest` writes")
    elif metadata is not None:
        raise ComicSeqArgumentError("--metadata are those of the store --into which is written; leave them out")
    else:
        _output(pages, str(output), dtype=dtype or "float32", zarr_format=int(zarr_format or 3), **options)
    PartialState().destroy_process_group()


def _output(pages: str, output: str, **options: Any) -> None:
    from accelerate import PartialState

    from ..errors import counted
    from ..library.embed import embed_pages

    made = embed_pages(pages, output, **options)
    if not PartialState().is_main_process:
        return
    counts = [counted(made["pages"], "page"), counted(made["panels"], "panel")]
    counts += [f"{made[name]:,} with {name}" for name in ("texts", "captions") if made[name]]
    typer.echo(f"{output}: {', '.join(counts)}")
    if made["pages_without_panels"]:
        typer.echo(f"{counted(made['pages_without_panels'], 'page')} without panels: empty rows")


def _into(store: str, pages: str | None, **options: Any) -> None:
    from accelerate import PartialState

    from ..errors import counted
    from ..library.embed_into import embed_into

    made = embed_into(store, pages, **options)
    if not PartialState().is_main_process:
        return
    told = {"text_embeddings": "texts", "caption_embeddings": "captions", "panel_boxes": "boxes"}
    for name in made["arrays"]:
        about = f", {made['counts'][told[name]]:,} panels with {told[name]}" if name in told else ""
        typer.echo(f"{store}: {name} added{about}")
    for name, number in made["fields"].items():
        typer.echo(f"{made['metadata']}: {name} added to {counted(number, 'page')}")
    if made["counts"]["blank"]:
        typer.echo(f"{counted(made['counts']['blank'], 'page')} without panels, stored as a blank one: no texts")
    if made["kept"]:
        typer.echo(f"{', '.join(made['kept'])}: kept as it was; --overwrite replaces it")
    if not made["arrays"] and not made["fields"]:
        typer.echo(f"{store} lacks nothing of what is told: nothing to do")
