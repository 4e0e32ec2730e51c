from __future__ import annotations

import numpy as np
import pytest
import torch

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.evaluation.compare import compare
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.model.configuration_comicseq import DEFAULT_TASK_WEIGHTS
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.dataset import PretrainingDataset

from ..data.made_dataset import made_dataset, made_table

BOOKS = [[3, 4, 2, 5, 1, 6]] * 4


def config(**kwargs) -> ComicSeqConfig:
    return ComicSeqConfig(panel_embedding_dim=4, hidden_size=16, num_attention_heads=2, **kwargs)


def flat(batch: dict) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name, inputs in batch.items()
        for key, value in (inputs.items() if isinstance(inputs, dict) else [("", inputs)])
        if isinstance(value, torch.Tensor)
    }


def test_a_batch_holds_each_page_s_question_and_its_two_halves():
    dataset = PretrainingDataset(made_table(BOOKS), config())
    rows = list(range(24))
    (batch,) = dataset.__getitems__(rows)
    asked = sum(len(batch[task]["labels"]) for task in DEFAULT_TASK_WEIGHTS if task in batch)
    assert asked == 24
    assert len(batch["labels"]) == 2 * 20  # four pages have one panel and no halves
    assert batch["panel_embeddings"].shape[1] <= 3


def test_batches_depend_on_seed_epoch_and_rows_alone():
    first, second = (PretrainingDataset(made_table(BOOKS), config(), seed=1) for _ in range(2))
    for dataset in (first, second):
        dataset.epoch = 3
    second.__getitems__([5, 6])  # what was asked before does not matter
    one, other = flat(first.__getitems__([1, 2, 3])[0]), flat(second.__getitems__([1, 2, 3])[0])
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    second.epoch = 4
    later = flat(second.__getitems__([1, 2, 3])[0])
    assert one.keys() != later.keys() or any(not torch.equal(one[name], later[name]) for name in one)


def test_a_batch_is_the_sum_of_its_parts():
    # What a process gets of a global batch must be what the one process would have had.
    dataset = PretrainingDataset(made_table(BOOKS), config(contrastive_weight=0.0))
    whole = dataset.__getitems__(list(range(24)))[0]
    parts = [dataset.__getitems__(list(range(start, start + 8)))[0] for start in (0, 8, 16)]
    for task, inputs in whole.items():
        labels = [part[task]["labels"].flatten() for part in parts if task in part]
        together = torch.cat(labels)
        expected = inputs["labels"].flatten()
        assert torch.equal(together[together >= 0].sort().values, expected[expected >= 0].sort().values)


@pytest.mark.parametrize("objective", ["nt_xent", "cohesion"])
def test_panel_level_objectives_get_whole_pages(objective):
    dataset = PretrainingDataset(made_table(BOOKS), config(contrastive_objective=objective))
    (batch,) = dataset.__getitems__([0, 1])
    assert batch["attention_mask"].sum(1).tolist() == [3, 4]


def test_a_task_without_its_vectors_is_refused_at_start():
    table = made_table(BOOKS, columns=("panel_embeddings",))
    with pytest.raises(ComicSeqDataError, match="caption_relevance cannot be asked"):
        PretrainingDataset(table, config())
    weights = {"caption_relevance": 0.0, "text_cloze": 0.0, "panel_picking": 1.0}
    dataset = PretrainingDataset(table, config(task_weights=weights))
    assert "panel_picking" in dataset.__getitems__([0])[0]


def test_a_page_that_can_serve_nothing_is_left_out():
    dataset = PretrainingDataset(made_table([[1, 3], [1, 2]]), config(task_weights={"panel_picking": 1.0}))
    assert len(dataset) == 2
    (batch,) = dataset.__getitems__([0, 1])
    assert np.array_equal(batch["labels"], [1, 3, 1, 3]) and len(batch["panel_picking"]["labels"]) == 2


def test_fused_panels_are_shown_by_one_alone_only_where_all_vectors_are_as_wide():
    narrow = made_dataset(BOOKS).map(lambda row: {"visual_embeddings": row["visual_embeddings"][::2]})
    table = PanelTable(narrow)
    fields = {"hidden_size": 16, "num_attention_heads": 2, "visual_embedding_dim": 2, "text_embedding_dim": 4}
    fused = ComicSeqConfig(panel_embedding_dim=4, **fields)
    with pytest.raises(ComicSeqDataError, match="are 4, 2, 4 wide.*`streams` to separate"):
        PretrainingDataset(table, fused, modality_dropout=0.5)
    separate = ComicSeqConfig(panel_embedding_dim=6, streams="separate", **fields)
    (batch,) = PretrainingDataset(table, separate, modality_dropout=0.5).__getitems__([0, 1, 2])
    assert batch["panel_embeddings"].shape[-1] == 6
    questions = draw_question_set(table, TASKS["panel_picking"])
    models = {"fused": ComicSeqForPreTraining(fused), "separate": ComicSeqForPreTraining(separate)}
    found = {each.answerer for each in compare(models, table, questions, modalities=True)[0]}
    assert "separate, texts alone" in found and "fused, texts alone" not in found
