"""Fills the app's templates; whatever a page, a file or a request says is escaped on its way in."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["asset", "render", "say"]

_FOLDER = Path(__file__).parent


@cache
def _templates() -> Environment:
    loader = FileSystemLoader(_FOLDER / "templates")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def render(name: str, **values: Any) -> str:
    """The HTML of a template of the folder `templates`, with the values in it as text."""
    return _templates().get_template(f"{name}.html").render(values)


def say(sentence: str, is_fault: bool = False) -> str:
    """A sentence for the reader, as HTML that screen readers speak."""
    return render("say", sentence=sentence, is_fault=is_fault)


@cache
def asset(name: str) -> str:
    """A style sheet or a script of the app."""
    return (_FOLDER / "assets" / name).read_text(encoding="utf-8")
