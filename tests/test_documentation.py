"""What the documentation says is so: links, code, commands and options exist."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.cli import app
from modeling_comicseq.evaluation.arguments import EvaluationArguments
from modeling_comicseq.resources import shipped
from modeling_comicseq.training.arguments import PretrainingArguments
from tests.page_inputs import draw_page, draw_picture, save_page_model

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "model_card.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
RUNS = {"pretrain": PretrainingArguments, "evaluate": EvaluationArguments}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[list[str]]:
    """The words of every `comicseq` command, in blocks and in running text."""
    text = " ".join(re.findall(r"`(comicseq [^`]*)`", page.read_text().replace("\n", " "))).replace("comicseq ", "\n")
    for block in blocks(page, "bash"):
        text += "\n" + "\n".join(re.findall(r"^comicseq (.*)", block.replace("\\\n", " "), re.MULTILINE))
    return [shlex.split(line, comments=True) for line in text.split("\n") if line.strip()]


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or "{{" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pages
def test_commands_and_their_options_exist(page):
    known = get_command(app).commands
    for name, *words in commands(page):
        if name.startswith("-"):
            assert name == "--help"
            continue
        assert name in known, name
        options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
        if name in RUNS:
            options |= {"--help-all"} | {f"--{field.name.replace('_', '-')}" for field in fields(RUNS[name])}
            if name == "pretrain" and words and words[0].islower() and words[0].isalpha():
                assert words[0] in shipped("pretraining")
        for word in words:
            assert not word.startswith("--") or word.partition("=")[0].replace("_", "-") in options, (name, word)


@pytest.mark.parametrize("names", [("README.md", "docs/start.md"), ("docs/extend.md",)], ids=str)
def test_python_code_runs(names, tmp_path, monkeypatch):
    config = ComicSeqConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ComicSeqForPreTraining(config).save_pretrained(tmp_path / "outputs" / "demo" / "model")
    monkeypatch.chdir(tmp_path)
    save_page_model(tmp_path / "outputs" / "page_model")
    draw_page().save("page.jpg")
    for name in "abc":
        draw_picture(ord(name)).save(f"{name}.jpg")
    code = [block for name in names for block in blocks(REPOSITORY / name, "python")]
    assert code
    session: dict = {"__name__": "documentation"}  # blocks go on from one another, as a reader does
    for block in code:
        exec(compile(block, names[0], "exec"), session)
