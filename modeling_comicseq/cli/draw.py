"""`comicseq draw`."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from .options import Overwrite, Seed


def draw(
    output: Annotated[Path, Option(help="Folder to create.")],
    books: Annotated[int, Option(min=1, help="Number of books.")] = 20,
    seed: Seed = 0,
    pages: Annotated[int, Option(min=1, help="Pages of a book.")] = 8,
    width: Annotated[int, Option(help="Width of a page in pixels; double pages are twice as wide.")] = 850,
    num_proc: Annotated[int, Option(min=1, help="Processes that draw.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Draw **comics** whose panels, texts, speakers and order are known, and which are nobody's: no rights are reserved.

    In the folder are a folder of PNG pictures a book, `panels.json` with what is known about every panel, and a
    `README.md` that says what is in it. The same seed draws the same books.

    Example: `comicseq draw --books 20 --output drawn`.
    """
    from ..errors import counted
    from ..pages.drawn.writing import write_books

    drawn, panels = write_books(output, books, seed, pages, width, num_proc, overwrite)
    typer.echo(f"{output}: {counted(books, 'book')}, {counted(drawn, 'page')}, {counted(panels, 'panel')}")
