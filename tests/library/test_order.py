"""Reading orders of stores and JSON files beside `predict_order`, long and empty pages, and faults."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqConfig, ComicSeqForReadingOrder
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.library.order import order_json, order_store
from tests.model_inputs import build, tiny_config
from tests.stores.stage3_stores import make_source


@pytest.fixture(scope="module", params=["adjacency", "precedence"])
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = tiny_config(panel_embedding_dim=8, max_position_embeddings=5, reading_order_target=request.param)
    build("pretraining", config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def source(tmp_path):
    """Pages of 1 to 6 panels, of which the model takes 5; entries in another order than the store, not for all rows."""
    source = make_source(tmp_path / "store", pages=30, slots=6)
    source.write_metadata(source.entries[::-1][:-2])
    return source


def expected_orders(checkpoint: str, source) -> dict[int, list[int]]:
    """One page at a time through the model's own method."""
    model = ComicSeqForReadingOrder.from_pretrained(checkpoint).eval()
    orders = {}
    for entry in source.entries:
        row, count = entry["sequence_index"], entry["num_panels"]
        panels = torch.from_numpy(source.arrays["panel_embeddings"][row, :count].astype(np.float32))
        orders[row] = model.predict_order(panels[None])[0].tolist() if count <= 5 else list(range(count))
    return orders


def test_store(checkpoint, source, tmp_path):
    summary = order_store(checkpoint, source.embeddings, source.metadata, tmp_path / "orders.json", progress=False)
    pages = json.loads((tmp_path / "orders.json").read_text())
    assert [page["sequence_index"] for page in pages] == list(range(29, 1, -1)), "in the order of the metadata"
    expected = expected_orders(checkpoint, source)
    target = ComicSeqConfig.from_pretrained(checkpoint).reading_order_target
    for page in pages:
        entry = source.entries[page["sequence_index"]]
        assert page["order"] == expected[page["sequence_index"]]
        assert page["canonical_id"] == entry["canonical_id"] and page["book_id"] in entry["canonical_id"]
        if len(page["order"]) > 5:
            assert page["confidence"] is None and page["given_confidence"] is None
        elif len(page["order"]) == 1:
            assert page["confidence"] == page["given_confidence"] == 1
        else:
            assert 0 <= page["confidence"] <= 1 and 0 <= page["given_confidence"] <= 1
            if page["order"] == sorted(page["order"]):
                assert page["confidence"] == pytest.approx(page["given_confidence"])
            statements = [
                (i, j)
                for place, i in enumerate(page["order"])
                for j in page["order"][place + 1 : place + 2 if target == "adjacency" else None]
            ]
            kept = [j == i + 1 if target == "adjacency" else i < j for i, j in statements]
            assert page["agreement"] == pytest.approx(np.mean(kept))
    changed = sum(page["order"] != sorted(page["order"]) for page in pages)
    sure = sorted(page["confidence"] for page in pages if page["confidence"] is not None)
    assert (summary.pages, summary.changed, summary.left) == (
        28,
        changed,
        sum(len(p["order"]) == 6 for p in pages),
    )
    assert summary.mean_confidence == pytest.approx(np.mean(sure))
    assert summary.mean_agreement == pytest.approx(np.mean([p["agreement"] for p in pages if len(p["order"]) < 6]))
    assert [value for value, _ in summary.least_sure] == pytest.approx(sure[:5])


def test_shuffled_panels_are_put_back(checkpoint, source, tmp_path):
    """The order given does not matter: what is read first is the same panel, and the confidence too."""
    order_store(checkpoint, source.embeddings, source.metadata, tmp_path / "orders.json", progress=False)
    panels = source.arrays["panel_embeddings"].copy()
    for row, entry in enumerate(source.entries):
        panels[row, : entry["num_panels"]] = panels[row, : entry["num_panels"]][::-1]
    source.array("panel_embeddings")[:] = panels
    order_store(checkpoint, source.embeddings, source.metadata, tmp_path / "reversed.json", progress=False)
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("orders.json", "reversed.json"))
    for page, other in zip(first, second, strict=True):
        if page["confidence"] is not None:
            assert [len(page["order"]) - 1 - place for place in other["order"]] == page["order"]
            assert other["confidence"] == pytest.approx(page["confidence"], abs=1e-5)


def test_json_file_gives_the_orders_of_the_store(checkpoint, source, tmp_path):
    entries = []
    for row, entry in enumerate(source.entries):
        panels = source.arrays["panel_embeddings"][row, : entry["num_panels"]].astype(np.float32)
        entries.append({"page_name": f"page {row}", "panel_embeddings": panels.tolist(), "text_embeddings": [[1.0]]})
    (tmp_path / "pages.json").write_text(json.dumps(entries))
    summary = order_json(checkpoint, tmp_path / "pages.json", tmp_path / "orders.json", progress=False)
    pages = json.loads((tmp_path / "orders.json").read_text())
    expected = expected_orders(checkpoint, source)
    assert [page["order"] for page in pages] == [expected[row] for row in range(30)]
    assert all(set(page) == {"page_name", "order", "confidence", "given_confidence", "agreement"} for page in pages)
    assert summary.pages == 30 and summary.least_sure[0][1].startswith("page ")


