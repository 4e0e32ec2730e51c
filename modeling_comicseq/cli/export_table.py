"""`comicseq export-table`."""

import os
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from .options import OtherOrigin, Overwrite


def export_table(
    store: Annotated[str | None, Option(help="Stage 5 or Stage 3 store: a local path or any fsspec URL.")] = None,
    metadata: Annotated[str | None, Option(help="Its metadata, path or URL.", show_default="beside the store")] = None,
    pages: Annotated[
        str | None, Option(help="Data set of pages to take texts, speakers and boxes from, found by book and name.")
    ] = None,
    output: Annotated[Path | None, Option(help="Folder of the tables to create.")] = None,
    transcripts: Annotated[Path | None, Option(help="Folder of transcripts to create, one of each book.")] = None,
    model: Annotated[
        str | None,
        Option(
            help="Checkpoint with a reading-order head that judges the order of a Stage 3 store's pages.",
            show_default="the packaged predictor, where boxes are known",
        ),
    ] = None,
    clusters: Annotated[
        list[int] | None, Option(min=2, help="Number of clusters, once for each scale.", show_default="8, 32, 128")
    ] = None,
    neighbours: Annotated[int, Option(min=0, help="Nearest pages of each page.")] = 10,
    csv: Annotated[bool, Option("--csv", help="Write CSV, too; lists are JSON in it.")] = False,
    language: Annotated[
        str | None, Option(help="Language of the transcripts, as en, where the pages do not tell.")
    ] = None,
    other_origin: OtherOrigin = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a store as **tables for analysis**, and **transcripts** of its books.

    `pages.parquet` has a row a page and `panels.parquet` a row a panel: ids, texts, clusters at several scales (k-means of
    scikit-learn, extra `analysis`), places on a 2-D map, nearest pages, how sure a model is of the reading order, and what
    `comicseq inspect` found. pandas, DuckDB and Polars open them; with `--csv`, spreadsheets do. The columns are described
    in docs/export_table.md.

    `--transcripts` writes Markdown and JSON of each book: pages and panels in reading order, who speaks where that is known,
    and the text. It needs `--pages`, or a store whose metadata have texts, and no `--output`.

    Example: `comicseq export-table --store data/stage5_embeddings.zarr --output outputs/tables --transcripts outputs/books`
    """

    from ..errors import ComicSeqArgumentError, counted
    from ..library.export_table import export_table as write_tables
    from ..library.export_table import export_transcripts
    from ..outputs import check_output

    if output is None and transcripts is None:
        raise ComicSeqArgumentError("Nothing is to be written: give --output, --transcripts or both.")
    if output is not None and store is None:
        raise ComicSeqArgumentError("--output needs --store: tables are made of a store's vectors.")
    if transcripts is not None:
        if language is not None and not language.replace("-", "").isalnum():
            raise ComicSeqArgumentError(f"--language is {language!r} but must be a tag such as en or pt-BR.")
        check_output(transcripts, [store, metadata, pages], overwrite, folder=True)
        if output is not None:
            one, other = (Path(os.path.realpath(each)) for each in (output, transcripts))
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise ComicSeqArgumentError(
                    f"--transcripts {transcripts} and --output {output} are one folder, or one is in the other: name two."
                )
    if output is not None and store is not None:
        made = write_tables(
            store,
            output,
            metadata=metadata,
            pages=pages,
            model=model,
            scales=tuple(clusters or (8, 32, 128)),
            neighbours=neighbours,
            csv=csv,
            other_origin=other_origin,
            overwrite=overwrite,
            progress=True,
        )
        typer.echo(
            f"{output}: {', '.join(made.files)}; {counted(made.pages, 'page')}, {counted(made.panels, 'panel')}"
        )
        for kind, count in made.findings.items():
            typer.echo(f"{kind}: {counted(count, 'page')}")
        if made.unknown:
            typer.echo(
                f"{counted(made.unknown, 'page')} not in {pages}, or with other panels there: as the metadata tell"
            )
    if transcripts is not None:
        books = export_transcripts(
            transcripts,
            store=store,
            metadata=metadata,
            pages=pages,
            language=language,
            overwrite=overwrite,
            progress=True,
        )
        typer.echo(f"{transcripts}: transcripts of {counted(books, 'book')}")
