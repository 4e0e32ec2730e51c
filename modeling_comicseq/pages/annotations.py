"""What people have about a page's panels: boxes, texts, speakers, captions and characters, read from any of their forms.

A page is an object whose boxes stand under one of these keys, the first that it has:

| key | boxes | who writes it |
|---|---|---|
| `panel_boxes` | one a panel, `x0 y0 x1 y1` as shares of the page; null or zeros where none is known | metadata of a store |
| `panels[].box` | `x0 y0 x1 y1` in pixels of the page's `size` | a `panels.json` |
| `panels[].rcnn_bbox`, `vlm_box_px` | `x y width height` in pixels of `image_width`, `image_height`, the detector's first | the original pipeline, where it has matched a detector's panels with a model's: best match first, those without a partner behind, so that their order says nothing |
| `panels[].box_2d` | `y0 x0 y1 x1` of 1000 (of 1, where none is above) | vision-language models |
| `panels[].bbox` | `x y width height` in pixels of the page's `size` or of `image_width`, `image_height` | detectors, COCO |

Boxes of models are taken as they are meant: numbers as text, corners in the wrong order, and what lies beyond the page, which
is cut off. Boxes in pixels can be beyond it by one, as rounding leaves them. `x y width height` is read as two corners where
only these lie on the page.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np

from ..errors import ComicSeqDataError, PageProblem, in_words
from ..layouts.boxes import READING_DIRECTIONS, check_boxes, cut, find_bad_boxes
from .json_list import iter_entries

__all__ = [
    "KnownBoxes",
    "PageAnnotation",
    "PanelAnnotation",
    "form_of",
    "has_boxes",
    "has_place_for_boxes",
    "panels_among",
    "read_annotation",
    "read_annotations",
    "read_boxes",
    "read_direction",
    "read_entries",
]

_PANEL_KEYS = {"box": ("box",), "rcnn_bbox": ("rcnn_bbox", "vlm_box_px"), "box_2d": ("box_2d",), "bbox": ("bbox",)}
_PANEL_CATEGORIES = ("panel", "panels", "frame", "frames", "comic panel")
_DIRECTION_WORDS = {"lefttoright": "ltr", "righttoleft": "rtl", "l2r": "ltr", "r2l": "rtl"}
_DIRECTION_WORDS |= {direction: direction for direction in READING_DIRECTIONS}
_short = reprlib.repr


@dataclass(frozen=True)
class PanelAnnotation:
    """What is known of a panel.

    Attributes:
        box: `x0 y0 x1 y1` as shares of the page; None where it is not known.
        texts: What is said and written, in order.
        speakers: Who says it, one a text; None where that is not known.
        caption: What is seen, in words; None without.
        character_ids: Who is seen; None where nobody tells.
    """

    box: tuple[float, float, float, float] | None
    texts: list[str]
    speakers: list[str | None]
    caption: str | None
    character_ids: list[str] | None


@dataclass(frozen=True)
class PageAnnotation:
    """What is known of a page.

    Attributes:
        size: Width and height in pixels.
        reading_direction: "ltr" or "rtl"; None where nobody tells.
        panels: The panels.
        in_reading_order: Whether they are said to stand in reading order.
        form: The key that their boxes stand under, see above; empty without boxes.
        in_slot_order: False where a store made from this surely need not have its panels in this order.
    """

    size: tuple[int, int] | None
    reading_direction: str | None
    panels: list[PanelAnnotation]
    in_reading_order: bool
    form: str = ""
    in_slot_order: bool = True


class KnownBoxes(NamedTuple):
    """Where the panels of a page stand.

    Attributes:
        boxes: `x0 y0 x1 y1` of each as shares of the page, zeros where it is not known, (panels, 4) float32.
        form: As `PageAnnotation` has it.
        in_slot_order: Likewise.
    """

    boxes: np.ndarray
    form: str
    in_slot_order: bool


def form_of(entry: Mapping[str, Any]) -> str:
    """The key that an entry's boxes stand under, right or wrong, see above; empty without boxes."""
    if entry.get("panel_boxes") is not None:
        return "panel_boxes"
    return _form(_panels(entry)) if entry.get("panels") else ""


