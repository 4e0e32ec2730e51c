"""`comicseq search`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer import Option


def search(
    index: Annotated[str | None, Option(help="Index of `comicseq index`, folder or URL.  [required]")] = None,
    text: Annotated[str | None, Option(help="Query: what is seen or said, in words.")] = None,
    image: Annotated[Path | None, Option(help="Query: a picture of a panel.")] = None,
    page: Annotated[str | None, Option(help="Query: a page by its `canonical_id` or its row.")] = None,
    panel: Annotated[str | None, Option(help="Query: a panel as PAGE:SLOT or ROW:SLOT.")] = None,
    vector: Annotated[Path | None, Option(help="Query: a vector in an .npy file, of the same model.")] = None,
    words: Annotated[
        str | None, Option(help="Words in the lettering; beside other queries, both rankings count.")
    ] = None,
    where: Annotated[str | None, Option(help="Filter in SQL, such as \"book_id = 'one' and num_panels > 3\".")] = None,
    level: Annotated[
        Literal["strip", "panel", "book"] | None,
        Option(
            help="What to find: pages, panels, or the best page of each book.",
            show_default="panel for --panel, else strip",
        ),
    ] = None,
    k: Annotated[int, Option("-k", "--k", min=1, max=10_000, help="How many.")] = 10,
    other_books: Annotated[
        bool, Option("--other-books", help="Leave out the book of the page or panel that is asked for.")
    ] = False,
    hybrid: Annotated[bool, Option(help="Look for the words of --text in the lettering, too.")] = True,
    space: Annotated[
        Literal["model", "encoder"] | None,
        Option(
            help="Whose vectors are compared: the model's, or the panel encoder's (index with --embeddings).",
            show_default="encoder for --text and --image where the index has it, else model",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        Option(help="Panel encoder that made the store.", show_default="the one that the store names"),
    ] = None,
    model: Annotated[
        str | None, Option(help="Model that made the store.", show_default="the one that the store names")
    ] = None,
    output: Annotated[Path | None, Option(help="JSON file for the results.")] = None,
    contact_sheet: Annotated[Path | None, Option(help="PNG file for the pictures of the results.")] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace an output that is there already and holds no results.")
    ] = False,
    store: Annotated[str | None, Option(hidden=True)] = None,
) -> None:
    """Search a library by words, by pictures, or by a page, a panel or a vector: what is **nearest** by cosine.

    --text and --image are read by the panel encoder that made the store, as a panel of words or of a picture alone, and
    compared with the panel encoder's own vectors where the index holds them (`comicseq index --embeddings`): a text with
    those of texts alone and a picture with those of pictures alone, where there are such, and pages by the means of their panels; else with strips and panels of the model, through which they go as a page of one panel. The words of --text are looked for in
    the lettering, too, where there is any, and the two rankings joined by reciprocal ranks. Of several queries the mean
    of their unit vectors counts. What is asked for is not among the results, nor are copies of it. Strips and panels lie
    in different spaces: `--page --level panel` finds panels near one of the page's panels, `--panel --level strip` ranks
    pages by their nearest panel.

    Example: `comicseq search --index outputs/index --text "a witch flies over a village at night" --contact-sheet out.png`
    """
    from ..errors import ComicSeqArgumentError
    from ..library.index import open_index
    from ..library.search import draw_contact_sheet, parse_panel, read_vector, short, words_of, write_hits
    from ..outputs import check_output, has_words

    if store is not None or index is None:
        raise ComicSeqArgumentError(
            f"search asks an index: make one with `comicseq index --store {store or 'STORE'} --output INDEX`, then give"
            " `comicseq search --index INDEX`"
        )
    inputs = [index, image, vector]
    if output:
        is_own = has_words('"index": ', '"query": {', '"results": [')
        check_output(output, inputs, overwrite, is_own=is_own)
    if contact_sheet:
        check_output(contact_sheet, [*inputs, output], overwrite, is_own=lambda path: path.suffix.lower() == ".png")
    asked = {"text": text, "image": image, "page": page, "panel": panel, "vector": vector, "words": words}
    asked = {name: value for name, value in asked.items() if value is not None}
    query = asked | {
        name: value
        for name, value in (("panel", panel and parse_panel(panel)), ("vector", vector and read_vector(vector)))
        if value is not None
    }
    opened = open_index(index, encoder=encoder, model=model)
    how = {"where": where, "level": level, "k": k, "other_books": other_books, "hybrid": hybrid, "space": space}
    hits = opened.search(**query, **how)  # type: ignore[arg-type]
    if contact_sheet:
        draw_contact_sheet(hits, opened, contact_sheet)
    if output:
        write_hits(hits, opened, {name: str(value) for name, value in asked.items()} | how, output)
    query_words = ", ".join(f"{name} {short(str(value), 40)}" for name, value in asked.items())
    columns: dict[str, list[str]] = {
        "rank": [str(hit.rank) for hit in hits],
        "page": [hit.page_id for hit in hits],
        # which most pages have in their names
        "book": [hit.book_id if not hit.page_id.startswith(f"{hit.book_id}/") else "" for hit in hits],
        "row": [str(hit.row) for hit in hits],
        "slot": ["" if hit.slot is None else str(hit.slot) for hit in hits],
        "score": [f"{hit.score:.3f}" for hit in hits],
        "words": [short(words_of(hit)) for hit in hits],
    }
    told = {name: map(_plain, cells) for name, cells in columns.items() if any(cells)}
    table = Table(title="nearest to " + _plain(query_words))
    for name in told:
        table.add_column(name, justify="left" if name in ("page", "book", "words") else "right", overflow="fold")
    for cells in zip(*told.values(), strict=True):
        table.add_row(*cells)
    Console().print(table)
    if len(hits) < k:
        typer.echo(f"{len(hits)} results, as there are no more.", err=True)


def _plain(text: str) -> str:
    """A text from the data, in which nothing is markup or moves the cursor."""
    from rich.markup import escape

    return escape("".join(each if each.isprintable() else " " for each in text))
