"""The README of a data set of pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData
from jinja2 import Environment

from ..errors import counted

__all__ = ["page_card"]

# How good was measured to be what finds boxes and order where none are given, by what the columns of origins call it; from
# docs/pages.md and docs/measurements/reading_order.md.
MEASURED = {
    "gutter cut": "F1 of panels at IoU 0.5 and 0.75: 98.2 and 97.0 % on 92 pages of Pepper&Carrot, whose boxes were cut"
    " automatically themselves, 77.0 and 65.7 % on 119 pages of three manga books",
    "order predictor": "on given boxes, 95 of 114 pages of three manga books were ordered as annotated (XY-cut: 94)",
    "XY-cut": "on given boxes, 94 of 114 pages of three manga books were ordered as annotated",
}


def page_card(report: Mapping[str, Any]) -> str:
    """Fills `page_card.md`, with the metadata that the Hub reads, from the report of `ingest`."""
    header = DatasetCardData(
        pretty_name="Comic pages with panels, texts and reading order",
        tags=["comics", "comicseq", "comic-pages"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data-*.arrow"}]}],
    )
    environment = Environment(trim_blocks=True, keep_trailing_newline=True)
    environment.filters["counted"] = counted
    template = environment.from_string(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    origins = [name for column in ("boxes", "order", "texts") for name in report[f"{column}_origin"]]
    finders = {name: MEASURED.get(name, "not measured") for name in origins if name not in ("given", "not known")}
    return template.render(report, report=report, finders=finders, card_data=header.to_yaml())
