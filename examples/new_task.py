"""A task from outside the package: which panel opens the page?

python examples/new_task.py FOLDER

trains a small model on it, evaluates the model and asks it through a pipeline. A checkpoint with such a task names it in
its `task_weights`; whoever loads it imports this module first, which registers the task.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from modeling_comicseq.cli.evaluate import run_evaluation
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.views import Batch, Vectors, page_panels
from modeling_comicseq.model.heads_comicseq import ComicSeqCharacterCoherenceHead
from modeling_comicseq.model.modeling_comicseq import ComicSeqTaskModel, ComicSeqTaskOutput
from modeling_comicseq.model.tasks_comicseq import ComicSeqTask
from modeling_comicseq.synthetic.world import synthesize
from modeling_comicseq.tasks import TASKS, MultipleChoiceTask, register_task
from modeling_comicseq.training.run import main as pretrain

OPENING = ComicSeqTask(
    name="opening_panel",
    title="opening panel",
    question="Which panel opens the page?",
    model_class="ComicSeqForOpeningPanel",
)


class ComicSeqForOpeningPanel(ComicSeqTaskModel):
    """The panels after the first one are given; which candidate stands before them?"""

    task = OPENING
    head_class = ComicSeqCharacterCoherenceHead  # likeness to the panels around a place, and to all of them

    @staticmethod
    def encoder_inputs(config: Any, question: dict[str, Any]) -> dict[str, Any]:
        panels, positions = question["panel_embeddings"], question["position_ids"]
        if positions is None:
            positions = torch.arange(1, panels.shape[1] + 1, device=panels.device).expand(panels.shape[:2])
        return question | {"position_ids": positions, "candidate_position": torch.zeros_like(positions[:, 0])}

    @staticmethod
    def score(embeddings, head, panels, candidates, question: dict[str, Any]) -> torch.Tensor:
        return head(panels, candidates, question["attention_mask"], question["position_ids"])

    def forward(
        self,
        panel_embeddings: torch.Tensor,
        candidate_embeddings: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        candidate_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ComicSeqTaskOutput:
        """Inputs are those of panel picking without the asked slot, which is always the first; `labels` is (B,)."""
        inputs = (panel_embeddings, candidate_embeddings, attention_mask, candidate_mask, position_ids)
        return self.answer(inputs, labels, **kwargs)


class OpeningPanel(MultipleChoiceTask):
    """The first panel of the page is asked for, among panels of other pages."""

    spec = OPENING
    protocols = ("same_book", "cross_book")

    def draw_slots(self, table: PanelTable, rows: np.ndarray, draws: Draws) -> np.ndarray:
        return np.zeros(len(rows), dtype=np.int64)

    def inputs(self, table: PanelTable, rows: np.ndarray, slots: np.ndarray, candidates: np.ndarray) -> Batch:
        panels = page_panels(table, rows)[0][:, 1:]
        return {
            "panel_embeddings": Vectors("panel_embeddings", panels),
            "attention_mask": (panels >= 0).astype(np.int64),
            "candidate_embeddings": Vectors("panel_embeddings", candidates),
        }


register_task(OpeningPanel(), ComicSeqForOpeningPanel)


def main(folder: Path) -> None:
    """From a synthetic corpus to an answer."""
    synthesize(folder / "store", num_books=40, progress=False)
    store, metadata = folder / "store" / "stage3_embeddings.zarr", folder / "store" / "stage3_metadata.json"
    convert_store(store, metadata, folder / "data", progress=False)

    weights = dict.fromkeys(TASKS, 0.0) | {OPENING.name: 1.0}
    run = f"--model comicseq-tiny --num_train_epochs 2 --learning_rate 1e-3 --dataset {folder}/data --output_dir {folder}/model"
    run += " --save_strategy no --load_best_model_at_end false --dataloader_pin_memory false --config_overrides"
    failed = pretrain([*run.split(), str({"task_weights": weights})])
    if failed:
        sys.exit(failed)
    run_evaluation(["--model", f"{folder}/model", "--dataset", f"{folder}/data"], "new_task.py")

    ask = pipeline(OPENING.pipeline, model=str(folder / "model"))
    page, candidates = torch.randn(5, 512), torch.randn(3, 512)
    print(ask({"panel_embeddings": page, "candidate_embeddings": candidates}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
