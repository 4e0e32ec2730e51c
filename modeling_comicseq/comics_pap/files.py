"""Reader of ComicsPAP (Vivoli et al., 2025, arXiv:2503.08561): parquet files on the Hub or on disk, sample by sample.

The schema is that of the Hub's VLR-CVC/ComicsPAP. Two things more are read where a file has them: `context_texts` and
`option_texts` (list of string, what is lettered in each panel, from OCR), and `book_id` (for intervals by book).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from ..checks import did_you_mean
from ..errors import ComicSeqDataError

HUB_NAME = "VLR-CVC/ComicsPAP"
# The head that answers each skill.
SKILLS = {
    "sequence_filling": "panel_picking",
    "char_coherence": "character_coherence",
    "visual_closure": "visual_closure",
    "text_closure": "text_closure",
    "caption_relevance": "caption_relevance",
}
# Their options are one picture with different lettering (the data set's card).
LETTERING_SKILLS = ("char_coherence", "text_closure")
ROWS_AT_ONCE = 4  # a row holds about ten pictures of a megabyte


@dataclass
class PapSample:
    """One question.

    Attributes:
        sample_id: Its id in the data set.
        skill: One of `SKILLS`.
        context: The panels shown, in reading order, without the asked one; none in caption relevance.
        options: The panels to choose from.
        index: Place of the asked panel among the context: 0 is before the first; -1 in caption relevance.
        solution: The right option, -1 where the data set hides it.
        caption: In caption relevance, a description of the panel that the right option follows.
        context_texts: The lettering of each context panel, None where the file does not tell.
        option_texts: That of each option, likewise.
        book_id: The book, None where the file does not tell.
    """

    sample_id: str
    skill: str
    context: list[Image.Image]
    options: list[Image.Image]
    index: int
    solution: int
    caption: str = ""
    context_texts: list[str] | None = None
    option_texts: list[str] | None = None
    book_id: str | None = None


@dataclass
class PapFiles:
    """The parquet files of one skill and split, checked against the schema.

    Attributes:
        skill: The skill.
        split: The split.
        paths: The files.
        num_samples: Samples of that skill and split in them.
        num_known: Those whose solution is not hidden.
    """

    skill: str
    split: str
    paths: list[str]
    num_samples: int = 0
    num_known: int = 0
    _filesystem: Any = field(default=None, repr=False)

    def __iter__(self) -> Iterator[PapSample]:
        """Reads the samples in the files' order, a few rows at a time.

        Raises:
            ComicSeqDataError: If a sample cannot be used; the message names file, sample and field.
        """
        for path in self.paths:
            with _open(self._filesystem, path) as file:
                columns = [name for name in (*_CHECKS, *_OPTIONAL) if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
                    for row in batch.to_pylist():
                        if row["task_type"] == self.skill and _is_of_split(row["split"], self.split, path):
                            yield _sample(row, path)


def find_skills(source: str, split: str = "val", skills: Sequence[str] | None = None) -> list[PapFiles]:
    """Finds the files of a split of ComicsPAP, skill by skill, and checks their schema before a picture is read.

    Args:
        source: Name of the data set on the Hub, a folder or fsspec URL laid out like it (`SKILL/SPLIT-*.parquet`), a
            folder of parquet files whose columns `task_type` and `split` tell, or one such file.
        split: `val`, `test` (solutions hidden) or `train`.
        skills: The skills; by default those of the five that are there.

    Raises:
        ComicSeqDataError: If a skill does not exist, no sample of a named one is there, or a file has not the schema.
    """
    for skill in skills or ():
        if skill not in SKILLS:
            raise ComicSeqDataError(
                f"There is no skill {skill!r}{did_you_mean(skill, set(SKILLS))}: skills are {', '.join(SKILLS)}."
            )
    filesystem, root = _locate(source)
    found = [_find(filesystem, root, split, skill) for skill in skills or SKILLS]
    for files in found:
        if skills and not files.num_samples:
            raise ComicSeqDataError(
                f"{source} has no sample of the skill {files.skill} in the split {split!r}: leave the skill out, or name"
                " another split."
            )
    found = [files for files in found if files.num_samples]
    if not found:
        raise ComicSeqDataError(
            f"{source} has no ComicsPAP sample in the split {split!r}: name the data set on the Hub ({HUB_NAME}), a folder"
            f" with files such as sequence_filling/{split}-00000.parquet, or one parquet file."
        )
    return found


def _locate(source: str) -> tuple[Any, str]:
    if "://" not in source and not Path(source).exists():
        if source.count("/") != 1 or source.startswith(".") or source.endswith(".parquet"):
            raise ComicSeqDataError(
                f"There is no {source}: name a folder, a parquet file, or a data set on the Hub such as {HUB_NAME}."
            )
        source = f"hf://datasets/{source}"
    try:
        filesystem, root = fsspec.core.url_to_fs(source)
        exists = filesystem.exists(root)
    except (OSError, ValueError, ImportError) as error:
        raise ComicSeqDataError(f"{source} cannot be opened: {str(error).splitlines()[0]}") from None
    except Exception as error:  # the Hub's client has its own family of connection errors
        raise ComicSeqDataError(
            f"{source} cannot be reached ({type(error).__name__}): check the name and the network, or name a local folder."
        ) from None
    if not exists:
        raise ComicSeqDataError(
            f"{source} is not there or cannot be reached: check the name and the network, or name a local folder."
        )
    return filesystem, root


def _find(filesystem: Any, root: str, split: str, skill: str) -> PapFiles:
    if root.endswith(".parquet"):
        paths = [root]
    else:
        paths = sorted(filesystem.glob(f"{root}/{skill}/{split}-*.parquet"))
        paths += sorted(filesystem.glob(f"{root}/{skill}/{split}.parquet"))
        paths = paths or sorted(filesystem.glob(f"{root}/*.parquet"))
    files = PapFiles(skill, split, [], _filesystem=filesystem)
    for path in paths:
        with _open(filesystem, path) as file:
            _check_schema(file.schema_arrow, path)
            solutions = [
                row["solution_index"]
                for batch in file.iter_batches(columns=["task_type", "split", "solution_index"])
                for row in batch.to_pylist()
                if row["task_type"] == skill and _is_of_split(row["split"], split, path)
            ]
        if solutions:
            files.paths.append(path)
            files.num_samples += len(solutions)
            files.num_known += sum(solution is not None and solution >= 0 for solution in solutions)
    return files


def _is_of_split(value: str | None, split: str, path: str) -> bool:
    # In the Hub's layout the file's name tells.
    return value == split or Path(path).name.startswith((f"{split}-", f"{split}."))


def _open(filesystem: Any, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(filesystem.open(path))
    except (pa.ArrowException, OSError) as error:
        raise ComicSeqDataError(
            f"{path} is no parquet file ({str(error).splitlines()[0]}): download it again."
        ) from None


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _is_list(type_: pa.DataType, is_item: Callable[[pa.DataType], bool]) -> bool:
    return (pa.types.is_list(type_) or pa.types.is_large_list(type_)) and is_item(type_.value_type)


def _is_image(type_: pa.DataType) -> bool:
    if pa.types.is_struct(type_):
        index = type_.get_field_index("bytes")
        return index >= 0 and _is_bytes(type_.field(index).type)
    return _is_bytes(type_)


def _is_bytes(type_: pa.DataType) -> bool:
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


_CHECKS: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "sample_id": ("a string", _is_text),
    "context": ("a list of images", lambda type_: _is_list(type_, _is_image)),
    "options": ("a list of images", lambda type_: _is_list(type_, _is_image)),
    "index": ("an integer", pa.types.is_integer),
    "solution_index": ("an integer", pa.types.is_integer),
    "split": ("a string", _is_text),
    "task_type": ("a string", _is_text),
    "previous_panel_caption": ("a string", _is_text),
}
_OPTIONAL: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "context_texts": ("a list of strings", lambda type_: _is_list(type_, _is_text)),
    "option_texts": ("a list of strings", lambda type_: _is_list(type_, _is_text)),
    "book_id": ("a string", _is_text),
}


def _check_schema(schema: pa.Schema, path: str) -> None:
    remedy = f"give files in the schema of {HUB_NAME}"
    for name, (kind, is_right) in (_CHECKS | _OPTIONAL).items():
        if name in schema.names:
            found = schema.field(name).type
            if not is_right(found):
                raise ComicSeqDataError(f"{path}: the column `{name}` is {found} but must be {kind}: {remedy}.")
        elif name in _CHECKS:
            raise ComicSeqDataError(f"{path} has no column `{name}`, which must be {kind}: {remedy}.")


def _sample(row: dict[str, Any], path: str) -> PapSample:
    name = f"{path}: sample {row['sample_id']!r}"
    context, options = row["context"] or [], row["options"] or []
    index, solution = row["index"], row["solution_index"]
    skill, caption = row["task_type"], row["previous_panel_caption"] or ""

    def check(is_right: bool, what: str) -> None:
        if not is_right:
            raise ComicSeqDataError(f"{name} {what}: remove or repair it.")

    check(bool(options), "has no `options`")
    check(
        solution is not None and -1 <= solution < len(options),
        f"has `solution_index` {solution} of {len(options)} options",
    )
    if skill == "caption_relevance":
        check(bool(caption.strip()), "has an empty `previous_panel_caption`")
    else:
        check(bool(context), "has no `context`")
        check(
            index is not None and 0 <= index <= len(context),
            f"has `index` {index} among {len(context)} context panels",
        )
    texts = {}
    for column, panels in (("context_texts", context), ("option_texts", options)):
        values = row.get(column)
        if values is not None:
            check(len(values) == len(panels), f"has {len(values)} `{column}` for {len(panels)} panels")
            texts[column] = [value or "" for value in values]
    return PapSample(
        sample_id=row["sample_id"],
        skill=skill,
        context=[_decode(image, f"{name}, `context` {i}") for i, image in enumerate(context)],
        options=[_decode(image, f"{name}, `options` {i}") for i, image in enumerate(options)],
        index=-1 if index is None else index,
        solution=solution,
        caption=caption,
        book_id=row.get("book_id"),
        **texts,
    )


def _decode(image: Any, name: str) -> Image.Image:
    content = image.get("bytes") if isinstance(image, dict) else image
    try:
        if not content:
            raise ValueError("it is empty")
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise ComicSeqDataError(f"{name} is no image ({str(error).splitlines()[0]}): remove or repair it.") from None
