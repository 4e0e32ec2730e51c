"""Where a data set's vectors come from; two models or data sets of another origin do not share a vector space."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import ComicSeqDataError
from ..layouts.boxes import READING_DIRECTIONS
from .pages import Pages
from .placement import Placement
from .splits import SPLITS
from .stage3 import BOX_ARRAY, Stage3Store

__all__ = ["PROVENANCE_FILE", "build_provenance", "read_provenance"]

PROVENANCE_FILE = "provenance.json"


def build_provenance(
    store: Stage3Store,
    metadata: str,
    options: Mapping[str, Any],
    fingerprint: str,
    pages: Pages,
    placement: Placement,
    reports: Sequence[Mapping[str, Any]],
    num_skipped: int,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """Collects the provenance of a converted data set.

    Args:
        store: The store that was converted.
        metadata: Path or URL of its metadata.
        options: Options of the conversion.
        fingerprint: Fingerprint of the input's files and the options.
        pages: The pages.
        placement: Where they went.
        reports: What was counted while converting, each about pages of one `split`.
        num_skipped: Number of pages that were left out.
        origin: Where the vectors come from, see `read_origin`.

    Returns:
        A dict that can be written as JSON: `source`, `origin`, `widths`, `slots`, `dtype`, `counts`, `conversion`; with
        boxes, `panel_boxes`: where they are from, and how many pages and panels have one; `reading_directions`: how many
        pages have which.
    """
    digest = sum(report["digest"] for report in reports) % 2**128
    counts = {
        split: {"books": placement.books[split]}
        | {what: sum(r[what] for r in reports if r["split"] == split) for what in ("pages", "panels", "rows")}
        for split in SPLITS
    }
    provenance = {
        "source": {
            "embeddings": store.url,
            "metadata": metadata,
            # Of the converted vectors themselves: the same for a copy, another chunking or compression.
            "fingerprint": f"xxh3:{digest:032x}",
            "store_pages": store.pages,
        },
        "origin": dict(origin),
        "widths": store.widths,
        "character_ids": pages.has_characters,
        "slots": store.slots,
        "dtype": options["dtype"],
        "counts": counts,
        "empty_vectors": {
            name: sum(report["empty_vectors"].get(name, 0) for report in reports) for name in store.arrays
        },
        "pages_without_panels": int((pages.counts[placement.pages.entry] == 0).sum()),
        "conversion": {
            **{key: value for key, value in options.items() if key not in ("dtype", "split_books", "origin")},
            "split_by": "hash of book_id" if options["split_books"] is None else "lists of books",
            "skipped": num_skipped,
            "fingerprint": fingerprint,
        },
    }
    placed = placement.pages.entry[pages.counts[placement.pages.entry] > 0]
    boxes = pages.boxes(placed)
    if boxes is not None:
        owner = np.repeat(np.arange(len(placed)), pages.counts[placed])
        provenance[BOX_ARRAY] = {
            "source": options.get("boxes") or (metadata if store.boxes is None else f"{store.url}/{BOX_ARRAY}"),
            "pages": len(np.unique(owner[boxes.any(-1)])),
            "panels": int(boxes.any(-1).sum()),
        }
    if pages.has("reading_direction"):
        found = Counter(pages.table["reading_direction"].take(pa.array(placed)).to_pylist())
        provenance["reading_directions"] = {key: found[key] for key in READING_DIRECTIONS}
    return provenance


def read_provenance(data: Any) -> dict[str, Any]:
    """The provenance of a converted data set.

    Args:
        data: Folder of the data set, a `Dataset` or a `DatasetDict`.

    Returns:
        The dict of `build_provenance`; empty for a data set that was not converted by this package.

    Raises:
        ComicSeqDataError: The folder's provenance cannot be read.
    """
    if isinstance(data, (str, PathLike)):
        path = Path(data) / PROVENANCE_FILE
        try:
            provenance = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ComicSeqDataError(f"{path} cannot be read ({error}); convert the store again") from error
        parts = [provenance.get("counts"), provenance.get("conversion")] if isinstance(provenance, dict) else [None]
        if not all(isinstance(part, dict) for part in parts):
            raise ComicSeqDataError(f"{path} does not say how the data were converted; convert the store again")
        return provenance
    if isinstance(data, dict):
        data = next(iter(data.values()))
    try:
        provenance = json.loads(data.info.description or "{}")
    except ValueError:
        return {}
    return provenance if isinstance(provenance, dict) and "origin" in provenance else {}
