"""A picture of a page as it was read: its panels, their order, their texts, and what a model answers about them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Candidate", "Question", "draw_page", "draw_panels"]

PAPER, INK, GREY, LIGHT = (255, 255, 255), (34, 34, 34), (110, 110, 110), (222, 222, 218)
TRUE, WRONG = (34, 136, 51), (187, 85, 51)
# Of the panels, one after the other; they differ in lightness, too, and each panel has its number beside.
COLOURS = ((68, 119, 170), (170, 51, 119), (34, 136, 51), (204, 102, 17), (102, 68, 153), (17, 136, 136))
GAP, SMALL, LARGE = 18, 15, 18  # pixels: between parts, and of letters
LEADING = 1.35  # from line to line, in sizes of the letters
MOST_LINES = 6  # of the texts of a panel


@dataclass(frozen=True)
class Candidate:
    """One of the panels or texts to choose from.

    Attributes:
        score: The probability that the model gives it.
        image: Its picture.
        text: Its words.
    """

    score: float
    image: Image.Image | None = None
    text: str = ""


@dataclass(frozen=True)
class Question:
    """What a model was asked, and its answer: the candidate with the highest score.

    Attributes:
        words: The question.
        candidates: What it could choose from.
        truth: Number of the right one; None where it is not known.
    """

    words: str
    candidates: Sequence[Candidate]
    truth: int | None = None

    @property
    def answer(self) -> int:
        """Number of the candidate that the model chose."""
        return max(range(len(self.candidates)), key=lambda number: self.candidates[number].score)


def draw_panels(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    reading_direction: str | None = None,
    width: int | None = None,
) -> Image.Image:
    """The page with a frame around each panel and its number in reading order.

    Args:
        image: The page.
        boxes: `x0 y0 x1 y1` of each panel as shares of the page, in reading order; four zeros where it is not known.
        reading_direction: `"rtl"` puts the numbers into the upper right corners.
        width: Pixels of the picture; by default those of the page.
    """
    page = image.convert("RGB")
    if width is not None:
        page = page.resize((width, max(1, round(width * page.height / page.width))), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(page)
    line = max(2, round(page.width / 220))
    radius = max(8, round(page.width / 48))
    for number, box in enumerate(boxes):
        x0, y0, x1, y1 = _pixels(box, page.size)
        if x1 - x0 < 1 or y1 - y0 < 1:
            continue
        colour = COLOURS[number % len(COLOURS)]
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=line)
        x = x1 if reading_direction == "rtl" else x0  # on the corner, where it covers least of the panel
        x, y = min(max(x, radius), page.width - radius), min(max(y0, radius), page.height - radius)
        _disc(draw, x, y, radius, number)
    return page


def draw_page(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]] = (),
    questions: Sequence[Question] = (),
    *,
    title: str = "",
    notes: Sequence[str] = (),
    reading_direction: str | None = None,
    width: int = 1100,
) -> Image.Image:
    """One picture of a page: the page with its panels, their texts beside it, and the questions with answers beneath.

    Args:
        image: The page.
        boxes: See `draw_panels`.
        texts: What is said in each panel.
        questions: What a model was asked about the page.
        title: A line above it all.
        notes: Lines beneath it all.
        reading_direction: `"ltr"` or `"rtl"`.
        width: Pixels of the picture.

    Returns:
        The picture, as high as what is on it.
    """
    inner = width - 2 * GAP
    has_texts = any(any(panel) for panel in texts)
    share = min(0.56 if has_texts else 1.0, 0.95 * width / inner * image.width / image.height)
    page = draw_panels(image, boxes, reading_direction, max(1, round(share * inner)))
    column = inner - page.width - GAP
    blocks = [_wrap("  ".join(panel), SMALL, column - 34, MOST_LINES) for panel in texts] if has_texts else []
    beside = sum(_height(len(lines), SMALL) + GAP // 2 for lines in blocks if lines)
    top = GAP + (_height(1, LARGE) + GAP // 2 if title else 0)
    rows = [_row(question, inner) for question in questions]
    told = [line for note in notes for line in _wrap(note, SMALL, inner, 3)]
    below = sum(row.height + GAP for row in rows) + (_height(len(told), SMALL) + GAP if told else 0)
    canvas = Image.new("RGB", (width, top + max(page.height, beside) + GAP + below), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        _lines(draw, (GAP, GAP), _wrap(title, LARGE, inner, 1, True), LARGE, True)
    canvas.paste(page, (GAP, top))
    x, y = GAP + page.width + GAP, top
    for number, lines in enumerate(blocks):
        if lines:
            _disc(draw, x + 12, y + 11, 12, number)
            _lines(draw, (x + 34, y), lines, SMALL)
            y += _height(len(lines), SMALL) + GAP // 2
    y = top + max(page.height, beside) + GAP
    for row in rows:
        canvas.paste(row, (GAP, y))
        y += row.height + GAP
    _lines(draw, (GAP, y), told, SMALL)
    return canvas


def _row(question: Question, width: int) -> Image.Image:
    """A question with its candidates side by side: a bar and a number for each score, words for what is right."""
    count = max(1, len(question.candidates))
    cell = (width - (count - 1) * GAP // 2) // count
    wraps = [_wrap(each.text, SMALL, cell - 8, 4 if each.image else 7) for each in question.candidates]
    pictures = [_fit(each.image, cell - 8, 170) for each in question.candidates]
    high = max((picture.height for picture in pictures if picture), default=0)
    low = max(_height(len(lines), SMALL) for lines in wraps)
    head = _height(1, LARGE) + 6
    body = high + low + 12
    row = Image.new("RGB", (width, head + body + 10 + _height(1, SMALL)), PAPER)
    draw = ImageDraw.Draw(row)
    draw.line((0, 0, width, 0), LIGHT, 1)
    _lines(draw, (0, 6), _wrap(question.words, LARGE, width, 1, True), LARGE, True)
    for number, each in enumerate(question.candidates):
        x = number * (cell + GAP // 2)
        is_true, is_answer = number == question.truth, number == question.answer
        frame = TRUE if is_true else WRONG if is_answer and question.truth is not None else LIGHT
        draw.rectangle((x, head, x + cell - 1, head + body - 1), outline=frame, width=4 if frame != LIGHT else 1)
        picture = pictures[number]
        if picture is not None:
            row.paste(picture, (x + (cell - picture.width) // 2, head + 4 + (high - picture.height) // 2))
        _lines(draw, (x + 6, head + high + 6), wraps[number], SMALL)
        y = head + body + 4
        draw.rectangle((x, y, x + cell - 1, y + 5), fill=LIGHT)
        filled = round((cell - 1) * min(1.0, max(0.0, each.score)))
        draw.rectangle((x, y, x + filled, y + 5), fill=frame if frame != LIGHT else GREY)
        said = [f"{100 * each.score:.0f} %", *["chosen"] * is_answer, *["true"] * is_true]
        draw.text((x, y + 9), ", ".join(said), INK, _font(SMALL, is_true or is_answer))
    return row


def _pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (min(1.0, max(0.0, float(edge))) for edge in box)
    return round(x0 * size[0]), round(y0 * size[1]), round(x1 * size[0]), round(y1 * size[1])


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: int, number: int) -> None:
    """The number of a panel, counted from 1, in its colour."""
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[number % len(COLOURS)], outline=PAPER)
    draw.text((x, y), str(number + 1), PAPER, _font(round(1.15 * radius), True), anchor="mm")


def _fit(image: Image.Image | None, width: int, height: int) -> Image.Image | None:
    if image is None:
        return None
    scale = min(width / image.width, height / image.height)
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _height(lines: int, size: int) -> int:
    return round(lines * LEADING * size)


def _lines(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], size: int, is_bold: bool = False
) -> None:
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + _height(number, size)), line, INK, _font(size, is_bold, line))


def _wrap(text: str, size: int, width: int, most: int, is_bold: bool = False) -> list[str]:
    """The text in lines of at most `width` pixels, at blanks where there are some; three dots where `most` are too few."""
    rest = " ".join(unicodedata.normalize("NFKC", text).split())  # letters of double width, as some engines read them
    font, lines = _font(size, is_bold, rest), []
    while rest:
        fits = bisect_right(
            range(1, min(len(rest), width) + 1), width, key=lambda end: ceil(font.getlength(rest[:end]))
        )
        length = max(1, fits)
        blank = rest.rfind(" ", 0, length + 1) if length < len(rest) else -1
        length = blank if blank > 0 else length
        lines.append(rest[:length])
        rest = rest[length:].lstrip()
        if len(lines) == most and rest:
            lines[-1] = lines[-1][: max(0, len(lines[-1]) - 2)] + "…"
            break
    return lines


def _font(size: int, is_bold: bool = False, text: str = "") -> ImageFont.FreeTypeFont:
    """A font that has the letters of the text, if one is installed."""
    own = _own_font(is_bold)
    return _sized(own if set(map(ord, text)) <= _letters(own) else _other_font(frozenset(map(ord, text))) or own, size)


def _own_font(is_bold: bool) -> str:
    from matplotlib import get_data_path  # which comes with DejaVu Sans: Latin, Greek, Cyrillic

    return str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"))


@lru_cache(maxsize=256)
def _other_font(letters: frozenset[int]) -> str | None:
    from matplotlib.font_manager import fontManager

    return next((font.fname for font in fontManager.ttflist if letters <= _letters(font.fname)), None)


@lru_cache(maxsize=512)
def _letters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):  # a file that is damaged, or gone
        return frozenset()


@lru_cache(maxsize=64)
def _sized(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)
