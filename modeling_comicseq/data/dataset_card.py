"""The README of a converted data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import DatasetCardData

from ..stores.stage3 import PRESENT

__all__ = ["dataset_card"]


def dataset_card(provenance: Mapping[str, Any]) -> str:
    """Renders the data set card, with the metadata that the Hub reads, from the provenance.

    Args:
        provenance: The dict of `build_provenance`.

    Returns:
        Markdown with a YAML header.
    """
    header = DatasetCardData(
        pretty_name="Comic pages as panel sequences",
        tags=["comics", "comicseq", "panel-sequences"],
        configs=[
            {
                "config_name": "default",
                # The Hub's loader refuses a split without rows.
                "data_files": [
                    {"split": split, "path": f"{split}/*.arrow"}
                    for split, counts in provenance["counts"].items()
                    if counts["rows"]
                ],
            }
        ],
    )
    source, conversion = provenance["source"], provenance["conversion"]
    lines = [
        "---",
        header.to_yaml(),
        "---",
        "",
        "# Comic pages as panel sequences",
        "",
        "Stage 3 panel vectors of comic pages for ComicSeq, converted with `comicseq convert`. One row is a page, or a",
        f"window of {conversion['window']} panels of a longer page; rows keep the order of the store.",
        "",
        "| split | books | pages | panels | rows |",
        "|---|---:|---:|---:|---:|",
    ]
    for split, counts in provenance["counts"].items():
        lines.append(
            f"| {split} | " + " | ".join(f"{counts[key]:,}" for key in ("books", "pages", "panels", "rows")) + " |"
        )
    fractions = conversion["fractions"]
    shares = "" if fractions is None else f" ({', '.join(f'{share:g}' for share in fractions)})"
    lines += [
        "",
        f"Split by {conversion['split_by']}{shares}: all pages of a book are on the same side.",
    ]
    if conversion["skipped"]:
        lines += ["", f"{conversion['skipped']:,} pages with faults were left out; `skipped.json` lists the reasons."]
    if provenance["pages_without_panels"]:
        lines += ["", f"{provenance['pages_without_panels']:,} pages without panels have no row."]
    lines += [
        "",
        "## Source",
        "",
        f"- store: `{source['embeddings']}` ({source['store_pages']:,} pages of {provenance['slots']} slots)",
        f"- metadata: `{source['metadata']}`",
        f"- fingerprint of the vectors: `{source['fingerprint']}`",
    ]
    lines += [f"- {key}: `{value}`" for key, value in provenance["origin"].items()]
    lines += ["", "## Columns", "", "| column | content |", "|---|---|"]
    for name, width in provenance["widths"].items():
        length = str(width) if name.startswith("page_") else f"num_panels × {width}"
        lines.append(f"| `{name}` | {provenance['dtype']}, flat, length {length} |")
    for column, name in PRESENT.items():
        if name in provenance["widths"]:
            content = f"bool for each panel, flat: false where it has no {column.removeprefix('has_')}"
            lines.append(f"| `{column}` | {content} (`{name}` is all zero) |")
    if provenance["character_ids"]:
        lines.append(
            "| `character_ids` | for each panel a list of the characters on it; null where the metadata do not tell |"
        )
    lines += [
        "| `num_panels` | panels of this row |",
        "| `sequence_index` | row of the store |",
        "| `book_id`, `page_name`, `canonical_id` | the page |",
        "| `page_index` | natural-sort rank of the page in its book |",
        "| `book_order` | rank of the row in the split, sorted by book, page and window |",
        "| `window_start` | first panel of this row in its page |",
        "| `metadata` | JSON of everything else that the metadata carried |",
        "",
        "## Use",
        "",
        "```python",
        "from datasets import load_from_disk",
        "",
        'data = load_from_disk("path/to/this/folder")',
        "```",
        "",
        "`hf upload user/name path/to/this/folder --repo-type dataset` publishes it with this card and its provenance,",
        '`data.push_to_hub("user/name")` the pages alone, as Parquet.',
        "",
    ]
    return "\n".join(lines)