def has_boxes(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has boxes in one of the forms, right or wrong."""
    return bool(form_of(entry))


def has_place_for_boxes(entry: Mapping[str, Any]) -> bool:
    """Whether the panels of an entry have a key for their box, be it empty: then one without was looked for and not found."""
    keys = set(itertools.chain.from_iterable(_PANEL_KEYS.values()))
    return any(isinstance(panel, Mapping) and not keys.isdisjoint(panel) for panel in _panels(entry))


def panels_among(objects: Any) -> list[dict[str, Any]]:
    """The panels among the `objects` of a picture, as data sets for object detection have them: a list of objects with `bbox`
    and `category`, or a list of each. Where categories are words, those called as panels count.
    """
    if isinstance(objects, Mapping):
        pairs = list(itertools.zip_longest(_listed(objects.get("bbox")), _listed(_kind(objects))))
    else:
        pairs = [(each.get("bbox"), _kind(each)) for each in _listed(objects) if isinstance(each, Mapping)]
    return [
        {"bbox": box}
        for box, kind in pairs
        if box is not None and (not isinstance(kind, str) or kind.strip().lower() in _PANEL_CATEGORIES)
    ]


def read_annotation(
    entry: Mapping[str, Any], size: Sequence[int] | None = None, lenient: bool = False
) -> PageAnnotation:
    """What an object says of its page, in any of the forms.

    Args:
        entry: The object.
        size: Width and height of the page in pixels, where the object does not tell. Its own are those that its boxes were
            measured in.
        lenient: Whether a box that is none, as models write some, counts as not known.

    Raises:
        PageProblem: It cannot be understood.
    """
    listed, known = _listed_panels(entry), read_boxes(entry, size, lenient)
    return PageAnnotation(
        size=_size(entry, size),
        reading_direction=read_direction(entry),
        panels=[_panel(listed[place], known.boxes[place], place) for place in _by_number(listed)],
        in_reading_order=known.form not in ("rcnn_bbox", "bbox"),
        form=known.form,
        in_slot_order=known.in_slot_order,
    )


def read_boxes(entry: Mapping[str, Any], size: Sequence[int] | None = None, lenient: bool = False) -> KnownBoxes:
    """Where an object says that the panels of its page stand: the boxes of `read_annotation`, without the rest.

    Raises:
        PageProblem: It cannot be understood.
    """
    form = form_of(entry)
    if form == "panel_boxes":
        given = entry["panel_boxes"]
        if not isinstance(given, (list, tuple)):
            raise PageProblem(f"panel_boxes is {_short(given)}", "give one box a panel")
        numbers = [_numbers(value, f"panel_boxes of panel {place}", lenient) for place, value in enumerate(given)]
        boxes = np.array(numbers).reshape(-1, 4)
        return KnownBoxes(_checked(boxes, (boxes != 0).any(-1), 1e-6, lenient), form, True)
    listed = _listed_panels(entry)
    boxes = _boxes(listed, form, _size(entry, size), lenient) if form else np.zeros((len(listed), 4), np.float32)
    order = _by_number(listed)
    return KnownBoxes(boxes, form, form != "rcnn_bbox" and order == sorted(order))


def read_annotations(
    path: str | os.PathLike, fault: Callable[[str, dict[str, Any], PageProblem], None] | None = None
) -> Iterator[tuple[str, dict[str, Any], PageAnnotation]]:
    """The pages of a file or folder: a JSON list of pages, a COCO file, one page, a folder of JSON files of one page each, or
    a data set of pages.

    Args:
        path: The file, which can be a URL, or the folder.
        fault: Is told the name and object of a page that cannot be understood, and why; without it, the first one is an error.

    Yields:
        The page's name, which is the file's name or path, or its `canonical_id`; its object; what that says.

    Raises:
        ComicSeqDataError: The file cannot be read, or a page cannot be understood.
    """
    for name, entry in read_entries(path):
        try:
            if isinstance(entry, PageProblem):
                raise entry
            yield name, entry, read_annotation(entry)
        except PageProblem as problem:
            if fault is None:
                raise ComicSeqDataError(f"{path}: page {name!r}: {problem}") from None
            fault(name, entry if isinstance(entry, dict) else {}, problem)


def read_entries(path: str | os.PathLike) -> Iterator[tuple[str, Any]]:
    """The names and objects of the pages of such a file or folder; a `PageProblem` where the file of a page is no object.

    Raises:
        ComicSeqDataError: The file cannot be read.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        is_dataset = any(os.path.isfile(f"{path}/{name}") for name in ("state.json", "dataset_dict.json"))
        return _rows(path) if is_dataset else _files(Path(path))
    return _entries(path)


def read_direction(entry: Mapping[str, Any]) -> str | None:
    """The `reading_direction` of an entry, or its `direction`, if that is one: "ltr", "rtl", or None where it has none.

    Raises:
        PageProblem: `reading_direction` is something else.
    """
    for key in ("reading_direction", "direction"):
        value = entry.get(key)
        if value is None or value == "":
            continue
        letters = re.sub("[^a-z0-9]", "", value.lower()) if isinstance(value, str) else ""
        if letters in _DIRECTION_WORDS:
            return _DIRECTION_WORDS[letters]
        if key == "reading_direction":  # others use the word `direction` for what they like
            raise PageProblem(f"reading_direction is {_short(value)}", "give ltr or rtl")
    return None


def _rows(folder: str) -> Iterator[tuple[str, Any]]:
    """The pages of a data set of pages."""
    from datasets import Dataset, load_from_disk

    try:
        data = load_from_disk(folder)
        splits = [data] if isinstance(data, Dataset) else list(data.values())
        rows = [split.select_columns([name for name in split.column_names if name != "image"]) for split in splits]
    except Exception as error:  # Arrow, `datasets` and JSON each have exceptions of their own
        raise ComicSeqDataError(f"{folder} cannot be read ({in_words(error)}); make the data set again") from None
    for row in itertools.chain.from_iterable(rows):
        if "boxes" not in row or "page_name" not in row:
            raise ComicSeqDataError(f"{folder} is no data set of pages; give what `comicseq ingest` wrote")
        yield row["page_name"], row | {"panel_boxes": row["boxes"]}


def _files(folder: Path) -> Iterator[tuple[str, Any]]:
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise ComicSeqDataError(f"{folder} holds no JSON file; give the folder of the pages' JSON files")
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        try:
            content = _load(str(file))
        except (OSError, ValueError, RecursionError) as error:
            yield name, PageProblem(f"its file is no JSON ({in_words(error)})", "write the file again")
            continue
        is_page = isinstance(content, dict)
        yield name, content if is_page else PageProblem("its file is no JSON object", "give an object a page")


def _entries(path: str) -> Iterator[tuple[str, Any]]:
    try:
        content = _load(path, only_object=True)
    except OSError as error:
        raise ComicSeqDataError(f"{path} cannot be read ({in_words(error)}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise ComicSeqDataError(f"{path} is no JSON ({in_words(error)}); write the file again") from None
    if content is None:
        entries = iter_entries(path)
    elif "images" in content and "annotations" in content:
        entries = _from_coco(content, path)
    elif "panels" in content or "panel_boxes" in content:
        entries = iter([content])
    else:
        raise ComicSeqDataError(
            f"{path} has the keys {_short(sorted(content))}; give a list of pages, a COCO file or a page with panels"
        )
    for number, entry in enumerate(entries):
        names = (entry.get(key) for key in ("image", "file_name", "canonical_id", "page_name"))
        yield next((name for name in names if isinstance(name, str) and name.strip()), f"entry {number}"), entry


def _load(path: str, only_object: bool = False) -> Any:
    """The content of a JSON file, which a model may have put in a fence; None for a list if an object alone is wanted."""
    with fsspec.open(path, "rt", encoding="utf-8-sig", compression="infer") as file:
        start = file.read(100).lstrip()
        if only_object and not start.startswith(("{", "```")):
            return None
        text = re.sub(r"^```\w*\s*|\s*```\s*$", "", start + file.read())
    content = json.loads(text)
    return content if isinstance(content, dict) or not only_object else None


def _from_coco(content: Mapping[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """The pages of a COCO file, each with its panels."""
    try:
        categories = {each["id"]: str(each["name"]).strip().lower() for each in content.get("categories") or []}
        wanted = {number for number, name in categories.items() if name in _PANEL_CATEGORIES}
        if not wanted and len(categories) > 1:
            raise ComicSeqDataError(
                f"{path} has the categories {', '.join(categories.values())}; call that of the panels 'panel'"
            )
        panels: dict[Any, list] = {image["id"]: [] for image in content["images"]}
        for each in content["annotations"]:
            if not wanted or each["category_id"] in wanted:
                panels[each["image_id"]].append({"bbox": each["bbox"]})
        for image in content["images"]:
            size = [image["width"], image["height"]]
            yield {"image": image["file_name"], "size": size, "panels": panels[image["id"]]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ComicSeqDataError(
            f"{path} is no COCO file: {in_words(error)} is missing or of another kind; give images with id, file_name,"
            " width and height, and annotations with image_id, category_id and bbox"
        ) from None


def _size(entry: Mapping[str, Any], otherwise: Sequence[int] | None) -> tuple[int, int] | None:
    """Width and height of the page by its entry, or those that are given."""
    size: Any = entry.get("size")
    if size is None:
        size = next(
            (
                [entry.get(w), entry.get(h)]
                for w, h in (("image_width", "image_height"), ("width", "height"))
                if w in entry
            ),
            None,
        )
    if size is None or size == [None, None]:
        size = otherwise
    if size is None:
        return None
    try:
        width, height = (int(float(each)) for each in size)
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    if min(width, height) < 1:
        raise PageProblem(f"the page's size is {_short(size)}", "give its width and height in pixels")
    return width, height


def _panels(entry: Mapping[str, Any]) -> list:
    panels = entry.get("panels")
    return list(panels.values()) if isinstance(panels, dict) else panels if isinstance(panels, list) else []


def _form(panels: Sequence[Any]) -> str:
    """The key that boxes stand under; one of its other spellings counts, too."""
    keys = {key for panel in panels if isinstance(panel, dict) for key, value in panel.items() if value}
    return next((form for form, spellings in _PANEL_KEYS.items() if keys.intersection(spellings)), "")


def _by_number(panels: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places of the panels by their `panel_number`, where each has one of its own, else as they stand."""
    try:
        numbers = [float(panel["panel_number"]) for panel in panels]
    except (KeyError, TypeError, ValueError, OverflowError):
        numbers = []
    places = range(len(panels))
    return sorted(places, key=numbers.__getitem__) if len(set(numbers)) == len(panels) else list(places)


def _boxes(panels: Sequence[Mapping[str, Any]], form: str, size: tuple[int, int] | None, lenient: bool) -> np.ndarray:
    """The boxes of panels as shares of the page, zeros where none is known, shape (panels, 4)."""
    found = [next((panel[key] for key in _PANEL_KEYS[form] if panel.get(key)), None) for panel in panels]
    numbers = np.array([_numbers(value, f"{form} of panel {place}", lenient) for place, value in enumerate(found)])
    known = (numbers != 0).any(-1)
    if form == "box_2d":
        given = numbers[:, [1, 0, 3, 2]] / (1 if numbers.max() <= 1 else 1000)
        given = np.concatenate([np.minimum(given[:, :2], given[:, 2:]), np.maximum(given[:, :2], given[:, 2:])], 1)
        return _checked(np.where(np.isfinite(given), given.clip(0, 1), given), known, 0, lenient)
    if size is None:
        raise PageProblem("its boxes are in pixels, but nothing tells the page's size", "add size: [width, height]")
    scale = np.tile(np.asarray(size, np.float64), 2)
    slack = 1 / scale
    given = numbers / scale
    if form != "box":
        corners = given + np.pad(given[:, :2], ((0, 0), (2, 0)))
        as_corners = (given[known] <= 1 + slack).all() and (given[known, :2] < given[known, 2:]).all()
        given = given if as_corners and (corners > 1 + slack).any() else corners
    return _checked(given, known, slack, lenient)


def _listed_panels(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An object a panel, as they stand; one that has a list a field is turned round."""
    boxes = entry.get("panel_boxes")
    if isinstance(boxes, (list, tuple)) or (boxes is None and "panels" not in entry):
        fields = {"text": "texts", "speakers": "speakers", "caption": "captions", "character_ids": "character_ids"}
        lists = {key: entry[name] for key, name in fields.items() if isinstance(entry.get(name), (list, tuple))}
        count = len(boxes) if boxes is not None else max(map(len, lists.values()), default=0)
        if boxes is None and not lists:
            raise PageProblem("it has neither panel_boxes nor panels", "give one of the two")
        lists = {key: values for key, values in lists.items() if len(values) == count}
        return [{key: values[place] for key, values in lists.items()} for place in range(count)]
    listed = _panels(entry)
    for place, panel in enumerate(listed):
        if not isinstance(panel, Mapping):
            raise PageProblem(f"panel {place} is {_short(panel)}", "give an object a panel")
    return listed


def _checked(boxes: np.ndarray, known: np.ndarray, slack: Any, lenient: bool) -> np.ndarray:
    """The boxes, cut where they are beyond the page by at most `slack`; zeros for those that are none, if that is allowed."""
    # Checked as they will be, in float32; one that the cut has emptied is no unknown box.
    with np.errstate(over="ignore"):
        shares = cut(boxes, slack).astype(np.float32)
    if lenient:
        return np.where(find_bad_boxes(shares)[:, None], np.float32(0), shares)
    problem = check_boxes(shares)
    empty = known & (shares == 0).all(-1)
    if problem is None and empty.any():
        problem = f"box {np.flatnonzero(empty)[0]} has no area on the page"
    if problem:
        raise PageProblem(problem, "correct the box; x runs to the right and y down from the upper left corner")
    return shares


def _numbers(value: Any, name: str, lenient: bool) -> list[float]:
    """The four numbers of a box; zeros where there is none, or what is no box is allowed."""
    parts = re.findall(r"[-+\w.]+", value) if isinstance(value, str) else value
    if parts is None or (isinstance(parts, (list, tuple)) and all(each is None for each in parts)):
        return [0.0] * 4
    try:
        numbers = [float(each) for each in parts]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 4:
        if lenient:
            return [0.0] * 4
        raise PageProblem(f"{name} is {_short(value)}", "give four numbers")
    return numbers


def _panel(panel: Mapping[str, Any], box: np.ndarray, place: int) -> PanelAnnotation:
    speakers = _listed(panel.get("speakers"))
    said = next((_listed(panel[key]) for key in ("text_content", "text", "texts") if panel.get(key)), [])
    if not said and any(isinstance(each, Mapping) for each in speakers):
        said, speakers = speakers, []
    names = [_words(each) for each in speakers if not isinstance(each, Mapping)]
    if names and len(names) != len(said) and not any(isinstance(each, Mapping) for each in said):
        raise PageProblem(
            f"panel {place} has {len(said)} texts but {len(names)} speakers", "give one speaker a text, or null"
        )
    lines = []
    for number, each in enumerate(said):
        if isinstance(each, Mapping):
            text, name = _first(each, "text", "dialogue"), _first(each, "character", "speaker")
        else:
            text, name = _words(each), names[number] if names else ""
        if text:
            lines.append((text, name or None))
    characters = panel.get("character_ids", panel.get("characters"))
    ids = [
        _first(each, "name", "character") if isinstance(each, Mapping) else _words(each)
        for each in _listed(characters)
    ]
    return PanelAnnotation(
        box=tuple(map(float, box)) if box.any() else None,  # type: ignore[arg-type]
        texts=[text for text, _ in lines],
        speakers=[name for _, name in lines],
        caption=_first(panel, "caption", "description") or None,
        character_ids=None if characters is None else [each for each in ids if each],
    )


def _kind(content: Mapping[str, Any]) -> Any:
    """What objects are, under the key that a data set has it."""
    return next((content[key] for key in ("category", "categories", "label", "labels") if key in content), None)


def _listed(value: Any) -> list:
    """A list of what may be one thing, several or nothing."""
    return [] if value is None or value == "" else list(value) if isinstance(value, (list, tuple)) else [value]


def _first(content: Mapping[str, Any], *keys: str) -> str:
    """The words under the first of the keys that has some."""
    return next((words for key in keys if (words := _words(content.get(key)))), "")


def _words(value: Any) -> str:
    """Words as text, without outer blanks; nothing for what is no words."""
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, map(_words, value)))
    if value is None or isinstance(value, (bool, Mapping)):
        return ""
    return str(value).encode(errors="replace").decode().strip()  # half a surrogate pair, as text recognition leaves
