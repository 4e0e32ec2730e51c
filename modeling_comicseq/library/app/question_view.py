"""The view of questions: a page with a gap, candidates, the model's scores and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .asking import in_one_sentence
from .cards import Card, card
from .collection import Collection
from .judge import Judge
from .questions import draw_question
from .render import render

__all__ = ["Answer", "ask"]


@dataclass(frozen=True)
class Answer:
    """A candidate as it is shown.

    Attributes:
        number: Its place, from 1.
        card: The panel.
        share: The model's probability in per cent; None without a model, or before the answer is shown.
        is_right: Whether it is the truth.
        is_guess: Whether it was chosen by the reader.
        is_best: Whether the model takes it.
    """

    number: int
    card: Card
    share: float | None
    is_right: bool
    is_guess: bool
    is_best: bool


def ask(
    collection: Collection, judge: Judge | None, kind: Any, page_id: Any, panel: Any = None, guess: Any = None
) -> str:
    """A question, and once it is answered, what is right and what the model says.

    Args:
        collection: Where.
        judge: Gives the probability of each candidate; None where the app has no model.
        kind: `next` or `missing`.
        page_id: The page.
        panel: The number of the asked panel, from 1; by default the last.
        guess: The number of the candidate that the reader takes, 0 to be told without a guess; None while the question is
            open.

    Returns:
        The question as HTML.

    Raises:
        ComicSeqArgumentError: There is no such question.
    """
    question = draw_question(collection, kind, page_id, panel)
    is_open = guess is None or guess == ""
    shares: Sequence[float] | None = None
    fault = ""
    if not is_open and judge is not None:
        shares, fault = in_one_sentence(lambda: judge(collection, question))
    best = None if shares is None else max(range(len(shares)), key=shares.__getitem__)
    answers = [
        Answer(
            number=place + 1,
            card=card(collection, page_id, slot),
            share=None if shares is None else round(100 * float(shares[place]), 1),
            is_right=not is_open and place == question.right,
            is_guess=not is_open and str(guess) == str(place + 1),
            is_best=place == best,
        )
        for place, (page_id, slot) in enumerate(question.candidates)
    ]
    context = [card(collection, question.page.page_id, slot) for slot in question.context]
    gap = question.slot if question.kind != "next" else len(context)
    return render(
        "question",
        question=question,
        number=question.slot + 1,
        context=context,
        gap=gap,
        answers=answers,
        is_open=is_open,
        has_model=judge is not None,
        notes=[] if judge is None else judge.notes,
        verdict="" if is_open else _verdict(answers, guess),
        fault=fault,
    )


def _verdict(answers: Sequence[Answer], guess: Any) -> str:
    right = next(answer for answer in answers if answer.is_right)
    said = f"Candidate {right.number} is the panel of the book."
    if str(guess) not in ("0", ""):
        said += " Your guess is right." if right.is_guess else " Your guess is another one."
    best = next((answer for answer in answers if answer.is_best), None)
    if best is not None:
        said += f" The model takes candidate {best.number}, which is {'right' if best.is_right else 'wrong'}."
    return said
