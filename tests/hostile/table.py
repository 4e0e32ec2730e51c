"""A row of a table of bad inputs, what it is made with, and what must hold for each."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import zarr
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from modeling_comicseq.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ("run_pretraining.py", "run_eval.py")
LONGEST = 700  # characters that one sentence may have
# What only a programmer reads.
INSIDE = re.compile(r"Traceback|\b[A-Z]\w*(?:Error|Exception)\b|\[Errno|<class |object at 0x|\bNoneType\b")
# What may be told beside a refusal: progress, and what is warned of or told before.
BESIDE = re.compile(r"[━╸╺]{9}| -:--:--|^no book falls into |^Left out ")
TQDM = re.compile(r"[^\r\n]*\d+%\|[^|\r\n]*\|[^\]\r\n]*\]")
FRAME = re.compile(r"[│╭╮╰╯─]+")

Breaks = Callable[[Path], Any]


@dataclass(frozen=True)
class Row:
    """A bad input and what is to be said about it.

    Attributes:
        command: The words of the command line, as they are typed in the folder of `make_good`.
        says: What the message must hold: place, value and remedy.
        breaks: What is done to the folder first.
        code: The exit code: 1, and 2 for a command line that cannot be read.
        makes: Names in the folder that may be new: indexes that are kept whatever the query.
    """

    command: str
    says: tuple[str, ...]
    breaks: tuple[Breaks, ...] = ()
    code: int = 1
    makes: tuple[str, ...] = ()


def row(command: str, *says: str, breaks: Breaks | tuple[Breaks, ...] = (), code: int = 1, makes=()) -> Row:
    """A row of a table."""
    return Row(command, says, breaks if isinstance(breaks, tuple) else (breaks,), code, makes)


def each(commands: Mapping[str, str], name: str, *says: str, breaks: Breaks | tuple[Breaks, ...] = ()) -> dict:
    """The same fault in several commands: a row for each."""
    return {f"{command}: {name}": row(line, *says, breaks=breaks) for command, line in commands.items()}


def rows_of(table: Mapping[str, Any], is_open: Mapping[str, str] | None = None) -> list:
    """The table's rows as parameters; those whose fault is still open, each with what is wrong, are expected to fail."""
    is_open = is_open or {}
    assert not is_open.keys() - table.keys(), is_open.keys() - table.keys()
    marks = {name: [pytest.mark.xfail(strict=True, reason=why)] for name, why in is_open.items()}
    return [pytest.param(each, id=name, marks=marks.get(name, ())) for name, each in table.items()]


