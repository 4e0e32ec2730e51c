"""Writes a checkpoint as ONNX files, one for each of its classes, each compared with PyTorch before it is kept."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers.utils import CONFIG_NAME

from ..errors import ComicSeqDataError
from ..files import written_folder
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import TASK_CLASSES, ComicSeqForPreTraining, ComicSeqModel, ComicSeqPreTrainedModel
from ..model.tasks_comicseq import BOXES, STRIP_EMBEDDING, TASKS, ComicSeqInput, ComicSeqTask
from ..outputs import check_output
from ..progress import progress_bar
from .export import CLASSES, Source, carry_over, open_source
from .opening import first_line
from .provenance import TRAINING_PROVENANCE

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20  # the first with GELU, and since 2023 in every ONNX Runtime
MASKS = {"panels": "attention_mask", "boxes": "attention_mask", "candidates": "candidate_mask"}
OUTPUTS = {"vectors": ("last_hidden_state", "pooler_output")}  # by a task's answer; all others have logits
# Far beyond rounding, near enough to find a graph that computes something else.
TOLERANCE = 1e-3


class OnnxReport(NamedTuple):
    """What was exported.

    Attributes:
        files: Names of the ONNX files.
        num_bytes: Their size together.
        difference: How far they are from PyTorch at most, on random questions with padding.
        source_dtype: Precision of the checkpoint; theirs is float32.
    """

    files: list[str]
    num_bytes: int
    difference: float
    source_dtype: str


class Graph(NamedTuple):
    """One ONNX file.

    Attributes:
        name: Name of the file, without its suffix.
        task: What it answers.
        inputs: The inputs of the task that it takes.
        modality: Of what modality its panels and candidates are, all of them.
    """

    name: str
    task: ComicSeqTask
    inputs: tuple[ComicSeqInput, ...]
    modality: str = "panel"


def export_onnx(
    name: str, output: Path, task: str | None = None, overwrite: bool = False, progress: bool = False
) -> OnnxReport:
    """Writes a folder with ONNX files in float32, the configuration, the card and the training's provenance.

    There is a file for the encoder and one for each head, which holds the encoder, too. Inputs and outputs have the names
    that they have in the PyTorch classes; numbers of pages, panels and candidates are free. What may be left out in
    PyTorch is left out, but for a file more that takes it.

    Args:
        name: Checkpoint folder or model on the Hub.
        output: Folder to create.
        task: "encoder", one of the tasks, or "all"; by default what the checkpoint has.
        overwrite: Whether to replace an existing folder.
        progress: Whether to show a progress bar.

    Raises:
        ComicSeqArgumentError: There is no such task.
        ComicSeqDataError: The packages of the extra `onnx` are not installed; there is no such checkpoint, or it lacks the
            head; or a graph does not compute what PyTorch does.
    """
    if missing := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
        raise ComicSeqDataError(
            f"An export to ONNX needs {', '.join(missing)}: install what is missing with `pip install 'comicseq[onnx]'`."
        )
    check_output(output, [name], overwrite, folder=True)
    source = open_source(name, task)
    dtype, config = str(source.whole.dtype).removeprefix("torch."), source.config
    config.dtype = torch.float32
    graphs = list(graphs_of(source))
    differences = []
    with (
        written_folder(output, overwrite) as folder,
        progress_bar("Exporting to ONNX", len(graphs), progress) as advance,
    ):
        for field in ("auto_map", "custom_pipelines"):  # they name code that stays behind
            config.__dict__.pop(field, None)
        config.to_json_file(folder / CONFIG_NAME)
        carry_over(name, folder, output.name, describe(graphs, config), library="onnx")
        for graph in graphs:
            model_class = TASK_CLASSES.get(graph.task.name, ComicSeqModel)
            model = source.part(model_class, torch.float32).eval()
            model.set_attn_implementation("sdpa")
            file = folder / f"{graph.name}.onnx"
            write_graph(graph, model, file, folder / TRAINING_PROVENANCE)
            differences.append(compare(graph, model, file))
            advance(1)
        num_bytes = sum(file.stat().st_size for file in folder.glob("*.onnx*"))
    return OnnxReport([f"{graph.name}.onnx" for graph in graphs], num_bytes, max(differences), dtype)


def graphs_of(source: Source) -> Iterator[Graph]:
    """The graphs of a checkpoint: the plain one of each task, one with what may be left out, one for each modality.

    Those of a model that reads boxes all take them: four zeros where a box is not known.
    """

    def needed(task: ComicSeqTask) -> tuple[ComicSeqInput, ...]:
        return tuple(
            field for field in task.inputs if not field.is_optional or (field == BOXES and source.config.box_embedding)
        )

    if source.model_class in (ComicSeqModel, ComicSeqForPreTraining):
        encoder = next(name for name, model_class in CLASSES.items() if model_class is ComicSeqModel)
        yield Graph(encoder, STRIP_EMBEDDING, needed(STRIP_EMBEDDING))
    for name in source.tasks:
        task = TASKS[name]
        yield Graph(name, task, needed(task))
        for field in task.inputs:
            if field.is_optional and field != BOXES:
                yield Graph(f"{name}_with_{field.name}", task, (*needed(task), field))
        if task.modality is not None:
            yield Graph(f"{name}_of_{task.modality}_vectors", task, needed(task), task.modality)
        if task.answer == "order" and source.config.box_embedding:
            yield Graph(f"{name}_of_boxes", task, (BOXES,))


class _Exported(nn.Module):
    """A model as a function of its graph's inputs, in their order."""

    def __init__(self, graph: Graph, model: ComicSeqPreTrainedModel):
        super().__init__()
        self.model, self.names, self.outputs = model, list(sizes(graph, model.config)), outputs(graph)
        self.fixed = {} if graph.modality == "panel" else {"modality": graph.modality}

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answer = self.model(**dict(zip(self.names, tensors, strict=True)), **self.fixed)
        return tuple(answer[name] for name in self.outputs)


