"""The data set of pages on the disk: Arrow files of parts, and the data set that is put together from them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from ..files import write_json, written_file

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["ORIGINS", "page_features", "read_skipped", "write_dataset", "write_part"]

ORIGINS = ("reading_direction", "boxes", "order", "texts", "captions", "speakers", "character_ids")
# Columns that a data set has where one of its pages does.
_OPTIONAL = (
    *("captions", "speakers", "character_ids", "captions_origin", "speakers_origin", "character_ids_origin"),
    *("outside_texts", "series", "number", "title", "metadata"),
)
_SHARD = 500 << 20  # bytes, as those of `save_to_disk`


@cache
def page_features() -> Features:
    """All columns that a data set of pages can have."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    columns: dict[str, Any] = {"book_id": text, "page_name": text, "page_index": Value("int32"), "image": Image()}
    columns |= {"size": List(Value("int32"), length=2), "reading_direction": text}
    columns |= {"boxes": List(List(Value("float32"), length=4)), "texts": List(List(text)), "captions": List(text)}
    columns["outside_texts"] = List(text)
    columns |= {"speakers": List(List(text)), "character_ids": List(List(text))}
    columns |= {f"{name}_origin": text for name in ORIGINS}
    return Features(columns | dict.fromkeys(("series", "number", "title", "metadata"), text))


def write_part(file: Path, rows: Sequence[Mapping[str, Any]], skipped: Sequence[Mapping[str, Any]]) -> None:
    """Writes some rows and the pages that were left out among them, complete or not at all."""
    table = pa.Table.from_pylist(rows, schema=page_features().arrow_schema)
    counts: dict[str, Any] = {"pages": len(rows), "panels": sum(len(row["boxes"]) for row in rows)}
    counts["texts"] = sum(len(texts) for row in rows for texts in row["texts"])
    for name in ORIGINS:
        counts[f"{name}_origin"] = Counter(row[f"{name}_origin"] or "not known" for row in rows)
    about = {
        "counts": counts,
        "books": sorted({row["book_id"] for row in rows}),
        "skipped": skipped,
        "columns": [name for name in table.column_names if table[name].null_count < len(rows)],
    }
    schema = table.schema.with_metadata({"about": orjson.dumps(about)})
    with written_file(file) as beside, pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)


def _about(file: Path) -> dict[str, Any]:
    with pa.memory_map(str(file)) as source:
        return orjson.loads(pa.ipc.open_stream(source).schema.metadata[b"about"])


def read_skipped(file: Path) -> list[dict[str, Any]]:
    """The pages that were left out of a part."""
    return _about(file)["skipped"]


def write_dataset(
    folder: Path, parts: Sequence[Path], fingerprint: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Puts the files of parts together to what `datasets.load_from_disk` opens.

    Args:
        folder: Folder to create.
        parts: The files, in the order of the rows.
        fingerprint: Hash of what the rows were made from.

    Returns:
        The numbers of books, pages, panels and texts, and of pages by where each column came from; the pages left out.
    """
    from datasets import DatasetInfo, Features

    folder.mkdir(parents=True)
    abouts = [_about(part) for part in parts]
    used = {name for about in abouts for name in about["columns"]}
    features = page_features()
    features = Features({name: each for name, each in features.items() if name in used or name not in _OPTIONAL})
    shards: list[list[Path]] = [[]]
    size = 0
    for part in parts:
        size += part.stat().st_size
        if shards[-1] and size > _SHARD:
            shards.append([])
            size = part.stat().st_size
        shards[-1].append(part)
    names = [f"data-{number:05d}-of-{len(shards):05d}.arrow" for number in range(len(shards))]
    for name, files in zip(names, shards, strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
            for file in files:
                with pa.memory_map(str(file)) as source:
                    for batch in pa.ipc.open_stream(source):
                        writer.write_batch(batch.select(list(features)).cast(features.arrow_schema))
    DatasetInfo(features=features).write_to_directory(str(folder))
    state: dict[str, Any] = {"_data_files": [{"filename": name} for name in names], "_split": None}
    state |= {"_fingerprint": hashlib.sha256(fingerprint.encode()).hexdigest()[:16], "_format_type": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_output_all_columns": False}
    write_json(folder / "state.json", state)
    counts: dict[str, Any] = {"books": len({book for about in abouts for book in about["books"]})}
    counts |= {name: sum(about["counts"][name] for about in abouts) for name in ("pages", "panels", "texts")}
    for name in (f"{each}_origin" for each in ORIGINS):
        counts[name] = dict(sum((Counter(about["counts"][name]) for about in abouts), Counter()))
    return counts, [page for about in abouts for page in about["skipped"]]
