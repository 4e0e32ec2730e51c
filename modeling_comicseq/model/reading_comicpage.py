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
"""Questions about pages become questions about vectors: pictures and texts are taken in, and panels are encoded"""

import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.utils import PROCESSOR_NAME, cached_file

from .boxes_comicseq import READING_DIRECTIONS, check_boxes
from .checks_comicseq import check_names
from .gutters_comicpage import gutter_panels
from .pictures_comicpage import PictureProblem, crop, load_picture
from .pipeline_comicseq import take_vectors
from .processing_comicpanel import ComicPanelProcessor
from .reader_comicpage import READING_TASKS, texts_of
from .rules_comicpage import xy_cut_order
from .tasks_comicseq import ComicSeqInput

PAGE = ("image", "boxes", "texts", "reading_direction")
# Panels that are encoded at a time: what they take is bounded, however many a batch of questions has.
CHUNK = 32


@dataclass
class Panel:
    """
    A panel, or a candidate for one, that is yet to be encoded.

    Attributes:
        pixels: Its picture as the panel encoder reads it `(3, H, W)`; None without one, or where the encoder reads none.
        text: Its words; for a caption, those of the caption.
    """

    pixels: torch.Tensor | None = None
    text: str = ""

    @cached_property
    def picture(self) -> bytes | None:
        """What tells its picture from others; None without one."""
        if self.pixels is None:
            return None
        return hashlib.blake2b(self.pixels.numpy().tobytes(), digest_size=16).digest()

    def has(self, modality: str) -> bool:
        """Whether it has what vectors of a modality are made of."""
        is_known = {"visual": self.pixels is not None, "text": bool(self.text.strip())}
        return (
            is_known["text" if modality == "caption" else modality] if modality != "panel" else any(is_known.values())
        )


@dataclass
class PageQuestion:
    """
    A question about a page, of which nothing is encoded yet.

    Attributes:
        question: The question about vectors that it becomes, with zeros in place of vectors.
        wanted: For each of its fields of vectors, their modality and the panels; None for one that must not be read.
        found_boxes: Boxes of the panels `(N, 4)` where they were found in the picture, in the order of the question.
    """

    question: dict[str, Any]
    wanted: dict[str, tuple[str, Sequence[Panel | None]]] = field(default_factory=dict)
    found_boxes: np.ndarray | None = None


