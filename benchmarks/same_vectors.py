"""Whether two Stage 3 stores hold the same vectors of the same pages: the least cosine of each array.

    comicseq ingest PEPPERCARROT --annotations PEPPERCARROT/panels.json --output PAGES
    comicseq embed PAGES --output MADE/stage3_embeddings.zarr
    python -m benchmarks.same_vectors --made MADE/stage3_embeddings.zarr --known STAGE3/peppercarrot/stage3_embeddings.zarr

Of two stores by the same encoder every cosine is 1 but for rounding. With --column NAME=OTHER, the array NAME of the made
store is compared with OTHER of the known one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import zarr
from rich.console import Console
from rich.table import Table

ARRAYS = ("visual_embeddings", "text_embeddings", "caption_embeddings", "panel_embeddings")


def page_rows(store: Path) -> dict[tuple[str, str], int]:
    """The row of each page, by its book and the name of its file without its ending."""
    beside = store.with_name(store.name.replace("_embeddings.zarr", "_metadata.json"))
    entries = json.loads(beside.read_text(encoding="utf-8"))
    return {
        (str(entry["book_id"]), Path(str(entry["page_name"])).stem): int(entry["sequence_index"]) for entry in entries
    }


def real_panels(group: zarr.Group, row: int) -> np.ndarray:
    """Which slots of a page hold a panel."""
    mask = group["panel_masks"] if "panel_masks" in group else group["panel_mask"]
    return np.asarray(mask[row]).astype(bool)


def compare(made: Path, known: Path, columns: dict[str, str]) -> list[dict]:
    """The least cosine of each array, and what else tells vectors apart."""
    ours, theirs = zarr.open_group(made, mode="r"), zarr.open_group(known, mode="r")
    places, others = page_rows(made), page_rows(known)
    if places.keys() != others.keys():
        raise SystemExit(f"Pages of one store alone: {sorted(places.keys() ^ others.keys())[:3]} …")
    rows = []
    for name, other in columns.items():
        if name not in ours or other not in theirs:
            continue
        pairs = []
        for page, row in places.items():
            mine, their = real_panels(ours, row), real_panels(theirs, others[page])
            if mine.sum() != their.sum():
                raise SystemExit(f"{page} has {mine.sum()} panels in one store and {their.sum()} in the other.")
            pairs.append((np.asarray(ours[name][row])[mine], np.asarray(theirs[other][others[page]])[their]))
        first, second = (np.concatenate(part) for part in zip(*pairs, strict=True))
        # Stored in half precision, equal vectors are those that round alike.
        is_equal = (first.astype(second.dtype) == second).mean()
        first, second = first.astype(np.float64), second.astype(np.float64)
        lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
        is_empty = (lengths[0] == 0) & (lengths[1] == 0)
        cosine = (first * second).sum(1)[~is_empty] / (lengths[0] * lengths[1])[~is_empty]
        rows.append(
            {
                "array": name if name == other else f"{name}, {other} there",
                "vectors": len(first),
                "empty in both": int(is_empty.sum()),
                "least cosine": float(cosine.min()),
                "below 0.999": int((cosine < 0.999).sum()),
                "equal numbers, %": 100 * float(is_equal),
            }
        )
    return rows


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--made", type=Path, required=True, help="store to look at")
    parser.add_argument("--known", type=Path, required=True, help="store that it should be equal to")
    parser.add_argument("--column", action="append", default=[], help="NAME=OTHER, by default all that both have")
    arguments = parser.parse_args()
    columns = dict(each.split("=", 1) for each in arguments.column) or {name: name for name in ARRAYS}
    rows = compare(arguments.made, arguments.known, columns)
    table = Table(*(rows[0] if rows else ["nothing to compare"]))
    for row in rows:
        table.add_row(*(f"{value:.7g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
