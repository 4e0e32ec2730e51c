"""Opens configurations and checkpoints, and says in one sentence what is wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file

from ..checks import did_you_mean
from ..data.panels import PanelTable
from ..errors import ComicSeqDataError
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..stores.provenance import compare_origins, read_provenance

CONFIG_FIELDS = {field.name for field in fields(ComicSeqConfig)} | {"model_type"}
TRAINING_PROVENANCE = "training_provenance.json"
MODEL_FIELDS = tuple(ComicSeqConfig.__annotations__)  # those that are ComicSeq's own


def read_config(name: str) -> ComicSeqConfig:
    """The configuration in a JSON file, in a checkpoint folder or of a model on the Hub.

    Raises:
        ComicSeqDataError: If there is none, or it is not ComicSeq's or not valid.
    """
    if Path(name).is_dir() and not (Path(name) / CONFIG_NAME).is_file():  # would be read as one that says nothing
        raise _no_checkpoint(name, FileNotFoundError(f"it holds no {CONFIG_NAME}"))
    try:
        values, _ = PreTrainedConfig.get_config_dict(name)
    except OSError as error:
        if not Path(name).exists() and (name.endswith(".json") or name.count("/") != 1):
            raise ComicSeqDataError(
                f"There is no {name}: name a model configuration, a checkpoint folder or a model on the Hub."
            ) from None
        raise _no_checkpoint(name, error) from None
    if not isinstance(values, dict):
        raise ComicSeqDataError(f"{name} must be a JSON object of the configuration's fields.")
    if values.get("model_type", "comicseq") != "comicseq":
        raise ComicSeqDataError(
            f"{name} is no ComicSeq checkpoint: its `model_type` is {values['model_type']!r}, not 'comicseq'."
        )
    if "transformers_version" not in values:  # written by hand
        _check_names(values, name)
    return _build(values, name)


def _no_checkpoint(name: str, error: Exception) -> ComicSeqDataError:
    return ComicSeqDataError(
        f"{name} is no ComicSeq checkpoint: name a model on the Hub, or the folder that run_pretraining.py or"
        f" `save_pretrained` wrote ({first_line(error).rstrip('.')})."
    )


def override_config(config: ComicSeqConfig, values: Mapping[str, Any], source: str) -> ComicSeqConfig:
    """`config` with some of its fields changed, checked as a whole.

    Args:
        config: The configuration to start from.
        values: The changed fields.
        source: Where they were given, for the message.

    Raises:
        ComicSeqDataError: If a field does not exist or its value is not allowed.
    """
    _check_names(values, source)
    # Built anew, so that the configuration is checked as a whole.
    return _build(config.to_dict() | dict(values), source)


def _check_names(values: Mapping[str, Any], source: str) -> None:
    for field in values:
        if field not in CONFIG_FIELDS:
            raise ComicSeqDataError(
                f"{source} names `{field}`, which is no field of the model configuration{did_you_mean(field, CONFIG_FIELDS)}."
            )


def _build(values: Mapping[str, Any], source: str) -> ComicSeqConfig:
    try:
        return ComicSeqConfig.from_dict(dict(values))
    except StrictDataclassError as error:
        raise ComicSeqDataError(f"{source}: {' '.join(str(error.__cause__ or error).split())}") from None


def load_checkpoint(name: str, config: ComicSeqConfig) -> tuple[ComicSeqForPreTraining, set[str]]:
    """Loads a checkpoint of any ComicSeq class; returns the model and the tasks whose head the checkpoint lacks.

    Raises:
        ComicSeqDataError: If the weights cannot be read, hold no encoder or have other sizes than `config`.
    """
    if Path(name).is_file():
        raise ComicSeqDataError(f"{name} is a file: name a checkpoint folder or a model on the Hub.")
    try:
        loaded: Any = ComicSeqForPreTraining.from_pretrained(
            name, config=config, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, SafetensorError) as error:
        raise _no_checkpoint(name, error) from None
    model, info = loaded
    if info["mismatched_keys"]:
        key, saved, wanted = sorted(info["mismatched_keys"])[0]
        raise ComicSeqDataError(
            f"The weights of {name} do not fit the configuration: `{key}` is {tuple(saved)} in the checkpoint but"
            f" {tuple(wanted)} in the model. A checkpoint's sizes cannot be overridden."
        )
    missing = sorted(key for key in info["missing_keys"] if key.startswith("comicseq."))
    if missing:
        raise ComicSeqDataError(
            f"{name} does not hold the whole encoder: `{missing[0]}` is missing. Name another checkpoint, and override"
            " none of its sizes."
        )
    return model, {key.split("_head.")[0] for key in info["missing_keys"] if "_head." in key}


def check_fits(config: ComicSeqConfig, name: str, table: PanelTable, dataset: str) -> None:
    """Raises a `ComicSeqDataError` if the model `name` cannot read the vectors or the pages of `dataset`."""
    for column, width in table.widths.items():
        field = column.removesuffix("_embeddings") + "_embedding_dim"
        if getattr(config, field) != width:
            raise ComicSeqDataError(
                f"`{column}` of {dataset} is {width} wide but `{field}` of {name} is {getattr(config, field)}: use the"
                " data that the model was made for, or a model of that width."
            )
    longest = int(table.num_panels.max())
    if longest > config.max_position_embeddings:
        raise ComicSeqDataError(
            f"{dataset} has pages of {longest} panels but `max_position_embeddings` of {name} is"
            f" {config.max_position_embeddings}: convert the store with a smaller --window."
        )


def save_training_provenance(folder: str | Path, table: PanelTable) -> None:
    """Writes into a checkpoint's folder where the vectors came from that the model was trained on.

    What is written is what tells vector spaces apart and what the model card says: no paths of the machine.

    Args:
        folder: The checkpoint.
        table: The split that the model is trained on. Without a provenance, nothing is written.
    """
    provenance = read_provenance(table.dataset)
    if not provenance:
        return
    content: dict[str, Any] = {
        name: provenance[name] for name in ("origin", "widths", "dtype", "counts") if name in provenance
    }
    content["fingerprint"] = provenance.get("source", {}).get("fingerprint")
    beside = Path(folder) / f".{TRAINING_PROVENANCE}.{os.getpid()}.partial"
    try:
        beside.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, Path(folder) / TRAINING_PROVENANCE)
    finally:
        beside.unlink(missing_ok=True)


def read_training_provenance(name: str) -> dict[str, Any]:
    """What `save_training_provenance` wrote into the checkpoint `name`, a folder or a model on the Hub; empty without."""
    path = cached_file(
        name,
        TRAINING_PROVENANCE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise ComicSeqDataError(f"{path} cannot be read as JSON: restore it from the training run, or remove it.")
    return content


def other_origin(name: str, provenance: Mapping[str, Any], dataset: str) -> str | None:
    """A warning if the vectors of `dataset` are of another origin than those that the model `name` was trained on."""
    difference = compare_origins(read_training_provenance(name), provenance)
    if difference is None:
        return None
    return (
        f"{name} was trained on vectors of another origin than those of {dataset} ({difference}): equal width is not"
        " equal meaning, and scores on them say little."
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().split("\n")[0]
