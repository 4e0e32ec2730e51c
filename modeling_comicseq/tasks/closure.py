"""Visual and text closure (ComicsPAP): which picture, or which text, comes next?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.panels import PanelSubset, PanelTable
from ..data.views import Batch, Vectors, box_inputs, page_panels
from ..model.tasks_comicseq import TEXT_CLOSURE, VISUAL_CLOSURE
from .multiple_choice import MultipleChoiceTask


class VisualClosure(MultipleChoiceTask):
    """The panels before a uniformly drawn gap; the picture behind it is asked for.

    Attributes:
        modality: What is asked for, where the data set has such vectors; else the fused panel is.
    """

    spec = VISUAL_CLOSURE
    protocols = (*MultipleChoiceTask.protocols, "later_panels")
    first_slot = 1
    shown = "before"
    modality = "visual"

    def distinct_in(self, table: PanelTable) -> tuple[str, ...]:
        return (f"{self.shown_by(table)}_embeddings",)

    def shown_by(self, table: PanelTable) -> str:
        """The modality of panels and candidates."""
        return self.modality if f"{self.modality}_embeddings" in table else "panel"

    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        panels, mask = page_panels(table, rows, end=slots)
        modality = self.shown_by(table)
        return {
            "panel_embeddings": Vectors(f"{modality}_embeddings", panels),
            "attention_mask": mask.astype(np.int64),
            "candidate_embeddings": Vectors(f"{modality}_embeddings", candidates),
            "modality": modality,
            **box_inputs(table, panels),
        }


class TextClosure(VisualClosure):
    """The panels before a uniformly drawn gap; the text behind it is asked for."""

    spec = TEXT_CLOSURE
    modality = "text"

    def askable(self, table: PanelTable) -> PanelSubset | None:
        return table.with_text if "text_embeddings" in table else None

    def distractor_limits(self, table: PanelTable) -> dict[str, Any]:
        return {"among": self.askable(table)}  # an empty text among the candidates would give itself away
