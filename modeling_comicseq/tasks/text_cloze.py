"""Text-cloze (Iyyer et al., 2017; arXiv:2403.03719): which text belongs into the panel?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.panels import PanelSubset, PanelTable
from ..data.views import Batch, Vectors, box_inputs, page_panels
from ..model.tasks_comicseq import TEXT_CLOZE
from .multiple_choice import MultipleChoiceTask


class TextCloze(MultipleChoiceTask):
    """The text of a uniformly drawn panel is taken out; its picture stays where there are picture-only vectors."""

    spec = TEXT_CLOZE
    shown = "page"
    columns = ("text_embeddings",)

    def askable(self, table: PanelTable) -> PanelSubset | None:
        return table.with_text

    def distractor_limits(self, table: PanelTable) -> dict[str, Any]:
        return {"among": table.with_text}  # an empty text among the candidates would give itself away

    def distinct_in(self, table: PanelTable) -> tuple[str, ...]:
        return ("text_embeddings",)

    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        panels, mask = page_panels(table, rows, without=slots)
        batch: Batch = {
            "panel_embeddings": Vectors("panel_embeddings", panels),
            "attention_mask": mask.astype(np.int64),
            "mask_position": slots,
            "text_embeddings": Vectors("text_embeddings", panels),
            "candidate_text_embeddings": Vectors("text_embeddings", candidates),
            **box_inputs(table, page_panels(table, rows)[0]),
        }
        if "visual_embeddings" in table:
            batch["visual_embedding"] = Vectors("visual_embeddings", table.panel(rows, slots))
        return batch
