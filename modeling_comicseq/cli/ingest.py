"""`comicseq ingest`."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from .options import Overwrite, ReadingDirection


def ingest(
    sources: Annotated[
        list[str],
        Argument(
            metavar="SOURCE",
            help="Folders of pictures or of books, CBZ, ZIP and PDF files, data sets of pictures (folders or on the Hub).",
        ),
    ],
    output: Annotated[Path, Option(help="Folder of the data set to create.")],
    annotations: Annotated[
        str | None, Option(help="What is known of the pages: a JSON file, or a folder of one a page; see above.")
    ] = None,
    panels: Annotated[
        Literal["auto", "given", "none"],
        Option(help="Boxes of panels: given ones, and found where none are; given ones alone; or none at all."),
    ] = "auto",
    panel_detector: Annotated[
        str | None,
        Option(
            help="Object detector of transformers that finds panels: a folder or a model on the Hub.",
            show_default="a cut along the gutters",
        ),
    ] = None,
    ocr: Annotated[
        str, Option(help="What reads the texts of pages of which none are given: rapidocr (extra `ocr`), or none.")
    ] = "none",
    reading_direction: ReadingDirection = None,
    images: Annotated[
        Literal["embedded", "paths"],
        Option(help="Put the pictures into the data set, or name the files of those that need no change."),
    ] = "embedded",
    on_error: Annotated[
        Literal["stop", "skip"], Option(help="A page with a fault stops the run, or is left out.")
    ] = "stop",
    num_proc: Annotated[int, Option(min=1, help="Processes that read pages.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Make a **data set of pages** of comics: their pictures, panels, texts and reading order.

    The output opens with `datasets.load_from_disk`: one row a page. In a folder, each folder with pictures is a book, as is
    each archive and PDF file; pages come in the natural order of their names, covers first where they are called so.
    `ComicInfo.xml` tells series, number, title and direction. The output appears complete or not at all; after an interrupt,
    the same command goes on where it was.

    `--annotations` takes a JSON list with one object a page (`image`, `size`, `panels` of `box`, `text`, `speakers`), a COCO
    file, or a folder of JSON files as vision-language models write them. Pages left out are listed in `skipped.json`.

    Example: `comicseq ingest comics --output outputs/pages --num-proc 2`
    """
    from ..errors import counted
    from ..pages.ingest import ingest as make

    start = time.perf_counter()
    report = make(
        sources,
        output,
        annotations=annotations,
        panels=panels,
        panel_detector=panel_detector,
        ocr=ocr,
        reading_direction=reading_direction,
        images=images,
        on_error=on_error,
        num_proc=num_proc,
        overwrite=overwrite,
    )
    seconds = (time.perf_counter() - start) / max(report["pages"], 1)
    counts = ", ".join(counted(report[f"{name}s"], name) for name in ("book", "page", "panel", "text"))
    typer.echo(f"{output}: {counts}; {seconds:.2f} s a page")
    for name in ("boxes", "order", "reading_direction", "texts"):
        origins = ", ".join(
            f"{origin} ({counted(pages, 'page')})" for origin, pages in report[f"{name}_origin"].items()
        )
        typer.echo(f"{name.replace('_', ' ')}: {origins}")
    if report["skipped"]:
        typer.echo(f"{report['skipped']:,} left out, see {output / 'skipped.json'}")
