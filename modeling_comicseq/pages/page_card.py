"""The README of a data set of pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData
from jinja2 import Environment

__all__ = ["page_card"]


def page_card(report: Mapping[str, Any]) -> str:
    """Fills `page_card.md`, with the metadata that the Hub reads, from the report of `ingest`."""
    header = DatasetCardData(
        pretty_name="Comic pages with panels, texts and reading order",
        tags=["comics", "comicseq", "comic-pages"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data-*.arrow"}]}],
    )
    environment = Environment(trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    return template.render(report, report=report, card_data=header.to_yaml())
