"""`comicseq app`."""

from pathlib import Path
from typing import Annotated

from typer import Option


def serve(
    index: Annotated[str, Option(help="Index of `comicseq index`, folder or URL.")],
    model: Annotated[
        str | None,
        Option(help="Checkpoint of a page model (`comicseq export --encoder`), which answers the app's questions."),
    ] = None,
    pages: Annotated[
        Path | None,
        Option(help="Data set of pages, whose pictures are shown in place of the small ones in the index."),
    ] = None,
    encoder: Annotated[
        str | None,
        Option(
            help="Panel encoder that made the index's store, which reads the words and pictures of queries.",
            show_default="the one that the store names",
        ),
    ] = None,
    host: Annotated[str, Option(help="Address to listen at; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535, help="Port to listen at.")] = 7860,
    title: Annotated[str, Option(help="Heading of the page.")] = "ComicSeq",
) -> None:
    """Look at a **library** of comics in a browser: search, pages, questions, reading order and a map.

    Search by words, by a picture, or by a click on a page or a panel; see a page with its panels, their order, texts and
    nearest relatives; guess what comes next, or which panel is missing, and see what the model says; have the panels of a
    page of your own found and numbered; and open pages from a map of all of them. Without pictures, pages are shown by
    their texts. It runs until Ctrl-C.

    Nothing is fetched from, or told to, another host, and no file is served: pages carry their pictures. Whoever reaches
    the port can see the whole index. Needs Gradio: `pip install 'comicseq[app]'`.

    Example: `comicseq app --index outputs/index --model outputs/page_model`
    """
    from ..library.app.server import launch

    launch(index, model, pages, encoder, host, port, title)
