"""Caption relevance (ComicsPAP): which panel does a caption belong to?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..data.panels import PanelSubset, PanelTable
from ..data.views import Batch, Vectors
from ..evaluation.ablations import without_context
from ..evaluation.baselines import context_mean_cosine, farthest_from_context
from ..model.tasks_comicseq import CAPTION_RELEVANCE
from .multiple_choice import MultipleChoiceTask


class CaptionRelevance(MultipleChoiceTask):
    """The caption of a uniformly drawn panel, which is all the context; the panel is asked for."""

    spec = CAPTION_RELEVANCE
    columns = ("caption_embeddings",)
    least_panels = 1
    shown = "nothing"
    ablations = {"caption removed": without_context}

    def askable(self, table: PanelTable) -> PanelSubset | None:
        return table.with_caption

    def distinct_in(self, table: PanelTable) -> tuple[str, ...]:
        return "panel_embeddings", "caption_embeddings"  # a caption that two panels have belongs to both

    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        return {
            "caption_embeddings": Vectors("caption_embeddings", table.panel(rows, slots)),
            "candidate_embeddings": Vectors("panel_embeddings", candidates),
        }

    def scorers(self, table: PanelTable, note: Callable[[str], None]) -> Mapping[str, Callable[[Batch], np.ndarray]]:
        caption, panel = table.widths["caption_embeddings"], table.widths["panel_embeddings"]
        if caption != panel:
            note(f"No cosine for {self.name}: captions are {caption} wide and panels {panel}.")
            return {}
        # The caption is a context of one: its last panel is its mean.
        return {"caption cosine": context_mean_cosine, "farthest from the caption": farthest_from_context}
