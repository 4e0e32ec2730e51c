"""Makes a folder that is ready for the Hub from a checkpoint: one class, one precision, nothing left of the training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import ModelCard
from transformers.utils.hub import cached_file

from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..files import written_folder
from ..model import modeling_comicseq
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import (
    TASK_CLASSES,
    ComicSeqForPreTraining,
    ComicSeqForReadingOrder,
    ComicSeqModel,
    ComicSeqPreTrainedModel,
    ComicSeqTaskModel,
)
from ..model.tasks_comicseq import STRIP_EMBEDDING
from ..outputs import check_output
from ..progress import quiet_transformers
from .opening import load_checkpoint, read_config
from .provenance import TRAINING_PROVENANCE

CLASSES: dict[str, type[ComicSeqPreTrainedModel]] = {
    "encoder": ComicSeqModel,
    **TASK_CLASSES,
    "all": ComicSeqForPreTraining,
}
# What loads a class, where that is not `AutoModelForMultipleChoice`. No Auto class has the scores of reading order.
LOADERS = {
    ComicSeqModel: "AutoModel",
    ComicSeqForPreTraining: "AutoModelForPreTraining",
    ComicSeqForReadingOrder: ComicSeqForReadingOrder.__name__,
}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class ExportReport(NamedTuple):
    """What was exported.

    Attributes:
        class_name: Class of the checkpoint that was written.
        loader: What it is loaded with.
        dtype: Its precision.
        num_parameters: Number of its weights.
        num_bytes: Size of their file.
        notes: What the user is to be told.
    """

    class_name: str
    loader: str
    dtype: str
    num_parameters: int
    num_bytes: int
    notes: tuple[str, ...] = ()


def export_checkpoint(
    name: str, output: Path, task: str | None = None, dtype: str | None = None, overwrite: bool = False
) -> ExportReport:
    """Writes a checkpoint of one class that holds what loading and serving it needs, and nothing else.

    Args:
        name: Checkpoint folder or model on the Hub.
        output: Folder to create.
        task: "encoder", one of the tasks, or "all" heads; by default the class that the checkpoint has.
        dtype: "float32", "float16" or "bfloat16"; by default that of the checkpoint.
        overwrite: Whether to replace an existing folder.

    Raises:
        ComicSeqArgumentError: There is no such task or precision.
        ComicSeqDataError: There is no such checkpoint, it lacks the head, or its weights do not fit the precision.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ComicSeqArgumentError(f"The dtype is {dtype!r} but must be one of {', '.join(DTYPES)}.")
    check_output(output, [name], overwrite, folder=True)
    source = open_source(name, task)
    model_class, wanted = source.model_class, DTYPES[dtype] if dtype else source.whole.dtype
    model = source.part(model_class, wanted)
    loader, precision = LOADERS.get(model_class, "AutoModelForMultipleChoice"), str(wanted).removeprefix("torch.")
    with written_folder(output, overwrite) as folder:
        with quiet_transformers():
            model.save_pretrained(folder)
        carry_over(name, folder, output.name, f"Loads with `{loader}`; weights in {precision}.")
        num_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return ExportReport(model_class.__name__, loader, precision, model.num_parameters(), num_bytes)


class Source(NamedTuple):
    """A checkpoint to export.

    Attributes:
        name: Its folder, or its name on the Hub.
        config: Its configuration.
        whole: Its weights, with all heads.
        model_class: The class that is exported.
        tasks: The tasks whose heads that class has.
    """

    name: str
    config: ComicSeqConfig
    whole: ComicSeqForPreTraining
    model_class: type[ComicSeqPreTrainedModel]
    tasks: list[str]

    def part(self, model_class: type[ComicSeqPreTrainedModel], dtype: torch.dtype) -> ComicSeqPreTrainedModel:
        """A model of one class with the weights of the checkpoint, which must be finite in `dtype`."""
        weights = self.whole.state_dict()
        if model_class is ComicSeqModel:
            weights = {key.removeprefix("comicseq."): weight for key, weight in weights.items()}
        model = model_class(self.config)
        model.load_state_dict({key: weights[key] for key in model.state_dict()})
        model.to(dtype)  # type: ignore[arg-type]
        for key, weight in model.state_dict().items():
            if not weight.isfinite().all():
                remedy = "export with --dtype bfloat16" if dtype == torch.float16 else "take a sound checkpoint"
                raise ComicSeqDataError(f"`{key}` of {self.name} holds NaN or numbers outside {dtype}: {remedy}.")
        return model


def open_source(name: str, task: str | None) -> Source:
    """Opens a checkpoint and finds what of it is to be exported: `task`, or by default the class that it has.

    Raises:
        ComicSeqArgumentError: There is no such task.
        ComicSeqDataError: There is no such checkpoint, or it lacks the head.
    """
    if task is not None and task not in CLASSES:
        raise ComicSeqArgumentError(f"The task is {task!r} but must be one of {', '.join(CLASSES)}.")
    config = read_config(name)
    architecture = (config.architectures or ["ComicSeqForPreTraining"])[0]
    model_class = CLASSES[task] if task is not None else getattr(modeling_comicseq, architecture)
    whole, untrained = load_checkpoint(name, config)
    tasks = [each for each in whole.tasks if model_class in (ComicSeqForPreTraining, TASK_CLASSES[each])]
    asked = tasks if issubclass(model_class, ComicSeqTaskModel) else [*tasks, STRIP_EMBEDDING.name]
    if missing := [each for each in asked if each in untrained]:
        raise ComicSeqDataError(
            f"{name} is a checkpoint of {architecture} and has no head for {', '.join(missing)}: export another --task."
        )
    return Source(name, config, whole, model_class, tasks)


def carry_over(name: str, folder: Path, model_name: str, what: str, library: str = "transformers") -> None:
    """Copies the card and where the training's vectors came from; the card's first section says what was exported."""
    provenance, card = (
        cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        for file in (TRAINING_PROVENANCE, "README.md")
    )
    if provenance is not None:
        (folder / TRAINING_PROVENANCE).write_bytes(Path(provenance).read_bytes())
    text = f"---\nlibrary_name: {library}\n---\n\n# {model_name}\n"
    exported = ModelCard(text if card is None else Path(card).read_text(encoding="utf-8"))
    exported.data["library_name"] = library
    above, _, below = exported.text.rstrip().partition("\n## ")
    exported.text = f"{above.rstrip()}\n\n## This export\n\n{what}\n" + (f"\n## {below}\n" if below else "")
    exported.save(folder / "README.md")
