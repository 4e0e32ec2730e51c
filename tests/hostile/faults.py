"""Lets each write, rename and sync of a command fail once, and looks at what is left.

`python -m tests.hostile.faults --all` tries every one of them and prints a table; the tests try some. One process imports
everything and forks for each run: `faults.c`, which it is preloaded with, counts the calls and fails the chosen one.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .commands import EVALUATE, PRETRAIN, RUN_EVAL, TYPER

# The app goes on until it is stopped, and writes nothing.
COMMANDS = {name: words for name, words in TYPER.items() if name != "app"} | {
    "synthesize": "synthesize --output out --books 1 --width 32 --no-progress",
    "pretrain": PRETRAIN + " --max_steps 1 --per_device_train_batch_size 4 --dataloader_pin_memory false",
    "evaluate": EVALUATE + " --tasks panel_picking --repeats 1",
    "run_eval.py": RUN_EVAL + " --tasks reading_order --repeats 1",
}
# What a run that broke off leaves to go on from, or keeps whatever becomes of the rest.
KEPT = {
    "pretrain": ("out",),
    "embed": (".out.zarr.partial",),
    "embed into": ("bare",),
    "encode": (".out.zarr.partial",),
    "ingest": (".out.partial",),
    "index": (".out.partial",),
}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
# Whose output is several files, each complete or not there.
OF_FILES = ("evaluate", "run_eval.py", "inspect", "comics-pap")
LIMIT = 90  # seconds of a run
# In names of files of an index: drawn anew in every run, so that they can be counted, not compared.
DRAWN_NAME = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[01]{16,}[0-9a-f]{8,}")


def compile_library(folder: Path) -> Path:
    """Compiles `faults.c`."""
    library = folder / "faults.so"
    source = Path(__file__).with_suffix(".c")
    options = ["-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl", "-pthread"]
    subprocess.run([shutil.which("cc") or "cc", *options], check=True, capture_output=True)
    return library


def try_commands(names: list[str], per_command: int | None, log: Path) -> list[dict[str, Any]]:
    """The findings about some commands in a process that `faults.c` is preloaded with.

    Args:
        names: The commands.
        per_command: How many calls of each command fail, one after the other; None for all.
        log: File for what the process prints beside them.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        words = [sys.executable, "-m", "tests.hostile.faults", "--within", folder, "--commands", *names]
        words += [] if per_command is None else ["--each", str(per_command)]
        environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        found = []
        with open(log, "w") as errors:
            process = subprocess.Popen(
                words, env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=errors, text=True
            )
            for line in process.stdout or ():
                found.append(json.loads(line))
                if sys.stderr.isatty() or per_command is None:
                    last = found[-1]
                    print(f"\r{last['command']:20}{last['nth']:5} of {last['of']:<6}", end="", file=sys.stderr)
        assert process.wait() == 0, log.read_text()[-3000:]
    return found


def within(folder: Path, names: list[str], per_command: int | None) -> None:
    """Forks for every run and prints one finding a line."""
    import torch
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from . import conftest, table

    torch.set_num_threads(1)
    for module in ("training.run", "evaluation.run", "library.search", "library.inspect", "library.order"):
        __import__(f"modeling_comicseq.{module}")
    for module in (
        "library.embed_into",
        "library.encode",
        "library.layouts",
        "library.order_boxes",
        "comics_pap.run",
        "checkpoints.export",
        "synthetic.world",
        "evaluation.plots",
    ):
        __import__(f"modeling_comicseq.{module}")
    # What the first command and the first model of a process take half a second for, once and not in every fork.
    table.run("export --help")
    get_checkpoint_conversion_mapping("")
    good = folder / "good"
    good.mkdir()
    made = forked(lambda: conftest.make_good(good), folder)
    assert "error" not in made, made
    for name in names:
        first = forked(lambda name=name: plain_run(name, folder, good), folder)  # type: ignore[misc]
        second = forked(lambda name=name: plain_run(name, folder, good), folder)  # type: ignore[misc]
        assert first.get("code") == 0 and second.get("code") == 0, (name, first, second)
        first, second = first | {"new": dict(first["new"])}, second | {"new": dict(second["new"])}
        # What differs from run to run, as a date does, need only be there.
        expected = {
            path: content if second["new"].get(path) == content else None
            for path, content in first["new"].items()
            if path.split("/")[0] not in KEPT.get(name, ())
        }
        kinds = first["kinds"]
        for nth in chosen(kinds, per_command):
            error = ERRORS[nth % len(ERRORS)]
            found = forked(lambda: faulty_run(name, nth, error, expected, folder, good), folder)  # noqa: B023
            about = {
                "command": name,
                "nth": nth,
                "of": len(kinds),
                "kind": kinds[nth - 1],
                "with": errno.errorcode[error],
            }
            print(json.dumps(about | found), flush=True)
    assert table.snapshot(good)


def chosen(kinds: list[str], number: int | None) -> list[int]:
    """Which calls, from 1 on, are to fail: all, or a few that are spread over the kinds, always the same."""
    if number is None:
        return list(range(1, len(kinds) + 1))
    generator = random.Random(0)
    by_kind = collections.defaultdict(list)
    for nth, kind in enumerate(kinds, 1):
        by_kind[kind].append(nth)
    order = [
        each for each in ("write", "rename", "open", "mkdir", "sync", "truncate", "link", "unlink") if each in by_kind
    ]
    picked = [generator.choice(by_kind[kind]) for kind in order][:number]
    rest = sorted(set(range(1, len(kinds) + 1)) - set(picked))
    return sorted(picked + generator.sample(rest, min(len(rest), max(0, number - len(picked)))))


