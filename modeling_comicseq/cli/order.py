"""`comicseq order`."""

from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from rich.table import Table
from typer import Option

from .options import OtherOrigin


def order(
    output: Annotated[Path, Option(help="JSON file to write: one object a page.")],
    boxes: Annotated[
        str | None,
        Option(
            help="Pages with boxes: a `panels.json`, a COCO file, a list with `panel_boxes`, what vision-language models"
            " wrote, or a folder of such files. Alone, it needs no `--model`; beside a store, the boxes of its pages."
        ),
    ] = None,
    reading_direction: Annotated[
        Literal["ltr", "rtl"] | None, Option(help="Direction of the pages that nothing else tells it of.")
    ] = None,
    model: Annotated[
        str | None,
        Option(
            help="Checkpoint with a trained reading-order head: folder or name on the Hub. By default, with `--boxes`, the"
            " predictor that comes with the package."
        ),
    ] = None,
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

    With `--boxes` alone, from where panels stand on the page: by a small predictor that was trained on drawn layouts, or by
    `--model`, which is shown the pages' `panel_embeddings`, too, where they have some. Books whose panels stand as if they
    were read the other way are named. Else from panel vectors, by `--model`; one that was trained with boxes is shown those
    of the store, its metadata or the list, too.

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

    Example: `comicseq order --boxes panels.json --output orders.json`
    """

    from ..errors import ComicSeqArgumentError
    from ..library.order import order_json, order_store

    is_store = embeddings is not None and metadata is not None and pages is None
    is_list = pages is not None and embeddings is None and metadata is None
    if boxes is not None and not is_store and (pages, embeddings, metadata) == (None, None, None):
        from ..library.order_boxes import order_boxes

        summary = order_boxes(boxes, output, model, reading_direction, overwrite=overwrite)
    elif not (is_store or is_list):
        raise ComicSeqArgumentError("Give --boxes, or either --embeddings and --metadata, or --pages.")
    elif model is None:
        raise ComicSeqArgumentError("Give --model, or --boxes alone, which needs none.")
    elif is_store:
        summary = order_store(
            model, str(embeddings), str(metadata), output, True, overwrite, other_origin, boxes, reading_direction
        )
    elif boxes is not None or reading_direction is not None:
        raise ComicSeqArgumentError("Give --pages without --boxes and --reading-direction: its objects tell both.")
    else:
        summary = order_json(model, Path(str(pages)), output, overwrite=overwrite)
    columns = ("pages", "order changed", "left as given", "mean confidence", "mean agreement")
    table = Table(*columns, title=str(output))
    means = ("-" if mean is None else f"{mean:.3f}" for mean in (summary.mean_confidence, summary.mean_agreement))
    table.add_row(f"{summary.pages:,}", f"{summary.changed:,}", f"{summary.left:,}", *means)
    console = Console(markup=False)
    console.print(table)
    if summary.mean_confidence is not None:
        console.print(
            "Confidence: the share of an order's statements, such as that one panel is directly followed by another, that"
            " the model expects to be right. Agreement: the share of them that the given order makes, too. Where most"
            " given orders are right, the two means should be near each other: do not replace orders if the agreement is"
            " far below.",
            highlight=False,
        )
    for note in summary.notes:
        console.print(note, highlight=False, soft_wrap=True)
    least = Table("least sure", "confidence")
    for value, name in summary.least_sure:
        least.add_row(name, f"{value:.3f}")
    if summary.least_sure:
        console.print(least)
