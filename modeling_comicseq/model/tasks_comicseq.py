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

"""The tasks of ComicSeq: what a checkpoint has to know of each. Importing it takes no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComicSeqInput:
    """
    One input of a question, as pipelines and endpoints take it: without a batch axis.

    Attributes:
        name: Argument of the task's class.
        kind: `"panels"` or `"candidates"`, vectors `(N, W)`, one for each; `"vector"`, a single one `(W,)`; `"slot"`, the
            number of one of the panels; `"position"`, a place on the page, -1 for none; `"boxes"`, where each panel
            stands `(N, 4)`; `"direction"`, in which pages are read, which pipelines mirror boxes by.
        modality: Whose width W the vectors have: `"panel"`, `"text"`, `"visual"` or `"caption"`.
        is_optional: Whether it may be left out.
    """

    name: str
    kind: str
    modality: str = "panel"
    is_optional: bool = False

    @property
    def num_axes(self) -> int:
        """Number of axes in a batch."""
        return {"panels": 3, "candidates": 3, "boxes": 3, "vector": 2}.get(self.kind, 1)


PANELS = ComicSeqInput("panel_embeddings", "panels")
CANDIDATES = ComicSeqInput("candidate_embeddings", "candidates")
ASKED_SLOT = ComicSeqInput("mask_position", "slot")
BOXES = ComicSeqInput("panel_boxes", "boxes", is_optional=True)
READING_DIRECTION = ComicSeqInput("reading_direction", "direction", is_optional=True)


@dataclass(frozen=True)
class ComicSeqTask:
    """
    A task, as far as a checkpoint knows it. How its questions are drawn and judged is said in `modeling_comicseq.tasks`.

    Attributes:
        name: Key of `task_weights`, argument of `ComicSeqForPreTraining`, and prefix of the head's attribute.
        title: What people call it.
        question: The question it asks, in a sentence.
        model_class: Name of the class that answers it.
        sampling_weight: How often it is drawn in pretraining, relative to the other tasks that a page can serve.
        inputs: What a question holds, in the order in which it is checked.
        modality: Of which other vectors panels and candidates may be, all of them: `"visual"` or `"text"`.
        answer: How its scores are read: `"choice"`, one candidate is right; `"each"`, every candidate is judged alone;
            `"order"`, which panel follows which; `"vectors"`, there are no scores.
    """

    name: str
    title: str
    question: str
    model_class: str
    sampling_weight: float = 1.0
    inputs: tuple[ComicSeqInput, ...] = (PANELS, CANDIDATES)
    modality: str | None = None
    answer: str = "choice"

    @property
    def head(self) -> str:
        """Attribute under which models keep its head."""
        return f"{self.name}_head"

    @property
    def pipeline(self) -> str:
        """Name of its `transformers.pipeline`."""
        return f"comic-{self.name.replace('_', '-')}"


PANEL_PICKING = ComicSeqTask(
    name="panel_picking",
    title="panel picking",
    question="Which panel was taken out of the page?",
    model_class="ComicSeqForPanelPicking",
    inputs=(PANELS, ASKED_SLOT, CANDIDATES, BOXES),
)
CHARACTER_COHERENCE = ComicSeqTask(
    name="character_coherence",
    title="character coherence",
    question="Does the panel show the characters of the page?",
    model_class="ComicSeqForCharacterCoherence",
    sampling_weight=0.5,
    inputs=(PANELS, CANDIDATES, ComicSeqInput("candidate_position", "position", is_optional=True), BOXES),
    answer="each",
)
VISUAL_CLOSURE = ComicSeqTask(
    name="visual_closure",
    title="visual closure",
    question="Which picture comes next?",
    model_class="ComicSeqForVisualClosure",
    sampling_weight=0.8,
    inputs=(PANELS, CANDIDATES, BOXES),
    modality="visual",
)
TEXT_CLOSURE = ComicSeqTask(
    name="text_closure",
    title="text closure",
    question="Which text comes next?",
    model_class="ComicSeqForTextClosure",
    sampling_weight=0.8,
    inputs=(PANELS, CANDIDATES, BOXES),
    modality="text",
)
CAPTION_RELEVANCE = ComicSeqTask(
    name="caption_relevance",
    title="caption relevance",
    question="Which panel does the caption belong to?",
    model_class="ComicSeqForCaptionRelevance",
    sampling_weight=0.5,
    inputs=(ComicSeqInput("caption_embeddings", "vector", "caption"), CANDIDATES),
)
TEXT_CLOZE = ComicSeqTask(
    name="text_cloze",
    title="text-cloze",
    question="Which text belongs into the panel?",
    model_class="ComicSeqForTextCloze",
    inputs=(
        PANELS,
        ASKED_SLOT,
        ComicSeqInput("text_embeddings", "panels", "text"),
        ComicSeqInput("candidate_text_embeddings", "candidates", "text"),
        ComicSeqInput("visual_embedding", "vector", "visual", is_optional=True),
        BOXES,
    ),
)
READING_ORDER = ComicSeqTask(
    name="reading_order",
    title="reading order",
    question="In which order are the panels read?",
    model_class="ComicSeqForReadingOrder",
    sampling_weight=0.7,
    inputs=(PANELS, BOXES),
    answer="order",
)
# What every checkpoint serves. It has no head, and nothing is drawn for it.
STRIP_EMBEDDING = ComicSeqTask(
    name="strip_embedding",
    title="strip embedding",
    question="Which vector stands for the page?",
    model_class="ComicSeqModel",
    inputs=(PANELS, BOXES),
    answer="vectors",
)

# All tasks by name, in the order in which they are drawn and reported. `register_task` adds to it.
TASKS: dict[str, ComicSeqTask] = {
    task.name: task
    for task in (
        PANEL_PICKING,
        CHARACTER_COHERENCE,
        VISUAL_CLOSURE,
        TEXT_CLOSURE,
        CAPTION_RELEVANCE,
        TEXT_CLOZE,
        READING_ORDER,
    )
}
