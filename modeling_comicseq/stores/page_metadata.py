"""The metadata of a store that is made of a data set of pages."""

from __future__ import annotations

from typing import IO, Any

from ..pages.annotations import PanelAnnotation
from ..pages.page_set import Page, PageSet
from .metadata import dump

__all__ = ["page_entry", "text_of", "write_metadata"]


def text_of(panel: PanelAnnotation) -> str:
    """What is said and written in a panel, as an encoder reads it."""
    return " ".join(panel.texts)


def page_entry(page: Page, number: int) -> dict[str, Any]:
    """The entry of a page, which stands in row `number`, with what is known of its panels."""
    row, known = page.row, page.annotation
    entry: dict[str, Any] = {"sequence_index": number, "canonical_id": page.canonical_id}
    entry |= {name: row.get(name) for name in ("book_id", "page_name", "page_index")}
    entry |= {"num_panels": len(known.panels), "reading_direction": known.reading_direction}
    entry |= {name: row.get(name) for name in ("series", "number", "title")}
    entry["texts"] = [panel.texts for panel in known.panels]
    panels = known.panels
    if any(any(panel.speakers) for panel in panels):
        entry["speakers"] = [panel.speakers for panel in panels]
    if any(panel.caption for panel in panels):
        entry["captions"] = [panel.caption for panel in panels]
    if any(panel.character_ids is not None for panel in panels):
        entry["character_ids"] = [panel.character_ids or [] for panel in panels]
    return {name: value for name, value in entry.items() if value is not None}


def write_metadata(data: PageSet, file: IO[bytes]) -> None:
    """Writes one entry a page, with what is known of its panels."""
    for number in range(len(data)):
        file.write((b",\n" if number else b"[\n") + dump(page_entry(data.page(number), number)))
    file.write(b"\n]\n")
