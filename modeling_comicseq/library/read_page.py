"""Reads a page with a model that takes pages: what it answers about panels that are taken out, as a picture and as JSON."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from transformers import PreTrainedConfig, pipeline

from .. import registration  # noqa: F401  # by which the pipelines are known
from ..checkpoints.opening import read_config
from ..errors import ComicSeqArgumentError, ComicSeqDataError, in_words
from ..files import write_json, written_file
from ..model.configuration_comicpage import ComicPageConfig
from ..model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from ..model.modeling_comicpage import ComicPageModel
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..model.tasks_comicseq import PANEL_PICKING, READING_ORDER, TEXT_CLOZE, VISUAL_CLOSURE, ComicSeqTask
from ..outputs import check_output, has_words
from ..pages.page_rows import Reading
from ..progress import quiet_transformers
from .near_pages import SeenPage, find_page
from .page_picture import Candidate, Question, draw_page

__all__ = ["PageReading", "read_page"]

NUM_CANDIDATES = 5
MOST_NEAR = 40  # pages that are looked at for wrong candidates


@dataclass(frozen=True)
class Asked:
    """A question, and what the model answered.

    Attributes:
        task: What kind of question it is.
        panel: The panel that was taken out.
        question: What is shown of it.
        sources: Page and panel of each candidate.
    """

    task: ComicSeqTask
    panel: int
    question: Question
    sources: list[tuple[str, int]]


@dataclass(frozen=True)
class PageReading:
    """What was read of a page.

    Attributes:
        page: The page.
        asked: Questions and answers.
        order: The order in which the model reads the panels, which were given in the page's own; None where it was not asked.
        confidence: How sure it is of it.
    """

    page: SeenPage
    asked: list[Asked]
    order: list[int] | None
    confidence: float | None

    def told_order(self) -> str:
        """The order in words, by the numbers that panels have in the picture."""
        if self.order is None or self.confidence is None:
            return ""
        same = ", as given" if self.order == sorted(self.order) else ""
        return f"{' '.join(str(panel + 1) for panel in self.order)}{same} (confidence {100 * self.confidence:.0f} %)"


def read_page(
    page: str,
    model: str,
    output: str | os.PathLike[str],
    *,
    pages: str | os.PathLike[str] | None = None,
    panel: int | None = None,
    ocr: str = "none",
    panel_detector: str | None = None,
    reading_direction: str | None = None,
    device: Any = None,
    seed: int = 0,
    overwrite: bool = False,
) -> PageReading:
    """Reads a page and asks a model about it: which panel was taken out, what comes next, what is said there, the order.

    Wrong candidates are one panel from each of the nearest pages, of the book first, as the evaluation's `same_book` draws
    them. What there is no candidate or no text for is not asked.

    Args:
        page: A file of a picture, or a page of `pages`: `book_id/page_name` or its row.
        model: A checkpoint that takes pages, a folder or a name on the Hub.
        output: PNG file to write; a JSON file of the same name is written beside it.
        pages: A data set of pages. Without one, pages near a picture are the other pictures of its folder.
        panel: Number, from 0, of the panel that is taken out; by default the middle one.
        ocr: What reads the texts of a picture: "rapidocr" or "none".
        panel_detector: What finds its panels, by default a cut along the gutters.
        reading_direction: "ltr" or "rtl", where nothing else tells it.
        device: Where the model runs.
        seed: Of the wrong candidates.
        overwrite: Replace files that are there and are not of this command.

    Raises:
        ComicSeqArgumentError: There is no such page or panel, or an option is not possible.
        ComicSeqDataError: The page, the data set or the model has a fault, or the output cannot be written.
    """
    target = Path(output)
    if target.suffix.lower() != ".png":
        raise ComicSeqArgumentError(f"The output {output} is to be a PNG file: give it a name that ends in .png.")
    beside = target.with_suffix(".json")
    is_own = has_words('"page": ', '"questions": ')
    for each in (target, beside):
        check_output(each, [page, pages, model], overwrite, is_own=lambda _: is_own(beside))
    seen, near = find_page(page, pages, Reading("auto", panel_detector, ocr, reading_direction))
    if panel is not None and not 0 <= panel < len(seen.boxes):
        raise ComicSeqArgumentError(f"{seen.page_id} has {len(seen.boxes)} panels: there is no panel {panel + 1}.")
    reading = _ask(seen, near, _Answers(model, device), panel, seed)
    _write(reading, model, target, beside)
    return reading


class _Answers:
    """The pipelines of one model.

    Raises:
        ComicSeqDataError: There is no such model, or it takes vectors and no pages.
    """

    def __init__(self, name: str, device: Any):
        self.name, self.device = name, device
        config = read_config(name)
        weights = {**DEFAULT_TASK_WEIGHTS, **(config.task_weights or {})}
        self.trained = {task for task, weight in weights.items() if weight > 0}
        values, _ = PreTrainedConfig.get_config_dict(name)
        if values.get("model_type") != ComicPageConfig.model_type:
            raise ComicSeqDataError(
                f"{name} takes vectors and no pages: put the encoder in that made them, with `comicseq export --encoder`."
            )
        try:
            with quiet_transformers():
                self.model = ComicPageModel.from_pretrained(name)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ComicSeqDataError(f"{name} cannot be loaded ({in_words(error)}): make it again.") from None

    def serve(self, task: ComicSeqTask) -> bool:
        """Whether the model has learned the task."""
        whole = type(self.model.sequence_model) is ComicSeqForPreTraining
        return task.name in self.trained if whole else type(self.model.sequence_model).__name__ == task.model_class

    def __call__(self, task: ComicSeqTask, question: dict[str, Any], place: str) -> dict[str, Any]:
        try:
            ask: Any = pipeline  # whose overloads know the tasks of transformers alone
            return ask(task.pipeline, model=self.model, device=self.device)(question)
        except ValueError as error:
            raise ComicSeqDataError(f"{self.name} cannot be asked about {place}: {in_words(error)}") from None


def _ask(page: SeenPage, near: Iterator[SeenPage], answers: _Answers, panel: int | None, seed: int) -> PageReading:
    pages = _Near(near)
    count = len(page.boxes)
    middle = count // 2 if panel is None else panel
    asked: list[Asked] = []

    def ask(task: ComicSeqTask, words: str, slot: int, context: dict[str, Any], by_text: bool) -> None:
        if not answers.serve(task) or not (by_text or page.is_seen(slot)):
            return
        draws = np.random.default_rng([seed, zlib.crc32(f"{page.page_id} {task.name}".encode())])
        panels = [(page, slot), *pages.wrong((page, slot), by_text, draws)]
        if len(panels) < 2:  # nothing else to choose
            return
        order = draws.permutation(len(panels)).tolist()
        panels = [panels[place] for place in order]
        given: dict[str, Any]
        if by_text:
            given = {"candidate_texts": [each.words(number) for each, number in panels]}
        else:
            shown_panels = [{"image": each.crop(number), "text": each.words(number)} for each, number in panels]
            given = {"candidates": shown_panels}
        scores = answers(task, context | given, page.page_id)["scores"]
        shown = [
            Candidate(score, None if by_text else each.crop(number), each.words(number))
            for score, (each, number) in zip(scores, panels, strict=True)
        ]
        question = Question(words, shown, order.index(0))
        asked.append(Asked(task, slot, question, [(each.page_id, number) for each, number in panels]))

    whole = _context(page, count)
    if count > 1:
        words = f"Panel {middle + 1} was taken out. Which one was it?"
        ask(PANEL_PICKING, words, middle, {**whole, "mask_position": middle}, False)
        ask(VISUAL_CLOSURE, f"What comes after panel {count - 1}?", count - 1, _context(page, count - 1), False)
    lettered = [slot for slot in range(count) if page.words(slot)]
    if len(lettered) > 1:
        slot = min(lettered, key=lambda each: abs(each - middle))
        ask(TEXT_CLOZE, f"What is said in panel {slot + 1}?", slot, {**whole, "mask_position": slot}, True)
    if count < 2 or not answers.serve(READING_ORDER):
        return PageReading(page, asked, None, None)
    read = answers(READING_ORDER, whole, page.page_id)
    return PageReading(page, asked, list(read["order"]), float(read["score"]))


def _context(page: SeenPage, count: int) -> dict[str, Any]:
    """The first panels of a page, as pipelines take them."""
    context: dict[str, Any] = {"image": page.image, "boxes": [list(box) for box in page.boxes[:count]]}
    context["texts"] = page.texts[:count]
    if page.reading_direction is not None:
        context["reading_direction"] = page.reading_direction
    return context


class _Near:
    """Pages near a page, read as far as they are needed, and once."""

    def __init__(self, pages: Iterator[SeenPage]):
        self.read: list[SeenPage] = []
        self.rest = pages

    def __iter__(self) -> Iterator[SeenPage]:
        yield from self.read
        for page in self.rest:
            self.read.append(page)
            yield page

    def wrong(
        self, right: tuple[SeenPage, int], by_text: bool, draws: np.random.Generator
    ) -> list[tuple[SeenPage, int]]:
        """Wrong candidates: one panel a page, and more of each where there are too few pages."""
        taken = {_looks(*right, by_text)}
        per_page: list[list[tuple[SeenPage, int]]] = []
        for looked_at, page in enumerate(self):
            slots = draws.permutation(len(page.boxes)).tolist()
            slots = [slot for slot in slots if (page.words(slot) if by_text else page.is_seen(slot))]
            per_page += [[(page, slot) for slot in slots]] if slots else []
            if len(per_page) >= NUM_CANDIDATES - 1 or looked_at + 1 >= MOST_NEAR:
                break
        rounds = range(max(map(len, per_page), default=0))
        wrong: list[tuple[SeenPage, int]] = []
        for each in chain.from_iterable(
            [panels[turn] for panels in per_page if turn < len(panels)] for turn in rounds
        ):
            looks = _looks(*each, by_text)
            if looks not in taken and len(wrong) < NUM_CANDIDATES - 1:
                taken.add(looks)
                wrong.append(each)
        return wrong


def _looks(page: SeenPage, panel: int, by_text: bool) -> Any:
    """What tells a candidate from another."""
    if by_text:
        return " ".join(page.words(panel).lower().split())
    picture = page.crop(panel)
    return picture.size, hash(picture.tobytes())


def _write(reading: PageReading, model: str, target: Path, beside: Path) -> None:
    page = reading.page
    questions = [each.question for each in reading.asked]
    picture = draw_page(
        page.image,
        page.boxes,
        page.texts,
        questions,
        title=page.page_id,
        notes=[]
        if reading.order is None
        else [f"In which order are the panels read? The model: {reading.told_order()}."],
        reading_direction=page.reading_direction,
    )
    report: dict[str, Any] = {"page": page.page_id, "model": model, "reading_direction": page.reading_direction}
    report["origins"] = page.origins
    report["panels"] = [
        {"box": [round(float(edge), 6) for edge in box], "texts": texts}
        for box, texts in zip(page.boxes, page.texts, strict=True)
    ]
    report["order"] = None if reading.order is None else {"order": reading.order, "confidence": reading.confidence}
    report["questions"] = [_as_json(each) for each in reading.asked]
    with written_file(target) as place:
        picture.save(place, "PNG")
        write_json(beside, report)  # now that there is a picture


def _as_json(asked: Asked) -> dict[str, Any]:
    question = asked.question
    candidates = [
        {"page": source, "panel": panel, "text": each.text, "score": each.score}
        for each, (source, panel) in zip(question.candidates, asked.sources, strict=True)
    ]
    about = {"task": asked.task.name, "question": question.words, "panel": asked.panel}
    return {**about, "answer": question.answer, "truth": question.truth, "candidates": candidates}
