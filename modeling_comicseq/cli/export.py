"""`comicseq export`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, BadParameter, Option

from ..model.tasks_comicseq import TASKS
from .options import OtherOrigin, Overwrite


def export(
    checkpoint: Annotated[str | None, Argument(help="Checkpoint folder, or name on the Hub.")] = None,
    output: Annotated[Path | None, Argument(help="Folder to create.")] = None,
    model: Annotated[str | None, Option("--model", help="The checkpoint, where it is not the first word.")] = None,
    folder: Annotated[Path | None, Option("--output", help="The folder, where it is not the second word.")] = None,
    encoder: Annotated[
        str | None,
        Option(help="Panel encoder to put in: what `comicseq embed --encoder` made the training's vectors with."),
    ] = None,
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
    other_origin: OtherOrigin = False,
) -> None:
    """Make a folder that is **ready for the Hub** from a checkpoint of a training run.

    It holds the weights of one class in safetensors, its configuration and code, pipelines and endpoint handler, and the
    card: nothing of the optimiser or the trainer. A single head loads with `AutoModelForMultipleChoice`, the encoder with
    `AutoModel`.

    With `--format onnx` the folder holds a file for the encoder and one for each head, in float32, with the names that inputs
    and outputs have in the classes; numbers of pages, panels and candidates are free. Each file is compared with PyTorch
    before it is kept.

    With `--encoder` the folder is a **page model**: it has the panel encoder in it, and takes pages, as pictures and texts,
    in place of vectors (`AutoModel`, the same pipelines, the endpoint).

    Example: `comicseq export outputs/model outputs/picking --task panel_picking --dtype float16`, `comicseq export
    --model outputs/model --encoder efficientnet-lite0+all-MiniLM-L6-v2 --output outputs/pages`
    """
    checkpoint = _one("CHECKPOINT", checkpoint, "--model", model)
    output = _one("OUTPUT", output, "--output", folder)
    if other_origin and encoder is None:
        raise BadParameter("it is for --encoder alone: leave it out.", param_hint="'--other-origin'")
    if form == "onnx":
        from ..checkpoints.onnx_export import export_onnx
        from ..errors import ComicSeqArgumentError

        if dtype not in (None, "float32"):
            raise ComicSeqArgumentError(
                f"--dtype {dtype} is not for --format onnx, whose files are in float32: leave it out."
            )
        if encoder is not None:
            raise ComicSeqArgumentError("--encoder is not for --format onnx, which has no page model: leave one out.")
        made = export_onnx(checkpoint, output, task, overwrite, progress=True)
        typer.echo(
            f"{output}: {', '.join(made.files)}; {made.num_bytes / 1e6:.1f} MB in float32"
            + (f" (the checkpoint is in {made.source_dtype})" if made.source_dtype != "float32" else "")
            + f"; at most {made.difference:.0e} from PyTorch"
        )
        return
    if encoder is not None:
        from ..checkpoints.page_model import join_checkpoints

        report = join_checkpoints(
            checkpoint, encoder, output, overwrite, task=task, dtype=dtype, other_origin=other_origin
        )
    else:
        from ..checkpoints.export import export_checkpoint

        report = export_checkpoint(checkpoint, output, task, dtype, overwrite)
    for note in report.notes:
        typer.echo(f"Warning: {note}", err=True)
    typer.echo(
        f"{output}: {report.class_name}, {report.num_parameters:,} weights in {report.dtype},"
        f" {report.num_bytes / 1e6:.1f} MB; loads with {report.loader}"
    )


def _one(word: str, first: Any, option: str, second: Any) -> Any:
    """What was given as a word or as an option, one of which it must be."""
    if (first is None) == (second is None):
        raise BadParameter(
            "give it once." if first is not None else "it is missing.", param_hint=f"'{word}' or '{option}'"
        )
    return second if first is None else first
