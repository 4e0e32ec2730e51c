"""The line from pictures to answers: drawn comics, of which the pictures alone are looked at, up to search and a page."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import zarr
from datasets import load_from_disk
from PIL import Image
from transformers import AutoModel, pipeline
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.pages.ocr import OCR_ENGINES, TextLine, register_ocr

pytest.importorskip("efficientnet_lite_pytorch", reason="the encoders are not installed")
pytest.importorskip("lancedb", reason="search is not installed")

SMALL = "{hidden_size: 32, num_attention_heads: 2, intermediate_size: 32, num_hidden_layers: 1}"
ORIGIN = ("visual_encoder", "text_encoder", "fusion", "normalisation", "projection", "encoder_fingerprint")


def run(*words: str | Path, ok: bool = True) -> str:
    """Runs a command in this process, and returns what it prints."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert (done.exit_code == 0) == ok, (words, done.output, done.exception)
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """The folder of `make demo-pages` with less in it. Lettering is not read but told, by the picture that it is on."""
    folder = tmp_path_factory.mktemp("page_line")
    run("draw", "--books", "4", "--pages", "5", "--width", "320", "--output", folder / "drawn")
    told, entries = {}, json.loads((folder / "drawn" / "panels.json").read_text())
    books = list(dict.fromkeys(page["book_id"] for page in entries))
    shares = {
        "train": [books[0], books[2]],
        "validation": books[1:2],
        "test": books[3:],
    }  # of book 2, pages are found whole
    (folder / "books.json").write_text(json.dumps(shares))
    for page in entries:
        with Image.open(folder / "drawn" / page["image"]) as image:
            told[_key(image)] = page

    def read(image: Image.Image) -> list[TextLine]:
        page = told[_key(image)]
        width, height = page["size"]
        return [
            TextLine((x0 / width, y0 / height, x1 / width, y1 / height), text)
            for panel in page["panels"]
            for (x0, y0, x1, y1), text in zip(panel["text_boxes"], panel["text"], strict=True)
        ]

    register_ocr("told", lambda: read)
    try:
        run("ingest", folder / "drawn", "--ocr", "told", "--output", folder / "pages")
    finally:
        OCR_ENGINES.pop("told")
    run("embed", folder / "pages", "--output", folder / "stage3_embeddings.zarr")
    store = ("--embeddings", folder / "stage3_embeddings.zarr", "--metadata", folder / "stage3_metadata.json")
    run("convert", *store, "--split-books", folder / "books.json", "--output", folder / "dataset")
    small = ("--config-overrides", SMALL, "--num-train-epochs", "2", "--use-cpu", "true")
    run("pretrain", "demo_pages", "--dataset", folder / "dataset", "--output-dir", folder / "model", *small)
    asked = ("--dataset", folder / "dataset", "--tasks", "panel_picking", "--repeats", "1", "--protocol", "same_book")
    run("evaluate", "--model", folder / "model", *asked)
    encoder = ("--encoder", "efficientnet-lite0+all-MiniLM-L6-v2")
    run("export", "--model", folder / "model", *encoder, "--output", folder / "page-model")
    run("encode", "--model", folder / "model", *store, "--output", folder / "stage5_embeddings.zarr")
    made_of = ("--store", folder / "stage5_embeddings.zarr", "--embeddings", folder / "stage3_embeddings.zarr")
    run("index", *made_of, "--pages", folder / "pages", "--output", folder / "index")
    return folder


