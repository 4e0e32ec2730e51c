"""Some writes, renames and syncs of every command fail, once each; `python -m tests.hostile.faults --all` tries them all."""

from __future__ import annotations

import shutil
import sys

import pytest

from .faults import COMMANDS, try_commands

EACH = 1  # calls of each command
OPEN: dict[str, str] = {}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("faults.c is compiled with `cc` and preloaded, on Linux")
    return try_commands(list(COMMANDS), EACH, tmp_path_factory.mktemp("faults") / "log")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=[pytest.mark.xfail(reason=OPEN[name])] if name in OPEN else []) for name in COMMANDS],
)
def test_a_disk_that_fails_once(command, found):
    """One sentence with the path, the inputs untouched, the output absent or complete, and the same again succeeds."""
    tried = [each for each in found if each["command"] == command]
    assert len(tried) == EACH
    assert not [each for each in tried if each.get("wrong", "error")]
