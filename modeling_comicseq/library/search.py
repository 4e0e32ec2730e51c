"""What the command line asks an index for, and what it makes of the hits: JSON and a sheet of pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import ComicSeqArgumentError, ComicSeqDataError, in_words
from ..files import write_json, written_file
from ..pages.pictures import crop
from .index import Hit, Index

__all__ = ["draw_contact_sheet", "parse_panel", "read_vector", "words_of", "write_hits"]

# Of a contact sheet, in pixels.
_CELL = (240, 300)
_GAP, _LINE, _FONT = 12, 16, 12
_COLUMNS = 5


def parse_panel(text: str) -> tuple[str, int]:
    """Page and slot of a panel from `ROW:SLOT` or `PAGE:SLOT`."""
    page, _, slot = text.rpartition(":")
    if not (page.strip() and slot.isascii() and slot.isdecimal() and len(slot) < 10) or page.strip().startswith("-"):
        raise ComicSeqArgumentError(
            f"{text!r} names no panel: write ROW:SLOT or PAGE:SLOT, such as 12:0 for the first panel of row 12"
        )
    return page, int(slot)


def read_vector(path: Path) -> np.ndarray:
    """The array of an .npy file."""
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ComicSeqDataError(
            f"{path} cannot be read ({in_words(error)}): give a file that `numpy.save` wrote"
        ) from None
    if not isinstance(vector, np.ndarray):
        raise ComicSeqDataError(f"{path} holds several arrays: give a file that `numpy.save` wrote")
    return vector


def words_of(hit: Hit) -> str:
    """All texts of a page or panel in one line."""
    texts = hit.fields.get("texts")
    said = [text for panel in texts for text in panel] if texts else [hit.fields.get("text") or ""]
    return " ".join(" ".join(said).split())


def write_hits(hits: Sequence[Hit], index: Index, query: Mapping[str, Any], path: Path) -> None:
    """Writes the hits as JSON, beside the target first and then in its place."""
    about = {"store": index.about["store"]["url"], **index.about["counts"]}
    content = {"index": index.url, "about": about, "query": dict(query), "results": [asdict(hit) for hit in hits]}
    write_json(path, content)


def draw_contact_sheet(hits: Sequence[Hit], index: Index, path: Path) -> None:
    """Draws the pages or panels that were found, best first, with rank, score and name, and writes them as PNG.

    Raises:
        ComicSeqDataError: The index holds no pictures, or none of these.
    """
    if not index.about["counts"]["pages_with_picture"]:
        raise ComicSeqDataError(f"{index.url} holds no pictures: make it with --pages, a data set of the pages")
    rows = max(1, -(-len(hits) // _COLUMNS))
    width, height = (side + _GAP for side in _CELL)
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * (height + 2 * _LINE) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for place, hit in enumerate(hits):
        left = _GAP + place % _COLUMNS * width
        top = _GAP + place // _COLUMNS * (height + 2 * _LINE)
        picture = _picture(hit, index)
        if picture is not None:
            picture.thumbnail(_CELL, Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + (_CELL[0] - picture.width) // 2, top + (_CELL[1] - picture.height) // 2))
        draw.rectangle((left - 1, top - 1, left + _CELL[0], top + _CELL[1]), outline="#888888")
        slot = "" if hit.slot is None else f":{hit.slot}"
        for line, text in enumerate((f"{hit.rank}   {hit.score:.3f}", f"{hit.page_id}{slot}")):
            at = (left, top + _CELL[1] + 2 + line * _LINE)
            draw.text(at, _fitting(text, font, _CELL[0]), fill="black", font=font)
    with written_file(path) as beside:
        sheet.save(beside, "PNG")


def _picture(hit: Hit, index: Index) -> Image.Image | None:
    """The small picture of a page, or the panel's part of it where its box is known."""
    content = index.page(hit.row)["picture"]
    if content is None:
        return None
    image = Image.open(io.BytesIO(content)).convert("RGB")
    box = hit.fields.get("box")
    return crop(image, box) if hit.slot is not None and box else image


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The end of a text that is no wider than so many pixels: names of pages differ at their end."""
    shown = " ".join(text.split())
    while len(shown) > 1 and font.getlength(shown) > width:
        shown = "…" + shown[2:]
    return shown


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has more scripts than Pillow's own."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), _FONT)


def short(text: str, width: int = 60) -> str:
    """The beginning of a text, by words."""
    return shorten(text, width, placeholder=" …")
