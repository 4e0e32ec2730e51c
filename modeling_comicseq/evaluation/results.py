"""What an evaluation found, and its file `results.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_text

LEAKY = {"in_page": "in_page (leaky)"}
RETRIEVAL = ("same_book_retrieval", "half_page_retrieval")
GEOMETRY, XY_CUT = "geometry alone", "XY-cut"
MEAN_POOL = "mean of Stage 3 vectors"


@dataclass
class Score:
    """A mean and its 95 % interval over books; NaN where a single book cannot give one."""

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass
class Group:
    """The score of the questions that have one number of panels, or of candidates.

    Attributes:
        value: That number.
        score: Their score.
        num_questions: How many they are.
        num_books: Books they come from.
    """

    value: int
    score: Score
    num_questions: int
    num_books: int


@dataclass
class Result:
    """How well one answerer does on one set of questions.

    Attributes:
        task: The task.
        protocol: Where wrong candidates came from; empty for reading order.
        answerer: The model's name, that of a baseline, or of a model with something taken away.
        role: "baseline", "model", "ablation", "optimum", or "subset" (a model on the optimum's questions).
        model: The model that it belongs to; empty for baselines and optima.
        metrics: Every metric's score; the first is the one that is compared by page length and candidates.
        by_page_length: The first metric by the number of panels of the page.
        by_candidates: The first metric by the number of candidates; empty for reading order.
        num_questions: Questions asked.
        num_books: Books they come from.
        questions: Fingerprint of the question set.
    """

    task: str
    protocol: str
    answerer: str
    role: str
    model: str
    metrics: dict[str, Score]
    by_page_length: list[Group] = field(default_factory=list)
    by_candidates: list[Group] = field(default_factory=list)
    num_questions: int = 0
    num_books: int = 0
    questions: str = ""

    @property
    def metric(self) -> str:
        """The metric that comes first."""
        return next(iter(self.metrics))

    @property
    def score(self) -> Score:
        """Its score."""
        return self.metrics[self.metric]


@dataclass
class Difference:
    """One answerer minus another on the same questions, with its paired 95 % interval over books."""

    task: str
    protocol: str
    answerer: str
    minus: str
    metric: str
    difference: Score


def heading(task: str, protocol: str) -> str:
    """What a question set is called: its task and, where wrong candidates are drawn, their protocol."""
    return f"{task}, {LEAKY.get(protocol, protocol)}" if protocol else task


def interval(value: float, low: float | None, high: float | None, signed: bool = False, percent: bool = True) -> str:
    """A value with its interval, as in `41.2 [38.0, 44.1]`; in percent, or as it is with three decimals."""
    scale, form = (100, ".1f") if percent else (1, ".3f")
    form = "+" * signed + form
    if low is None or high is None or low != low:
        return f"{scale * value:{form}}"
    return f"{scale * value:{form}} [{scale * low:{form}}, {scale * high:{form}}]"


def results_json(results: Sequence[Result], differences: Sequence[Difference]) -> dict[str, Any]:
    """Results of the tasks, of retrieval by strip vectors, and differences as JSON-ready lists."""
    return {
        "results": [_result_json(result) for result in results if result.task not in RETRIEVAL],
        "retrieval": [_result_json(result) for result in results if result.task in RETRIEVAL],
        "differences": [asdict(difference) for difference in differences],
    }


def _result_json(result: Result) -> dict[str, Any]:
    """A result with its first metric as `score`, `low` and `high`, too, and whether its protocol is leaky."""
    first = {name: getattr(result, name) for name in ("task", "protocol", "answerer", "metric")}
    score = {"score": result.score.mean, "low": result.score.low, "high": result.score.high}
    return first | {"leaky": result.protocol in LEAKY} | score | asdict(result)


def write_results(content: dict[str, Any], path: Path) -> None:
    """Writes `content` as JSON, complete or not at all. What is not a number becomes null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
