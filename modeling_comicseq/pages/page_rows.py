"""One page as a row of the data set: its picture, its panels in reading order, and where each of them came from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from PIL.Image import Image

from ..errors import PageProblem
from ..layouts.rules import xy_cut_order
from .annotations import PageAnnotation, has_boxes, panels_among, read_annotation
from .balloons import assign_texts
from .matching import Given
from .ocr import get_ocr
from .page_dataset import ORIGINS, page_features
from .panel_finding import PANEL_FINDERS, find_panels
from .pictures import Picture, read_picture
from .sources import Content, SourcePage

__all__ = ["GIVEN", "Reading", "page_row"]

GIVEN = "given"
_ORIGIN_COLUMNS = tuple(f"{name}_origin" for name in ORIGINS)
_ALIKE = 0.01  # how far a page's proportions may be from those that its boxes were measured on


@dataclass(frozen=True)
class Reading:
    """How pages are read.

    Attributes:
        panels: "auto": boxes that are given, else found ones; "given"; or "none".
        panel_detector: Name of a finder of `PANEL_FINDERS` or of an object detector; None for the gutter cut.
        ocr: Name of the text recognition, or "none".
        reading_direction: That of pages of which nothing else tells it.
        images: "embedded", or "paths" of pictures that need no change.
    """

    panels: str = "auto"
    panel_detector: str | None = None
    ocr: str = "none"
    reading_direction: str | None = None
    images: str = "embedded"


def page_row(
    page: SourcePage,
    content: Content,
    entry: Mapping[str, Any] | None,
    given: Given | None,
    reading: Reading,
) -> dict[str, Any]:
    """The row of a page, without its book and its place in it.

    Args:
        page: The page.
        content: Its picture, or what is wrong with it.
        entry: What a data set holds beside the picture.
        given: Its annotation.
        reading: How it is read.

    Raises:
        PageProblem: It cannot be used.
    """
    if isinstance(content, PageProblem):
        raise content
    picture = content if isinstance(content, Picture) else read_picture(content)
    size = picture.image.size
    about, annotation = _annotation(entry, given, size)
    row: dict[str, Any] = {"page_name": page.name, "size": list(size)}
    beside = entry or {}
    row |= {name: getattr(page.info, name) or _text(beside.get(name)) for name in ("series", "number", "title")}
    if reading.images == "paths" and page.kind == "folder" and not picture.is_changed:
        row["image"] = {"bytes": None, "path": os.path.abspath(os.path.join(page.place, page.key))}
    else:
        row["image"] = {"bytes": picture.content, "path": Path(page.name).name}
    told = {
        GIVEN: annotation.reading_direction if annotation else None,
        "ComicInfo.xml": page.info.reading_direction,
        "option": reading.reading_direction,
    }
    origin, row["reading_direction"] = next(((o, d) for o, d in told.items() if d), (None, None))
    row["reading_direction_origin"] = origin
    row |= _panels(picture, annotation, row["reading_direction"], reading)
    if given is None:  # a data set of pages tells where it has them from
        row |= {name: _text(beside.get(name)) or GIVEN for name in _ORIGIN_COLUMNS if row[name] == GIVEN}
        row.setdefault("outside_texts", beside.get("outside_texts"))
    row["metadata"] = _json(about) if about else _text(beside.get("metadata"))
    return row


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _json(about: Any) -> str:
    """JSON of whatever it is."""
    try:
        return orjson.dumps(about, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # integers beyond 64 bits, half a surrogate pair
        return json.dumps(about, default=str)


def _annotation(
    entry: Mapping[str, Any] | None, given: Given | None, size: tuple[int, int]
) -> tuple[Mapping[str, Any] | None, PageAnnotation | None]:
    """What is given of a page, as it stands and as it is understood."""
    annotation: PageAnnotation | PageProblem | None
    if given is not None:
        about, annotation = given
        if isinstance(annotation, PageProblem):
            if not about:
                raise annotation
            annotation = read_annotation(about, size)  # it may have missed the page's size alone
    elif entry is not None:
        about = dict(entry)
        if about.get("panel_boxes") is None and about.get("boxes") is not None:
            about["panel_boxes"] = about["boxes"]
        if not has_boxes(about) and (panels := panels_among(about.get("objects"))):
            about["panels"] = panels
        annotation = read_annotation(about, size) if has_boxes(about) else None
        about = {key: value for key, value in entry.items() if key not in page_features()}
    else:
        return None, None
    if annotation is not None and annotation.size is not None:
        (width, height), (own_width, own_height) = annotation.size, size
        if abs(width * own_height / (height * own_width) - 1) > _ALIKE:
            found = f"has {own_width} × {own_height} pixels, but its boxes were measured on {width} × {height}"
            raise PageProblem(found, "give the annotation of this very picture, turned as its EXIF says")
    return about, annotation


def _panels(
    picture: Picture, annotation: PageAnnotation | None, direction: str | None, reading: Reading
) -> dict[str, Any]:
    """The columns about panels, in reading order."""
    given = list(annotation.panels) if annotation and reading.panels != "none" else []
    boxes = np.array([panel.box or (0, 0, 0, 0) for panel in given], np.float32).reshape(-1, 4)
    origins: dict[str, str | None] = {"boxes": GIVEN if boxes.any() else None, "order": GIVEN if given else None}
    if reading.panels == "auto" and not boxes.any():
        boxes, origins["boxes"] = find_boxes(picture.image, reading.panel_detector)
        if given and len(boxes) != len(given):
            raise PageProblem(f"{len(boxes)} panels were found where {len(given)} are described", "give their boxes")
        order, origins["order"] = order_boxes(boxes, direction)
        boxes = boxes[order]
    elif annotation and not annotation.in_reading_order:
        order, origins["order"] = order_boxes(boxes, direction)
        boxes, given = boxes[order], [given[place] for place in order]
    if not len(boxes) and reading.panels != "none":
        raise PageProblem(
            "no panels are given" if reading.panels == "given" else "no panels were found",
            "give their boxes, or leave the page out with --on-error skip",
        )
    columns: dict[str, Any] = {
        "boxes": boxes.tolist(),
        "texts": [panel.texts for panel in given],
        "captions": [panel.caption for panel in given],
        "speakers": [panel.speakers for panel in given],
        "character_ids": [panel.character_ids for panel in given],
    }
    is_known = {
        "texts": any(columns["texts"]),
        "captions": any(columns["captions"]),
        "speakers": any(map(any, columns["speakers"])),
        "character_ids": any(each is not None for each in columns["character_ids"]),
    }
    for name, known in is_known.items():
        origins[name] = GIVEN if known else None
        columns[name] = columns[name] if known else None
    if columns["texts"] is None:
        columns["texts"] = [[] for _ in boxes]
        if reading.ocr != "none":
            lines = _ocr(reading.ocr, os.getpid())(picture.image)
            *columns["texts"], outside = assign_texts(lines, boxes, direction)
            columns["outside_texts"] = outside or None
            origins["texts"] = reading.ocr if lines else None
    return columns | {f"{name}_origin": origin for name, origin in origins.items()}


def find_boxes(image: Image, detector: str | None) -> tuple[np.ndarray, str]:
    """Boxes of the panels on a picture (n, 4), in any order, and what has found them."""
    if detector is None:
        return find_panels(image), "gutter cut"
    if detector in PANEL_FINDERS:
        return find_panels(image, detector), detector
    return _detector(detector, os.getpid())(image), detector


def order_boxes(boxes: np.ndarray, direction: str | None) -> tuple[np.ndarray, str]:
    """The places of boxes as they are read, those that are not known last, and what has ordered them."""
    from ..layouts.predictor import load_predictor, order_panels  # which imports torch

    known, unknown = np.flatnonzero(boxes.any(-1)), np.flatnonzero(~boxes.any(-1))
    if len(known) > load_predictor().config.max_position_embeddings:
        order, origin = xy_cut_order(boxes[known], direction or "ltr"), "XY-cut"
    else:
        order, origin = np.array(order_panels(boxes[known], direction or "ltr").order, int), "order predictor"
    return np.concatenate([known[order], unknown]), origin


# Each process loads its own: threads of what another has loaded before a fork are not there.
@cache
def _detector(name: str, process: int) -> Any:
    from .panel_detector import load_panel_detector

    return load_panel_detector(name)


@cache
def _ocr(name: str, process: int) -> Any:
    return get_ocr(name)
