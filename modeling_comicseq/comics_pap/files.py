"""Reader of ComicsPAP (Vivoli et al., 2025, arXiv:2503.08561): parquet files on the Hub or on disk, sample by sample.

The schema is that of the Hub's VLR-CVC/ComicsPAP. Two things more are read where a file has them: `context_texts` and
`option_texts` (list of string, what is lettered in each panel, from OCR), and `book_id` (for intervals by book).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..checkpoints.opening import first_line
from ..errors import ComicSeqDataError, did_you_mean
from ..hub import check_not_mistyped
from ..model import tasks_comicseq as tasks
from ..urls import file_system

HUB_NAME = "VLR-CVC/ComicsPAP"
# The task whose head answers each skill.
SKILLS = {
    "sequence_filling": tasks.PANEL_PICKING,
    "char_coherence": tasks.CHARACTER_COHERENCE,
    "visual_closure": tasks.VISUAL_CLOSURE,
    "text_closure": tasks.TEXT_CLOSURE,
    "caption_relevance": tasks.CAPTION_RELEVANCE,
}
# Their options are one picture with different lettering (the data set's card).
LETTERING_SKILLS = ("char_coherence", "text_closure")
ROWS_AT_ONCE = 4  # a row holds about ten pictures of a megabyte
# What each column must hold.
COLUMNS = {
    "sample_id": "a string",
    "context": "a list of images",
    "options": "a list of images",
    "index": "an integer",
    "solution_index": "an integer",
    "split": "a string",
    "task_type": "a string",
    "previous_panel_caption": "a string",
}
OPTIONAL_COLUMNS = {"context_texts": "a list of strings", "option_texts": "a list of strings", "book_id": "a string"}


@dataclass
class Question:
    """One question: pictures and strings as they are read, unit vectors (n, dim) in their place once it is embedded.

    Attributes:
        sample_id: Its id in the data set.
        skill: One of `SKILLS`.
        context: The panels shown, in reading order, without the asked one; none in caption relevance.
        options: The panels to choose from.
        index: Place of the asked panel among the context: 0 is before the first; -1 in caption relevance.
        solution: The right option, -1 where the data set hides it.
        captions: In caption relevance, one description, of the panel that the right option follows; else empty.
        context_texts: The lettering of each context panel, None where the file does not tell or nothing reads it.
        option_texts: That of each option, likewise.
        book_id: The book, None where the file does not tell.
    """

    sample_id: str
    skill: str
    context: Any
    options: Any
    index: int
    solution: int
    captions: Any = ()
    context_texts: Any = None
    option_texts: Any = None
    book_id: str | None = None


def by_skill(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """The questions of each skill, in their order."""
    parts: dict[str, list[Question]] = {}
    for question in questions:
        parts.setdefault(question.skill, []).append(question)
    return parts


@dataclass
class SkillFiles:
    """The parquet files of one skill and split, checked against the schema.

    Attributes:
        skill: The skill.
        split: The split.
        filesystem: Where the files are.
        paths: The files.
        num_samples: Samples of that skill and split in them.
        num_known: Those whose solution is not hidden.
    """

    skill: str
    split: str
    filesystem: Any = field(repr=False)
    paths: list[str] = field(default_factory=list)
    num_samples: int = 0
    num_known: int = 0

    def __iter__(self) -> Iterator[Question]:
        """Reads the questions in the files' order, a few rows at a time.

        Raises:
            ComicSeqDataError: If a sample cannot be used; the message names file, sample and field.
        """
        for path in self.paths:
            for row in self.rows(path, COLUMNS | OPTIONAL_COLUMNS):
                yield _question(row, path)

    def rows(self, path: str, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The rows of a file that are of the skill and split, with those of `columns` that it has."""
        try:
            file = pq.ParquetFile(self.filesystem.open(path))
        except (pa.ArrowException, OSError) as error:
            raise ComicSeqDataError(f"{path} is no parquet file ({first_line(error)}): download it again.") from None
        _check_schema(file.schema_arrow, path)
        # In the Hub's layout the file's name tells the split.
        is_named = Path(path).name.startswith((f"{self.split}-", f"{self.split}."))
        there = [name for name in columns if name in file.schema_arrow.names]
        with file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=there):
                for row in batch.to_pylist():
                    if row["task_type"] == self.skill and (is_named or row["split"] == self.split):
                        yield row


def find_skills(source: str, split: str = "val", skills: Sequence[str] | None = None) -> list[SkillFiles]:
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
    if not any(files.num_samples for files in found):
        raise ComicSeqDataError(
            f"{source} has no ComicsPAP sample in the split {split!r}: name the data set on the Hub ({HUB_NAME}), a folder"
            f" with files such as sequence_filling/{split}-00000.parquet, or one parquet file."
        )
    return [files for files in found if files.num_samples]


