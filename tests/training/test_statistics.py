from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from modeling_comicseq.model.modeling_comicseq import ComicSeqForPreTrainingOutput
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.statistics import TrainingStatistics, strip_space

from ..data.made_dataset import made_table
from ..model_inputs import build, tiny_config


def test_means_are_over_examples_not_over_batches():
    statistics = TrainingStatistics(torch.device("cpu"))
    for losses, logits, labels in (
        ([1.0], [[0.0, 1.0]], [1]),
        ([2.0, 6.0, 3.0], [[1.0, 0.0]] * 3, [1, 0, 1]),
    ):
        outputs = ComicSeqForPreTrainingOutput(
            task_losses={"panel_picking": torch.tensor(losses)},
            task_logits={"panel_picking": torch.tensor(logits)},
            contrastive_loss=torch.tensor(losses[0]),
            padding_share=torch.tensor([0.25]),
        )
        statistics.add(outputs, {"panel_picking": {"labels": torch.tensor(labels)}})
    statistics.started -= 3  # seconds
    logs = statistics.summary(Accelerator(cpu=True))
    assert logs.pop("pages_per_second") == pytest.approx(4 / 3, rel=0.2)
    expected = {"panel_picking_loss": 3.0, "panel_picking_accuracy": 0.5, "contrastive_loss": 1.5}
    assert logs == pytest.approx(expected | {"padding_share": 0.25})
    assert set(statistics.summary(Accelerator(cpu=True))) == {"pages_per_second"}, "a log starts anew"


def test_right_answers_of_each_kind_of_label():
    logits = torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.1, 0.0]])
    assert TASKS["panel_picking"].is_right(logits, torch.tensor([1, 1])).tolist() == [True, False]
    assert TASKS["character_coherence"].is_right(logits, torch.tensor([[0, 1, 0], [0, 1, -100]])).tolist() == [
        True,
        False,
    ]
    # Panels in the order 2, 0, 1: 2 is followed by 0, 0 by 1, and the diagonal's high scores do not count.
    labels = torch.tensor([[[-100, 1, 0], [0, -100, 0], [1, 0, -100]]])
    scores = torch.tensor([[[9.0, 2.0, 1.0], [0.0, 9.0, 0.0], [1.0, 2.0, 9.0]]])
    assert TASKS["reading_order"].is_right(scores, labels).tolist() == [True, False]


def test_strip_space_is_that_of_the_model_s_strips():
    table = made_table([[3, 4, 2, 5]] * 3)
    widths = {f"{name}_embedding_dim": 4 for name in ("panel", "text", "visual", "caption")}
    model = build("pretraining", tiny_config(**widths)).train()
    space = strip_space(model, table)
    assert model.training
    strips = []
    with torch.no_grad():
        for row in range(len(table)):
            panels = table.gather(
                "panel_embeddings", table.panel(np.asarray([[row]]), np.arange(table.num_panels[row]))
            )
            strips.append(model.eval().comicseq(torch.from_numpy(panels)).strip_embedding[0])
    strips = torch.nn.functional.normalize(torch.stack(strips), dim=-1).numpy()
    between = (strips @ strips.T)[~np.eye(len(strips), dtype=bool)]
    assert space["strip_mean_cosine"] == pytest.approx(between.mean(), abs=1e-5)
    assert 1 < space["strip_effective_rank"] < len(strips)
