"""Fitting what strip vectors start from."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, List, Value, load_from_disk

from modeling_comicseq import ComicPageForPreTraining, ComicPageModel, ComicSeqConfig, ComicSeqModel
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.model.strips_comicseq import ComicSeqStripMean
from modeling_comicseq.training import whitening
from modeling_comicseq.training.arguments import parse_arguments
from modeling_comicseq.training.features import embed_table
from modeling_comicseq.training.run import build_model, configuration, open_encoder
from modeling_comicseq.training.run import main as train
from modeling_comicseq.training.stores import open_data
from modeling_comicseq.training.wanted import WantedTasks
from modeling_comicseq.training.whitening import SHRINKAGE, fit_strip_mean

from ..closeness import assert_close
from ..data.made_dataset import made_dataset
from . import processes
from .page_runs import argv, write_inputs

WIDTH = 6


def pages_of(seed: int, columns: tuple[str, ...] = ("panel_embeddings",), window: int | None = None):
    """Pages of 1 to 5 panels that are alike within a page, in directions of unlike spread; and their table."""
    rng = np.random.default_rng(seed)
    spread = np.array([3, 2, 1, 0.5, 0.3, 0.1])
    pages = [
        {
            c: rng.normal(size=WIDTH) + 0.5 * spread * rng.normal(size=(rng.integers(1, 6), WIDTH)) + k
            for k, c in enumerate(columns)
        }
        for _ in range(40)
    ]
    for page in pages:
        count = len(page[columns[0]])
        page.update({c: np.resize(page[c], (count, WIDTH)) for c in columns})
    rows = []
    for number, page in enumerate(pages):
        count = len(page[columns[0]])
        for start in range(0, max(1, count - 1 if window else 1)):
            part = slice(start, start + window if window else None)
            vectors = {c: page[c][part].ravel().tolist() for c in columns}
            size = len(page[columns[0]][part])
            rows.append(
                {"num_panels": size, "book_id": f"{number // 5}", "page_index": number, "window_start": start}
                | vectors
            )
    features = {
        "num_panels": Value("int32"),
        "book_id": Value("string"),
        "page_index": Value("int32"),
        "window_start": Value("int32"),
    }
    features |= {c: List(Value("float64")) for c in columns}
    return pages, PanelTable(Dataset.from_list(rows, features=Features(features)))


def strip_mean_of(hidden_size: int = WIDTH, **changes) -> ComicSeqStripMean:
    config = ComicSeqConfig(
        hidden_size=hidden_size, num_attention_heads=1, panel_embedding_dim=WIDTH, strip_pooling="residual", **changes
    )
    strip_mean = ComicSeqStripMean(config)
    torch.nn.init.eye_(strip_mean.whitening)
    return strip_mean


def normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).mean(-1, keepdims=True))


def within(pages: list[np.ndarray]) -> np.ndarray:
    """Unbiased covariance of the panels of one page."""
    others = np.concatenate([page - page.mean(0) for page in pages])
    return others.T @ others / sum(len(page) - 1 for page in pages)


@pytest.mark.parametrize("window", [None, 2])
def test_the_fit_is_that_of_numpy(window):
    pages, table = pages_of(0, window=window)
    strip_mean = strip_mean_of()
    fit_strip_mean(strip_mean, table)
    pages = [normalised(page["panel_embeddings"]) for page in pages]
    centre = np.concatenate(pages).mean(0)
    assert_close(strip_mean.centres.numpy(), np.tile(centre, (4, 1)))
    variances, directions = np.linalg.eigh(within(pages))
    variances = (1 - SHRINKAGE) * variances + SHRINKAGE * variances.mean()
    expected = directions / np.sqrt(variances) @ directions.T
    means = np.stack([page.mean(0) for page in pages]) - centre
    expected /= np.sqrt(((means @ expected.T) ** 2).mean())
    np.testing.assert_allclose(strip_mean.whitening.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert strip_mean.is_fitted


def test_panels_of_a_page_differ_alike_in_all_directions(monkeypatch):
    monkeypatch.setattr(whitening, "SHRINKAGE", 0.0)
    pages, table = pages_of(1)
    strip_mean = strip_mean_of()
    fit_strip_mean(strip_mean, table)
    white = [normalised(page["panel_embeddings"]) @ strip_mean.whitening.double().numpy().T for page in pages]
    covariance = within(white)
    np.testing.assert_allclose(covariance / covariance.trace() * WIDTH, np.eye(WIDTH), atol=1e-3)


@pytest.mark.parametrize("hidden_size", [2, WIDTH, 8])
def test_means_of_pages_have_a_root_mean_square_of_one(hidden_size):
    pages, table = pages_of(2)
    strip_mean = strip_mean_of(hidden_size)
    fit_strip_mean(strip_mean, table)
    vectors = [torch.tensor(page["panel_embeddings"])[None].float() for page in pages]
    strips = torch.cat([strip_mean(each, torch.ones(each.shape[:2], dtype=torch.bool)) for each in vectors])
    assert strips.shape == (40, hidden_size)
    assert strips.square().mean().item() == pytest.approx(1, rel=1e-4)
    assert not strips[:, WIDTH:].any()


def test_narrow_strips_keep_the_directions_in_which_pages_differ_most():
    pages, table = pages_of(3)
    whole, narrow = strip_mean_of(), strip_mean_of(2)
    for strip_mean in (whole, narrow):
        fit_strip_mean(strip_mean, table)

    def spread(strip_mean):
        means = torch.stack([torch.tensor(normalised(page["panel_embeddings"])).mean(0) for page in pages]).float()
        strips = (means - strip_mean.centres[0]) @ strip_mean.whitening.T
        return torch.linalg.eigvalsh(strips.T @ strips)

    kept, all_of_it = spread(narrow), spread(whole)
    assert (kept / kept.sum()).numpy() == pytest.approx((all_of_it[-2:] / all_of_it[-2:].sum()).numpy(), rel=1e-3)


def test_modalities_have_centres_of_their_own():
    pages, table = pages_of(4, ("panel_embeddings", "text_embeddings"))
    strip_mean = strip_mean_of()
    fit_strip_mean(strip_mean, table)
    for row, column in enumerate(("panel_embeddings", "panel_embeddings", "text_embeddings", "panel_embeddings")):
        expected = np.concatenate([normalised(page[column]) for page in pages]).mean(0)
        assert_close(strip_mean.centres[row].numpy(), expected)


def test_a_table_without_two_panels_on_a_page_leaves_the_directions_as_they_are():
    pages, _ = pages_of(5)
    rows = [
        {
            "num_panels": 1,
            "book_id": "0",
            "page_index": number,
            "window_start": 0,
            "panel_embeddings": page["panel_embeddings"][0].tolist(),
        }
        for number, page in enumerate(pages)
    ]
    strip_mean = strip_mean_of()
    fit_strip_mean(strip_mean, PanelTable(Dataset.from_list(rows)))
    assert torch.equal(strip_mean.whitening, torch.eye(WIDTH)) and strip_mean.is_fitted


SHORT = {"strip_pooling": "residual", "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": "false"}


def test_a_run_is_fitted_to_its_training_pages_and_goes_on_with_that(tmp_path):
    processes.write_inputs(tmp_path)
    words = processes.argv(tmp_path, tmp_path / "model", max_steps=1, **SHORT)
    assert train(words) is None
    model = ComicSeqModel.from_pretrained(tmp_path / "model")
    found, strip_mean = model.pooler.strip_mean, ComicSeqModel(model.config).pooler.strip_mean
    fit_strip_mean(strip_mean, PanelTable(load_from_disk(str(tmp_path / "data"))["train"]))
    assert_close(found.centres, strip_mean.centres)
    assert_close(found.whitening @ found.whitening.T, strip_mean.whitening @ strip_mean.whitening.T)
    # Strips of a model that is trained further stay comparable with its own.
    other = made_dataset([[2, 3], [4, 5]])
    DatasetDict({"train": other, "validation": other}).save_to_disk(tmp_path / "other" / "data")
    words = processes.argv(
        tmp_path / "other", tmp_path / "further", **SHORT | {"model": tmp_path / "model", "max_steps": 1}
    )
    assert train(words) is None
    further = ComicSeqModel.from_pretrained(tmp_path / "further").pooler.strip_mean
    assert torch.equal(found.centres, further.centres) and torch.equal(found.whitening, further.whitening)


def test_a_run_on_pages_is_fitted_to_what_its_encoder_makes_of_them(tmp_path):
    write_inputs(tmp_path)
    words = argv(tmp_path, tmp_path / "model", "none", max_steps=1, **SHORT)
    assert train(words) is None
    found = ComicPageModel.from_pretrained(tmp_path / "model").sequence_encoder.pooler.strip_mean
    arguments = parse_arguments(words)
    encoder, wanted = open_encoder(arguments), WantedTasks(arguments, configuration(arguments))
    table, _ = open_data(arguments, wanted, encoder)
    sequence = build_model(arguments, table, wanted, encoder)
    model, strip_mean = (
        ComicPageForPreTraining.from_parts(encoder.model, sequence),
        sequence.comicseq.pooler.strip_mean,
    )
    assert found.is_fitted and not strip_mean.is_fitted
    fit_strip_mean(strip_mean, embed_table(model, table))
    assert_close(found.centres, strip_mean.centres)
    assert_close(found.whitening @ found.whitening.T, strip_mean.whitening @ strip_mean.whitening.T)
