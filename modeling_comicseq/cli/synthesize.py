"""`comicseq synthesize`."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from .options import Seed, VectorType


def synthesize(
    output: Annotated[Path, Option(help="Folder to create.")],
    books: Annotated[int, Option(min=1, help="Number of books; a book has 8 to 20 pages of 2 to 9 panels.")] = 240,
    seed: Seed = 0,
    width: Annotated[int, Option(help="Length of the panel, picture, text and caption vectors.")] = 512,
    slots: Annotated[int, Option(help="Panel slots a page; the unused ones are filled with garbage.")] = 16,
    dtype: VectorType = "float16",
    rows_per_chunk: Annotated[int, Option(min=1, help="Pages in a chunk of the store.")] = 256,
    boxes: Annotated[
        bool, Option("--boxes", help="Draw a layout for every page: where panels stand, and directions.")
    ] = False,
    progress: Annotated[bool, Option(help="Show a progress bar.")] = True,
) -> None:
    """Write a **synthetic corpus** as a Stage 3 store: comics from a known world, whose questions have exact answers.

    In the folder are `stage3_embeddings.zarr` and `stage3_metadata.json`. The store has fused, picture-only, text-only and
    caption vectors, and names its world and fingerprint in its attributes, so that `comicseq evaluate` can set a model's
    score beside the Bayes optimum.

    With `--boxes`, every book also has a style of layouts and a reading direction, from left to right or from right to
    left: `panel_boxes` in the store. They are drawn apart from the vectors, which stay the same, so that the optimum of
    reading order is that of somebody who does not see them.

    Example: `comicseq synthesize --output data/demo --books 240 --seed 0`, then
    `comicseq convert --embeddings data/demo/stage3_embeddings.zarr --metadata data/demo/stage3_metadata.json
    --output data/demo-arrow`.
    """
    from ..synthetic.world import SyntheticWorld
    from ..synthetic.world import synthesize as write

    corpus = write(
        output,
        num_books=books,
        seed=seed,
        world=SyntheticWorld(width=width),
        slots=slots,
        dtype=dtype,
        rows_per_chunk=rows_per_chunk,
        boxes=boxes,
        progress=progress,
    )
    typer.echo(f"{output}: {books} books, fingerprint {corpus.fingerprint}")
