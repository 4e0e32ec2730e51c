"""The `comicseq` command: each subcommand parses its arguments and calls one function of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="ComicSeq: comics as sequences of panels. Stage 3 store in, contextualised panel and strip vectors out.",
)


@app.callback()
def main() -> None:
    """Makes typer treat every command as a subcommand, however few there are."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the command with the error's message and exit code 1, without a traceback, where the input is at fault."""
    from modeling_comicseq.data.errors import ComicSeqDataError

    try:
        yield
    except (ComicSeqDataError, OSError) as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(130) from None


@app.command()
def convert(
    embeddings: Annotated[str, typer.Option(help="Stage 3 Zarr store: a local path or any fsspec URL.")],
    metadata: Annotated[str, typer.Option(help="Its metadata: a JSON list with one object a page; path or URL.")],
    output: Annotated[Path, typer.Option(help="Folder of the data set to create.")],
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Precision of the vectors.")] = "float16",
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(help="Shares of train, validation and test among the books, by a hash of the book's id."),
    ] = (0.8, 0.1, 0.1),
    split_books: Annotated[
        Path | None,
        typer.Option(
            "--split-books",
            "--split_books",
            help='JSON file `{"train": [...], "validation": [...], "test": [...]}` of book ids, instead of --fractions. '
            "Without a train list, all other books are trained on.",
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
    num_proc: Annotated[int, typer.Option("--num-proc", "--num_proc", min=1, help="Processes to convert with.")] = 1,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option(
            "--on-error",
            "--on_error",
            help="What a page with a fault does: stop the conversion, or be left out and listed in `skipped.json`.",
        ),
    ] = "stop",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output made from other input or with other options.")
    ] = False,
) -> None:
    """Convert a **Stage 3 store** to an Arrow data set for training, evaluation and tuning.

    The output opens with `datasets.load_from_disk`: one row a page, only its real panels, split into train,
    validation and test by book. Every page is checked on the way. The output appears complete or not at all; after an
    interrupt, the same command goes on from the parts that are finished.

    Example: `comicseq convert --embeddings data/stage3_embeddings.zarr --metadata data/stage3_metadata.json
    --output data/arrow --num-proc 4`
    """
    from rich.console import Console
    from rich.table import Table

    with one_line_errors():
        from modeling_comicseq.data.conversion import convert_store
        from modeling_comicseq.data.provenance import read_provenance

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


@app.command()
def synthesize(
    output: Annotated[
        Path, typer.Option(help="Folder to create: `stage3_embeddings.zarr` and `stage3_metadata.json` in it.")
    ],
    books: Annotated[
        int, typer.Option(min=1, help="Number of books; a book has 8 to 20 pages of 2 to 9 panels.")
    ] = 240,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the books; the same seed gives the same books.")] = 0,
    width: Annotated[int, typer.Option(help="Length of the panel, picture, text and caption vectors.")] = 512,
    slots: Annotated[int, typer.Option(help="Panel slots a page; the unused ones are filled with garbage.")] = 16,
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Precision of the stored vectors.")] = "float16",
    rows_per_chunk: Annotated[int, typer.Option(min=1, help="Pages in a chunk of the store.")] = 256,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Write a **synthetic corpus** as a Stage 3 store: comics from a known world, whose questions have exact answers.

    The store has fused, picture-only, text-only and caption vectors, and names its world and fingerprint in its
    attributes, so that `run_eval.py` can set a model's score beside the Bayes optimum.

    Example: `comicseq synthesize --output data/demo --books 240 --seed 0`, then
    `comicseq convert --embeddings data/demo/stage3_embeddings.zarr --metadata data/demo/stage3_metadata.json
    --output data/demo-arrow`.
    """
    from modeling_comicseq.data.synthetic import SyntheticWorld
    from modeling_comicseq.data.synthetic import synthesize as write

    with one_line_errors():
        corpus = write(
            output,
            num_books=books,
            seed=seed,
            world=SyntheticWorld(width=width),
            slots=slots,
            dtype=dtype,
            rows_per_chunk=rows_per_chunk,
            progress=progress,
        )
    typer.echo(f"{output}: {books} books, fingerprint {corpus.fingerprint}")


if __name__ == "__main__":
    app()
