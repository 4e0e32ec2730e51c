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
class ComicSeqTask:
    """
    A task, as far as a checkpoint knows it. How its questions are drawn and judged is said in `modeling_comicseq.tasks`.

    Attributes:
        name: Key of `task_weights`, argument of `ComicSeqForPreTraining`, and prefix of the head's attribute.
        title: What people call it.
        question: The question it asks, in a sentence.
        model_class: Name of the class that answers it.
        sampling_weight: How often it is drawn in pretraining, relative to the other tasks that a page can serve.
    """

    name: str
    title: str
    question: str
    model_class: str
    sampling_weight: float = 1.0

    @property
    def head(self) -> str:
        """Attribute under which models keep its head."""
        return f"{self.name}_head"

    @property
    def pipeline(self) -> str:
        """Name of its `transformers.pipeline`."""
        return f"comic-{self.name.replace('_', '-')}"


PANEL_PICKING = ComicSeqTask(
    "panel_picking", "panel picking", "Which panel was taken out of the page?", "ComicSeqForPanelPicking", 1.0
)
CHARACTER_COHERENCE = ComicSeqTask(
    "character_coherence",
    "character coherence",
    "Does the panel show the characters of the page?",
    "ComicSeqForCharacterCoherence",
    0.5,
)
VISUAL_CLOSURE = ComicSeqTask(
    "visual_closure", "visual closure", "Which picture comes next?", "ComicSeqForVisualClosure", 0.8
)
TEXT_CLOSURE = ComicSeqTask("text_closure", "text closure", "Which text comes next?", "ComicSeqForTextClosure", 0.8)
CAPTION_RELEVANCE = ComicSeqTask(
    "caption_relevance",
    "caption relevance",
    "Which panel does the caption belong to?",
    "ComicSeqForCaptionRelevance",
    0.5,
)
TEXT_CLOZE = ComicSeqTask(
    "text_cloze", "text-cloze", "Which text belongs into the panel?", "ComicSeqForTextCloze", 1.0
)
READING_ORDER = ComicSeqTask(
    "reading_order", "reading order", "In which order are the panels read?", "ComicSeqForReadingOrder", 0.7
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


__all__ = [
    "CAPTION_RELEVANCE",
    "CHARACTER_COHERENCE",
    "PANEL_PICKING",
    "READING_ORDER",
    "TASKS",
    "TEXT_CLOSURE",
    "TEXT_CLOZE",
    "VISUAL_CLOSURE",
    "ComicSeqTask",
]
