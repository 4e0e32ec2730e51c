"""`comicseq index`."""

from typing import Annotated

import typer
from typer import Option

from .options import Overwrite


def index(
    store: Annotated[
        str, Option(help="Stage 5 store; of a Stage 3 store, the means of panels are the pages' vectors. Path or URL.")
    ],
    output: Annotated[str, Option(help="Index to make: a folder, or a URL such as s3://bucket/name.")],
    metadata: Annotated[
        str | None, Option(help="The store's metadata, path or URL.", show_default="the JSON beside the store")
    ] = None,
    pages: Annotated[
        str | None, Option(help="Data set of pages of `comicseq ingest`: adds boxes, texts and small pictures.")
    ] = None,
    embeddings: Annotated[
        str | None,
        Option(
            help="The Stage 3 store that the Stage 5 store was made from: keeps the panel encoder's vectors, too, with"
            " which words and pictures are compared."
        ),
    ] = None,
    picture_size: Annotated[
        int, Option(min=0, help="Pixels of the longer side of the small pictures; 0 leaves them out.")
    ] = 768,
    update: Annotated[
        bool, Option("--update", help="Bring an index up to date: new, changed and removed pages alone.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Make an **index** of a library: strips and panels with their texts, metadata and pictures, for search and app.

    The index is a LanceDB database: vectors, words and filters, read from the disk as they are asked for. Up to 200,000
    strips or panels every vector is compared, beyond that clusters of them. Fields of the metadata that hold one number,
    word or truth a page are columns that filters can name. The index appears complete or not at all; after an interrupt,
    the same command goes on; an update that is killed leaves the index as it was. Needs LanceDB:
    `pip install 'comicseq[search]'`.

    Example: `comicseq index --store data/stage5_embeddings.zarr --pages outputs/pages
    --embeddings data/stage3_embeddings.zarr --output outputs/index`
    """
    from ..errors import counted
    from ..library.index import build_index

    about = build_index(
        store,
        output,
        metadata=metadata,
        pages=pages,
        embeddings=embeddings,
        picture_size=picture_size,
        update=update,
        overwrite=overwrite,
    )
    counts = about["counts"]
    said = [counted(counts["pages"], "page"), counted(counts["panels"], "panel")]
    said += [
        f"{counts[name]:,} pages with {name[11:]}" + "s" * (name[-1] != "s") for name in counts if "_with_" in name
    ]
    typer.echo(f"{output}: {', '.join(said)}")
    if counts["pages_without_vector"]:
        typer.echo(f"{counted(counts['pages_without_vector'], 'page')} without a usable vector, which no search finds")
    if update and "updated" in about:
        typer.echo(", ".join(f"{number:,} {what}" for what, number in about["updated"].items()))
