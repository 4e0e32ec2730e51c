"""Character coherence (ComicsPAP): does a panel show the characters of the page?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.draws import Draws
from ..data.panels import PanelTable
from ..data.views import Batch, Vectors, box_inputs, page_panels
from ..errors import ComicSeqArgumentError
from ..model.tasks_comicseq import CHARACTER_COHERENCE
from .multiple_choice import MultipleChoiceTask


class CharacterCoherence(MultipleChoiceTask):
    """A held-out panel of the page against panels of other pages, each judged by itself, in its place.

    In data that tell the characters, the held-out panel shares one with the rest of the page, and the others show none of
    the page's. Without, that a panel is of the page stands for it.
    """

    spec = CHARACTER_COHERENCE
    shown = "page"

    def servable(self, table: PanelTable, rows: np.ndarray) -> np.ndarray:
        if table.characters is None:
            return super().servable(table, rows)
        return table.characters.counts[rows] > 0

    def missing(self, table: PanelTable) -> str:
        if table.characters is None:
            return super().missing(table)
        return "its `character_ids` name no character twice on a page"

    def check_protocol(self, table: PanelTable, protocol: str) -> None:
        super().check_protocol(table, protocol)
        if protocol == "in_page" and table.characters is not None:
            raise ComicSeqArgumentError(
                f"The protocol in_page makes no sense for the task {self.name} in data with `character_ids`: a wrong"
                " candidate shows none of the page's characters. Choose another protocol for it."
            )

    def distractor_limits(self, table: PanelTable) -> dict[str, Any]:
        return {"without_characters": table.characters is not None}

    def draw_slots(self, table: PanelTable, rows: np.ndarray, draws: Draws) -> np.ndarray:
        if table.characters is None:
            return super().draw_slots(table, rows, draws)
        return table.characters.slots(rows, draws.uniform("asked"))

    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        panels, _ = page_panels(table, rows, without=slots)
        return {
            "panel_embeddings": Vectors("panel_embeddings", panels),
            "attention_mask": (panels >= 0).astype(np.int64),
            "candidate_position": slots,
            "candidate_embeddings": Vectors("panel_embeddings", candidates),
            **box_inputs(table, panels),
        }

    def labels(self, candidates: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.where(candidates >= 0, np.arange(candidates.shape[1]) == answers[:, None], -100)
