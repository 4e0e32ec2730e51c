"""`comicseq export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from ..model.tasks_comicseq import TASKS
from .options import Overwrite


def export(
    checkpoint: Annotated[str, Argument(help="Checkpoint folder, or name on the Hub.")],
    output: Annotated[Path, Argument(help="Folder to create.")],
    task: Annotated[
        str | None,
        Option(
            help=f"`encoder`, `all` heads, or one head: {', '.join(TASKS)}.",
            show_default="the class that the checkpoint has",
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        Option(help="Precision of the weights.", show_default="that of the checkpoint"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a folder that is **ready for the Hub** from a checkpoint of a training run.

    It holds the weights of one class in safetensors, its configuration and code, pipelines and endpoint handler, and the
    card: nothing of the optimiser or the trainer. A single head loads with `AutoModelForMultipleChoice`, the encoder with
    `AutoModel`.

    Example: `comicseq export outputs/model outputs/picking --task panel_picking --dtype float16`
    """
    from ..checkpoints.export import export_checkpoint

    report = export_checkpoint(checkpoint, output, task, dtype, overwrite)
    typer.echo(
        f"{output}: {report.class_name}, {report.num_parameters:,} weights in {report.dtype},"
        f" {report.num_bytes / 1e6:.1f} MB; loads with {report.loader}"
    )
