"""The model that a pretraining run starts with."""

from __future__ import annotations

from ..checkpoints.opening import check_fits, load_checkpoint, override_config, read_config
from ..data.panels import PanelTable
from ..errors import ComicSeqDataError
from ..model.modeling_comicseq import ComicSeqForPreTraining
from .arguments import PretrainingArguments


def build_model(arguments: PretrainingArguments, table: PanelTable) -> ComicSeqForPreTraining:
    """A new model as wide as the data set's vectors, or the checkpoint that `--model` names, with the overrides.

    Raises:
        ComicSeqDataError: If the configuration, the checkpoint or an override is wrong or does not fit the data.
    """
    config = read_config(arguments.model)
    is_new = arguments.model.endswith(".json")
    overrides = arguments.config_fields()
    if "task_weights" in overrides:
        if not isinstance(overrides["task_weights"], dict):
            raise ComicSeqDataError(
                f"`task_weights` in `config_overrides` is {overrides['task_weights']!r} but must be like"
                " {text_cloze: 0}."
            )
        overrides["task_weights"] = (config.task_weights or {}) | overrides["task_weights"]
    if is_new:
        widths = {
            column.removesuffix("_embeddings") + "_embedding_dim": width for column, width in table.widths.items()
        }
        overrides = widths | overrides
    config = override_config(config, overrides, "`config_overrides`")
    check_fits(config, arguments.model, table, str(arguments.dataset or arguments.train_embeddings))
    return ComicSeqForPreTraining(config) if is_new else load_checkpoint(arguments.model, config)[0]


def compile_layers(model: ComicSeqForPreTraining, backend: str | None, mode: str | None) -> None:
    """Compiles the encoder's layers, in which nearly all of a step is spent; they share one graph for all batches.

    The whole model would be compiled anew for nearly every batch: each task's questions, pages and padding are sizes of
    their own, and a task with none, or one, is a case of its own.
    """
    for layer in model.comicseq.layers:
        layer.compile(backend=backend or "inductor", mode=mode, dynamic=True)