def run(command: str) -> tuple[int, str]:
    """Runs a command line in this process; its exit code, and all that it prints."""
    program, *words = shlex.split(command)
    if program in SCRIPTS:
        printed, code = io.StringIO(), 0
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                with patch.object(sys, "argv", [program, *words]):
                    runpy.run_path(str(REPOSITORY / program), run_name="__main__")
            except SystemExit as end:
                code = end.code
        if isinstance(code, str):  # the interpreter prints it
            printed.write(code)
            code = 1
        return code or 0, printed.getvalue()
    result = CliRunner().invoke(app, [program, *words], env={"COLUMNS": "400", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def check_refused(row: Row, place: Path) -> None:
    """Breaks the folder, runs the command, and checks its one sentence, its exit code and that nothing was changed."""
    for breaks in row.breaks:
        breaks(place)
    before = snapshot(place)
    code, printed = run(row.command)
    if code == 2:  # below the usage, by `typer` in a frame
        printed = "Error: " + " ".join(re.split("[Ee]rror:?", FRAME.sub(" ", printed), maxsplit=1)[-1].split())
    lines = [line for line in TQDM.sub("\n", printed).splitlines() if line.strip() and not BESIDE.search(line)]
    assert len(lines) == 1, printed
    check_sentence(lines[0][: LONGEST if code == 2 else None], *row.says)  # `argparse` lists all that is possible
    assert re.match(r"Error: |comicseq \S+: |run_\w+\.py: ", lines[0]), printed
    assert code == row.code, printed
    after = snapshot(place)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    changed = {name for name in changed if name.split("/")[0] not in row.makes}
    assert not changed, f"{printed}Changed: {sorted(changed)}"


def check_sentence(message: str, *says: str) -> None:
    """One line that a user can read, with what it must say in it."""
    assert "\n" not in message.strip()
    for part in says:
        assert part in message, f"{part!r} is not in: {message}"
    inside = INSIDE.search(message)
    assert inside is None, f"{inside[0]!r} is in: {message}"
    assert len(message) <= LONGEST, message


def snapshot(folder: Path) -> dict[str, str]:
    """A hash of every file, and the kind of everything else, by its path in `folder`."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.blake2b(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "special file"
    return found


# What breaks a folder. Each returns a function of the folder, and the names are those of its contents.


def remove(name: str) -> Breaks:
    """Nothing stands there any more."""

    def breaks(place: Path) -> None:
        path = place / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    return breaks


def write(name: str, content: str | bytes) -> Breaks:
    """A file with this content, in whatever place it was."""

    def breaks(place: Path) -> None:
        remove(name)(place)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)

    return breaks


def garbage(name: str) -> Breaks:
    """A file of bytes that are nothing."""
    return write(name, np.random.default_rng(0).bytes(300))


def folder(name: str) -> Breaks:
    """An empty folder."""

    def breaks(place: Path) -> None:
        remove(name)(place)
        (place / name).mkdir(parents=True)

    return breaks


def link(name: str, target: str) -> Breaks:
    """A symbolic link."""

    def breaks(place: Path) -> None:
        remove(name)(place)
        (place / name).symlink_to(target)

    return breaks


def cut(name: str, share: float = 0.5) -> Breaks:
    """The beginning of a file alone."""

    def breaks(place: Path) -> None:
        path = place / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return breaks


def cut_chunks(array: str) -> Breaks:
    """All chunks of an array are cut."""

    def breaks(place: Path) -> None:
        for path in (place / array / "c").rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return breaks


def change(name: str, **fields: Any) -> Breaks:
    """Other fields in a JSON object."""

    def breaks(place: Path) -> None:
        content = json.loads((place / name).read_text())
        (place / name).write_text(json.dumps(content | fields))

    return breaks


def entry(**fields: Any) -> Breaks:
    """Other fields in the first entry of the metadata; `...` takes a field away."""

    def breaks(place: Path) -> None:
        entries = json.loads((place / "metadata.json").read_text())
        entries[0] = {key: value for key, value in (entries[0] | fields).items() if value is not ...}
        (place / "metadata.json").write_text(json.dumps(entries))

    return breaks


def put(array: str, where: Any, values: Any, store: str = "store.zarr") -> Breaks:
    """Other numbers in an array of a store."""

    def breaks(place: Path) -> None:
        zarr.open_group(str(place / store), mode="r+")[array][where] = values

    return breaks


def array(name: str, shape: tuple[int, ...], dtype: str = "float16", store: str = "store.zarr") -> Breaks:
    """An array of ones in the place of another."""

    def breaks(place: Path) -> None:
        remove(f"{store}/{name}")(place)
        made = zarr.open_group(str(place / store), mode="r+").create_array(name, shape=shape, dtype=dtype)
        if 0 not in shape and np.dtype(dtype).kind in "biufc":
            made[...] = np.ones(shape, dtype)

    return breaks


def weights(model: str, **changes: Any) -> Breaks:
    """Other weights in a checkpoint: for the first weight whose name holds the key, the value fills it, or a function
    makes another of it; None takes it away.
    """

    def breaks(place: Path) -> None:
        path = place / model / "model.safetensors"
        tensors = load_file(path)
        for part, value in changes.items():
            name = next(name for name in sorted(tensors) if part in name)
            if value is None:
                del tensors[name]
            elif callable(value):
                tensors[name] = value(tensors[name])
            else:
                tensors[name] = np.full_like(tensors[name], value)
        save_file(tensors, path, {"format": "pt"})

    return breaks
