"""`comicseq search`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer import Option


def search(
    store: Annotated[
        str, Option(help="Stage 5 store; a Stage 3 store is searched by the means of its panels. Path or URL.")
    ],
    metadata: Annotated[
        str | None, Option(help="Its metadata, path or URL.", show_default="the JSON beside the store")
    ] = None,
    page: Annotated[str | None, Option(help="Query: a page by its `canonical_id` or its row.")] = None,
    panel: Annotated[str | None, Option(help="Query: a panel as ROW:SLOT.")] = None,
    vector: Annotated[Path | None, Option(help="Query: a vector in an .npy file, of the same model.")] = None,
    level: Annotated[
        Literal["strip", "panel"] | None,
        Option(help="What to find: pages or panels.", show_default="panel for --panel, else strip"),
    ] = None,
    k: Annotated[int, Option("-k", "--k", min=1, help="How many.")] = 10,
    index: Annotated[
        Path | None, Option(help="Folder of the saved indexes.", show_default="STORE.index beside the store")
    ] = None,
    factory: Annotated[str, Option(help="FAISS' string factory, for example HNSW32; see above for auto.")] = "auto",
    output: Annotated[Path | None, Option(help="JSON file for the results.")] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace an --output that is there already and holds no results.")
    ] = False,
) -> None:
    """Find the pages or panels **nearest** to a page, a panel or a vector, by cosine.

    The query itself is not among the results. Strip and panel vectors lie in different spaces and are not compared:
    `--page --level panel` finds panels near one of the page's panels, `--panel --level strip` ranks pages by their
    nearest panel. The first search builds an index and saves it; it is built again when the store changes. By
    default it is exact (Flat) up to 1 GiB of vectors, then clusters of one byte a number (IVF…,SQ8). Needs FAISS:
    `pip install 'comicseq[search]'`.

    Example: `comicseq search --store data/stage5.zarr --page library/book_1/page_007.jpg -k 5`
    """

    from ..library.search import parse_panel, read_vector, write_hits
    from ..library.search import search as find
    from ..outputs import check_output, has_words

    if output:
        is_own = has_words('"store": ', '"query": {', '"index": {')
        check_output(output, [store, metadata, vector, index], overwrite, is_own=is_own)
    hits, opened = find(
        store,
        metadata,
        page=page,
        panel=None if panel is None else parse_panel(panel),
        vector=None if vector is None else read_vector(vector),
        level=level,
        k=k,
        index=index,
        factory=factory,
        progress=True,
    )
    name, query = next(
        (name, value) for name, value in {"page": page, "panel": panel, "vector": vector}.items() if value is not None
    )
    if output:
        found = level or ("panel" if panel else "strip")
        write_hits(hits, opened, {name: str(query), "level": found, "k": k}, output)
    table = Table(title=f"nearest to {name} {query}")
    for column in ("rank", "page", "book", "row", "slot", "cosine"):
        table.add_column(column, justify="left" if column in ("page", "book") else "right", overflow="fold")
    for hit in hits:
        slot = "" if hit.slot is None else str(hit.slot)
        table.add_row(str(hit.rank), hit.page_id, hit.book_id, str(hit.row), slot, f"{hit.score:.3f}")
    Console().print(table)
    if len(hits) < k:
        typer.echo(f"{len(hits)} results, as there are no more.", err=True)
