"""Some writes, renames and syncs of every command fail, once each; `python -m tests.hostile.faults --all` tries them all."""

from __future__ import annotations

import shutil
import sys

import pytest

from .faults import COMMANDS, try_commands

EACH = 1  # calls of each command
OPEN: dict[str, str] = {}  # commands with a fault that is not mended, and what it is
ALWAYS = (
    "ingest",
    "embed",
    "convert",
    "encode",
    "export-table",
)  # the others where the dearest tests are run, too


@pytest.fixture(scope="module")
def found(request, tmp_path_factory) -> list[dict]:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("faults.c is compiled with `cc` and preloaded, on Linux")
    asked = [item for item in request.session.items if item.module is request.module]
    names = [item.callspec.params["command"] for item in asked]
    return try_commands(names, EACH, tmp_path_factory.mktemp("faults") / "log")


def marks(name: str) -> list[pytest.MarkDecorator]:
    """How a command is tried."""
    open_marks = [pytest.mark.xfail(reason=OPEN[name])] if name in OPEN else []
    return [pytest.mark.slow if name in ALWAYS else pytest.mark.thorough, *open_marks]


@pytest.mark.parametrize("command", [pytest.param(name, marks=marks(name)) for name in COMMANDS])
def test_a_disk_that_fails_once(command, found):
    """One sentence with the path, the inputs untouched, the output absent or complete, and the same again succeeds."""
    tried = [each for each in found if each["command"] == command]
    assert len(tried) == EACH
    assert not [each for each in tried if each.get("wrong", "error")]
