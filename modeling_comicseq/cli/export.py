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
        Option(help="Precision of the weights.", show_default="that of the checkpoint, and of ONNX files float32"),
    ] = None,
    form: Annotated[
        Literal["transformers", "onnx"],
        Option("--format", help="`onnx`: files for ONNX Runtime (extra: onnx)."),
    ] = "transformers",
    overwrite: Overwrite = False,
) -> None:
    """Make a folder that is **ready for the Hub** from a checkpoint of a training run.

    It holds the weights of one class in safetensors, its configuration and code, pipelines and endpoint handler, and the
    card: nothing of the optimiser or the trainer. A single head loads with `AutoModelForMultipleChoice`, the encoder with
    `AutoModel`.

    With `--format onnx` the folder holds a file for the encoder and one for each head, in float32, with the names that inputs
    and outputs have in the classes; numbers of pages, panels and candidates are free. Each file is compared with PyTorch
    before it is kept.

    Example: `comicseq export outputs/model outputs/picking --task panel_picking --dtype float16`
    """
    if form == "onnx":
        from ..checkpoints.onnx_export import export_onnx
        from ..errors import ComicSeqArgumentError

        if dtype not in (None, "float32"):
            raise ComicSeqArgumentError(
                f"--dtype {dtype} is not for --format onnx, whose files are in float32: leave it out."
            )
        made = export_onnx(checkpoint, output, task, overwrite, progress=True)
        typer.echo(
            f"{output}: {', '.join(made.files)}; {made.num_bytes / 1e6:.1f} MB in float32"
            + (f" (the checkpoint is in {made.source_dtype})" if made.source_dtype != "float32" else "")
            + f"; at most {made.difference:.0e} from PyTorch"
        )
        return
    from ..checkpoints.export import export_checkpoint

    report = export_checkpoint(checkpoint, output, task, dtype, overwrite)
    typer.echo(
        f"{output}: {report.class_name}, {report.num_parameters:,} weights in {report.dtype},"
        f" {report.num_bytes / 1e6:.1f} MB; loads with {report.loader}"
    )
