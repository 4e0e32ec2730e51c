"""`comicseq import-checkpoint`."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from .options import Overwrite


def import_checkpoint(
    file: Annotated[Path, Argument(help="`best_model.pt` of the original Stage 4 code.")],
    output: Annotated[Path, Argument(help="Folder of the ComicSeq checkpoint to create.")],
    heads: Annotated[
        int | None,
        Option(min=1, help="Number of attention heads.", show_default="`nhead` of the arguments in the file"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the **original Stage 4 code** into a ComicSeq checkpoint.

    The encoder and the heads' modules compute what they did. What such a checkpoint never trained is listed, here and
    in the README of the new folder. Of the file only tensors and plain values are read; a pickle with code is refused.

    Example: `comicseq import-checkpoint best_model.pt outputs/imported`
    """
    from ..checkpoints.importing import import_checkpoint as import_file

    report = import_file(file, output, heads, overwrite)
    config = report.config
    typer.echo(
        f"{output}: {report.imported} weights, width {config.hidden_size}, {config.num_hidden_layers} layers,"
        f" {config.num_attention_heads} heads, feed-forward {config.intermediate_size}"
    )
    typer.echo("Never trained, and set to zero or the identity:")
    for name in report.untrained:
        typer.echo(f"  {name}")
    typer.echo(
        "Never trained either: the heads on the encoder's states, which the task classes and pipelines give them. Train"
        f" further before you ask them; {output / 'README.md'} says more."
    )
