"""The model that a pretraining run starts with."""

from __future__ import annotations

from ..checkpoints.opening import open_checkpoint
from ..data.panels import PanelTable
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..resources import find_resource
from .arguments import PretrainingArguments


def build_model(arguments: PretrainingArguments, table: PanelTable) -> ComicSeqForPreTraining:
    """A new model as wide as the data set's vectors, or the checkpoint that `--model` names, with the overrides.

    Raises:
        ComicSeqError: If the configuration, the checkpoint or an override is wrong or does not fit the data.
    """
    return open_checkpoint(
        str(find_resource("model", arguments.model)),
        table,
        str(arguments.dataset or arguments.train_embeddings),
        overrides=arguments.config_fields(),
        may_be_new=True,
    ).model


def compile_layers(model: ComicSeqForPreTraining, backend: str | None, mode: str | None) -> None:
    """Compiles the encoder's layers, in which nearly all of a step is spent; they share one graph for all batches.

    The whole model would be compiled anew for nearly every batch: each task's questions, pages and padding are sizes of
    their own, and a task with none, or one, is a case of its own.
    """
    for layer in model.comicseq.layers:
        layer.compile(backend=backend or "inductor", mode=mode, dynamic=True)
