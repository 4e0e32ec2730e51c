"""What is written on a page: lines of text by an OCR engine of a name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import ComicSeqArgumentError, ComicSeqDataError, did_you_mean

__all__ = ["OCR_ENGINES", "TextLine", "get_ocr", "register_ocr"]


@dataclass(frozen=True)
class TextLine:
    """A line of text on a page, or a column where writing goes downwards.

    Attributes:
        box: x0 y0 x1 y1 as shares of the page.
        text: What it says.
        score: How sure the engine is, 0 to 1.
        upright: Whether it is a column, written downwards.
    """

    box: tuple[float, float, float, float]
    text: str
    score: float = 1.0
    upright: bool = False


Ocr = Callable[[Image.Image], list[TextLine]]


def load_rapidocr() -> Ocr:
    """RapidOCR on the CPU, with the weights that its package carries: printed English and Chinese."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise ComicSeqDataError(
            f"OCR by rapidocr is not installed ({error}): pip install 'comicseq[ocr]', or take --ocr none."
        ) from None
    threads = os.environ.get("OMP_NUM_THREADS", "")  # which is 1 in each of several processes
    engine = RapidOCR(intra_op_num_threads=int(threads)) if threads.isdecimal() else RapidOCR()

    def read(image: Image.Image) -> list[TextLine]:
        width, height = image.size
        found, _ = engine(np.asarray(image.convert("RGB"))[:, :, ::-1])  # it reads blue, green, red
        lines = []
        for corners, text, score in found or []:
            x0, y0, x1, y1 = np.concatenate([np.min(corners, axis=0), np.max(corners, axis=0)])
            upright = y1 - y0 > (1.5 if len(text) > 1 else 2.5) * (x1 - x0)  # a lone I is high, too
            box = (np.array([x0, y0, x1, y1]) / (width, height, width, height)).clip(0, 1).tolist()
            if text.strip() and box[0] < box[2] and box[1] < box[3]:
                lines.append(TextLine(tuple(box), text.strip(), float(score), bool(upright)))
        return lines

    return read


# By name: what loads an engine, a function from a page to its lines in any order. `register_ocr` adds to it.
OCR_ENGINES: dict[str, Callable[[], Ocr]] = {"none": lambda: lambda image: [], "rapidocr": load_rapidocr}


def register_ocr(name: str, load: Callable[[], Ocr]) -> None:
    """Makes an engine known by a name: `load()` gives the function from a page (a PIL image) to its `TextLine`s."""
    OCR_ENGINES[name] = load


def get_ocr(name: str) -> Ocr:
    """The OCR engine of a name, loaded: a function from a page to its lines, in any order.

    Raises:
        ComicSeqArgumentError: There is no such engine.
        ComicSeqDataError: It is not installed.
    """
    if name not in OCR_ENGINES:
        raise ComicSeqArgumentError(
            f"There is no OCR engine {name!r}{did_you_mean(name, set(OCR_ENGINES))}; it can be {', '.join(OCR_ENGINES)}."
        )
    return OCR_ENGINES[name]()
