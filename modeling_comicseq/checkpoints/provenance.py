"""Where the vectors come from that a model was trained on: models and data of another origin share no vector space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ComicSeqDataError
from ..files import find_file, write_json

TRAINING_PROVENANCE = "training_provenance.json"
# Entries of an origin that say what the numbers mean; sizes, seeds and dates differ between parts of one space.
_MEANING = ("encoder", "fusion", "normalis", "normaliz")


def compare_origins(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Says how the origins of two provenances differ in what makes a vector space: encoders, fusion, normalisation.

    Two synthetic corpora of one world are of the same origin whatever their seeds; their encoders name the world.

    Returns:
        A sentence such as "encoders is 'a' here and 'b' there", or None where nothing that both state differs.
    """
    mine, other = first.get("origin", {}), second.get("origin", {})
    stated = [key for key in sorted(set(mine) & set(other)) if any(word in key.lower() for word in _MEANING)]
    differing = [key for key in stated if mine[key] != other[key]]
    return "; ".join(f"{key} is {mine[key]!r} here and {other[key]!r} there" for key in differing) or None


def other_origin(name: str, provenance: Mapping[str, Any], dataset: str) -> str | None:
    """A warning if the vectors of `dataset` are of another origin than those that the model `name` was trained on."""
    difference = compare_origins(read_training_provenance(name), provenance)
    if difference is None:
        return None
    return (
        f"{name} was trained on vectors of another origin than those of {dataset} ({difference}): equal width is not"
        " equal meaning, and scores on them say little."
    )


def save_training_provenance(folder: str | Path, provenance: Mapping[str, Any]) -> None:
    """Writes into a checkpoint's folder where the vectors came from that the model was trained on.

    What is written is what tells vector spaces apart and what the model card says: no paths of the machine.

    Args:
        folder: The checkpoint.
        provenance: That of the data set that the model is trained on. Without one, nothing is written.
    """
    if provenance:
        content = {name: provenance[name] for name in ("origin", "widths", "dtype", "counts") if name in provenance}
        content["fingerprint"] = provenance.get("source", {}).get("fingerprint")
        write_json(Path(folder) / TRAINING_PROVENANCE, content)


def read_training_provenance(name: str) -> dict[str, Any]:
    """What `save_training_provenance` wrote into the checkpoint `name`, a folder or a model on the Hub; empty without."""
    path = find_file(name, TRAINING_PROVENANCE)
    if path is None:
        return {}
    try:
        return {} | json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):  # or no object
        fault = f"{path} cannot be read as JSON: restore it from the training run, or remove it."
        raise ComicSeqDataError(fault) from None
