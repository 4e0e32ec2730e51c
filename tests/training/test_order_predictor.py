"""The packaged predictor's training: a few steps of it, twice."""

import sys

import numpy as np
import torch
from safetensors.torch import load_file

from modeling_comicseq.layouts.boxes import check_boxes
from modeling_comicseq.layouts.predictor import PREDICTOR
from modeling_comicseq.model.configuration_comicseq import ComicSeqConfig
from modeling_comicseq.training import order_predictor
from modeling_comicseq.training.order_predictor import batches, draw_pages, page_losses


def test_a_seed_trains_the_same_weights_of_the_packaged_form(tmp_path, monkeypatch):
    monkeypatch.setattr(order_predictor, "_PANELS_A_STEP", 64)
    for name in ("one", "two"):
        arguments = ["--output", str(tmp_path / name), "--pages", "40", "--steps", "2", "--seed", "5"]
        monkeypatch.setattr(sys, "argv", ["order_predictor", *arguments])
        order_predictor.main()
    one, two, packaged = (
        load_file(path / "model.safetensors") for path in (tmp_path / "one", tmp_path / "two", PREDICTOR)
    )
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())
    assert {name: weight.shape for name, weight in one.items()} == {n: w.shape for n, w in packaged.items()}
    # Of the file's fields those that have come since, and the version that wrote it, say nothing of the form.
    configs = [ComicSeqConfig.from_pretrained(path).to_dict() for path in (tmp_path / "one", PREDICTOR)]
    assert configs[0] | {"transformers_version": None} == configs[1] | {"transformers_version": None}


def test_changed_pages_are_pages():
    drawn = batches(draw_pages(0, 60), np.random.default_rng(0))
    for _ in range(5):
        boxes, mask = next(drawn)
        assert check_boxes(boxes[mask]) is None and (boxes[mask] != 0).any(1).all() and (mask.sum(1) > 1).all()


def test_the_loss_is_of_pairs_of_panels_and_a_page_each():
    mask = torch.tensor([[True, True, True], [True, False, True]])
    right = torch.full((2, 3, 3), -50.0).triu_(1) * -1 + torch.full((2, 3, 3), -50.0).tril_(-1)
    torch.testing.assert_close(page_losses(right, mask), torch.zeros(2))
    right[1, :, 1] = right[1, 1] = torch.nan_to_num(torch.tensor(7.0))
    torch.testing.assert_close(page_losses(right, mask), torch.zeros(2))
    torch.testing.assert_close(
        page_losses(torch.zeros(2, 3, 3), mask), torch.full((2,), np.log(2), dtype=torch.float32)
    )