def _locate(source: str) -> tuple[Any, str]:
    if "://" not in source and not Path(source).exists():
        what = f"a folder, a parquet file, or a data set on the Hub such as {HUB_NAME}"
        check_not_mistyped(source, what)
        if "/" not in source or source.endswith(".parquet"):
            raise ComicSeqDataError(f"There is no {source}: name {what}.")
        source = f"hf://datasets/{source}"
    filesystem, root = file_system(source)
    try:
        if filesystem.exists(root):
            return filesystem, root
        reason = "it is not there"
    except Exception as error:  # the Hub's client has its own family of connection errors
        reason = first_line(error) if isinstance(error, (OSError, ValueError, ImportError)) else type(error).__name__
    raise ComicSeqDataError(
        f"{source} cannot be reached ({reason}): check the name and the network, or name a local folder."
    )


def _find(filesystem: Any, root: str, split: str, skill: str) -> SkillFiles:
    if root.endswith(".parquet"):
        paths = [root]
    else:
        paths = filesystem.glob(f"{root}/{skill}/{split}[-.]*parquet") or filesystem.glob(f"{root}/*.parquet")
    files = SkillFiles(skill, split, filesystem)
    for path in sorted(paths):
        rows = list(files.rows(path, ("task_type", "split", "solution_index")))
        if rows:
            files.paths.append(path)
            files.num_samples += len(rows)
            files.num_known += sum(row["solution_index"] is not None and row["solution_index"] >= 0 for row in rows)
    return files


def _holds(type_: pa.DataType) -> str:
    """What a column of this type holds, in the words of `COLUMNS`."""
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "a string"
    if pa.types.is_integer(type_):
        return "an integer"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"a list of {_holds(type_.value_type).split()[-1]}s"
    if pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
        type_ = type_.field("bytes").type
    return "an image" if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) else str(type_)


def _check_schema(schema: pa.Schema, path: str) -> None:
    remedy = f"give files in the schema of {HUB_NAME}"
    for name, kind in (COLUMNS | OPTIONAL_COLUMNS).items():
        if name in schema.names:
            found = schema.field(name).type
            if _holds(found) != kind:
                raise ComicSeqDataError(f"{path}: the column `{name}` is {found} but must be {kind}: {remedy}.")
        elif name in COLUMNS:
            raise ComicSeqDataError(f"{path} has no column `{name}`, which must be {kind}: {remedy}.")


def _question(row: dict[str, Any], path: str) -> Question:
    name, skill = f"{path}: sample {row['sample_id']!r}", row["task_type"]
    context, options = row["context"] or [], row["options"] or []
    index, solution, caption = row["index"], row["solution_index"], row["previous_panel_caption"] or ""

    def check(is_right: bool, fault: str) -> None:
        if not is_right:
            raise ComicSeqDataError(f"{name} {fault}: remove or repair it.")

    check(bool(options), "has no `options`")
    is_there = solution is not None and -1 <= solution < len(options)
    check(is_there, f"has `solution_index` {solution} of {len(options)} options")
    is_caption = SKILLS[skill] is tasks.CAPTION_RELEVANCE
    if is_caption:
        check(bool(caption.strip()), "has an empty `previous_panel_caption`")
    else:
        check(bool(context), "has no `context`")
        is_there = index is not None and 0 <= index <= len(context)
        check(is_there, f"has `index` {index} among {len(context)} context panels")
    texts = {}
    for column, panels in (("context_texts", context), ("option_texts", options)):
        if (values := row.get(column)) is not None:
            check(len(values) == len(panels), f"has {len(values)} `{column}` for {len(panels)} panels")
            texts[column] = [value or "" for value in values]
    return Question(
        row["sample_id"],
        skill,
        [_decode(image, f"{name}, `context` {i}") for i, image in enumerate(context)],
        [_decode(image, f"{name}, `options` {i}") for i, image in enumerate(options)],
        -1 if index is None else index,
        solution,
        captions=[caption] if is_caption else [],
        book_id=row.get("book_id"),
        **texts,
    )


def _decode(image: Any, name: str) -> Image.Image:
    content = image["bytes"] if isinstance(image, dict) else image
    try:
        if not content:
            raise ValueError("it is empty")
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError) as error:  # Pillow's own errors are among them
        raise ComicSeqDataError(f"{name} is no image ({first_line(error)}): remove or repair it.") from None
