"""The guide's commands do what it says, on a few pages."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from datasets import load_from_disk
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.pages.drawn.writing import write_books

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "pages.md"
SHARED = os.environ.get("COMICSEQ_DATA")
FEW = 2  # pages of a comic


def bash_of(text: str) -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.startswith("comicseq ")]


def some_pages(source: Path, target: Path, book: str = "pages") -> None:
    """The beginning of a comic and of what is known of it, in the form of the shared comics."""
    entries = json.loads((source / "panels.json").read_text())[:FEW]
    for number, entry in enumerate(entries):
        name = f"{book}/{number:03d}{Path(entry['image']).suffix}"
        (target / book).mkdir(parents=True, exist_ok=True)
        shutil.copy(source / entry["image"], target / name)
        entry["image"] = name
    (target / "panels.json").write_text(json.dumps(entries))


@pytest.mark.slow
@pytest.mark.parametrize(
    "comics",
    [
        "drawn",
        pytest.param(
            "shared", marks=pytest.mark.skipif(not SHARED, reason="COMICSEQ_DATA names no folder of real comics")
        ),
    ],
)
def test_the_guides_commands_run(comics, tmp_path, monkeypatch):
    write_books(tmp_path / "comics", books=1, pages=FEW, width=200, progress=False)
    for name in ("peppercarrot", "openmantra"):
        some_pages(Path(SHARED, name) if comics == "shared" else tmp_path / "comics", tmp_path / name)
    for name in ("western", "manga"):
        some_pages(tmp_path / "comics", tmp_path / name, book=f"a book of {name}")
    monkeypatch.chdir(tmp_path)
    made = []
    # `read` needs a page model, which tests/test_page_line.py makes.
    for words in (each for each in bash_of(GUIDE.read_text()) if each[0] != "read"):
        small = ["--width", "200", "--pages", "1"] if words[0] == "draw" else []
        result = CliRunner().invoke(app, [*words, *small])
        assert result.exit_code == 0, (words, result.output)
        if words[0] == "ingest":
            output = words[words.index("--output") + 1]
            pages = load_from_disk(output)
            made.append(output)
            assert result.output.startswith(f"{output}: ") and all(map(len, pages["boxes"]))
            origin = {"given"} if "--annotations" in words else {"gutter cut"}
            assert set(pages["boxes_origin"]) == origin
            assert len(pages) == (2 * FEW if output == "outputs/library" else FEW)
    assert len(made) == 9
