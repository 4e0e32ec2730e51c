"""Words and pictures as queries, by the encoders that made the store."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from datasets import Dataset
from PIL import Image
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.cli import app
from modeling_comicseq.encoders import panel_encoder
from modeling_comicseq.encoders.panel_encoder import PanelEncoder, load_panel_encoder
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.library.encode import encode_store
from modeling_comicseq.library.encoder import PageEncoder, encoder_of
from modeling_comicseq.library.index import build_index, open_index
from modeling_comicseq.pages.page_dataset import page_features
from modeling_comicseq.vectors import unit

from ..closeness import assert_close
from ..page_inputs import page_model

ENCODER, WIDTH = "efficientnet-lite0+all-MiniLM-L6-v2", 32
TEXTS = [
    ["A witch flies over the village.", "Look at her broom!"],
    ["The captain steers the ship.", ""],
    ["Where is my breakfast?", "The cat has eaten it.", "Bad cat!"],
    ["", "It rains again."],
]
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def encoder():
    return load_panel_encoder(ENCODER, width=WIDTH)


@pytest.fixture(scope="module")
def pictures() -> list[list[Image.Image]]:
    generator = np.random.default_rng(0)
    return [[Image.fromarray(generator.integers(0, 256, (64, 48, 3), np.uint8)) for _ in page] for page in TEXTS]


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoder, pictures) -> Path:
    """A Stage 3 store of four pages, a Stage 5 store made from it, a data set of the pages, and the index of all."""
    folder = tmp_path_factory.mktemp("encoded")
    slots = max(map(len, TEXTS))
    mask = np.array([[slot < len(page) for slot in range(slots)] for page in TEXTS])
    vectors = {"visual": encoder.encode_images([each for page in pictures for each in page])}
    vectors["text"] = encoder.encode_texts([text for page in TEXTS for text in page])
    vectors["panel"] = encoder.fuse(vectors["visual"], vectors["text"])
    group = zarr.open_group(str(folder / "stage3.zarr"), mode="w")
    group.attrs["origin"] = encoder.origin
    for name, values in vectors.items():
        padded = np.zeros((*mask.shape, WIDTH), np.float32)
        padded[mask] = values
        group.create_array(f"{name}_embeddings", data=padded)
    group.create_array("panel_masks", data=mask)
    entries = [
        {"sequence_index": row, "num_panels": len(page), "book_id": f"book {row // 2}", "page_name": f"{row}.png"}
        | {"canonical_id": f"book {row // 2}/{row}.png", "texts": page}
        for row, page in enumerate(TEXTS)
    ]
    (folder / "stage3_metadata.json").write_text(json.dumps(entries))
    torch.manual_seed(0)
    ComicSeqForPreTraining(ComicSeqConfig(**TINY, panel_embedding_dim=WIDTH)).save_pretrained(folder / "model")
    encode_store(
        str(folder / "model"),
        str(folder / "stage3.zarr"),
        str(folder / "stage3_metadata.json"),
        str(folder / "stage5.zarr"),
        progress=False,
    )
    rows = []
    for row, page in enumerate(pictures):
        sheet = Image.new("RGB", (48 * len(page), 64))
        for slot, each in enumerate(page):
            sheet.paste(each, (48 * slot, 0))
        sheet.save(folder / f"{row}.png")
        boxes = [[slot / len(page), 0, (slot + 1) / len(page), 1] for slot in range(len(page))]
        about = {"book_id": f"book {row // 2}", "page_name": f"{row}.png", "page_index": row % 2}
        rows.append(about | {"image": {"bytes": (folder / f"{row}.png").read_bytes(), "path": None}, "size": list(sheet.size)}
                    | {"reading_direction": "ltr", "boxes": boxes, "texts": [[t] if t else [] for t in TEXTS[row]]})  # fmt: skip
    features = {name: each for name, each in page_features().items() if name in rows[0]}
    Dataset.from_list(rows, features=type(page_features())(features)).save_to_disk(folder / "pages")
    build_index(
        folder / "stage5.zarr",
        folder / "index",
        embeddings=folder / "stage3.zarr",
        pages=folder / "pages",
        picture_size=40,
        progress=False,
    )
    build_index(folder / "stage5.zarr", folder / "plain", progress=False)
    return folder


def stored(place: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    group = zarr.open_group(str(place / "stage3.zarr"), mode="r")
    return np.asarray(group[f"{name}_embeddings"]), np.asarray(group["panel_masks"])


def test_a_text_is_compared_with_the_texts_of_pages_and_panels(place, encoder):
    index = open_index(place / "index")
    query = encoder.encode_texts(["a flying witch"])[0]
    texts, mask = stored(place, "text")
    real = mask & texts.any(axis=2)
    means = np.stack([page[shown].mean(axis=0) for page, shown in zip(texts, real, strict=True)])
    cosines = unit(means) @ unit(query)
    hits = index.search(text="a flying witch", hybrid=False)
    assert [hit.row for hit in hits] == np.argsort(-cosines).tolist() and hits[0].row == 0
    assert_close([hit.score for hit in hits], np.sort(cosines)[::-1].copy())
    hits = index.search(text="a flying witch", hybrid=False, level="panel", k=20)
    assert (hits[0].row, hits[0].slot) == (0, 0) and len(hits) == real.sum(), "empty texts have no direction"


@pytest.mark.parametrize("picture_size", [40, 0])
def test_an_update_takes_no_boxes_away(place, tmp_path, picture_size):
    store, index = place / "stage5.zarr", tmp_path / "index"
    build_index(store, index, pages=place / "pages", picture_size=picture_size, progress=False)
    with pytest.raises(
        ComicSeqDataError, match=r"is not given: name it, or the one that has taken its place, with --pages"
    ):
        build_index(store, index, picture_size=picture_size, update=True, progress=False)
    assert open_index(index).page(0)["panel_boxes"]


def test_a_picture_finds_the_panel_that_it_is(place, pictures):
    index = open_index(place / "index")
    pictures[2][1].save(place / "crop.png")
    for image in (pictures[2][1], (place / "crop.png").read_bytes(), place / "crop.png"):
        hits = index.search(image=image, level="panel", k=1)
        assert (hits[0].row, hits[0].slot) == (2, 1)


def test_without_the_encoder_s_vectors_a_text_goes_through_the_model(place, encoder):
    index = open_index(place / "plain")
    panel = encoder.encode_texts(["a flying witch"])
    model = encoder_of(ComicSeqForPreTraining.from_pretrained(place / "model"))
    panels, strips = PageEncoder(model, torch.device("cpu"))(panel, np.array([1]))
    group = zarr.open_group(str(place / "stage5.zarr"), mode="r")
    cosines = unit(np.asarray(group["strip_embeddings"])) @ unit(strips.numpy()[0])
    hits = index.search(text="a flying witch", hybrid=False)
    assert [hit.row for hit in hits] == np.argsort(-cosines).tolist()
    assert_close([hit.score for hit in hits], np.sort(cosines)[::-1].copy())
    hits = index.search(text="a flying witch", hybrid=False, level="panel", k=1)
    best = max(
        (float(unit(vector) @ unit(panels.numpy()[0])), row, slot)
        for row, page in enumerate(np.asarray(group["contextualized_panels"]))
        for slot, vector in enumerate(page)
        if vector.any()
    )
    assert (hits[0].row, hits[0].slot) == best[1:]


def test_a_model_of_separate_streams_reads_a_text_and_a_picture_each_in_its_half(place, encoder, pictures, tmp_path):
    torch.manual_seed(0)
    config = ComicSeqConfig(
        **TINY,
        streams="separate",
        panel_embedding_dim=2 * WIDTH,
        visual_embedding_dim=WIDTH,
        text_embedding_dim=WIDTH,
    )
    ComicSeqForPreTraining(config).save_pretrained(tmp_path / "model")
    made_of = [str(tmp_path / "model"), str(place / "stage3.zarr"), str(place / "stage3_metadata.json")]
    encode_store(*made_of, str(tmp_path / "stage5.zarr"), progress=False)
    build_index(tmp_path / "stage5.zarr", tmp_path / "index", progress=False)
    index = open_index(tmp_path / "index")
    model = encoder_of(ComicSeqForPreTraining.from_pretrained(tmp_path / "model"))
    strips = unit(np.asarray(zarr.open_group(str(tmp_path / "stage5.zarr"), mode="r")["strip_embeddings"]))
    asked = {"text": encoder.encode_texts(["a flying witch"]), "visual": encoder.encode_images([pictures[2][1]])}
    given = {"text": {"text": "a flying witch", "hybrid": False}, "visual": {"image": pictures[2][1]}}
    for modality, vectors in asked.items():
        with torch.no_grad():
            strip = model(torch.from_numpy(vectors)[None].float(), modality=modality).pooler_output.numpy()[0]
        assert_close(
            [hit.score for hit in index.search(**given[modality])], np.sort(strips @ unit(strip))[::-1].copy()
        )


def test_words_join_the_ranking_where_there_are_texts(place):
    index = open_index(place / "index")
    hits = index.search(text="the cat at breakfast")
    assert hits[0].row == 2 and 0 < hits[0].score < 0.1  # of reciprocal ranks
    assert [hit.row for hit in index.search(words="breakfast cats")] == [2], "stems of words"
    hits = index.search(words="rains", level="panel")
    assert [(hit.row, hit.slot) for hit in hits] == [(3, 1)] and hits[0].fields["text"] == "It rains again."


def test_pages_bring_boxes_and_small_pictures(place, pictures):
    index = open_index(place / "index")
    page = index.page("book 1/2.png")
    assert_close(page["panel_boxes"], [[slot / 3, 0, (slot + 1) / 3, 1] for slot in range(3)])
    assert page["reading_direction"] == "ltr" and page["texts"][2] == ["Bad cat!"]
    picture = Image.open(io.BytesIO(page["picture"]))
    assert max(picture.size) == 40 and index.about["counts"]["pages_with_picture"] == 4
    assert open_index(place / "plain").page(2)["picture"] is None


def test_a_contact_sheet_shows_what_was_found(place, tmp_path):
    for level in ("strip", "panel"):
        sheet = tmp_path / f"{level}.png"
        words = ["search", "--index", str(place / "index"), "--words", "cat", "--level", level]
        result = CliRunner().invoke(app, [*words, "--contact-sheet", str(sheet)])
        assert result.exit_code == 0, result.output
        pixels = np.asarray(Image.open(sheet).convert("L"))
        assert pixels.min() < 60 and 0.002 < (pixels < 250).mean() < 0.9  # small pictures on a white sheet
    assert CliRunner().invoke(app, [*words, "--contact-sheet", str(sheet)]).exit_code == 0  # its own


def test_another_encoder_and_another_model_are_refused(place, tmp_path):
    with pytest.raises(ComicSeqDataError, match="made by another encoder than .*: their vectors are not compared"):
        open_index(place / "index", encoder="+all-MiniLM-L6-v2").search(text="cat")
    torch.manual_seed(1)
    ComicSeqForPreTraining(ComicSeqConfig(**TINY, panel_embedding_dim=WIDTH)).save_pretrained(tmp_path / "other")
    with pytest.raises(ComicSeqDataError, match="made by another model than"):
        open_index(place / "plain", model=str(tmp_path / "other")).search(text="cat")
    with pytest.raises(ComicSeqDataError, match="does not hold the page 'book 0/0.png'"):
        metadata = tmp_path / "stage3_metadata.json"
        metadata.write_text((place / "stage3_metadata.json").read_text().replace("book 0", "book 9"))
        (tmp_path / "stage3.zarr").symlink_to(place / "stage3.zarr")
        build_index(place / "stage5.zarr", tmp_path / "index", embeddings=tmp_path / "stage3.zarr", progress=False)


def test_embeddings_of_another_encoder_or_of_a_model_are_refused(place, tmp_path):
    other = tmp_path / "stage3.zarr"
    shutil.copytree(place / "stage3.zarr", other)
    shutil.copy(place / "stage3_metadata.json", tmp_path)
    group = zarr.open_group(str(other), mode="r+")
    group.attrs["origin"] = group.attrs["origin"] | {"encoder_fingerprint": "another"}
    with pytest.raises(ComicSeqDataError, match="of another origin .*encoder_fingerprint"):
        build_index(place / "stage5.zarr", tmp_path / "index", embeddings=other, progress=False)
    with pytest.raises(ComicSeqDataError, match="is a Stage 5 store"):
        build_index(place / "stage5.zarr", tmp_path / "index", embeddings=place / "stage5.zarr", progress=False)
    assert not (tmp_path / "index").exists()


def test_an_encoder_that_does_not_fit_is_loaded_once(place, monkeypatch):
    loaded = []

    def load(name: str, **how) -> PanelEncoder:
        loaded.append(name)
        return load_panel_encoder(name, **how)

    monkeypatch.setattr(panel_encoder, "load_panel_encoder", load)
    index = open_index(place / "index", encoder="+all-MiniLM-L6-v2")
    for _ in range(2):
        with pytest.raises(ComicSeqDataError, match="made by another encoder"):
            index.search(text="cat")
    assert loaded == ["+all-MiniLM-L6-v2"]


PAGE_MODEL = """
import sys
sys.argv[0] = "comicseq"  # as the command is called, which registers nothing
from modeling_comicseq.library.index.encoding import QueryEncoder
print(type(QueryEncoder({"model": {"name": sys.argv[1]}}, "index").pages().model).__name__)
"""


@pytest.mark.slow
def test_the_model_of_strips_may_be_a_page_model(tmp_path):
    page_model("pretraining").save_pretrained(tmp_path / "page_model")
    words = [sys.executable, "-c", PAGE_MODEL, str(tmp_path / "page_model")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.strip() == "ComicSeqModel", done.stderr
