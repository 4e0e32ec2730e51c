"""From comics to a data set of pages: part by part, so that a run that broke off goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ..disk_faults import disk_faults
from ..errors import ComicSeqArgumentError, ComicSeqDataError, PageProblem, check_at_least, counted
from ..files import locked, put_in_place, write_json, write_text
from ..layouts.boxes import READING_DIRECTIONS
from ..outputs import check_output
from .annotations import read_annotations
from .matching import Given, match
from .ocr import OCR_ENGINES, get_ocr
from .page_card import page_card
from .page_dataset import write_dataset
from .page_rows import Reading
from .parts import cut, read_parts
from .sources import Fault, SourcePage, find_pages

__all__ = ["REPORT", "ingest"]

logger = logging.getLogger(__name__)

REPORT = "provenance.json"
_CHOICES = {
    "panels": ("auto", "given", "none"),
    "images": ("embedded", "paths"),
    "reading_direction": (None, *READING_DIRECTIONS),
}


def ingest(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str] | None = None,
    panels: str = "auto",
    panel_detector: str | None = None,
    ocr: str = "none",
    reading_direction: str | None = None,
    images: str = "embedded",
    on_error: str = "stop",
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Makes a data set of pages, which `datasets.load_from_disk` opens.

    One row a page, book by book, with its panels in reading order; see the card that is written with it. The output appears
    complete or not at all. What an interrupted run has read stays in a hidden folder beside it, from which the same call
    goes on, as far as neither the files nor the options have changed. With `output` complete it does nothing.

    Args:
        sources: Folders of pictures or of books, archives, PDF files, or data sets of pictures.
        output: Folder of the data set.
        annotations: File or folder of what is known of the pages, see `annotations.py`.
        panels: "auto" takes boxes that are given, and finds them on the other pages; "given" and "none" find none.
        panel_detector: An object detector of transformers that finds the panels, instead of a cut along the gutters.
        ocr: "rapidocr" reads the texts of pages of which none are given; "none".
        reading_direction: "ltr" or "rtl", for pages of which nothing else tells it.
        images: "embedded", or "paths" to name the files of those pictures that need no change.
        on_error: "stop" at the first page with a fault, or "skip" and list them.
        num_proc: Processes that read pages.
        overwrite: Replace an output that is there already.
        progress: Show a progress bar on the terminal.

    Returns:
        The report that is written beside the data: sources, options, counts, skipped pages.

    Raises:
        ComicSeqArgumentError: An option is not possible.
        ComicSeqDataError: A source, a page or an annotation has a fault, or the output cannot be written.
    """
    names = [os.fspath(source) for source in sources]
    about = None if annotations is None else os.fspath(annotations)
    reading = Reading(panels, panel_detector, ocr, reading_direction, images)
    _check_options(names, reading, on_error, num_proc)
    check_output(output, [*names, about], overwrite, folder=True, is_own=lambda path: (path / REPORT).is_file())
    console, target = Console(stderr=True, quiet=not progress), Path(os.path.realpath(output))
    work = target.with_name(f".{target.name[:48]}.partial")
    skipped: list[dict[str, Any]] = []

    def fault(place: str, page: str | None, problem: PageProblem) -> None:
        if on_error != "skip":
            raise ComicSeqDataError(f"{place}{'' if page is None else f': page {page!r}'}: {problem}.")
        skipped.append({"place": place, "page": page, "reason": str(problem)})

    with console.status("Looking for pages"):
        parts = cut(*_find(names, about, fault), reading)
    fingerprint = hashlib.sha256("".join(part.fingerprint for part in parts).encode()).hexdigest()
    if _is_done(target, output, fingerprint, on_error, overwrite):
        console.print(f"{output} is already done for this input: nothing to do")
        with locked(output):  # what a run left that was killed at its very end
            shutil.rmtree(work, ignore_errors=True)
        return json.loads((target / REPORT).read_text(encoding="utf-8"))
    remains = "the pages that were read are kept for the next run, and what was there before is unchanged"
    with disk_faults(output, remains), locked(output):
        try:
            files = read_parts(parts, work, reading, on_error == "skip", num_proc, progress)
            dataset = work / "dataset"
            shutil.rmtree(dataset, ignore_errors=True)
            counts, left_out = write_dataset(dataset, files, fingerprint)
            skipped += left_out
            if not counts["pages"]:
                why = f", the first for: {skipped[0]['reason']}" if skipped else ""
                raise ComicSeqDataError(f"{', '.join(names)} leaves no page ({len(skipped)} left out{why}).")
            report: dict[str, Any] = {
                "sources": names,
                "annotations": about,
                "reading": asdict(reading),
                "fingerprint": fingerprint,
            }
            report |= {"skipped": len(skipped), **counts}
            if skipped:
                write_json(dataset / "skipped.json", skipped)
            write_text(dataset / "README.md", page_card(report))
            write_json(dataset / REPORT, report)
            put_in_place(dataset, target, work / "replaced")
            shutil.rmtree(work, ignore_errors=True)
        finally:
            if work.is_dir() and not any(work.glob("*.arrow")):  # nothing to go on from
                shutil.rmtree(work, ignore_errors=True)
    return report