def _key(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def _page(folder: Path) -> dict:
    """A page with several panels in which something is said."""
    return next(
        page
        for page in load_from_disk(str(folder / "pages"))
        if sum(map(bool, page["texts"])) > 2 < len(page["boxes"])
    )


@pytest.mark.slow
def test_pictures_alone_are_searched_by_words_and_asked_about(line, tmp_path):
    page = _page(line)
    page_id = f"{page['book_id']}/{page['page_name']}"
    words = max((text for panel in page["texts"] for text in panel), key=len)
    run("search", "--index", line / "index", "--text", words, "--output", tmp_path / "hits.json", "-k", "3")
    found = json.loads((tmp_path / "hits.json").read_text())["results"]
    pages = {f"{each['book_id']}/{each['page_name']}": each for each in load_from_disk(str(line / "pages"))}
    assert len(found) == 3 and words in str([pages[hit["page_id"]]["texts"] for hit in found])

    said = run(
        "read", page_id, "--pages", line / "pages", "--model", line / "page-model", "--output", tmp_path / "a.png"
    )
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["page"] == page_id and page_id in said
    assert [panel["texts"] for panel in report["panels"]] == page["texts"]
    assert len(report["questions"]) == 3 and report["origins"]["boxes"] == "gutter cut"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.height > 300


@pytest.mark.slow
def test_a_page_gives_the_vectors_that_the_stores_hold(line):
    """From the picture to the strip vector in one model is the same as through the stores."""
    rows = load_from_disk(str(line / "pages"))
    stage3 = zarr.open_group(line / "stage3_embeddings.zarr", mode="r")
    stage5 = zarr.open_group(line / "stage5_embeddings.zarr", mode="r")
    entries = json.loads((line / "stage5_metadata.json").read_text())
    row = next(row for row, page in enumerate(rows) if len(page["boxes"]) > 3)
    page = rows[row]
    entry = next(each for each in entries if each["canonical_id"] == f"{page['book_id']}/{page['page_name']}")
    embed = pipeline("comic-strip-embedding", model=str(line / "page-model"))
    strip = torch.from_numpy(embed({name: page[name] for name in ("image", "boxes", "texts")}))
    if page["reading_direction"]:
        told = {name: page[name] for name in ("image", "boxes", "texts", "reading_direction")}
        strip = torch.from_numpy(embed(told))
    stored = torch.from_numpy(stage5["strip_embeddings"][entry["sequence_index"]]).float()
    assert torch.cosine_similarity(strip, stored, dim=0) > 1 - 1e-5
    assert stage3["panel_embeddings"].shape[0] == len(rows)
    assert (
        AutoModel.from_pretrained(line / "page-model").config.panel_config.projection_dim
        == strip.new_empty(512).numel()
    )


@pytest.mark.slow
def test_the_encoder_is_told_all_along_the_line(line):
    def origin(place: Path) -> dict:
        return dict(zarr.open_group(place, mode="r").attrs)["origin"]

    known = origin(line / "stage3_embeddings.zarr")
    assert set(ORIGIN) <= known.keys() and known["visual_encoder"] == "efficientnet-lite0"
    provenance = json.loads((line / "dataset" / "provenance.json").read_text())["origin"]
    trained = json.loads((line / "model" / "training_provenance.json").read_text())["origin"]
    joined = json.loads((line / "page-model" / "training_provenance.json").read_text())["origin"]
    for each in (provenance, trained, joined):
        assert {name: each[name] for name in ORIGIN} == {name: known[name] for name in ORIGIN}


@pytest.fixture(scope="module")
def other(line, tmp_path_factory):
    """The same pages by another encoder: vectors of the same width, of another meaning."""
    folder = tmp_path_factory.mktemp("other")
    run("embed", line / "pages", "--encoder", "efficientnet-lite0+", "--output", folder / "stage3_embeddings.zarr")
    return folder


@pytest.mark.slow
def test_vectors_of_another_encoder_are_refused(line, other, tmp_path):
    store = ("--embeddings", other / "stage3_embeddings.zarr", "--metadata", other / "stage3_metadata.json")
    said = run("encode", "--model", line / "model", *store, "--output", tmp_path / "stage5.zarr", ok=False)
    assert "of another origin" in said and "encoder_fingerprint" in said and not (tmp_path / "stage5.zarr").exists()

    run("convert", *store, "--split-books", line / "books.json", "--output", tmp_path / "dataset")
    said = run("evaluate", "--model", line / "model", "--dataset", tmp_path / "dataset", ok=False)
    assert "of another origin" in said

    joined = ("--model", line / "model", "--encoder", "efficientnet-lite0+", "--output", tmp_path / "page-model")
    said = run("export", *joined, ok=False)
    assert "of another origin" in said and not (tmp_path / "page-model").exists()

    query = ("--index", line / "index", "--text", "a chest", "--encoder", "efficientnet-lite0+")
    assert "encoder" in run("search", *query, ok=False)

    made_of = ("--store", line / "stage5_embeddings.zarr", "--embeddings", other / "stage3_embeddings.zarr")
    said = run("index", *made_of, "--output", tmp_path / "index", ok=False)
    assert "of another origin" in said and not (tmp_path / "index").exists()


@pytest.mark.slow
def test_the_line_goes_on_where_it_was(line, tmp_path):
    """A second run of the commands of `make demo-pages` finds that all is there."""
    assert "already done" in run("embed", line / "pages", "--output", line / "stage3_embeddings.zarr")
    store = ("--embeddings", line / "stage3_embeddings.zarr", "--metadata", line / "stage3_metadata.json")
    assert "already" in run("convert", *store, "--split-books", line / "books.json", "--output", line / "dataset")
    assert "already" in run("encode", "--model", line / "model", *store, "--output", line / "stage5_embeddings.zarr")
    shutil.copytree(line / "index", tmp_path / "before")
    made_of = ("--store", line / "stage5_embeddings.zarr", "--embeddings", line / "stage3_embeddings.zarr")
    run("index", *made_of, "--pages", line / "pages", "--output", line / "index")