def forked(work: Callable[[], Any], folder: Path) -> dict[str, Any]:
    """What `work` returns in a process of its own."""
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            silent = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            try:
                result = work() or {}
            except BaseException as error:
                result = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-1500:]}
            library().faults_set(b"", 0, 0)
            answer.write_text(json.dumps(result))
        finally:
            os._exit(0)
    end = time.monotonic() + LIMIT
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"error": f"it took more than {LIMIT} seconds"}
        time.sleep(0.005)
    return json.loads(answer.read_text()) if answer.exists() else {"error": "the process died"}


def library() -> ctypes.CDLL:
    """The functions of `faults.c` in this process."""
    loaded = ctypes.CDLL(None)
    loaded.faults_set.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    loaded.faults_count.restype = ctypes.c_long
    loaded.faults_kind.argtypes, loaded.faults_kind.restype = [ctypes.c_long], ctypes.c_char_p
    return loaded


def make_place(folder: Path, good: Path) -> Path:
    place = folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(good, place, symlinks=True)
    os.chdir(place)
    return place


def steady(files: dict[str, str]) -> dict[str, str]:
    """Contents by path, as `snapshot` gives them, with numbers in the place of names that are drawn."""
    found: dict[str, str] = {}
    counts: collections.Counter[str] = collections.Counter()
    for path, content in files.items():
        place = DRAWN_NAME.sub("*", path)
        if place != path:
            counts[place] += 1
            place = f"{place} {counts[place]}"
        found[place] = content
    return found


def plain_run(name: str, folder: Path, good: Path) -> dict[str, Any]:
    """A run in which nothing fails: its calls, and the files that it makes."""
    from .table import run, snapshot

    place = make_place(folder, good)
    before = steady(snapshot(place))
    library().faults_set(str(place).encode(), 0, 0)
    code, printed = run(COMMANDS[name])
    kinds = [library().faults_kind(n + 1).decode() for n in range(library().faults_count())]
    library().faults_set(b"", 0, 0)
    after = steady(snapshot(place))
    return {
        "code": code,
        "kinds": kinds,
        "new": [(p, c) for p, c in after.items() if before.get(p) != c],
        "printed": printed,
    }


def faulty_run(
    name: str, nth: int, error: int, expected: dict[str, str | None], folder: Path, good: Path
) -> dict[str, Any]:
    """A run whose nth call fails, and another after it: what was wrong, in words."""
    from .table import INSIDE, run, snapshot

    place, wrong = make_place(folder, good), []
    before = steady(snapshot(place))

    def missing(after: dict[str, str]) -> list[str]:
        return [path for path, content in expected.items() if path not in after or content not in (None, after[path])]

    library().faults_set(str(place).encode(), nth, error)
    try:
        code, printed = run(COMMANDS[name])
    except BaseException as fault:
        code, printed = -1, f"{type(fault).__name__}: {fault}"
        wrong.append("a traceback")
    library().faults_set(b"", 0, 0)
    after = steady(snapshot(place))
    if any(after.get(path) != content for path, content in before.items()):
        wrong.append("an input was changed")
    new = {path.split("/")[0] for path in after.keys() - before.keys()}
    whole = {path.split("/")[0] for path in expected} | set(KEPT.get(name, ()))
    lines = [line for line in printed.splitlines() if line.strip()]
    if code == 0:
        if missing(after):
            wrong.append(f"it ended well without {missing(after)[:3]}")
    elif code > 0:
        if not lines or INSIDE.search(lines[-1]) or not any(part in lines[-1] for part in whole):
            wrong.append("no sentence with the path")
        if new - whole - set(KEPT.get(name, ())):
            wrong.append(f"left behind: {sorted(new - whole - set(KEPT.get(name, ())))}")
        lacking = [path for path in missing(after) if path in after or name not in OF_FILES]
        half = {path.split("/")[0] for path in lacking} & new
        if half:
            wrong.append(f"half-written: {sorted(half)}")
    # Again, without cleaning.
    if code != 0:
        try:
            again, said = run(COMMANDS[name])
        except BaseException as fault:
            again, said = -1, f"{type(fault).__name__}: {fault}"
        if again != 0 or missing(steady(snapshot(place))):
            wrong.append(f"the same again does not succeed: {' '.join(said.split())[-300:]}")
    return {"code": code, "said": (lines or [""])[-1][:400], "wrong": wrong}


def main() -> None:
    """Tries every call of every command, or of those that are named, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every call of every command")
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--each", type=int, help="calls of each command, instead of all")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.within:
        within(arguments.within, arguments.commands, arguments.each)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = try_commands(arguments.commands, None if arguments.all else arguments.each or 8, Path(folder, "log"))
    print(f"\n{'command':20}{'calls':>7}{'tried':>7}{'refused':>9}{'wrong':>7}")
    for name in arguments.commands:
        of = [each for each in found if each["command"] == name]
        wrong = [each for each in of if each.get("wrong") or "error" in each]
        refused = sum(each.get("code", 0) != 0 for each in of)
        print(f"{name:20}{of[0]['of'] if of else 0:7}{len(of):7}{refused:9}{len(wrong):7}")
        for each in wrong:
            fault = each.get("error") or "; ".join(each["wrong"])
            print(f"    {each['nth']} ({each['kind']}, {each['with']}): {fault}\n        {each.get('said', '')}")


if __name__ == "__main__":
    main()
