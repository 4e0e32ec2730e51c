"""Panel picking (ComicsPAP's sequence filling): a panel was taken out of the page; which one is it?"""

from __future__ import annotations

import numpy as np

from ..data.panels import PanelTable
from ..data.views import Batch, Vectors, box_inputs, page_panels
from ..model.tasks_comicseq import PANEL_PICKING
from .multiple_choice import MultipleChoiceTask


class PanelPicking(MultipleChoiceTask):
    """A uniformly drawn panel is taken out of the page."""

    spec = PANEL_PICKING
    shown = "page"

    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        panels, mask = page_panels(table, rows, without=slots)
        return {
            "panel_embeddings": Vectors("panel_embeddings", panels),
            "attention_mask": mask.astype(np.int64),
            "mask_position": slots,
            "candidate_embeddings": Vectors("panel_embeddings", candidates),
            **box_inputs(table, page_panels(table, rows)[0]),
        }
