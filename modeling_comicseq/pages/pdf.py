"""Pages of a PDF as pictures, at the resolution of what was scanned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import PageProblem, in_words
from .pictures import MOST_PIXELS, Picture, read_picture

__all__ = ["list_pdf", "read_pdf"]

_POINTS = 72  # of a PDF in an inch
_RESOLUTION, _COARSEST, _FINEST = 200, 72, 600  # pixels an inch: of what is drawn, and of what was scanned
_MOST_PAGES = 20_000


def list_pdf(path: Path) -> list[str]:
    """Names of a PDF's pages, which are their numbers.

    Raises:
        PageProblem: It cannot be read, is encrypted, or has text alone.
    """
    with _opened(path) as document:
        count = len(document)
        if not 0 < count <= _MOST_PAGES:
            raise PageProblem(f"has {count:,} pages", f"name a PDF of 1 to {_MOST_PAGES:,}")
        if not any(_has_picture(document, page) for page in range(count)):
            raise PageProblem("holds no pictures", "leave it out")
        return [str(page + 1) for page in range(count)]


def read_pdf(path: Path, names: Sequence[str]) -> Iterator[Picture | PageProblem]:
    """Some of its pages, or what is wrong with them.

    Raises:
        PageProblem: It cannot be read or is encrypted.
    """
    with _opened(path) as document:
        for name in names:
            try:
                yield _render(document[int(name) - 1])
            except PageProblem as problem:
                yield problem
            except Exception as error:  # of pdfium or of the picture
                yield PageProblem(f"cannot be drawn ({in_words(error)})", "save the PDF again")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(path)
    except (PdfiumError, OSError) as error:
        remedy = "save it without a password" if "password" in str(error).lower() else "restore it from the original"
        raise PageProblem(f"cannot be read ({in_words(error)})", remedy) from None
    try:
        yield document
    finally:
        document.close()


def _has_picture(document: Any, number: int) -> bool:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH, FPDF_PAGEOBJ_SHADING

    kinds = (FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH, FPDF_PAGEOBJ_SHADING)
    page = document[number]
    try:
        return next(page.get_objects(filter=kinds), None) is not None
    finally:
        page.close()


def _render(page: Any) -> Picture:
    """The page, as JPEG where its pictures are JPEG."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    try:
        width, height = page.get_size()
        resolution, covered, is_lossy = 0.0, 0.0, False
        for image in page.get_objects(filter=(FPDF_PAGEOBJ_IMAGE,)):
            left, bottom, right, top = image.get_bounds()
            pixels, size = image.get_px_size(), (right - left, top - bottom)
            resolution = max(
                resolution, *(_POINTS * each / max(side, 1) for each, side in zip(pixels, size, strict=True))
            )
            covered += size[0] * size[1]
            is_lossy = is_lossy or "DCTDecode" in image.get_filters()
        least = _COARSEST if 2 * covered >= width * height else _RESOLUTION  # of a scan, and of what is drawn beside
        # A little less, so that rounding up to whole pixels adds none.
        scale = min(max(resolution, least), _FINEST) / _POINTS * 0.9999
        if width * height * scale**2 > MOST_PIXELS:
            scale = (MOST_PIXELS / (width * height)) ** 0.5 * 0.9999
        drawn = page.render(scale=scale).to_pil()
        return read_picture(drawn, lossy=is_lossy)
    finally:
        page.close()
