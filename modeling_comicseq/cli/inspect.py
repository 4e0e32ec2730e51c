"""`comicseq inspect`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer import Argument, Option

from .options import Seed


def inspect(
    stores: Annotated[list[str], Argument(help="Stage 5 or Stage 3 stores, paths or URLs.", metavar="STORE…")],
    metadata: Annotated[
        list[str] | None,
        Option(help="Metadata: once for all stores, or once each in their order.", show_default="beside each store"),
    ] = None,
    output: Annotated[
        Path | None,
        Option(
            help="Folder for inspect.json, findings.json and map.png.",
            show_default="STORE.inspect beside the first store",
        ),
    ] = None,
    pages: Annotated[
        int, Option(min=10, help="Most pages to measure; of a larger store, whole books are drawn.")
    ] = 10_000,
    seed: Seed = 0,
) -> None:
    """Tell whether an **embedding space is healthy**, collapsed, or only marks which page a panel is from, and **list what
    is wrong** with its pages.

    Prints figures and a reading in plain words for each store, side by side, and writes them with a 2-D map of the strip
    vectors. Effective rank, mean cosines within pages, within books and between books, how often the nearest page is of
    the same book, dead dimensions and copies, and whether a panel's place on its page can be read off its vector; the strip
    vectors of a Stage 3 store are the means of its panels.

    `findings.json` lists, of all pages: pages without a real panel that were stored as one blank panel; copies, of the same
    vectors or nearly the same in all panels, in a book, in other books and across splits; pages listed twice; books that
    were merged by equal folder names; rows that the metadata do not name; pages without panels, with unusable vectors or a
    wrong mask; a collapsed space, and vectors that tell their place. One finding is one line, which can be taken out;
    `comicseq convert --leave-out findings.json` leaves out the pages of the others.

    Example: `comicseq inspect data/stage3_embeddings.zarr data/stage5.zarr --output outputs/inspection`
    """

    from ..library.inspect import FILES, inspect_stores, print_reports

    reports, folder = inspect_stores(stores, metadata or [], output, pages=pages, seed=seed, progress=True)
    print_reports(reports, Console())
    typer.echo(f"Written: {', '.join(str(folder / name) for name in FILES)}")