def sizes(graph: Graph, config: ComicSeqConfig) -> dict[str, tuple[Any, ...]]:
    """The shape of each input of a graph: names for the axes that are free."""
    shapes: dict[str, tuple[Any, ...]] = {}
    for field in graph.inputs:
        count = {"candidates": ("num_candidates",), "panels": ("num_panels",), "boxes": ("num_panels",)}
        modality = graph.modality if field.modality == "panel" else field.modality
        width = () if field.kind in ("slot", "position") else (getattr(config, f"{modality}_embedding_dim"),)
        width = (4,) if field.kind == "boxes" else width
        shapes[field.name] = ("batch_size", *count.get(field.kind, ()), *width)
        if field.kind in MASKS:
            shapes[MASKS[field.kind]] = ("batch_size", *count[field.kind])
    return shapes


def outputs(graph: Graph) -> tuple[str, ...]:
    return OUTPUTS.get(graph.task.answer, ("logits",))


def draw(graph: Graph, config: ComicSeqConfig, seed: int, **axes: int) -> dict[str, torch.Tensor]:
    """Random inputs of a graph. Masks leave slots out anywhere, and what they leave out is NaN, which nothing may read."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, torch.Tensor] = {}
    for name, shape in sizes(graph, config).items():
        size = [axes.get(axis, axis) for axis in shape]
        if name in MASKS.values():
            drawn[name] = (torch.rand(size, generator=generator) < 0.6).long()
            drawn[name][:, 0] = 1
        elif len(size) > 1:
            drawn[name] = torch.randn(size, generator=generator)
        else:
            drawn[name] = torch.zeros(size, dtype=torch.long)
    for field in graph.inputs:
        if field.kind == "boxes":
            drawn[field.name] = drawn[field.name].sigmoid().unflatten(-1, (2, 2)).sort(-2).values.flatten(-2)
        if field.kind in MASKS:
            drawn[field.name][drawn[MASKS[field.kind]] == 0] = torch.nan
        elif field.kind == "slot":
            drawn[field.name] = drawn[MASKS["panels"]].cumsum(1).argmax(1)  # the last real one
    return drawn


def write_graph(graph: Graph, model: ComicSeqPreTrainedModel, file: Path, provenance: Path) -> None:
    """Exports a model in evaluation mode as one graph, with what it is in the file's metadata."""
    axes = {name: torch.export.Dim(name) for name in ("batch_size", "num_candidates")}
    axes["num_panels"] = torch.export.Dim("num_panels", max=model.config.max_position_embeddings)
    shapes = sizes(graph, model.config)
    drawn = draw(graph, model.config, 0, batch_size=2, num_panels=2, num_candidates=3)
    dynamic = tuple({axis: axes[name] for axis, name in enumerate(shape) if name in axes} for shape in shapes.values())
    try:
        with _quiet():
            program = torch.onnx.export(
                _Exported(graph, model).eval(),
                tuple(drawn.values()),
                input_names=list(shapes),
                output_names=list(outputs(graph)),
                dynamic_shapes=(dynamic,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ComicSeqDataError(
            f"{type(model).__name__} cannot be exported to ONNX with torch {torch.__version__} ({first_line(error)}):"
            " export another --task, or use another version of torch."
        ) from error
    assert program is not None  # as the exporter with `dynamo` returns it
    program.model.metadata_props.update(
        comicseq_class=type(model).__name__,
        comicseq_modality=graph.modality,
        comicseq_config=model.config.to_json_string(),
        comicseq_provenance=provenance.read_text(encoding="utf-8") if provenance.is_file() else "{}",
    )
    program.save(file)


def compare(graph: Graph, model: ComicSeqPreTrainedModel, file: Path) -> float:
    """How far a graph's answers are from PyTorch's at most, on random questions of other sizes than it was made with.

    Raises:
        ComicSeqDataError: They are others.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    most = model.config.max_position_embeddings
    differences = [0.0]
    for seed, axes in enumerate(((1, 1, 1), (3, most - 1, 4))):
        sized = dict(zip(("batch_size", "num_panels", "num_candidates"), axes, strict=True))
        drawn = draw(graph, model.config, seed, **sized)
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in _Exported(graph, model)(*drawn.values())]
        found = session.run(None, {name: tensor.numpy() for name, tensor in drawn.items()})
        for mine, other in zip(found, expected, strict=True):
            if mine.shape != other.shape or not np.allclose(mine, other, TOLERANCE, TOLERANCE):
                raise ComicSeqDataError(
                    f"{graph.name} in ONNX does not answer as in PyTorch, with torch {torch.__version__} and onnxruntime"
                    f" {onnxruntime.__version__}: use other versions of them."
                )
            differences.append(float(np.abs(mine - other).max()))
    return max(differences)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says of its own workings is nothing that a user could change."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def describe(graphs: list[Graph], config: ComicSeqConfig) -> str:
    """The section of the card: which file takes and gives what."""
    lines = [
        f"ONNX files for opset {OPSET} in float32, each complete in itself. Vectors are float32; masks, 1 for what is real,"
        f" and positions int64. Numbers of pages and candidates are free, and of panels up to"
        f' {config.max_position_embeddings}. `onnxruntime.InferenceSession("{graphs[0].name}.onnx")` opens one; what is said'
        " below is of the checkpoint that they were made from, whose PyTorch classes are not in this folder.",
        "",
        "| file | inputs | outputs |",
        "|---|---|---|",
    ]
    for graph in graphs:
        takes = ", ".join(f"`{name}` ({', '.join(map(str, shape))})" for name, shape in sizes(graph, config).items())
        lines.append(f"| `{graph.name}.onnx` | {takes} | {', '.join(f'`{name}`' for name in outputs(graph))} |")
    return "\n".join(lines)
