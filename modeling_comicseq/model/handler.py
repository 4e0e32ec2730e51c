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
"""Answers the requests of a Hugging Face endpoint: JSON in, JSON out, for the tasks of `pipeline_comicseq.py`"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from transformers.dynamic_module_utils import get_class_from_dynamic_module

MAX_INPUTS = 64
MAX_PAGES_AT_ONCE = 8  # of which the pictures are held in memory
MAX_CANDIDATES = 128
DEFAULT_TASK = "comic-strip-embedding"
MAX_MESSAGE = 1000  # characters
MAX_NUMBER = float(np.finfo(np.float32).max)
PARAMETERS = {"task": str, "modality": str, "return_panels": bool}

logger = logging.getLogger(__name__)


class EndpointHandler:
    """
    Serves the checkpoint in a folder.

    A request is `{"inputs": ..., "parameters": {"task": ...}}`. `inputs` is one input of the task's pipeline, or a list of
    up to 64: a page as a list of vectors, or a dictionary of what the pipeline takes, as lists of vectors (and of boxes),
    whole numbers and the word for a reading direction. A page model also takes pages: an object as its pipeline takes
    it, every picture as the base64 of a file, with or without a `data:` prefix, or one such picture alone.
    `parameters` may be left out, and so may the task, which then is `"comic-strip-embedding"`, or the only one of a
    checkpoint of one task; `modality` (closure) and `return_panels` (strip embedding) are those of the pipelines. The
    answer is a dictionary, or a list of them for a list of inputs: `strip_embedding` (and `contextualized_panels`);
    `index`, `score` and `scores`; `order` and `score`. A request that cannot be answered gets `{"error": message,
    "status": 400}`, or 500 where the request is not to blame.

    The file stands alone: the endpoint imports it from the checkpoint's folder, and the folder's code is loaded as
    `trust_remote_code=True` does.

    Args:
        path: The checkpoint's folder; by default the one that this file is in.
    """

    def __init__(self, path: str = ""):
        folder = str(Path(path) if path else Path(__file__).resolve().parent)
        saved = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        has_pages = "sequence_config" in saved
        name = f"{'modeling_comicpage' if has_pages else 'modeling_comicseq'}.{saved['architectures'][0]}"
        model_class: Any = get_class_from_dynamic_module(name, folder)
        model = model_class.from_pretrained(folder)
        self.pipelines: dict[str, Any] = {}
        for task, served in saved["custom_pipelines"].items():
            pipeline_class = get_class_from_dynamic_module(served["impl"], folder)
            self.pipelines[task] = pipeline_class(model=model, task=task)
        self.page_request: Any = None
        if has_pages:
            self.page_request = get_class_from_dynamic_module("requests_comicpage.PageRequest", folder)
        config = model.config.sequence_config if has_pages else model.config
        self.most = {"panels": config.max_position_embeddings, "candidates": MAX_CANDIDATES, "vector": 1}
        self.most["boxes"] = self.most["panels"]
        dims = ("panel_embedding_dim", "text_embedding_dim", "visual_embedding_dim", "caption_embedding_dim")
        self.max_width = max(4, *(getattr(config, name) for name in dims))

    def __call__(self, data: Any) -> Any:
        """Answers one request, or says in one sentence why not; never raises."""
        try:
            return self.answer(data)
        except ValueError as error:
            return {"error": " ".join(str(error).split())[:MAX_MESSAGE], "status": 400}
        except Exception:
            logger.exception("A request failed.")
            return {"error": "The request could not be answered.", "status": 500}

    def answer(self, data: Any) -> Any:
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('A request must be an object with the field "inputs".')
        parameters = self.check_parameters(data.get("parameters"))
        default = DEFAULT_TASK if DEFAULT_TASK in self.pipelines else next(iter(self.pipelines))
        task = parameters.pop("task", default)
        if task not in self.pipelines:
            raise ValueError(f"`task` is {shown(task)} but must be one of {', '.join(self.pipelines)}.")
        inputs = data["inputs"]
        is_one = isinstance(inputs, dict) or is_page(inputs) or (self.page_request and isinstance(inputs, str))
        if is_one:
            inputs = [inputs]
        if not isinstance(inputs, list) or not 1 <= len(inputs) <= MAX_INPUTS:
            raise ValueError(f'"inputs" must be an object, a page, or a list of 1 to {MAX_INPUTS} of them.')
        questions = []
        pages = self.page_request and self.page_request(self.check_vectors, self.most["panels"])
        for number, each in enumerate(inputs):
            try:
                questions.append(self.check_input(each, task, pages))
            except ValueError as error:
                raise error if is_one else ValueError(f"Input {number}: {error}") from None
        if is_one:
            return to_json(self.pipelines[task](questions[0], **parameters))
        batch_size = min(len(questions), MAX_PAGES_AT_ONCE) if pages else len(questions)
        return [to_json(each) for each in self.pipelines[task](questions, batch_size=batch_size, **parameters)]

    def check_parameters(self, parameters: Any) -> dict[str, Any]:
        if parameters is None:
            return {}
        if not isinstance(parameters, dict):
            raise ValueError('"parameters" must be an object.')
        for name, value in parameters.items():
            if name not in PARAMETERS:
                raise ValueError(f"There is no parameter {shown(name)}, only {', '.join(PARAMETERS)}.")
            if not isinstance(value, PARAMETERS[name]):
                raise ValueError(f"`{name}` must be of type {PARAMETERS[name].__name__}.")
        return dict(parameters)

    def check_input(self, value: Any, task: str, pages: Any) -> dict[str, Any]:
        """
        One input of the task's pipeline, its vectors as arrays and its pictures as files; whether its whole numbers are
        any, the pipeline checks.
        """
        fields = self.pipelines[task].fields
        kinds = {field.name: field.kind for field in fields}
        if pages is not None:
            question = {"image": value} if isinstance(value, str) else value
            reader = self.pipelines[task].reader
            if isinstance(question, dict) and reader.is_page(question, fields):
                allowed = dict.fromkeys([*reader.names(fields), *kinds])
                for name in question:
                    if name not in allowed:
                        raise ValueError(f"There is no input {shown(name)} of {task}, only {', '.join(allowed)}.")
                    if name in kinds and name not in reader.names(fields):
                        raise ValueError(f"`{name}` is a vector's name: ask with vectors, or with pictures and texts.")
                return pages.take(question)
        checked: dict[str, Any] = {}
        for name, field in (value if isinstance(value, dict) else {"panel_embeddings": value}).items():
            if name not in kinds:
                raise ValueError(f"There is no input {shown(name)} of {task}, only {', '.join(kinds)}.")
            kind = kinds[name]
            rows = [field] if kind == "vector" else field
            checked[name] = self.check_vectors(name, rows, self.most[kind]) if kind in self.most else field
        return checked

    def check_vectors(self, name: str, value: Any, most: int) -> np.ndarray:
        """JSON numbers as an array `(rows, width)`; anything else, and what is too large, raises a `ValueError`."""
        if not isinstance(value, list) or not value:
            raise ValueError(f"`{name}` must be a list of vectors.")
        if len(value) > most:
            raise ValueError(f"`{name}` has {len(value)} vectors but at most {most} are allowed.")
        for row in value:
            if not isinstance(row, list) or not row or len(row) != len(value[0]):
                raise ValueError(f"`{name}` must hold vectors of one length, as lists of numbers.")
            if len(row) > self.max_width:
                raise ValueError(
                    f"`{name}` has vectors of {len(row)} numbers but at most {self.max_width} are allowed."
                )
            if not all(type(number) is float or type(number) is int for number in row):
                raise ValueError(f"`{name}` must hold numbers only.")
            if not all(abs(number) <= MAX_NUMBER for number in row):
                raise ValueError(f"`{name}` holds NaN, infinity or a number outside float32.")
        return np.array(value, dtype=np.float32)


def is_page(value: Any) -> bool:
    """Whether this is a list of lists of numbers."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, list) and bool(first) and not isinstance(first[0], (list, dict))


def shown(name: Any) -> str:
    """A name from a request as it can be printed anywhere: short, and in ASCII."""
    return ascii(name[:40]) if isinstance(name, str) else f"of type {type(name).__name__}"


def to_json(answer: dict[str, Any] | np.ndarray) -> dict[str, Any]:
    """A pipeline's answer with lists for arrays; a vector alone is a strip's."""
    fields = answer if isinstance(answer, dict) else {"strip_embedding": answer}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}


__all__ = ["EndpointHandler"]
