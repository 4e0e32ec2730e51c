"""Options that several commands share."""

from typing import Annotated, Literal

import typer
from typer import Option

Embeddings = Annotated[str, Option(help="Stage 3 Zarr store: a local path or any fsspec URL.")]
Metadata = Annotated[str, Option(help="Its metadata: a JSON list with one object a page; path or URL.")]
Model = Annotated[str, Option(help="Any ComicSeq checkpoint: a folder or a model on the Hub.")]
VectorType = Annotated[Literal["float16", "float32"], Option(help="Precision of the stored vectors.")]
Boxes = Annotated[
    str | None,
    Option(
        metavar="FILE",
        help="Where panels stand, beside the store: a panels.json, COCO, a folder of JSON files, a data set of pages.",
    ),
]
ReadingDirection = Annotated[
    Literal["ltr", "rtl"] | None, Option(help="How pages are read of which nothing else tells it.")
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an output that is there already.")]
OtherOrigin = Annotated[
    bool, Option("--other-origin", help="Go on where the vectors are of another origin than the model's training.")
]
Seed = Annotated[int, Option(min=0, help="Seed of all that is drawn; the same seed draws the same.")]

# For commands whose options are those of the run that they start, which parses them.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def passed_on(context: typer.Context) -> list[str]:
    """The words that a command passes on to the run that it starts; `--help-all` is that run's `--help`."""
    return ["--help" if word == "--help-all" else word for word in context.args]
