"""The pages of a metadata file for encoding: a bridge to `pages` until its callers name it themselves."""

from __future__ import annotations

from .metadata import iter_entries, parse_entry
from .pages import Pages, read_pages

__all__ = ["PageList", "page_list", "page_name"]

PageList = Pages


def page_list(metadata: str, store_pages: int, keep_entries: bool = True) -> Pages:
    """The pages of a metadata file, with their entries where these are to be written again."""
    return read_pages(metadata, store_pages, text="entry" if keep_entries else None)


def page_name(metadata: str, row: int) -> str:
    """`canonical_id` of the page in this row of the store, for a message."""
    for entry in iter_entries(metadata):
        if entry.get("sequence_index") == row:
            return parse_entry(entry).canonical_id
    return f"row {row}"
