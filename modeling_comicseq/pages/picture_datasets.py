"""Data sets of pictures, with or without what is known of their panels, as `datasets` opens them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from ..errors import ComicSeqDataError, PageProblem, in_words

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["fingerprint_of", "is_picture_dataset", "list_rows", "open_pictures", "read_rows"]

_FILES = ("parquet", "arrow")
_SAVED = ("state.json", "dataset_dict.json")


def is_picture_dataset(path: Path) -> bool:
    """Whether a folder or file is one that `datasets` opens, and no plain folder of pictures."""
    if path.is_file():
        return path.suffix[1:] in _FILES
    if any((path / name).is_file() for name in _SAVED):
        return True
    if any(next(path.glob(f"{under}*.parquet"), None) for under in ("", "data/")):
        return True
    tables = [path / name for name in ("metadata.jsonl", "metadata.csv") if (path / name).is_file()]
    return any("file_name" in table.read_bytes()[:4096].decode(errors="replace") for table in tables)


def list_rows(source: str) -> list[tuple[str, str, int]]:
    """Book, name and row of each page of all splits, book by book, by `page_index` or as they stand.

    Raises:
        ComicSeqDataError: The data set cannot be opened, or has no column of pictures.
    """
    dataset, image = _open(source)
    count, columns = len(dataset), dataset.column_names
    own = Path(source).stem if Path(source).is_file() else Path(source).name
    books = (
        [str(each) if each not in (None, "") else own for each in dataset["book_id"]] if "book_id" in columns else None
    )
    if "page_name" in columns:
        names = [str(each) for each in dataset["page_name"]]
    else:
        paths = pc.struct_field(dataset.data.column(image), "path").to_pylist()
        names = [Path(path).name if path else str(row) for row, path in enumerate(paths)]
    index = list(dataset["page_index"]) if "page_index" in columns else []
    rows: dict[str, list[int]] = {}
    for row in range(count):
        rows.setdefault(books[row] if books else own, []).append(row)
    if index and None not in index:
        rows = {book: sorted(each, key=index.__getitem__) for book, each in rows.items()}
    return [(book, names[row], row) for book, each in rows.items() for row in each]


def read_rows(source: str, keys: Iterable[str]) -> Iterator[tuple[bytes | PageProblem, dict[str, Any]]]:
    """The picture's file of each row, or what is wrong with it, and everything else that the row holds."""
    dataset, image = _open(source)
    objects = dataset.features.get("objects")
    for key in keys:
        row = dataset[int(key)]
        if objects is not None:
            row["objects"] = _with_names(row["objects"], objects)
        picture = row.pop(image)
        try:
            if picture is None:
                raise PageProblem("has no picture", "leave the row out")
            yield picture["bytes"] if picture["bytes"] is not None else Path(picture["path"]).read_bytes(), row
        except OSError as error:
            yield PageProblem(f"cannot be read ({in_words(error)})", "restore the picture's file"), row
        except PageProblem as problem:
            yield problem, row


def _with_names(value: Any, feature: Any) -> Any:
    """A value of a feature, with the names of classes for their numbers, where there are several."""
    if value is None:
        return None
    if isinstance(feature, dict):
        return {name: _with_names(each, feature[name]) for name, each in value.items()}
    if hasattr(feature, "feature"):  # a list
        return [_with_names(each, feature.feature) for each in value]
    names = getattr(feature, "names", None) or []
    return names[value] if len(names) > 1 and 0 <= value < len(names) else value


def fingerprint_of(source: str) -> str:
    """What tells a data set from another version of it."""
    return _open(source)[0]._fingerprint


def open_pictures(source: str) -> tuple[Dataset, str]:
    """All splits of a data set as one, with pictures as files, and the name of the column that they are in."""
    import datasets

    path = Path(source)
    try:
        if path.is_file():
            kind = path.suffix[1:]
            opened = datasets.load_dataset(kind, data_files=source)
        elif any((path / name).is_file() for name in _SAVED):
            opened = datasets.load_from_disk(source)
        else:
            opened = datasets.load_dataset(source)
        if isinstance(opened, dict):
            opened = datasets.concatenate_datasets(list(opened.values()))
    except Exception as error:  # Arrow, `datasets`, the Hub and JSON each have exceptions of their own
        said = in_words(error)[:200]
        raise ComicSeqDataError(f"{source} cannot be opened as a data set ({said}): name another.") from None
    images = [name for name, feature in opened.features.items() if isinstance(feature, datasets.Image)]
    if len(images) > 1:
        images = [name for name in images if name == "image"]
    if len(images) != 1:
        raise ComicSeqDataError(
            f"{source} has not one column of pictures but {', '.join(opened.column_names)}: cast the pages to"
            " `datasets.Image`, as a column `image`."
        )
    return opened.cast_column(images[0], datasets.Image(decode=False)), images[0]


# While pages are ingested, for which each part asks again.
_open = lru_cache(maxsize=2)(open_pictures)
