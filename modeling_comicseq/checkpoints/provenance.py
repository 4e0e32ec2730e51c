"""Where the vectors come from that a model was trained on: models and data of another origin share no vector space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ComicSeqDataError
from ..files import write_json
from ..hub import find_file
from ..stores.origin import meaning_of
from .statistics import compare_vectors, describe_vectors, sample_vectors

if TYPE_CHECKING:
    from ..data.panels import PanelTable
    from ..stores.stage3 import Stage3Store

TRAINING_PROVENANCE = "training_provenance.json"


def compare_origins(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Says how the origins of two provenances differ in what makes a vector space: encoders, fusion, normalisation.

    Two synthetic corpora of one world are of the same origin whatever their seeds; their encoders name the world.

    Returns:
        A sentence such as "encoders is 'a' here and 'b' there", or None where nothing that both state differs.
    """
    mine, other = (meaning_of(provenance.get("origin", {})) for provenance in (first, second))
    mine, other = mine | _encoders_of_arrays(first, mine, other), other | _encoders_of_arrays(second, other, mine)
    differing = [key for key in sorted(set(mine) & set(other)) if mine[key] != other[key]]
    return "; ".join(f"{key} is {mine[key]!r} here and {other[key]!r} there" for key in differing) or None


def _encoders_of_arrays(
    provenance: Mapping[str, Any], meaning: Mapping[str, str], other: Mapping[str, str]
) -> dict[str, str]:
    """The encoders of arrays that the other side names one by one, and this side, which has them, too, for all together."""
    widths, found = provenance.get("widths"), {}
    if not isinstance(widths, Mapping):
        return {}
    for key in other.keys() - meaning.keys():
        array, _, part = key.partition(".")
        if array in widths and part.endswith("_encoder") and part in meaning:
            found[key] = meaning[part]
    return found


def check_origin(name: str, origin: Mapping[str, Any], dataset: str, *, other_origin: bool) -> list[str]:
    """Compares the origin of vectors with that of those that a model was trained on.

    Args:
        name: The model.
        origin: Where the vectors come from.
        dataset: What to call them.
        other_origin: Whether another origin is meant.

    Returns:
        What the user is to be told.

    Raises:
        ComicSeqDataError: They are of another origin, and that is not meant.
    """
    known = read_training_provenance(name)
    difference = compare_origins(known, {"origin": origin})
    if difference is not None:
        sentence = (
            f"{name} was trained on vectors of another origin than those of {dataset} ({difference}): equal width is not"
            " equal meaning, and answers on them say little."
        )
        if not other_origin:
            raise ComicSeqDataError(
                f"{sentence} Use the data that the model was made for, or give --other-origin to go on all the same."
            )
        return [sentence]
    meant = meaning_of(known.get("origin", {}))
    if meant and not meaning_of(origin):
        said = ", ".join(f"{key} {value}" for key, value in meant.items())
        return [f"{dataset} does not say which encoders made its vectors; {name} was trained on those of {said}."]
    return []


def strange_vectors(name: str, source: PanelTable | Stage3Store | Mapping[str, np.ndarray], dataset: str) -> list[str]:
    """A warning where vectors lie otherwise than those that a model was trained on.

    Args:
        name: The model. One of an earlier version remembers nothing of its training's vectors, and nothing is read.
        source: What holds them, or samples (n, width) by array.
        dataset: What to call them.
    """
    try:
        known = read_training_provenance(name).get("statistics") or {}
        if not known:
            return []
        vectors = source if isinstance(source, Mapping) else sample_vectors(source)
        faults = {each: compare_vectors(known[each], vectors[each]) for each in vectors if each in known}
    except (AttributeError, KeyError, TypeError, ValueError):
        fault = f"`statistics` in the {TRAINING_PROVENANCE} of {name} cannot be read: restore it, or remove them."
        raise ComicSeqDataError(fault) from None
    said = "; ".join(f"`{each}`: {fault}" for each, fault in faults.items() if fault is not None)
    if not said:
        return []
    return [
        f"The vectors of {dataset} are unlike those that {name} was trained on ({said}): if they are of other encoders, or"
        " scaled otherwise, answers on them say little."
    ]


def describe_training(table: PanelTable) -> dict[str, Any]:
    """How the vectors of a training's data set lie, array by array, for `save_training_provenance`."""
    described = {name: describe_vectors(vectors) for name, vectors in sample_vectors(table).items()}
    return {name: each for name, each in described.items() if each is not None}


def save_training_provenance(
    folder: str | Path, provenance: Mapping[str, Any], statistics: Mapping[str, Any] | None = None
) -> None:
    """Writes into a checkpoint's folder where the vectors came from that the model was trained on.

    What is written is what tells vector spaces apart and what the model card says: no paths of the machine.

    Args:
        folder: The checkpoint.
        provenance: That of the data set that the model is trained on. Without one, and without `statistics`, nothing is
            written.
        statistics: How its vectors lie, by array, see `describe_training`.
    """
    if provenance or statistics:
        content = {name: provenance[name] for name in ("origin", "widths", "dtype", "counts") if name in provenance}
        content["fingerprint"] = provenance.get("source", {}).get("fingerprint")
        if statistics:
            content["statistics"] = statistics
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