def _check_options(sources: Sequence[str], reading: Reading, on_error: str, num_proc: int) -> None:
    if not sources:
        raise ComicSeqArgumentError("no source is named: name a folder, an archive, a PDF file or a data set.")
    for name, choices in (*_CHOICES.items(), ("on_error", ("stop", "skip"))):
        value = on_error if name == "on_error" else getattr(reading, name)
        if value not in choices:
            known = ", ".join(str(each) for each in choices if each)
            raise ComicSeqArgumentError(f"`{name}` is {value!r}: give one of {known}.")
    if reading.ocr not in OCR_ENGINES:
        get_ocr(reading.ocr)  # which says what there is
    check_at_least("num_proc", num_proc, 1)


def _find(
    sources: Sequence[str], annotations: str | None, fault: Fault
) -> tuple[list[SourcePage], list[Given | None]]:
    """The pages of all sources, and what is given of each."""
    pages: list[SourcePage] = []
    books: dict[str, str] = {}
    for source in sources:
        found = find_pages(source, fault)
        mine = dict.fromkeys((page.book_id for page in found), source)
        if twice := next((book_id for book_id in mine if book_id in books), None):
            raise ComicSeqDataError(f"{books[twice]} and {source} both have a book {twice!r}: ingest them apart.")
        books |= mine
        pages += found
    if annotations is None or not pages:  # of which a fault was told
        return pages, [None] * len(pages)
    broken: list[tuple[str, dict, PageProblem]] = []
    read = read_annotations(annotations, lambda *each: broken.append(each))
    given, unused = match(pages, [*read, *broken])
    if not any(given):
        raise ComicSeqDataError(
            f"{annotations} names none of the {counted(len(pages), 'page')}, such as {pages[0].place}/{pages[0].key}: correct the"
            " names there."
        )
    if unused:
        logger.warning(f"{annotations} tells of {counted(unused, 'page')} that the sources do not hold")
    return pages, given


def _is_done(target: Path, output: Any, fingerprint: str, on_error: str, overwrite: bool) -> bool:
    """Whether the output is what this call would make.

    Raises:
        ComicSeqDataError: It was made otherwise, and is not to be overwritten.
    """
    if not (target / REPORT).is_file():
        return False
    try:
        report = json.loads((target / REPORT).read_text(encoding="utf-8"))
        made, left_out = report["fingerprint"], report["skipped"]
    except (OSError, ValueError, KeyError, TypeError):
        made, left_out = None, 0
    is_same = made == fingerprint and not (left_out and on_error == "stop")
    if not is_same and not overwrite:
        how = (
            f"without {counted(left_out, 'page')} with a fault"
            if made == fingerprint
            else "of other pages or otherwise"
        )
        raise ComicSeqDataError(f"{output} was made {how}: name another folder, or give --overwrite.")
    return is_same
