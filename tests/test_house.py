"""What holds all over the package: who imports whom, and where tasks are named."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import modeling_comicseq
from modeling_comicseq.model.tasks_comicseq import TASKS

PACKAGE = Path(modeling_comicseq.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = PACKAGE / "model" / "tasks_comicseq.py"
# What each room may import of the others: data flow one way.
ABOVE = {
    "model": set(),
    "layouts": {"model"},
    "pages": {"model", "layouts"},
    "encoders": {"model", "layouts", "pages"},
    "stores": {"model", "layouts", "pages"},
    "checkpoints": {"model", "layouts", "encoders", "stores", "data"},
    "data": {"model", "layouts", "pages", "stores", "checkpoints"},
    "synthetic": {"model", "layouts", "stores", "data"},
    "evaluation": {"model", "layouts", "stores", "data", "checkpoints", "synthetic"},
    "tasks": {"model", "layouts", "stores", "data", "checkpoints", "synthetic", "evaluation"},
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_tasks_are_named_in_one_place(file):
    if file in (
        NAMES,
        PACKAGE / "comics_pap" / "files.py",
    ):  # ComicsPAP's skills have names of their own, some the same
        return
    literals = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    assert not [value for value in literals if isinstance(value, str) and value in TASKS]


@pytest.mark.parametrize("room", ABOVE)
def test_data_flow_one_way(room):
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2 and node.module:
                other = node.module.split(".")[0]
                is_room = (PACKAGE / other).is_dir()
                assert not is_room or other == room or other in ABOVE[room], f"{file} imports {other}"
