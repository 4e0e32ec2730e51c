# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""`transformers.pipeline` tasks for ComicSeq: strip embedding, multiple-choice questions and reading order"""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Number
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transformers import Pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import KeyDataset, PipelineDataset, PipelineIterator
from transformers.utils import logging

from .boxes_comicseq import READING_DIRECTIONS, check_boxes, mirror
from .checks_comicseq import check_finite, check_names
from .ordering_comicseq import best_orders
from .tasks_comicseq import BOXES, PANELS, READING_DIRECTION, STRIP_EMBEDDING, TASKS, ComicSeqTask

logger = logging.get_logger(__name__)

PAGE = "page"  # where a question holds what a page model has yet to encode


class ComicSeqPipeline(Pipeline):
    """
    What the pipelines share. An input is a page, `(panels, width)` as a nested list, a NumPy array or a tensor (also flat,
    as the rows of a converted data set are), or a dictionary with the page as `panel_embeddings` and whatever else the
    task asks for: its `inputs`, without batch axes and masks. Many inputs, of any numbers of panels and candidates, are
    answered in batches of `batch_size`: a list, an array with an axis more and a column of a data set by a list; a data
    set (of which the columns that the task takes are read), a generator and other iterables one by one, as the answers
    are asked for. Pages of more than `max_position_embeddings` panels are refused.

    A model with `box_embedding` also takes `panel_boxes`, where each panel stands: `x0 y0 x1 y1` as shares of the page's
    width and height, four zeros where that is not known. `reading_direction` says whether the page is read from left to
    right, `"ltr"`, or `"rtl"`.

    An array `(n, width)` is one page. A bare list of vectors of just that width is refused, as it can be one page or
    several of one panel each: give a page as an array or in a dictionary, and rows of a data set as a column of it,
    `dataset["panel_embeddings"]`.

    A page model, which has a panel encoder in it, also takes pages as pictures and texts, and candidates of these; what such
    a question holds is said at `PageReader` (`reading_comicpage.py`). It becomes the question about vectors, and is answered
    as that. Where panels were found in a picture, an answer says where (see `found_panels`).
    """

    _load_tokenizer = False
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __init__(self, model, *args, task="", **kwargs):
        served = served_tasks()
        if task not in served:
            raise ValueError(f"`task` is {task!r} but must be one of {', '.join(served)}.")
        self.asked = served[task]
        wanted = self.asked.model_class
        self.sequence_model = getattr(
            model, "sequence_model", model
        )  # that of a page model, which has an encoder, too
        config = self.sequence_model.config
        saved = (config.architectures or [type(self.sequence_model).__name__])[0]
        has_weights = self.asked != STRIP_EMBEDDING or self.sequence_model.base_model.pooler is not None
        if saved not in (wanted, "ComicSeqForPreTraining") or not has_weights:
            raise ValueError(
                f"The checkpoint is one of {saved}, which has no trained head for {task}: take one of {wanted} or"
                " ComicSeqForPreTraining (a model that you trained yourself has to be saved first)."
            )
        self.fields = self.asked.inputs
        if BOXES in self.fields:
            self.fields = (*self.fields, READING_DIRECTION)
        if not config.box_embedding:
            self.fields = tuple(field for field in self.fields if field not in (BOXES, READING_DIRECTION))
        super().__init__(model, *args, task=task, **kwargs)
        check_finite(self.model, self.model.name_or_path or "the model")
        self.model.eval()
        self.reader = model.page_reader(self.processor) if hasattr(model, "page_reader") else None

    def _sanitize_parameters(self, modality=None, **parameters):
        if parameters:
            raise ValueError(f"{self.task} has no parameter `{next(iter(parameters))}`.")
        if modality is None:
            return {}, {}, {}
        if self.asked.modality is None:
            raise ValueError(f"{self.task} has no parameter `modality`.")
        if modality not in ("panel", self.asked.modality):
            raise ValueError(f"`modality` of {self.task} is {modality!r} but must be panel or {self.asked.modality}.")
        return {"modality": modality}, {"modality": modality}, {}

    def __call__(self, inputs, *args, **kwargs):
        names = [field.name for field in self.fields]
        if self.reader is not None and self.reader.is_page(dict.fromkeys(column_names(inputs)), self.fields):
            names = list(self.reader.names(self.fields))
        inputs = told_apart(inputs, names, self.sequence_model.config.panel_embedding_dim)
        if isinstance(inputs, (list, KeyDataset)) and not len(inputs):
            return []  # the base class looks at the first
        return super().__call__(inputs, *args, **kwargs)

    def forward(self, model_inputs, **parameters):
        outputs = super().forward(model_inputs, **parameters)
        if not all(tensor.isfinite().all() for output in outputs for tensor in output.values()):
            raise ValueError(
                "The answer is not finite: the model's weights are not, or the numbers of an input are too large for its"
                f" precision, {self.dtype}."
            )
        return outputs

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        # The base class collates with a tokenizer's padding; here `_forward` pads.
        for name, value, least in (("num_workers", num_workers, 0), ("batch_size", batch_size, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"`{name}` is {value!r} but must be a whole number of at least {least}.")
        kind = PipelineDataset
        if isinstance(inputs, IterableDataset) or not hasattr(inputs, "__len__"):
            kind = PipelineIterator
            if num_workers > 1:  # each would go through all inputs
                logger.warning("Inputs that can only be read one after the other are read by one worker.")
                num_workers = 1
        questions = kind(inputs, self.preprocess_or_fault, preprocess_params)
        batches = DataLoader(questions, num_workers=num_workers, batch_size=batch_size, collate_fn=list)
        outputs = Outputs(batches, self.forward, forward_params)
        return iter(PipelineIterator(outputs, self.postprocess, postprocess_params))  # starts anew with each loop

    def run_single(self, inputs, preprocess_params, forward_params, postprocess_params):
        (output,) = self.forward([self.preprocess(inputs, **preprocess_params)], **forward_params)
        return self.postprocess(output, **postprocess_params)

    def preprocess_or_fault(self, inputs, **parameters) -> dict[str, torch.Tensor] | ValueError:
        """As `preprocess`, but a refusal is returned: raised in a worker process, it would come with a traceback."""
        try:
            return self.preprocess(inputs, **parameters)
        except ValueError as error:
            return error

    def preprocess(self, inputs, modality="panel") -> dict[str, torch.Tensor]:
        """The tensors of one question, without a batch axis, on the CPU; of one about pages also what is to be encoded."""
        page = None
        if self.reader is not None and self.reader.is_page(inputs, self.fields):
            page = self.reader.take(inputs, self.fields, modality, takes_boxes_alone=self.asked.answer == "order")
            inputs = page.question
        elif looks_like_page(inputs):
            raise ValueError(
                f"{self.task} of this checkpoint reads vectors: pictures and texts are for a page model (`ComicPageModel`), which"
                " has a panel encoder in it (`comicseq export --encoder`)."
            )
        question = dict(inputs) if isinstance(inputs, Mapping) else {"panel_embeddings": inputs}
        check_names(self.task, map(str, question), [field.name for field in self.fields])
        config = self.sequence_model.config
        limit, num_panels, tensors = config.max_position_embeddings, 0, {}
        has_boxes = BOXES in self.fields and question.get(BOXES.name) is not None
        for field in self.fields:
            name = field.name
            is_left_out = field.is_optional or (field == PANELS and self.asked.answer == "order" and has_boxes)
            if is_left_out and question.get(name) is None:
                question.pop(name, None)
            elif field.kind == "slot":
                tensors[name] = take_number(question, name, 0, num_panels, "the number of panels")
            elif field.kind == "direction":
                if question[name] not in READING_DIRECTIONS:
                    raise ValueError(f"`{name}` is {question[name]!r} but must be {' or '.join(READING_DIRECTIONS)}.")
                if question[name] == "rtl" and has_boxes:
                    tensors[BOXES.name] = torch.from_numpy(mirror(tensors[BOXES.name].numpy()))
            elif field.kind == "position":
                tensors[name] = take_number(question, name, -1, limit, "`max_position_embeddings`")
            else:
                width = modality if field.modality == "panel" else field.modality
                size = 4 if field.kind == "boxes" else getattr(config, f"{width}_embedding_dim")
                vectors = take_vectors(question, name, size)
                if field.kind == "vector" and len(vectors) != 1:
                    raise ValueError(f"`{name}` has {len(vectors)} vectors but must be one.")
                if field.kind == "boxes" and (problem := check_boxes(vectors.numpy())):
                    raise ValueError(
                        f"`{name}`: {problem}: give x0 y0 x1 y1 as shares of the page, or four zeros where a box is not"
                        " known."
                    )
                if field.kind in ("panels", "boxes"):
                    if len(vectors) > limit:
                        raise ValueError(
                            f"`{name}` has {len(vectors)} panels but `max_position_embeddings` is {limit}: split longer"
                            " pages into windows."
                        )
                    if num_panels not in (0, len(vectors)):
                        raise ValueError(f"`{name}` has {len(vectors)} vectors but the page has {num_panels} panels.")
                    num_panels = len(vectors)
                tensors[name] = vectors[0] if field.kind == "vector" else vectors
        return tensors if page is None else tensors | {PAGE: page}

    def _forward(self, questions: list[dict[str, torch.Tensor]], **parameters) -> list[dict[str, torch.Tensor]]:
        pages = [question.pop(PAGE, None) for question in questions]
        if any(pages):
            vectors = self.reader.encode(pages, self.asked.name)
            questions = [question | found for question, found in zip(questions, vectors, strict=True)]
        answers: dict[int, dict[str, torch.Tensor]] = {}
        for fields in {tuple(question) for question in questions}:  # with or without what is optional
            rows = [row for row, question in enumerate(questions) if tuple(question) == fields]
            batch = self.collate([questions[row] for row in rows])
            answers |= zip(rows, self.answer(batch | parameters), strict=True)
        for row, page in enumerate(pages):
            if page is not None and page.found_boxes is not None:
                answers[row]["found_boxes"] = torch.from_numpy(page.found_boxes)
        return [answers[row] for row in range(len(questions))]

    def answer(self, batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
        """What `postprocess` is to read of each question of a batch."""
        raise NotImplementedError

    def collate(self, questions: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Questions with the same fields as one batch, with the masks of panels and candidates."""
        batch: dict[str, torch.Tensor] = {}
        for field in self.fields:
            if field.name in questions[0]:
                values = [question[field.name] for question in questions]
                if field.kind in ("panels", "boxes", "candidates"):
                    mask = "candidate_mask" if field.kind == "candidates" else "attention_mask"
                    batch[field.name], batch[mask] = pad(values)
                else:
                    batch[field.name] = torch.stack(values)
        if "candidate_scores" in questions[0]:  # of pages whose words were read, too
            batch["candidate_scores"], _ = pad([question["candidate_scores"] for question in questions])
        return batch


class Outputs(PipelineIterator):
    """What `infer` makes of batches of questions, one by one. It has the length of the inputs, where they have one."""

    def __len__(self):
        return len(self.loader.dataset)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        done = 0
        for batch in self.loader:
            for number, question in enumerate(batch, done):
                if isinstance(question, ValueError):
                    raise ValueError(f"Input {number}: {question}")
            yield from self.infer(batch, **self.params)
            done += len(batch)


class ComicStripEmbeddingPipeline(ComicSeqPipeline):
    """
    Task `"comic-strip-embedding"`: one vector `(hidden_size,)` a page, as a float32 NumPy array. With
    `return_panels=True` a dictionary of `strip_embedding` and `contextualized_panels` `(panels, hidden_size)`.
    """

    def _sanitize_parameters(self, return_panels=None, **parameters):
        super()._sanitize_parameters(**parameters)
        if return_panels not in (None, False, True):
            raise ValueError(f"`return_panels` is {return_panels!r} but must be True or False.")
        return {}, {}, {} if return_panels is None else {"return_panels": return_panels}

    def answer(self, batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
        outputs, counts = self.sequence_model.base_model(**batch), batch["attention_mask"].sum(1).tolist()
        rows = zip(outputs.pooler_output, outputs.last_hidden_state, counts, strict=True)
        return [{"strip": strip, "panels": panels[:count]} for strip, panels, count in rows]

    def postprocess(self, output, return_panels=False):
        strip, panels = output["strip"].float().numpy(), output["panels"].float().numpy()
        answer = {"strip_embedding": strip, "contextualized_panels": panels}
        return answer | found_panels(output) if return_panels else strip


class ComicMultipleChoicePipeline(ComicSeqPipeline):
    """
    Tasks with candidates: `"comic-panel-picking"`, `"comic-character-coherence"`, `"comic-visual-closure"`,
    `"comic-text-closure"`, `"comic-caption-relevance"` and `"comic-text-cloze"`, and those that were registered from
    outside. A question holds the inputs of the task under the names of its model class: `panel_embeddings` (caption
    relevance has `caption_embeddings` instead, one vector) and `candidate_embeddings`, for panel picking also
    `mask_position`, for character coherence optionally `candidate_position`; for text-cloze `panel_embeddings`,
    `mask_position`, `text_embeddings`, `candidate_text_embeddings` and optionally `visual_embedding`. Closure takes the
    parameter `modality`, `"visual"` or `"text"`, where panels and candidates are vectors of that modality alone.

    The answer is a dictionary: `index` of the best candidate, its `score`, and the `scores` of all, in the order given. A
    score is the probability among the candidates; in character coherence, where all or none can be right, that of each.
    """

    def answer(self, batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
        scores, counts = ask(self.sequence_model, self.asked, batch), batch["candidate_mask"].sum(1).tolist()
        return [{"logits": row[:count]} for row, count in zip(scores, counts, strict=True)]

    def postprocess(self, output):
        logits = output["logits"].float()
        scores = logits.softmax(-1) if self.asked.answer == "choice" else logits.sigmoid()
        index = int(scores.argmax())
        answer = {"index": index, "score": float(scores[index]), "scores": scores.tolist()}
        return answer | found_panels(output)


class ComicReadingOrderPipeline(ComicSeqPipeline):
    """
    Task `"comic-reading-order"`: panels in any order in; a dictionary out with `order`, the places of the panels in
    reading order (`panels[order]` reads well), and `score`, the confidence of `order_confidence`. Where `panel_boxes` are
    given, `panel_embeddings` may be left out.
    """

    def answer(self, batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
        logits, mask = ask(self.sequence_model, self.asked, batch).float(), batch["attention_mask"]
        orders = best_orders(logits, mask, self.sequence_model.config.reading_order_target)
        counts = mask.sum(1).tolist()
        return [
            {"order": order[:count], "logits": row[:count, :count]}
            for order, row, count in zip(orders, logits, counts, strict=True)
        ]

    def postprocess(self, output):
        order, target = output["order"], self.sequence_model.config.reading_order_target
        answer = {"order": order.tolist(), "score": order_confidence(output["logits"], order, target)}
        return answer | found_panels(output)


def found_panels(output: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What an answer says of panels that were found in the picture of a page: where they stand, and how that was told."""
    if "found_boxes" not in output:
        return {}
    boxes = output["found_boxes"].tolist()
    return {"panel_boxes": boxes, "boxes_origin": "gutter cut", "order_origin": "XY-cut"}


def order_confidence(logits: torch.Tensor, order: torch.Tensor, target: str) -> float:
    """
    Mean probability that the model gives the statements which an order makes: for `"adjacency"` that each panel is
    directly followed by the next one, for `"precedence"` that each panel comes somewhere before every later one. It is the
    share of these statements that the model expects to be right, as far as its probabilities hold: a model that has
    learned its training books by heart is too sure of others. One that knows that it knows nothing says 1/N for
    `"adjacency"` and 1/2 for `"precedence"`. A page of one panel has one order: 1.

    Args:
        logits: Scores of one page `(N, N)`, before the sigmoid.
        order: A permutation of its panels `(N,)`.
        target: `"adjacency"` or `"precedence"`.
    """
    if len(order) < 2:
        return 1.0
    probabilities = logits.float().sigmoid()[order[:, None], order]
    if target == "adjacency":
        return float(probabilities.diagonal(1).mean())
    earlier, later = torch.triu_indices(len(order), len(order), 1, device=logits.device)
    return float(probabilities[earlier, later].mean())


def ask(model, task: ComicSeqTask, batch: dict[str, Any]) -> torch.Tensor:
    """The scores of a batch of one task, by its own class or by the pretraining model."""
    if type(model).__name__ == "ComicSeqForPreTraining":
        return model(**{task.name: batch}).task_logits[task.name]
    return model(**batch).logits


def pad(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows `(L, W)` of several lengths as one tensor `(B, L, W)`, and its mask `(B, L)`."""
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]


def told_apart(inputs: Any, names: list[str], width: int) -> Any:
    """
    One input as it is; many as a list, a dataset of PyTorch or a generator, by which `Pipeline` knows them.

    Args:
        inputs: What the pipeline was called with.
        names: The inputs of its task, which are read from the rows of a data set.
        width: Numbers of a panel's vector.
    """
    if hasattr(inputs, "select_columns"):  # a data set of the library datasets, in memory or streamed
        if isinstance(inputs, Mapping):
            splits = ", ".join(inputs)
            raise ValueError(f"`inputs` is a data set of several splits ({splits}): give one, as in dataset['test'].")
        present = [name for name in inputs.column_names or () if name in names]
        rows = inputs.select_columns(present) if present else inputs
        kind = PipelineIterator if isinstance(inputs, IterableDataset) else PipelineDataset
        return kind(rows, only, {"names": names})
    if isinstance(inputs, (Mapping, str, bytes, Dataset)) or not isinstance(inputs, Iterable):
        return inputs
    if hasattr(inputs, "__array__"):
        inputs = inputs if isinstance(inputs, (np.ndarray, torch.Tensor)) else np.asarray(inputs)
        is_rows = inputs.ndim == 2 and inputs.shape[1] > width and inputs.shape[1] % width == 0
        is_ragged = inputs.ndim == 1 and inputs.dtype == object
        return list(inputs) if inputs.ndim == 3 or is_rows or is_ragged else inputs
    if not isinstance(inputs, (list, tuple)):
        return list(inputs) if isinstance(inputs, Sequence) else (each for each in inputs)
    if len(inputs) and all(isinstance(each, Number) for each in inputs):
        return {"panel_embeddings": inputs}  # a flat page
    if len(inputs) and all(is_vector(each) and len(each) == width for each in inputs):
        raise ValueError(
            f"`inputs` is a list of {len(inputs)} vectors of {width} numbers, which is one page, or one panel of each of"
            f' {len(inputs)} pages: give one page as an array or as {{"panel_embeddings": page}}, and several as a column of'
            " a data set or as a list of arrays (panels, width)."
        )
    return list(inputs)


def looks_like_page(inputs: Any) -> bool:
    """Whether this is a picture, the path of one, or a question with one."""
    if isinstance(inputs, Mapping):
        return "image" in inputs or "candidates" in inputs and "candidate_embeddings" not in inputs
    return isinstance(inputs, (str, PathLike)) or hasattr(inputs, "getexif")


def column_names(inputs: Any) -> list[str]:
    """The columns of a data set of the library datasets, or the keys of a dictionary; else none."""
    if hasattr(inputs, "select_columns"):
        return list(inputs.column_names or ())
    return list(inputs) if isinstance(inputs, Mapping) else []


def only(row: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """What `row` holds of `names`."""
    return {name: row[name] for name in names if name in row}


def is_vector(value: Any) -> bool:
    """Whether this is an array or a tensor with one axis, or a list of numbers."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim == 1
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], Number)


def take_vectors(question: dict, name: str, width: int) -> torch.Tensor:
    """Takes a field out of a question, as float32 vectors `(rows, width)`. A flat list is cut into vectors."""
    value = question.pop(name, None)
    if value is None:
        raise ValueError(f"`{name}` is missing.")
    try:
        if isinstance(value, (list, tuple)):
            value = [as_array(each) if isinstance(each, torch.Tensor) else each for each in value]
        array = as_array(value) if isinstance(value, torch.Tensor) else np.ma.filled(value, np.nan)
    except (ValueError, TypeError, RuntimeError):  # lists of several lengths, tensors without values of their own
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"`{name}` must be numbers, as lists of {width} each, an array or a tensor.")
    if array.ndim == 1 and array.size % width == 0:
        array = array.reshape(-1, width)
    if not array.size:
        raise ValueError(f"`{name}` has the shape {array.shape}: at least one vector of {width} numbers is needed.")
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"`{name}` has the shape {array.shape} but (any, {width}) is expected.")
    with np.errstate(over="ignore"):
        array = np.array(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` holds NaN, infinity or a number outside float32.")
    return torch.from_numpy(array)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


def take_number(question: dict, name: str, first: int, end: int, limit: str) -> torch.Tensor:
    """Takes a whole number from `first` to below `end` out of a question."""
    value = question.pop(name, None)
    try:
        number = first - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = first - 1
    if not first <= number < end:
        raise ValueError(f"`{name}` must be a whole number from {first} to below {end}, {limit}.")
    return torch.tensor(number)


# The pipeline for each kind of answer.
PIPELINES: dict[str, type[ComicSeqPipeline]] = {
    "vectors": ComicStripEmbeddingPipeline,
    "choice": ComicMultipleChoicePipeline,
    "each": ComicMultipleChoicePipeline,
    "order": ComicReadingOrderPipeline,
}


# Classes of models that have a sequence model in them, which `pipeline` tries first. `modeling_comicpage.py` adds its own.
PAGE_MODELS: list[type] = []


def served_tasks() -> dict[str, ComicSeqTask]:
    """All tasks by the name of their pipeline."""
    return {task.pipeline: task for task in (STRIP_EMBEDDING, *TASKS.values())}


def register_pipeline(task: ComicSeqTask, model_class: type) -> None:
    """Makes `pipeline(task.pipeline, model=...)` known to transformers."""
    PIPELINE_REGISTRY.supported_tasks.pop(task.pipeline, None)  # else transformers warns that it is there already
    classes = (*PAGE_MODELS, model_class)
    PIPELINE_REGISTRY.register_pipeline(task.pipeline, PIPELINES[task.answer], pt_model=classes)


def custom_pipelines(saved: str) -> dict[str, dict[str, Any]]:
    """What a checkpoint of the class `saved` says in its configuration about the tasks that it can serve."""
    tasks = {}
    for name, task in served_tasks().items():
        if task == STRIP_EMBEDDING and saved in (task.model_class, "ComicSeqForPreTraining"):
            auto = "AutoModel"
        elif saved == "ComicSeqForPreTraining" or (saved == task.model_class and task.answer == "order"):
            auto = "AutoModelForPreTraining"  # no Auto class of its own fits the scores of reading order
        elif saved == task.model_class:
            auto = "AutoModelForMultipleChoice"
        else:
            continue
        tasks[name] = {"impl": f"pipeline_comicseq.{PIPELINES[task.answer].__name__}", "pt": [auto]}
    return tasks
