from __future__ import annotations

from pathlib import Path

import evaluate
import pytest

from modeling_comicseq.evaluation import choice_metric, order_metric


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)


@pytest.mark.parametrize("way", ["path", "class"])
def test_wrappers_load_offline_and_compute(way, tmp_path):
    def load(module, name):
        if way == "class":
            return getattr(module, name)(cache_dir=str(tmp_path))
        return evaluate.load(str(Path(module.__file__)), cache_dir=str(tmp_path))

    choice = load(choice_metric, "ComicSeqChoice")
    found = choice.compute(predictions=[[0.1, 0.7, 0.2], [2.0, 1.0]], references=[1, 1])
    assert found == {"top1_accuracy": 0.5, "mean_reciprocal_rank": 0.75}
    order = load(order_metric, "ComicSeqOrder")
    found = order.compute(predictions=[[1, 0, 2], [0, 1]], references=[[0, 1, 2], [0, 1]])
    assert found == pytest.approx({"pairwise_accuracy": 5 / 6, "perfect_match": 0.5, "kendall_tau": 2 / 3})
