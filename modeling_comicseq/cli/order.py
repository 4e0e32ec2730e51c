"""`comicseq order`."""

from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table
from typer import Option

from .options import OtherOrigin


def order(
    model: Annotated[str, Option(help="Checkpoint with a trained reading-order head: folder or name on the Hub.")],
    output: Annotated[Path, Option(help="JSON file to write: one object a page.")],
    embeddings: Annotated[str | None, Option(help="Stage 3 Zarr store: a local path or any fsspec URL.")] = None,
    metadata: Annotated[str | None, Option(help="The store's metadata, path or URL.")] = None,
    pages: Annotated[
        Path | None,
        Option(help="Instead of a store, a JSON list of objects with `panel_embeddings`, a list of vectors."),
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace an output that is there already and holds no reading orders.")
    ] = False,
    other_origin: OtherOrigin = False,
) -> None:
    """Refine the **reading order** of pages: a permutation of each page's panels, with a confidence.

    `order` lists the panels' present places as they are read: `[2, 0, 1]` begins with the third. The model is shown no
    order. `confidence` is the mean probability that the model gives the order's statements (each panel is directly
    followed by the next; for a model trained on precedence: comes before every later one), that is the share of them it
    expects to be right; `given_confidence` is the same for the order in which the panels came; `agreement` is the share
    of the new order's statements that the given one makes, too.

    A model can be surer than it should be, on books it was not trained on above all. Where most given orders are right,
    the mean agreement shows it: it should be near the mean confidence. Do not replace orders if it is far below.

    Pages with more panels than the model's `max_position_embeddings` keep their order and have no confidence.

    Example: `comicseq order --model outputs/model --embeddings stage3_embeddings.zarr --metadata stage3_metadata.json
    --output orders.json`
    """

    from ..errors import ComicSeqArgumentError
    from ..library.order import order_json, order_store

    if pages is not None and embeddings is None and metadata is None:
        summary = order_json(model, pages, output, overwrite=overwrite)
    elif pages is None and embeddings is not None and metadata is not None:
        summary = order_store(model, embeddings, metadata, output, overwrite=overwrite, other_origin=other_origin)
    else:
        raise ComicSeqArgumentError("Give either --embeddings and --metadata, or --pages.")
    columns = ("pages", "order changed", "too long, left", "mean confidence", "mean agreement")
    table = Table(*columns, title=str(output))
    means = ("-" if mean is None else f"{mean:.3f}" for mean in (summary.mean_confidence, summary.mean_agreement))
    table.add_row(f"{summary.pages:,}", f"{summary.changed:,}", f"{summary.too_long:,}", *means)
    console = Console()
    console.print(table)
    if summary.mean_confidence is not None:
        console.print(
            "Confidence: the share of an order's statements, such as that one panel is directly followed by another, that"
            " the model expects to be right. Agreement: the share of them that the given order makes, too. Where most"
            " given orders are right, the two means should be near each other: do not replace orders if the agreement is"
            " far below.",
            highlight=False,
        )
    least = Table("least sure", "confidence")
    for value, name in summary.least_sure:
        least.add_row(name, f"{value:.3f}")
    if summary.least_sure:
        console.print(least)
