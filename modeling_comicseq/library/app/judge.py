"""A model that answers the app's questions: a page model from pictures and texts, or a sequence model from vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoints.provenance import compare_origins, read_training_provenance
from ...errors import ComicSeqDataError
from ...model.pictures_comicpage import crop
from ...model.tasks_comicseq import PANEL_PICKING, VISUAL_CLOSURE, ComicSeqTask
from ...progress import quiet_transformers
from .collection import Collection
from .questions import Question

__all__ = ["Judge", "open_judge"]

# What is shown of the page follows from the task: the panels before the gap, or all others.
TASK_OF: dict[str, ComicSeqTask] = {"next": VISUAL_CLOSURE, "missing": PANEL_PICKING}
_MOST_KNOWN = 10_000  # answers that are kept


class Judge:
    """Gives the probability of each candidate of a question.

    Args:
        model: A model that `transformers.pipeline` takes.
        take: Makes of a question what the pipeline takes.
        notes: Sentences about the model that people are to read beside its answers.
    """

    def __init__(
        self, model: Any, take: Callable[[Collection, Question], Mapping[str, Any]], notes: Sequence[str] = ()
    ):
        self.model, self.take, self.notes = model, take, list(notes)
        self._pipelines: dict[str, Any] = {}
        self._known: dict[tuple[str, str, int], list[float]] = {}
        self._lock = threading.Lock()  # one answer at a time: each uses all threads of torch

    def __call__(self, collection: Collection, question: Question) -> list[float]:
        """The probabilities, in the order of the candidates.

        Raises:
            ComicSeqDataError: The model cannot be asked this.
        """
        key = question.kind, question.page.page_id, question.slot  # which the candidates follow from
        with self._lock:
            if key in self._known:
                return self._known[key]
            if len(self._known) == _MOST_KNOWN:
                self._known.clear()
            try:
                asked = self.take(collection, question)
                scores = [float(score) for score in self._pipeline(question.kind)(asked)["scores"]]
                self._known[key] = scores
                return scores
            except ComicSeqDataError:
                raise
            except ValueError as error:  # as pipelines tell what is wrong, in one sentence
                raise ComicSeqDataError(str(error)) from None

    def _pipeline(self, kind: str) -> Any:
        import transformers

        make: Any = transformers.pipeline  # whose types know the tasks of the library alone
        if kind not in self._pipelines:
            with quiet_transformers():
                self._pipelines[kind] = make(TASK_OF[kind].pipeline, model=self.model)
        return self._pipelines[kind]


def open_judge(name: str, collection: Collection) -> Judge:
    """Opens a page model, or a sequence model that reads the vectors of the index.

    Raises:
        ComicSeqDataError: There is no such model, or it cannot be asked about this index.
    """
    from ... import registration  # noqa: F401 - makes the pipelines known
    from ...checkpoints.opening import open_checkpoint
    from ...model.modeling_comicpage import ComicPageModel

    if _model_type(name) == "comicpage":
        try:
            with quiet_transformers():
                model = ComicPageModel.from_pretrained(name, use_safetensors=True).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ComicSeqDataError(
                f"{name} cannot be opened as a page model ({str(error).splitlines()[0]})"
            ) from None
        return Judge(model, about_pictures, _notes(name, collection))
    about = collection.index.about
    if about["store"]["stage"] != 3:
        raise ComicSeqDataError(
            f"{name} reads panel vectors of Stage 3, which this index of a Stage 5 store does not hold: give a page model,"
            " which `comicseq export --model CHECKPOINT --encoder ENCODER` makes."
        )
    opened = open_checkpoint(name)
    if opened.model.config.has_streams:
        raise ComicSeqDataError(
            f"{name} reads vectors of pictures and of texts (`streams` are separate) but the index holds fused ones alone: give a"
            " page model, which `comicseq export --model CHECKPOINT --encoder ENCODER` makes."
        )
    if opened.model.config.panel_embedding_dim != about["store"]["width"]:
        raise ComicSeqDataError(
            f"{name} reads vectors of width {opened.model.config.panel_embedding_dim} but those of the index are"
            f" {about['store']['width']} wide: give the model that the index was made for, or a page model."
        )
    return Judge(opened.model, about_vectors, _notes(name, collection))


def _model_type(name: str) -> str:
    """What kind of model a checkpoint holds.

    Raises:
        ComicSeqDataError: There is no checkpoint.
    """
    from transformers import PreTrainedConfig

    try:
        values, _ = PreTrainedConfig.get_config_dict(name)
        return str(values.get("model_type", ""))
    except (OSError, ValueError) as error:
        what = "a folder that `comicseq export` wrote" if not Path(name).is_dir() else "it holds no model"
        raise ComicSeqDataError(f"There is no model {name}: give {what} ({str(error).splitlines()[0]})") from None


def _notes(name: str, collection: Collection) -> list[str]:
    """What is to be said where the model knows vectors of another encoder than that of the index."""
    origin = getattr(collection.index, "about", {}).get("origin") or {}
    difference = compare_origins(read_training_provenance(name), {"origin": origin})
    if difference is None:
        return []
    return [f"The model was trained on vectors of another origin than those of the index ({difference})."]


def about_pictures(collection: Collection, question: Question) -> dict[str, Any]:
    """The question as a page model takes it: the page, with what is shown of it, and the candidates' pictures and texts."""
    page = question.page
    image = collection.image(page.page_id) if page.boxes else None
    shown = range(question.slot) if question.kind == "next" else range(page.num_panels)
    asked: dict[str, Any] = {
        "texts": [page.texts[slot] for slot in shown],
        "reading_direction": page.reading_direction,
    }
    if image is not None:
        asked |= {"image": image, "boxes": [page.boxes[slot] for slot in shown]}
    if question.kind != "next":
        asked["mask_position"] = question.slot
    candidates = []
    for page_id, slot in question.candidates:
        other = collection.page(page_id)
        picture = collection.image(page_id) if image is not None and slot < len(other.boxes) else None
        candidate: dict[str, Any] = {} if picture is None else {"image": crop(picture, other.boxes[slot])}
        candidates.append(candidate | {"text": other.texts[slot]})
    return asked | {"candidates": candidates}


def about_vectors(collection: Collection, question: Question) -> dict[str, Any]:
    """The question as a sequence model takes it, with the panel vectors of the index."""
    own = collection.panel_vectors(question.page.page_id)
    shown = own[: question.slot] if question.kind == "next" else own
    candidates = [collection.panel_vectors(page_id)[slot] for page_id, slot in question.candidates]
    asked = {"panel_embeddings": shown, "candidate_embeddings": np.stack(candidates)}
    return asked if question.kind == "next" else asked | {"mask_position": question.slot}