@pytest.fixture(scope="module")
def one_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    for name in ("reading_order", "panel_picking"):
        build(name, tiny_config(panel_embedding_dim=8)).save_pretrained(folder / name)
    return folder


def test_command(one_checkpoint, source, tmp_path):
    model, output = str(one_checkpoint / "reading_order"), str(tmp_path / "orders [c2c].json")
    store = ["--embeddings", source.embeddings, "--metadata", source.metadata]
    result = CliRunner().invoke(app, ["order", "--model", model, *store, "--output", output])
    assert result.exit_code == 0, result.output
    for figure in ("order changed", "confidence", "agreement", "least sure"):
        assert figure in result.output
    assert len(json.loads(Path(output).read_text())) == 28
    said = " ".join(result.output.split())
    assert "[c2c].json" in said
    assert "Confidence: the share of an order's statements" in said and "Agreement: the share of them" in said
    written = Path(output).read_text()
    assert CliRunner().invoke(app, ["order", "--model", model, *store, "--output", output]).exit_code == 0  # its own
    Path(output).write_text("[1]")
    result = CliRunner().invoke(app, ["order", "--model", model, *store, "--output", output])
    assert (
        result.exit_code == 1 and "orders [c2c].json exists: name another file, or give --overwrite." in result.output
    )
    result = CliRunner().invoke(app, ["order", "--model", model, *store, "--output", output, "--overwrite"])
    assert result.exit_code == 0 and Path(output).read_text() == written
    result = CliRunner().invoke(app, ["order", "--model", model, "--output", output])
    assert (
        result.exit_code == 1 and "Give --boxes, or either --embeddings and --metadata, or --pages." in result.output
    )
    other = str(one_checkpoint / "panel_picking")
    result = CliRunner().invoke(app, ["order", "--model", other, *store, "--output", output])
    assert result.exit_code == 1 and "has no head for reading order" in result.output


def test_vectors_of_another_origin_are_refused_unless_meant(one_checkpoint, source, tmp_path, capsys):
    origin = one_checkpoint / "reading_order" / "training_provenance.json"
    store = ["--model", str(origin.parent), "--embeddings", source.embeddings, "--metadata", source.metadata]
    command = ["order", *store, "--output", str(tmp_path / "orders.json")]
    origin.write_text(json.dumps({"origin": {"image_encoder": "other-encoder"}}))
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1 and not (tmp_path / "orders.json").exists()
    assert "(visual_encoder is 'other-encoder' here and 'some-encoder' there)" in refused.output
    assert "give --other-origin to go on" in refused.output
    order_store(str(origin.parent), *source[:2], tmp_path / "orders.json", progress=False, other_origin=True)
    assert "Warning: " in (said := capsys.readouterr().err) and "of another origin" in said
    assert CliRunner().invoke(app, [*command, "--other-origin"]).exit_code == 0
    origin.write_text(json.dumps({"origin": {"encoders": {"visual": "some-encoder"}}}))
    order_store(str(origin.parent), *source[:2], tmp_path / "orders.json", progress=False)
    assert "Warning" not in capsys.readouterr().err
    origin.unlink()


def test_faults_leave_no_file(one_checkpoint, source, tmp_path):
    model, output = str(one_checkpoint / "reading_order"), tmp_path / "out" / "orders.json"
    source.array("panel_embeddings")[9, 0, 3] = np.nan
    with pytest.raises(ComicSeqDataError, match=r"page 'library/Book 02/page 9.jpg' \(sequence_index 9\)"):
        order_store(model, source.embeddings, source.metadata, output, progress=False)
    wide = tmp_path / "wide.zarr"
    group = zarr.open_group(wide, mode="w")
    group["panel_embeddings"], group["panel_masks"] = np.ones((30, 6, 9), np.float32), np.ones((30, 6), bool)
    with pytest.raises(ComicSeqDataError, match="is 9 wide but `panel_embedding_dim` of .* is 8"):
        order_store(model, str(wide), source.metadata, output, progress=False)
    for entry, message in (
        ({"panel_embeddings": [[1.0] * 7]}, r"entry 1: `panel_embeddings` has the shape \(1, 7\)"),
        ({}, "entry 1: `panel_embeddings` is missing"),
        ({"panel_embeddings": [[1.0] * 7 + ["a"]]}, "entry 1: `panel_embeddings` must be numbers"),
    ):
        (tmp_path / "pages.json").write_text(json.dumps([{"panel_embeddings": [[1.0] * 8]}, entry]))
        with pytest.raises(ComicSeqDataError, match=message):
            order_json(model, tmp_path / "pages.json", output, progress=False)
    assert not output.exists() and not list(output.parent.glob("*") if output.parent.exists() else [])
