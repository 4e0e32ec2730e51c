"""Opens configurations and checkpoints, and says in one sentence what is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_NAME

from ..data.page_panels import ContentTable
from ..errors import ComicSeqArgumentError, ComicSeqDataError, did_you_mean
from ..hub import check_not_mistyped
from ..model.checks_comicseq import check_finite
from ..model.configuration_comicpage import TOKENS
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.tasks_comicseq import STRIP_EMBEDDING, TEXT_CLOZE
from ..progress import quiet_transformers
from .provenance import check_origin, strange_vectors

if TYPE_CHECKING:
    from ..data.panels import PanelTable
    from ..stores.stage3 import Stage3Store

CONFIG_FIELDS = {field.name for field in fields(ComicSeqConfig)} | {"model_type"}
MODEL_FIELDS = tuple(ComicSeqConfig.__annotations__)  # those that are ComicSeq's own


class Checkpoint(NamedTuple):
    """A model that was opened.

    Attributes:
        name: Its folder, or its name on the Hub.
        model: The model, with all heads.
        untrained: Tasks whose head the checkpoint lacks; strip embedding, where it has no strip query.
        notes: What the user is to be told of the origin of the vectors that it is to read.
    """

    name: str
    model: ComicSeqForPreTraining
    untrained: set[str]
    notes: list[str]


def open_checkpoint(
    name: str,
    table: PanelTable | Stage3Store | None = None,
    dataset: str = "",
    *,
    origin: Mapping[str, Any] | None = None,
    other_origin: bool = False,
    overrides: Mapping[str, Any] | None = None,
    may_be_new: bool = False,
) -> Checkpoint:
    """Opens a checkpoint of any ComicSeq class and checks that it is whole and fits the data it is to read.

    Args:
        name: Checkpoint folder or model on the Hub.
        table: The vectors that the model is to read.
        dataset: What to call them in messages.
        origin: Where they come from, empty if nobody says; compared with the origin of the vectors that the model was
            trained on. Without it, nothing is compared.
        other_origin: Whether another origin is meant.
        overrides: Fields of the configuration to change, given as `config_overrides`.
        may_be_new: Whether `name` may be a configuration file (JSON) instead, whose model gets new weights and is as
            wide as the vectors of `table`, and reads boxes where `table` has them.

    Raises:
        ComicSeqDataError: There is no such checkpoint, its weights are not complete, it does not fit the data, or the
            data are of another origin.
        ComicSeqArgumentError: An override is not possible.
    """
    config = saved = read_config(name)
    is_new = may_be_new and name.endswith(".json")
    changed = dict(overrides or {})
    has_boxes = getattr(table, "boxes", None) is not None
    if table is not None:
        table = read_as(table, changed.get("streams", config.streams))
    if is_new and table is not None:
        follows: dict[str, Any] = {_width_field(column): width for column, width in table.widths.items()}
        if has_boxes and changed.get("box_embedding") is not False:
            follows |= {"box_embedding": True, "box_relation_layers": config.box_relation_layers or 1}
        changed = follows | changed
    if changed:
        config = override_config(config, changed, "`config_overrides`")
    if table is not None:
        check_fits(config, name, table, dataset)
    notes: list[str] = []
    if origin is not None and not is_new:
        notes = check_origin(name, origin, dataset, other_origin=other_origin)
        if table is not None and not isinstance(table, ContentTable):  # whose vectors are not made yet
            notes += strange_vectors(name, table, dataset)
            if page_fields(name).get("text_reading") == TOKENS:
                notes.append(
                    f"{name} has learned to read words, too, which {dataset} does not have: it answers by vectors."
                )
    if config.box_embedding and hasattr(table, "num_panels") and not has_boxes:  # the metadata of a store may tell it
        notes.append(without_boxes(name, dataset))
    new = ".box_embedding." if config.box_embedding and not saved.box_embedding else None
    model, untrained = (ComicSeqForPreTraining(config), set[str]()) if is_new else load_checkpoint(name, config, new)
    return Checkpoint(name, model, untrained, notes)


def read_config(name: str) -> ComicSeqConfig:
    """The configuration in a JSON file, in a checkpoint folder or of a model on the Hub.

    Raises:
        ComicSeqDataError: If there is none, or it is not ComicSeq's.
        ComicSeqArgumentError: If a field does not exist or its value is not allowed.
    """
    if os.path.isdir(name) and not (Path(name) / CONFIG_NAME).is_file():  # would be read as one that says nothing
        raise _no_checkpoint(name, FileNotFoundError(f"it holds no {CONFIG_NAME}"))
    what = "a model configuration, a checkpoint folder or a model on the Hub"
    check_not_mistyped(name, what)
    if not os.path.exists(name) and (name.endswith(".json") or "/" not in name):  # nor a name on the Hub
        raise ComicSeqDataError(f"There is no {name}: name {what}.")
    try:
        values, _ = PreTrainedConfig.get_config_dict(name)
    except OSError as error:
        raise _no_checkpoint(name, error) from None
    if not isinstance(values, dict):
        raise ComicSeqDataError(f"{name} must be a JSON object of the configuration's fields.")
    is_page_model = isinstance(values.get("sequence_config"), dict)
    if is_page_model:  # of which the sequence model is used
        values = {"transformers_version": "", "model_type": "comicseq"} | values["sequence_config"]
    if values.get("model_type", "comicseq") != "comicseq":
        raise ComicSeqDataError(
            f"{name} is no ComicSeq checkpoint: its `model_type` is {values['model_type']!r}, not 'comicseq'."
        )
    if "transformers_version" not in values:  # written by hand
        _check_names(values, name)
    return _build(values, name)


def is_page_model(name: str) -> bool:
    """Whether a name that `read_config` reads is that of a page model, which has a panel encoder in it."""
    return bool(page_fields(name))


def page_fields(name: str) -> dict[str, Any]:
    """What the configuration of a page model of that name says, and nothing for that of another model."""
    fields = PreTrainedConfig.get_config_dict(name)[0]
    return fields if isinstance(fields.get("sequence_config"), dict) else {}


def _no_checkpoint(name: str, error: Exception) -> ComicSeqDataError:
    return ComicSeqDataError(
        f"{name} is no ComicSeq checkpoint: name a model on the Hub, or the folder that run_pretraining.py or"
        f" `save_pretrained` wrote ({first_line(error).rstrip('.')})."
    )


def override_config(config: ComicSeqConfig, values: Mapping[str, Any], source: str) -> ComicSeqConfig:
    """`config` with some of its fields changed, checked as a whole.

    Args:
        config: The configuration to start from.
        values: The changed fields; `task_weights` may name some of the tasks only.
        source: Where they were given, for the message.

    Raises:
        ComicSeqArgumentError: If a field does not exist or its value is not allowed.
    """
    _check_names(values, source)
    changed = dict(values)
    if "task_weights" in changed:
        if not isinstance(changed["task_weights"], dict):
            raise ComicSeqArgumentError(
                f"`task_weights` in {source} is {changed['task_weights']!r} but must be like {{{TEXT_CLOZE}: 0}}."
            )
        changed["task_weights"] = (config.task_weights or {}) | changed["task_weights"]
    if changed.get("streams", config.streams) == "separate" and "panel_embedding_dim" not in changed:
        halves = [changed.get(name, getattr(config, name)) for name in ("visual_embedding_dim", "text_embedding_dim")]
        if all(isinstance(width, int) for width in halves):  # else the configuration says what is wrong
            changed["panel_embedding_dim"] = sum(halves)
    # Built anew, so that the configuration is checked as a whole.
    return _build(config.to_dict() | changed, source)


def _check_names(values: Mapping[str, Any], source: str) -> None:
    for field in values:
        if field not in CONFIG_FIELDS:
            raise ComicSeqArgumentError(
                f"{source} names `{field}`, which is no field of the model configuration{did_you_mean(field, CONFIG_FIELDS)}."
            )


def _build(values: Mapping[str, Any], source: str) -> ComicSeqConfig:
    try:
        config = ComicSeqConfig.from_dict(dict(values))
    except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:  # the latter from transformers
        said = " ".join(str(error.__cause__ or error).split())
        if wrong := re.match(r"Field '(\w+)' with value (.*?) doesn't match any type in \((.*?)\)\. Errors", said):
            kinds = " or ".join(re.findall(r"<class '(\w+)'>", wrong[3]))
            said = f"`{wrong[1]}` is {wrong[2]} but must be of the type {kinds}."
        raise ComicSeqArgumentError(f"{source}: {said}") from None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if config.num_bytes > memory:
        raise ComicSeqArgumentError(
            f"{source}: the weights would take {config.num_bytes / 2**30:,.1f} GiB but this machine has"
            f" {memory / 2**30:,.1f} GiB of memory: choose a smaller `hidden_size`, `intermediate_size` or"
            " `num_hidden_layers`."
        )
    return config


def load_checkpoint(
    name: str, config: ComicSeqConfig, new: str | None = None
) -> tuple[ComicSeqForPreTraining, set[str]]:
    """Loads a checkpoint of any ComicSeq class; returns the model and the tasks that the checkpoint has no weights for.

    Args:
        name: Checkpoint folder or model on the Hub.
        config: The configuration of the model.
        new: Part of the names of weights of the encoder that the checkpoint need not hold.

    Raises:
        ComicSeqDataError: If the weights cannot be read, are not finite, hold no encoder or have other sizes than
            `config`.
    """
    if Path(name).is_file():
        raise ComicSeqDataError(f"{name} is a file: name a checkpoint folder or a model on the Hub.")
    try:
        with quiet_transformers():  # what is missing is told below, in one sentence and not in a table
            loaded: Any = ComicSeqForPreTraining.from_pretrained(
                name, config=config, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True
            )
    except (OSError, SafetensorError) as error:
        pickled = Path(name, WEIGHTS_NAME)
        if pickled.is_file() and not isinstance(error, SafetensorError):
            raise ComicSeqDataError(
                f"{pickled} is a pickle, which can hold code and is not loaded: write the model again as"
                f" {SAFE_WEIGHTS_NAME} with `save_pretrained`, or import an original Stage 4 checkpoint with"
                " `comicseq import-checkpoint`."
            ) from None
        raise _no_checkpoint(name, error) from None
    except ImportError as error:  # of an attention backend or a quantisation
        raise ComicSeqDataError(f"{name} cannot be loaded here: {first_line(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        index = Path(name, SAFE_WEIGHTS_INDEX_NAME)
        if not index.is_file():
            raise
        fault = f"{index} is no list of weights ({first_line(error)}): restore it, or save the model again."
        raise ComicSeqDataError(fault) from None
    model, info = loaded
    if info["mismatched_keys"]:
        key, saved, wanted = sorted(info["mismatched_keys"])[0]
        raise ComicSeqDataError(
            f"The weights of {name} do not fit the configuration: `{key}` is {tuple(saved)} in the checkpoint but"
            f" {tuple(wanted)} in the model. A checkpoint's sizes cannot be overridden."
        )
    pooler = {key for key in info["missing_keys"] if key.startswith("comicseq.pooler.")}  # a task class has none
    missing = sorted(key for key in info["missing_keys"] - pooler if key.startswith("comicseq."))
    missing = [key for key in missing if new is None or new not in key]
    if missing:
        raise ComicSeqDataError(
            f"{name} does not hold the whole encoder: `{missing[0]}` is missing. Name another checkpoint, and override"
            " none of its sizes."
        )
    try:
        check_finite(model, name)
    except ValueError as error:
        raise ComicSeqDataError(str(error)) from None
    untrained = {key.split("_head.")[0] for key in info["missing_keys"] if "_head." in key}
    return model, untrained | ({STRIP_EMBEDDING.name} if pooler else set())


def without_boxes(name: str, dataset: str) -> str:
    """A sentence for who has no boxes for a model that reads them."""
    return f"{dataset} does not tell where panels stand, which {name} can read: it is used without."


def check_fits(config: ComicSeqConfig, name: str, table: PanelTable | Stage3Store, dataset: str) -> None:
    """Raises a `ComicSeqDataError` if the model `name` cannot read the vectors or the pages of `dataset`.

    Pages of a Stage 3 store may have any length: who reads one cuts them into windows.
    """
    for column, width in read_as(table, config.streams).widths.items():
        field = _width_field(column)
        if getattr(config, field) != width:
            raise ComicSeqDataError(
                f"`{column}` of {dataset} is {width} wide but `{field}` of {name} is {getattr(config, field)}: use the"
                " data that the model was made for, or a model of that width."
            )
    longest = int(table.num_panels.max()) if hasattr(table, "num_panels") else 0
    if longest > config.max_position_embeddings:
        raise ComicSeqDataError(
            f"{dataset} has pages of {longest} panels but `max_position_embeddings` of {name} is"
            f" {config.max_position_embeddings}: convert the store with a smaller --window."
        )


def read_as(table: Any, streams: str) -> Any:
    """A table or store whose panel vectors are those that a model with these `streams` reads, itself where they are."""
    return table if table.streams == streams else table.with_streams(streams)


def _width_field(column: str) -> str:
    return column.removesuffix("_embeddings") + "_embedding_dim"


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().split("\n")[0]
