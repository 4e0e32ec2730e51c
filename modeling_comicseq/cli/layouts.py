"""`comicseq layouts`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from .options import Overwrite, Seed


def layouts(
    output: Annotated[Path, Option(help="A JSON file (`.json`), or a folder for a data set.")],
    pages: Annotated[int, Option(min=1, help="Number of pages; sixteen each have their style in common.")] = 1000,
    seed: Seed = 0,
    reading_direction: Annotated[
        Literal["ltr", "rtl"] | None, Option(help="Direction of all books; by default each has one of the two.")
    ] = None,
    jitter: Annotated[
        float, Option(min=0, max=1, help="How far edges are off, in sides of their box (standard deviation).")
    ] = 0.0,
    missed: Annotated[float, Option(min=0, max=1, help="Probability that a panel is missing.")] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """Draw **page layouts** whose reading order is known: boxes of panels, no pictures.

    Rows and columns of all sizes, blocks that span rows, gutters that slant or do not meet, panels that bleed, lie over
    others or stand in others, columns of four, strips, scrolls and spreads. Panels stand in reading order. A JSON file has
    the form of a `panels.json`, a folder is a data set with one flat list `panel_boxes` a page, as shares of the page.

    Example: `comicseq layouts --pages 1000 --output layouts.json`, then
    `comicseq order --boxes layouts.json --output orders.json`.
    """
    from ..library.layouts import write_layouts

    panels = write_layouts(output, pages, seed, reading_direction, jitter, missed, overwrite=overwrite)
    typer.echo(f"{output}: {pages:,} pages, {panels:,} panels")
