"""Texts at the level of tokens in a run: what it is to read, what it goes on from, and what validation is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ..checkpoints.opening import is_page_model, page_fields
from ..data.page_panels import ContentTable
from ..data.panels import PanelTable
from ..data.views import Batch, to_tensors
from ..errors import ComicSeqArgumentError, counted
from ..model.configuration_comicpage import TOKENS, VECTORS
from ..model.modeling_comicpage import ComicPageForPreTraining, ComicPageModel
from ..model.reader_comicpage import MAX_TOKENS, READING_TASKS
from ..progress import quiet_transformers
from ..resources import find_resource
from .arguments import PretrainingArguments
from .features import to_device


def reading_fields(arguments: PretrainingArguments) -> dict[str, Any]:
    """The fields of a page model's configuration about the reading of texts: as given, or as the page model has them that
    is gone on from.

    Raises:
        ComicSeqArgumentError: The reader that is gone on with has another number of layers than the one that is given.
    """
    before = page_fields(str(find_resource("model", arguments.model)))
    reading = arguments.text_reading or before.get("text_reading", VECTORS)
    fields: dict[str, Any] = {"text_reading": reading}
    if reading == before.get("text_reading"):
        fields["text_reading_layers"] = before["text_reading_layers"]
        if reading == TOKENS and arguments.text_reading_layers not in (None, fields["text_reading_layers"]):
            raise ComicSeqArgumentError(
                f"`text_reading_layers` is {arguments.text_reading_layers}, and {arguments.model} has a reader of"
                f" {fields['text_reading_layers']}: leave it out, or start from a model without one."
            )
    elif arguments.text_reading_layers is not None:
        fields["text_reading_layers"] = arguments.text_reading_layers
    return fields


def load_reader(model: ComicPageForPreTraining, arguments: PretrainingArguments) -> None:
    """Gives the text reader of a new model the weights of that in the page model that is gone on from, if it has one."""
    name = str(find_resource("model", arguments.model))
    if model.text_reader is None or not is_page_model(name):
        return
    with quiet_transformers():
        before = ComicPageModel.from_pretrained(name).text_reader
    if before is not None:
        model.text_reader.load_state_dict(before.state_dict())


def describe_reading(table: PanelTable) -> str:
    """A sentence about what is read of the texts at the level of tokens."""
    assert isinstance(table, ContentTable)
    contents = table.contents
    long = int((contents.lengths > MAX_TOKENS).sum())
    return (
        f"Candidate texts read the words of a page's others; {counted(long, 'text')} of {contents.num_texts:,} are longer than"
        f" {MAX_TOKENS} tokens and are read that far."
    )


@torch.no_grad()
def with_word_scores(
    model: ComicPageForPreTraining,
    table: ContentTable,
    task: str,
    asked: Iterable[tuple[Any, Batch]],
    numbers: Iterable,
) -> Iterator[tuple[Any, Batch]]:
    """Batches of questions with what the text reader says of their candidates.

    Args:
        model: The page model.
        table: The numbers of what the panels hold.
        task: Name of the questions' task.
        asked: The batches, with vectors.
        numbers: The same batches with numbers in the place of vectors, of `table`.
    """
    was_training = model.training
    for (rows, batch), (_, numbered) in zip(asked, numbers, strict=True):
        filled = table.contents.fill(without_pictures(numbered, table.contents.num_images))
        contents = to_device(filled.pop("contents"), model.device)
        question = to_tensors({name: value for name, value in filled.items() if name != "labels"}, model.device)
        vectors, words = model.eval().encode_words(**contents)
        if words:  # else pictures alone are asked about
            scores = model.score_words(task, question, words, len(vectors))
            batch = batch | {"candidate_scores": scores.float().cpu().numpy()}
        model.train(was_training)
        yield rows, batch


def without_pictures(batch: Batch, num_images: int) -> Batch:
    """A batch of numbers with 0 in the place of those of pictures, which are not read for what words say."""
    return {
        name: np.where(value > num_images, value, 0) if name.endswith(("_embedding", "_embeddings")) else value
        for name, value in batch.items()
    }


def reads_words(model: Any, task: str) -> bool:
    """Whether a model's answers to a task rest on words, too."""
    return getattr(model, "text_reader", None) is not None and task in READING_TASKS


__all__ = ["TOKENS", "describe_reading", "load_reader", "reading_fields", "reads_words", "with_word_scores"]
