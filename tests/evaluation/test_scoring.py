from __future__ import annotations

import numpy as np
import torch

from modeling_comicseq import ComicSeqConfig, ComicSeqForPanelPicking, ComicSeqForPreTraining
from modeling_comicseq.data.views import to_tensors
from modeling_comicseq.evaluation.ordering import true_order
from modeling_comicseq.evaluation.scoring import model_logits

from ..closeness import assert_close
from ..data.made_dataset import made_table
from ..tasks.questions import iterate_questions, judge


def tiny_model(**changes) -> ComicSeqForPreTraining:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return ComicSeqForPreTraining(ComicSeqConfig(panel_embedding_dim=4, **sizes, **changes))


def test_the_pretraining_model_scores_as_the_task_class(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    picking = ComicSeqForPanelPicking.from_pretrained(tmp_path).eval()
    _, batch = next(iterate_questions(made_table([[3, 4, 2, 5]]), "panel_picking"))
    with torch.no_grad():
        expected = picking(**to_tensors(batch)).logits.numpy()
    logits = model_logits(model, "panel_picking", batch)
    assert_close(logits, expected)
    assert model.training  # asking leaves the model as it was


def test_the_true_order_scores_one_and_its_reverse_zero():
    for target in ("adjacency", "precedence"):
        for _, batch in iterate_questions(made_table([[2, 5, 3], [1]]), "reading_order"):
            follows = batch["labels"] == 1
            if target == "precedence":  # what comes anywhere after: the next panel, or one after that
                for _ in range(follows.shape[1]):
                    follows = follows | (follows.astype(int) @ follows.astype(int) > 0)
            perfect = np.where(follows, 5.0, -5.0)
            assert judge("reading_order", batch, perfect, target).tolist() == [1.0] * len(batch["labels"])
            assert judge("reading_order", batch, perfect.transpose(0, 2, 1), target).tolist() == [0.0] * len(
                batch["labels"]
            )


def test_true_order_reads_the_labels():
    order = np.asarray([2, 0, 1])
    place = np.argsort(order)
    step = place[None] - place[:, None]
    assert true_order((step == 1).astype(int)).tolist() == order.tolist()
