"""The README of a converted data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData
from jinja2 import Environment

from ..stores.stage3 import PRESENT

__all__ = ["dataset_card"]


def dataset_card(provenance: Mapping[str, Any]) -> str:
    """Fills `dataset_card.md`, with the metadata that the Hub reads, from the provenance.

    Args:
        provenance: The dict of `build_provenance`.

    Returns:
        Markdown with a YAML header.
    """
    # The Hub's loader refuses a split without rows.
    splits = [split for split, counts in provenance["counts"].items() if counts["rows"]]
    files = [{"split": split, "path": f"{split}/*.arrow"} for split in splits]
    header = DatasetCardData(
        pretty_name="Comic pages as panel sequences",
        tags=["comics", "comicseq", "panel-sequences"],
        configs=[{"config_name": "default", "data_files": files}],
    )
    fractions = provenance["conversion"]["fractions"]
    shares = "" if fractions is None else f" ({', '.join(f'{share:g}' for share in fractions)})"
    environment = Environment(trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    return template.render(provenance, card_data=header.to_yaml(), present=PRESENT, shares=shares)
