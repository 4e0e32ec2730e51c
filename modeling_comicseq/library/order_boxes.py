"""The reading order of pages by where their panels stand, and the direction that books are read in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints.opening import open_checkpoint
from ..errors import ComicSeqDataError
from ..layouts.predictor import PageOrder, book_direction, load_predictor, looks_like, order_both_ways
from ..model.pipeline_comicseq import take_vectors
from ..outputs import check_output
from ..pages.annotations import PageAnnotation, read_annotations, read_boxes
from ..progress import progress_bar
from .order import OrderSummary, is_own, no_boxes, ready_to_order, write_orders

__all__ = ["order_boxes"]

_BATCH = 256  # pages that are read and ordered at a time
_SAID = {"ltr": "from left to right", "rtl": "from right to left"}


class _Page(NamedTuple):
    """A page that is ordered both ways, until the direction of its book is decided.

    Attributes:
        entry: What is written of it.
        name: Its name.
        book: The name of its book.
        told: The direction that it tells.
        orders: Its order by direction.
        looks: The direction that the order in which its panels stand looks like.
    """

    entry: dict[str, Any]
    name: str
    book: str
    told: str | None
    orders: dict[str, PageOrder]
    looks: str | None


def order_boxes(
    pages: str,
    output: Path,
    model_name: str | None = None,
    reading_direction: str | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> OrderSummary:
    """Orders pages by their boxes, and tells of books that look as if they were read the other way.

    The direction of a page is the one that it tells, else the one that all other pages of its book tell that tell one, else
    `reading_direction`. Without these it is the one that most pages of its book look like by the order in which their panels
    stand, as far as the file's form promises an order; else `ltr`.

    Args:
        pages: File or folder of pages in any form that `pages.annotations` reads.
        output: JSON file to write; it appears complete or not at all.
        model_name: Checkpoint that reads boxes; by default the packaged predictor. Where pages have `panel_embeddings`,
            too, it is shown both.
        reading_direction: `ltr` or `rtl`, of the pages that nothing in the file tells it of.
        progress: Whether to show a progress bar.
        overwrite: Whether to replace a file that is there and holds no reading orders.

    Raises:
        ComicSeqDataError: The model cannot order or reads no boxes, a page cannot be understood, or `output` cannot be
            written.
    """
    check_output(output, [model_name, pages], overwrite, is_own=is_own)
    model = load_predictor() if model_name is None else ready_to_order(open_checkpoint(model_name))
    if not model.config.box_embedding:
        raise ComicSeqDataError(no_boxes(model_name))
    ordered: list[_Page] = []
    read = read_annotations(pages)
    with progress_bar("Ordering pages", None, progress) as advance:
        while batch := list(islice(read, _BATCH)):
            inputs = []
            for name, entry, annotation in batch:
                boxes = read_boxes(entry).boxes  # as they are listed, which may not be as they are numbered
                page: dict[str, Any] = {"panel_boxes": boxes}
                if model_name is not None and entry.get("panel_embeddings") is not None:
                    page["panel_embeddings"] = _vectors(f"{pages}: page {name!r}", entry, annotation, model)
                inputs.append(page)
            for (name, entry, annotation), page, ltr, rtl in zip(
                batch, inputs, *order_both_ways(model, inputs), strict=True
            ):
                boxes = page["panel_boxes"]
                if len(page) == 1 and not boxes.any(-1).all():  # nobody knows where some panel stands
                    ltr = rtl = PageOrder(list(range(len(boxes))), None, None, None)
                kept: dict[str, Any] = {
                    key: value for key, value in entry.items() if isinstance(value, (str, int, float))
                }
                kept |= {"size": annotation.size, "panel_boxes": boxes.astype(np.float64).round(6).tolist()}
                is_given = annotation.in_reading_order and annotation.in_slot_order
                looks = looks_like(ltr, rtl) if is_given else None
                told = annotation.reading_direction
                ordered.append(_Page(kept, name, _book(name, entry), told, {"ltr": ltr, "rtl": rtl}, looks))
            advance(len(batch))
    books = defaultdict(list)
    for each in ordered:
        books[each.book].append(each)
    directions, notes = {}, []
    for book, members in books.items():
        directions[book], note = _direction(book, members, reading_direction)
        notes += [note] if note else []
    answers = []
    for each in ordered:
        direction = each.told or directions[each.book]
        answers.append(({**each.entry, "reading_direction": direction}, each.name, each.orders[direction]))
    return write_orders(output, answers)._replace(notes=notes)


def _vectors(place: str, entry: dict[str, Any], annotation: PageAnnotation, model: Any) -> Any:
    """The panel vectors of a page, one a box."""
    try:
        vectors = take_vectors(entry, "panel_embeddings", model.config.panel_embedding_dim)
    except ValueError as error:
        raise ComicSeqDataError(f"{place}: {error}") from None
    count = len(annotation.panels)
    if len(vectors) != count:
        raise ComicSeqDataError(f"{place} has {len(vectors)} panel_embeddings but {count} boxes: give one a panel.")
    if count > 1 and annotation.form == "rcnn_bbox":
        raise ComicSeqDataError(f"{place} does not tell which box is that of which vector: give panel_boxes.")
    return vectors


def _book(name: str, entry: dict[str, Any]) -> str:
    """The book of a page: what it says, or the folder in its name."""
    return str(entry.get("book_id") or PurePosixPath(name.replace("\\", "/")).parent)


def _direction(book: str, pages: Sequence[_Page], general: str | None) -> tuple[str, str | None]:
    """The direction of a book's pages that do not tell theirs, and what is to be said of it."""
    told = {page.told for page in pages if page.told}
    direction = told.pop() if len(told) == 1 else general
    said = "this file" if book == "." else f"book {book!r}"
    looks = [page.looks for page in pages]
    likely, known = book_direction(looks), len(looks) - looks.count(None)
    if direction is None and any(page.told is None and page.orders["ltr"].confidence is not None for page in pages):
        if likely is None:
            return "ltr", (
                f"Nothing tells the reading direction of {said}, so {_SAID['ltr']} was assumed: boxes alone do not show it;"
                " give reading_direction in the file, or --reading-direction."
            )
        return likely, (
            f"{said[0].upper() + said[1:]} looks as if it were read {_SAID[likely]}: on {looks.count(likely)} of {known}"
            " pages that show it, the panels stand in that order."
        )
    direction = direction or "ltr"
    wrong = [page for page in pages if page.looks not in (None, page.told or direction)]
    if 2 * len(wrong) <= known:
        return direction, None
    return direction, (
        f"{said[0].upper() + said[1:]} looks reversed: on {len(wrong)} of {known} pages that show it, the panels stand as"
        f" they are read {_SAID[wrong[0].looks or 'ltr']}, which is not what is told; check the reading direction."
    )
