"""Where vectors come from, as a store, its metadata or the user says: what tells one vector space from another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ComicSeqArgumentError
from ..pages.json_list import iter_entries
from .stage3 import Stage3Store

__all__ = ["meaning_of", "parse_origin", "read_origin"]

# Entries of an origin that say what the numbers mean; sizes, seeds and dates differ between parts of one space.
_MEANING = ("encoder", "fusion", "normalis", "projection")


def read_origin(store: Stage3Store, metadata: str, declared: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is said of the origin of a store's vectors; what is said later wins.

    Args:
        store: Its attributes say it, those called `origin` above the others.
        metadata: The `origin` of its first entry does so for all of them.
        declared: What the user says.

    Raises:
        ComicSeqDataError: The metadata cannot be read.
    """
    said = dict(store.attributes)
    for content in (store.attributes, next(iter_entries(metadata), {})):
        if isinstance(content.get("origin"), Mapping):  # anything else is about the comics, as a country is
            said |= content["origin"]
            said.pop("origin", None)
    # Of arrays that were added to a store, each says it itself.
    added = {name: dict(array.attrs).get("origin") for name, array in store.arrays.items()}
    if any(added.values()):
        said["arrays"] = {name: origin for name, origin in added.items() if origin}
    return json.loads(json.dumps(said | dict(declared or {}), default=str))


def parse_origin(words: Sequence[str]) -> dict[str, Any]:
    """An origin from words such as `visual_encoder=NAME`, or names of JSON files that hold an object.

    Raises:
        ComicSeqError: A word is neither, or nothing of what is said is compared.
    """
    said: dict[str, Any] = {}
    for word in words:
        key, is_pair, value = word.partition("=")
        if is_pair and key.strip() and value.strip():
            said[key.strip()] = value.strip()
            continue
        try:
            content = json.loads(Path(word).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            raise ComicSeqArgumentError(
                f"--origin is {word!r} but must be like visual_encoder=NAME, or a JSON file of an object."
            )
        said |= content
    if said and not meaning_of(said):
        raise ComicSeqArgumentError(
            f"--origin names {', '.join(said)}, of which nothing is compared: name encoder, visual_encoder, text_encoder,"
            " caption_encoder, fusion, normalisation or projection."
        )
    return said


def meaning_of(origin: Mapping[str, Any]) -> dict[str, str]:
    """What is compared of an origin, under one name each: `encoders`, `visual_encoder`, `fusion`, `normalisation`, …

    `encoders` may be one name or an object with one a modality; `image_encoder` is another name of `visual_encoder`. What is
    said of one array, as those that were added to a store, has its name before it.
    """
    flat: dict[str, Any] = {}
    for name, value in origin.items():
        key = name.lower().replace("normaliz", "normalis")
        if key in ("encoder", "encoders") and isinstance(value, Mapping):
            flat |= {f"{part}_encoder": each for part, each in value.items()}
        elif key == "arrays" and isinstance(value, Mapping):
            flat |= {
                f"{array}.{part}": each for array, said in value.items() for part, each in meaning_of(said).items()
            }
        elif any(word in key for word in _MEANING):
            flat["encoders" if key == "encoder" else key] = value
    return {
        re.sub("^(image|picture)_", "visual_", key): str(value) for key, value in flat.items() if value is not None
    }