class PageReader:
    """
    Reads pages for pipelines with the panel encoder of a page model.

    A question is a picture (a PIL image, or the path of a file), or a dictionary of the page and what the task asks for:

    - `image`, the page; `boxes` `(N, 4)`, `x0 y0 x1 y1` of its panels in reading order as shares of the page, four zeros
      where one is not known; `texts`, those of each panel, a string or a list of them; `reading_direction`, `"ltr"` or
      `"rtl"`. A picture without boxes is cut into panels along its gutters, and these are put in order by X-Y cuts.
      Without a picture, `texts` alone are a page;
    - `candidates`, each a PIL image or a dictionary with `image`, `text` or both; `candidate_texts`, strings; `caption`, a
      string; `mask_position` and `candidate_position` as for vectors.

    The panel at `mask_position` is not encoded, but where a task shows its picture alone.

    Args:
        model: The page model.
        processor: Its processor; by default that in the folder, or of the name, that the model was loaded from.
    """

    def __init__(self, model, processor: ComicPanelProcessor | None = None):
        self.model = model
        self._processor = processor

    @property
    def processor(self) -> ComicPanelProcessor:
        """Loaded when the first page is read: who asks with vectors needs none."""
        if self._processor is None:
            name = self.model.name_or_path
            quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
            if not name or cached_file(name, PROCESSOR_NAME, **quiet) is None:  # without, all would be by default
                raise ValueError(
                    f"The processor, which prepares pictures and texts, is not in {name or 'the model'}: save it into the"
                    " checkpoint with its `save_pretrained`, or give it to the pipeline as `processor`."
                )
            # In a checkpoint's own code, that the checkpoint has code was agreed to already.
            has_own_code = not self.model.config.is_installed
            self._processor = ComicPanelProcessor.from_pretrained(name, trust_remote_code=has_own_code)
        return self._processor

    def names(self, fields: Iterable[ComicSeqInput]) -> dict[str, ComicSeqInput]:
        """What a question about pages may hold, by the field of the question about vectors that it becomes."""
        found: dict[str, ComicSeqInput] = {}
        for each in fields:
            if each.kind == "panels" and each.modality == "panel":
                found |= dict.fromkeys(PAGE, each)
            elif each.kind == "candidates":
                found["candidates" if each.modality in ("panel", "visual") else f"candidate_{each.modality}s"] = each
            elif each.kind == "vector" and each.modality in ("caption", "text"):
                found[each.modality] = each
            elif each.kind in ("slot", "position"):
                found[each.name] = each
        return found

    def is_page(self, inputs: Any, fields: Sequence[ComicSeqInput]) -> bool:
        """Whether a question is about pages, and not about vectors."""
        if not isinstance(inputs, Mapping):
            return isinstance(inputs, (str, Path, Image.Image))
        names, vectors = self.names(fields), {each.name for each in fields}
        is_about_pages = any(name in names and name not in vectors for name in inputs)
        return is_about_pages or not any(name in vectors and name not in names for name in inputs)

    def take(
        self, inputs: Any, fields: Sequence[ComicSeqInput], modality: str = "panel", takes_boxes_alone: bool = False
    ) -> PageQuestion:
        """
        Takes a question in: pictures are decoded, cut and brought to the encoder's size.

        Args:
            inputs: The question.
            fields: Inputs of the task.
            modality: Of which vectors panels and candidates are to be: `"panel"`, `"visual"` or `"text"`.
            takes_boxes_alone: Whether the task can be asked of boxes alone.

        Raises:
            ValueError: It is not complete, holds something else, or cannot be asked of the encoder.
        """
        asked = dict(inputs) if isinstance(inputs, Mapping) else {"image": inputs}
        names = self.names(fields)
        if vectors := [each.name for each in fields if each.name in asked and each.name not in names]:
            other = next(name for name in asked if name in names)
            raise ValueError(
                f"`{vectors[0]}` is given beside `{other}`: ask with vectors, or with pictures and texts."
            )
        check_names("A question about pages", map(str, asked), names)
        taken = PageQuestion({name: asked[name] for name in asked if names[name].kind in ("slot", "position")})
        slot = as_number(asked.get("mask_position"))
        panels: list[Panel] = []
        if any(name in PAGE for name in names):
            panels = self.take_page(asked, taken, fields, takes_boxes_alone)
        others: list[Panel | None] = [None if place == slot else panel for place, panel in enumerate(panels)]
        for each in fields:
            name, wanted = each.name, modality if each.modality == "panel" else each.modality
            if each.kind == "panels" and panels:
                if each.modality == "panel":
                    self.check_panels(others, wanted)
                self.want(taken, each, wanted, others)
            elif each.kind == "candidates":
                name = next(name for name, field in names.items() if field is each)
                self.want(taken, each, wanted, self.take_candidates(asked.get(name), name, wanted))
            elif (
                each.kind == "vector" and each.modality == "visual"
            ):  # the picture of the panel whose words are asked for
                if slot is not None and 0 <= slot < len(panels) and panels[slot].has("visual"):
                    self.want(taken, each, wanted, [Panel(panels[slot].pixels)])
            elif each.kind == "vector":
                words = asked.get(each.modality)
                if not isinstance(words, str) or not words.strip():
                    raise ValueError(f"`{each.modality}` must be words, as a string.")
                self.want(taken, each, wanted, [Panel(text=clean(words))])
        return taken

    def take_page(
        self, asked: dict[str, Any], taken: PageQuestion, fields: Sequence[ComicSeqInput], takes_boxes_alone: bool
    ) -> list[Panel]:
        """The panels of a page. Its boxes and direction go into the question where the task's fields have them."""
        image, texts, direction = asked.get("image"), asked.get("texts"), asked.get("reading_direction")
        if direction not in (None, *READING_DIRECTIONS):
            raise ValueError(f"`reading_direction` is {direction!r} but must be {' or '.join(READING_DIRECTIONS)}.")
        boxes = None if asked.get("boxes") is None else take_vectors({"boxes": asked["boxes"]}, "boxes", 4).numpy()
        if boxes is not None and (problem := check_boxes(boxes)):
            raise ValueError(
                f"`boxes`: {problem}: give x0 y0 x1 y1 as shares of the page, or four zeros where a box is not known."
            )
        if texts is not None:
            texts = [joined("texts", place, each) for place, each in enumerate(as_list("texts", texts))]
        if image is not None:
            try:
                image = load_picture(image)
            except PictureProblem as problem:
                raise ValueError(f"`image` {problem}.") from None
            if boxes is None:
                if texts is not None:
                    raise ValueError("`boxes` is missing: without it, nothing tells which `texts` are of which panel.")
                boxes = gutter_panels(image)
                boxes = taken.found_boxes = boxes[xy_cut_order(boxes, direction or "ltr")]
        elif texts is None and not (takes_boxes_alone and boxes is not None):
            raise ValueError("`image` is missing: give the page's picture, or the `texts` of its panels.")
        if boxes is not None and texts is not None and len(boxes) != len(texts):
            raise ValueError(f"`texts` has {len(texts)} panels but `boxes` has {len(boxes)}.")
        if boxes is not None and any(each.kind == "boxes" for each in fields):
            taken.question["panel_boxes"] = boxes
            if direction is not None:
                taken.question["reading_direction"] = direction
        count = len(boxes) if boxes is not None else len(texts or ())
        limit = self.model.config.sequence_config.max_position_embeddings
        if not 1 <= count <= limit:
            how = "was cut into" if taken.found_boxes is not None else "has"
            raise ValueError(
                f"The page {how} {count} panels but 1 to {limit} can be read (`max_position_embeddings`): give the `boxes` of"
                " some."
            )
        if image is None and texts is None:
            return []
        panels = [Panel(text=each) for each in texts or [""] * count]
        if image is not None and boxes is not None and self.reads_pictures:
            known = np.flatnonzero(boxes.any(-1))
            for place, pixels in zip(known, self.prepare([crop(image, boxes[place]) for place in known]), strict=True):
                panels[place].pixels = pixels
        return panels

    def check_panels(self, panels: Sequence[Panel | None], modality: str) -> None:
        """Raises a `ValueError` if the encoder reads nothing of one of the panels; words alone may be missing."""
        for place, panel in enumerate(panels):
            if modality != "text" and panel is not None and not self.reads(panel, modality):
                raise ValueError(
                    f"The encoder reads nothing of panel {place} of the page: give the picture and the panel's box"
                    + (", or its text." if self.reads_texts and modality == "panel" else ".")
                )

    def reads(self, panel: Panel, modality: str) -> bool:
        """Whether the encoder makes something else than zeros of a panel."""
        if modality == "panel":
            return any(self.reads(panel, half) for half in ("visual", "text"))
        return (self.reads_pictures if modality == "visual" else self.reads_texts) and panel.has(modality)

    def take_candidates(self, candidates: Any, name: str, modality: str) -> list[Panel]:
        """The candidates of a question, as panels."""
        if candidates is None:
            raise ValueError(f"`{name}` is missing.")
        candidates = as_list(name, candidates)
        if not candidates:
            raise ValueError(f"`{name}` is empty: at least one is needed.")
        if name != "candidates":
            return [Panel(text=joined(name, place, each)) for place, each in enumerate(candidates)]
        panels = []
        for place, each in enumerate(candidates):
            if isinstance(each, Image.Image):
                each = {"image": each}
            if not isinstance(each, Mapping):
                raise ValueError(
                    f"`{name}` {place} is of type {type(each).__name__} but must be a picture, or a dictionary with `image`,"
                    " `text` or both."
                )
            check_names(f"`{name}` {place}", map(str, each), ("image", "text"))
            panel = Panel(text=joined(name, place, each.get("text")))
            if each.get("image") is not None and self.reads_pictures:
                try:
                    (panel.pixels,) = self.prepare([load_picture(each["image"])])
                except PictureProblem as problem:
                    raise ValueError(f"The picture of `{name}` {place} {problem}.") from None
            if not self.reads(panel, modality):
                lacks = {"visual": "picture", "text": "text"}.get(modality, "picture or text")
                raise ValueError(f"`{name}` {place} has no {lacks} that the encoder reads: give one.")
            panels.append(panel)
        return panels

    def want(self, taken: PageQuestion, wanted: ComicSeqInput, modality: str, panels: Sequence[Panel | None]) -> None:
        """Notes that a field of the question is to hold the vectors of panels."""
        is_read = {"visual": self.reads_pictures, "text": self.reads_texts, "caption": self.reads_texts}
        if not is_read.get(modality, True):
            half = "vision" if modality == "visual" else "text"
            raise ValueError(
                f"The task asks for {modality} vectors but the panel encoder has no {half} model: take a page model with one."
            )
        width = getattr(self.model.config.sequence_config, f"{modality}_embedding_dim")
        zeros = np.broadcast_to(np.float32(0), (len(panels), width))
        taken.question[wanted.name] = zeros[0] if wanted.kind == "vector" else zeros
        taken.wanted[wanted.name] = modality, panels

    @property
    def reads_pictures(self) -> bool:
        return self.model.config.panel_config.vision_config is not None

    @property
    def reads_texts(self) -> bool:
        return self.model.config.panel_config.text_config is not None

    def prepare(self, pictures: list[Image.Image]) -> list[torch.Tensor]:
        """Pictures `(3, H, W)` as the panel encoder reads them."""
        return list(self.processor(images=pictures)["pixel_values"]) if pictures else []

    def encode(self, pages: Sequence[PageQuestion | None], task: str = "") -> list[dict[str, torch.Tensor]]:
        """
        The vectors that each of some questions of a task asks for, by its fields, and as `candidate_scores` what the model's
        text reader says. Every distinct picture and text of all of them is encoded once, some at a time.
        """
        wanted = [each for page in pages if page for each in page.wanted.values()]
        pixels = {
            panel.picture: panel.pixels
            for modality, row in wanted
            for panel in row
            if modality in ("panel", "visual") and panel is not None and panel.pixels is not None
        }
        texts = {
            panel.text: panel.text
            for modality, row in wanted
            for panel in row
            if modality != "visual" and self.reads_texts and panel is not None and panel.has("text")
        }
        pictures, words = self.in_chunks(pixels, self.encode_pictures), self.in_chunks(texts, self.encode_texts)
        vectors = {text: vector for text, (vector, _) in words.items()}
        reads_words = self.model.text_reader is not None and task in READING_TASKS
        found: list[dict[str, torch.Tensor]] = []
        for page in pages:
            found.append({})
            for name, each in (page.wanted if page else {}).items():
                rows = self.vectors(*each, pictures, vectors)
                found[-1][name] = rows[0] if page is not None and np.ndim(page.question[name]) == 1 else rows
            if page and reads_words:
                found[-1]["candidate_scores"] = self.read_candidates(task, page, words)
        return found

    def read_candidates(self, task: str, page: PageQuestion, words: dict[str, Any]) -> torch.Tensor:
        """The text reader's scores of the candidates of a question (K,)."""
        texts = list(words)
        number = {text: place for place, text in enumerate(texts, 1)}
        asked = {
            name: torch.tensor([[[number.get(panel.text, 0) if panel else 0] for panel in panels]])
            for name, (_, panels) in page.wanted.items()
        }
        slot = as_number(page.question.get("mask_position"))
        if slot is not None:
            asked["mask_position"] = torch.tensor([slot])
        device = self.model.device
        context, offsets, candidates = (each.to(device) for each in texts_of(task, asked))
        if not candidates.any():  # pictures alone
            return torch.zeros(candidates.shape[1], device=device)
        # The texts of this question alone: a row of others would be gathered in vain.
        rows, places = torch.cat((context, candidates), 1).unique(return_inverse=True)
        states = [words[texts[row - 1]][1] if row else words[texts[0]][1][:0] for row in rows.tolist()]
        padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        lengths = torch.tensor([len(each) for each in states], device=device)
        mask = torch.arange(padded.shape[1], device=device) < lengths[:, None]
        num_context = context.shape[1]
        scores = self.model.text_reader(padded, mask, places[:, :num_context], offsets, places[:, num_context:])
        return scores[0].float()

    def vectors(self, modality: str, panels: Sequence[Panel | None], pictures: dict, words: dict) -> torch.Tensor:
        """Vectors `(N, W)` of panels: zeros of what one has not, and of those that must not be read."""
        nothing = torch.zeros(self.model.config.panel_config.projection_dim, device=self.model.device)
        shown = [panel or Panel() for panel in panels]
        visual = torch.stack([pictures.get(panel.picture, nothing) for panel in shown])
        text = torch.stack([words.get(panel.text, nothing) for panel in shown])
        if modality != "panel":
            return visual if modality == "visual" else text
        halves = (visual if self.reads_pictures else None, text if self.reads_texts else None)
        read = self.model.panel_vectors(*halves)
        is_read = torch.tensor([panel is not None for panel in panels], device=read.device)
        return torch.where(is_read[:, None], read, 0.0)

    def in_chunks(self, contents: dict[Any, Any], encode: Any) -> dict[Any, Any]:
        """What becomes of distinct contents, by their keys."""
        keys, made = list(contents), []
        for start in range(0, len(keys), CHUNK):
            made += encode([contents[key] for key in keys[start : start + CHUNK]])
        return dict(zip(keys, made, strict=True))

    def encode_pictures(self, pixels: list[torch.Tensor]) -> list[torch.Tensor]:
        """The vectors of pictures."""
        return list(self.model.panel_encoder.get_image_features(torch.stack(pixels).to(self.model.device)).float())

    def encode_texts(self, texts: list[str]) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """The vectors of texts, each with the states of its tokens where the model reads them."""
        tokens = self.processor(text=texts).to(self.model.device)
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        if self.model.text_reader is None:
            return [(vector, None) for vector in self.model.panel_encoder.get_text_features(ids, mask).float()]
        vectors, states = self.model.read_words(ids, mask)
        return [(vector, each[own.bool()]) for vector, each, own in zip(vectors.float(), states, mask, strict=True)]


def as_number(value: Any) -> int | None:
    """A whole number, or None: what is wrong with it is said where it is checked."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def as_list(name: str, value: Any) -> list[Any]:
    """A list or a tuple as a list; anything else raises a `ValueError`."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"`{name}` is of type {type(value).__name__} but must be a list.")
    return list(value)


def joined(name: str, place: int, value: Any) -> str:
    """The words of a panel: a string, or several that are joined by blanks."""
    words = [value] if isinstance(value, str) or value is None else value
    if not isinstance(words, (list, tuple)) or not all(each is None or isinstance(each, str) for each in words):
        raise ValueError(f"`{name}` {place} must be a string, or a list of strings.")
    return " ".join(filter(None, (clean(each) for each in words if each is not None)))


def clean(words: str) -> str:
    """Words as data sets of pages and stores hold them: without outer blanks, and without halves of characters."""
    return words.encode(errors="replace").decode().strip()


__all__ = ["PageQuestion", "PageReader", "Panel"]
