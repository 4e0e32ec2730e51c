"""A panel encoder and a sequence model joined to one checkpoint: whole, of one origin, and still a checkpoint of vectors."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch.testing import assert_close
from transformers import AutoModel, pipeline
from typer.testing import CliRunner

from modeling_comicseq import ComicPageModel
from modeling_comicseq.checkpoints.export import export_checkpoint
from modeling_comicseq.checkpoints.opening import open_checkpoint
from modeling_comicseq.checkpoints.page_model import join_checkpoints
from modeling_comicseq.checkpoints.provenance import TRAINING_PROVENANCE
from modeling_comicseq.cli import app
from modeling_comicseq.encoders.panel_encoder import OFFLINE_ENCODER, load_panel_encoder
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.layouts.boxes import as_shares
from modeling_comicseq.library.encode import encode_store
from tests.model_inputs import build
from tests.page_inputs import page, panel_model, panel_processor, sequence_config
from tests.stores.stage3_stores import make_source

SHARED_DATA = os.environ.get("COMICSEQ_DATA", "")
CARD = """---
license: cc-by-4.0
tags:
- comics
---

# A model

## Use

Vectors.

## Training data

Ten books.

## Results

Nearly all.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`encoder`, the panel encoder; `model`, trained on its vectors; `other`, on those of another."""
    folder = tmp_path_factory.mktemp("parts")
    panel_model().save_pretrained(folder / "encoder")
    panel_processor(folder).save_pretrained(folder / "encoder")
    origin = load_panel_encoder(str(folder / "encoder"), device="cpu").origin
    for name, said in (("model", origin), ("other", {**origin, "text_encoder": "another"}), ("silent", {})):
        build("pretraining", sequence_config()).save_pretrained(folder / name)
        (folder / name / TRAINING_PROVENANCE).write_text(json.dumps({"origin": said}))
    (folder / "model" / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="module")
def joined(folder):
    report = join_checkpoints(str(folder / "model"), str(folder / "encoder"), folder / "joined")
    assert report.class_name == "ComicPageModel" and report.loader == "AutoModel" and not report.notes
    assert report.num_bytes == (folder / "joined" / "model.safetensors").stat().st_size
    return folder / "joined"


def test_it_is_both_parts(joined):
    model = AutoModel.from_pretrained(joined)
    assert type(model) is ComicPageModel
    for part, expected in (
        (model.panel_encoder, panel_model()),
        (model.sequence_model, build("pretraining", sequence_config())),
    ):
        weights = part.state_dict()
        assert weights.keys() == expected.state_dict().keys()
        assert all(torch.equal(value, weights[key]) for key, value in expected.state_dict().items())
    assert pipeline("comic-strip-embedding", model=str(joined))(page()).shape == (32,)


def test_its_card_says_what_it_takes(joined):
    card = (joined / "README.md").read_text()
    assert card.startswith("---\n") and "license: cc-by-4.0" in card and "comic-pages" in card
    assert "tiny-vit for pictures and tiny-bert for texts; vectors of 24 numbers" in card
    assert "## Training data\n\nTen books." in card and "Nearly all." in card and "Vectors.\n" not in card
    assert "| `comic-text-cloze` | Which text belongs into the panel? | `mask_position`, `candidate_texts` |" in card
    assert "`caption`, `candidates` (no page)" in card


def test_the_example_of_the_card_runs(joined, tmp_path, monkeypatch):
    """As it stands there, in at most 15 lines."""
    code = re.search(r"```python\n(.*?)```", (joined / "README.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    page()["image"].save("page.jpg")
    scope: dict = {}
    exec(code.replace(", trust_remote_code=True", ""), scope)
    assert scope["vector"].shape == (32,) and len(scope["found"]["panel_boxes"]) == 4


def test_another_origin_is_refused(folder, tmp_path):
    with pytest.raises(
        ComicSeqDataError, match="text_encoder is 'another' here and 'tiny-bert' there.*--other-origin"
    ):
        join_checkpoints(str(folder / "other"), str(folder / "encoder"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = join_checkpoints(str(folder / "other"), str(folder / "encoder"), tmp_path / "out", other_origin=True)
    assert len(report.notes) == 1 and "another origin" in report.notes[0]
    report = join_checkpoints(str(folder / "silent"), str(folder / "encoder"), tmp_path / "quiet")
    assert len(report.notes) == 1 and "does not say which encoders" in report.notes[0]


def test_arrays_that_were_added_to_the_trainings_store_are_of_the_encoder_too(folder, tmp_path):
    trained = tmp_path / "model"
    shutil.copytree(folder / "model", trained)
    origin = json.loads((trained / TRAINING_PROVENANCE).read_text())["origin"]
    added = {key: origin[key] for key in ("text_encoder", "normalisation", "projection")}
    fingerprint = {"encoder_fingerprint": "that of the text model alone"}
    for text_encoder, is_same in ((origin["text_encoder"], True), ("another", False)):
        arrays = {"text_embeddings": added | fingerprint | {"text_encoder": text_encoder}}
        (trained / TRAINING_PROVENANCE).write_text(json.dumps({"origin": origin | {"arrays": arrays}}))
        if is_same:
            assert not join_checkpoints(str(trained), str(folder / "encoder"), tmp_path / "out").notes
        else:
            with pytest.raises(ComicSeqDataError, match="text_embeddings.text_encoder is 'another' here"):
                join_checkpoints(str(trained), str(folder / "encoder"), tmp_path / "out", overwrite=True)


def test_changed_weights_are_another_origin(folder, tmp_path):
    """Of the same names: the fingerprint tells."""
    model = panel_model()
    next(model.parameters()).data += 0.1
    model.save_pretrained(tmp_path / "trained")
    panel_processor(tmp_path).save_pretrained(tmp_path / "trained")
    with pytest.raises(ComicSeqDataError, match="encoder_fingerprint is"):
        join_checkpoints(str(folder / "model"), str(tmp_path / "trained"), tmp_path / "out")


def test_widths_and_precisions_that_do_not_fit(folder, tmp_path):
    panel_model(width=16).save_pretrained(tmp_path / "narrow")
    panel_processor(tmp_path).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ComicSeqDataError, match="narrow does not fit .*silent: The panel encoder makes vectors of 16"):
        join_checkpoints(str(folder / "silent"), str(tmp_path / "narrow"), tmp_path / "out")
    with pytest.raises(ComicSeqArgumentError, match="The dtype is 'int8'"):
        join_checkpoints(str(folder / "model"), str(folder / "encoder"), tmp_path / "out", dtype="int8")
    with pytest.raises(ComicSeqDataError, match="is a model of type comicseq, no panel encoder"):
        join_checkpoints(str(folder / "model"), str(folder / "silent"), tmp_path / "out")
    with pytest.raises(ComicSeqDataError, match="is the input"):
        join_checkpoints(str(folder / "model"), str(folder / "encoder"), folder / "encoder", overwrite=True)


@pytest.mark.parametrize(("task", "precision"), [("panel_picking", "float16"), ("encoder", "bfloat16")])
def test_one_head_and_less_precision(task, precision, folder, tmp_path):
    report = join_checkpoints(
        str(folder / "model"), str(folder / "encoder"), tmp_path / "out", task=task, dtype=precision
    )
    assert report.dtype == precision
    model = AutoModel.from_pretrained(tmp_path / "out")
    expected = {"panel_picking": "ComicSeqForPanelPicking", "encoder": "ComicSeqModel"}[task]
    assert type(model.sequence_model).__name__ == expected == model.config.sequence_class
    assert {str(parameter.dtype) for parameter in model.parameters()} == {f"torch.{precision}"}
    name = "comic-panel-picking" if task == "panel_picking" else "comic-strip-embedding"
    assert f"`{name}`" in (tmp_path / "out" / "README.md").read_text()
    asked = page() | (
        {"mask_position": 0, "candidates": [{"text": "no"}, {"text": "the cat"}]} if "pick" in name else {}
    )
    assert len(pipeline(name, model=str(tmp_path / "out"))(asked)) == (3 if "pick" in name else 32)


def test_its_sequence_model_is_used_on_vectors(folder, joined, tmp_path):
    """By whatever opens a checkpoint; what it is exported to is one of vectors again."""
    opened, expected = open_checkpoint(str(joined)), open_checkpoint(str(folder / "model"))
    weights = opened.model.state_dict()
    assert not opened.untrained
    assert all(torch.equal(value, weights[key]) for key, value in expected.model.state_dict().items())
    export_checkpoint(str(joined), tmp_path / "vectors", "encoder")
    vectors = AutoModel.from_pretrained(tmp_path / "vectors")
    assert torch.equal(vectors.embeddings.mask_embedding, expected.model.comicseq.embeddings.mask_embedding)
    # A page model is also an encoder, which can be joined again.
    report = join_checkpoints(str(joined), str(joined), tmp_path / "again")
    assert not report.notes and (tmp_path / "again" / TRAINING_PROVENANCE).is_file()


def test_encode_takes_a_page_model(folder, joined, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.stores.stage3_stores.WIDTHS", {"panel_embeddings": 24})
    source = make_source(tmp_path / "in", names=("panel_embeddings",))
    for name in ("model", "joined"):
        encode_store(
            str(folder / name),
            source.embeddings,
            source.metadata,
            str(tmp_path / name),
            other_origin=True,
            progress=False,
        )
    found, expected = (zarr.open_group(str(tmp_path / name), mode="r") for name in ("joined", "model"))
    assert_close(torch.from_numpy(found["strip_embeddings"][:]), torch.from_numpy(expected["strip_embeddings"][:]))


def test_command(folder, tmp_path):
    words = ["--model", str(folder / "model"), "--encoder", str(folder / "encoder"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["export", *words])
    assert result.exit_code == 0, result.output
    assert "ComicPageModel" in result.output and "loads with AutoModel" in result.output
    words = [str(folder / "other"), str(tmp_path / "more"), "--encoder", str(folder / "encoder"), "--other-origin"]
    result = CliRunner().invoke(app, ["export", *words])
    assert result.exit_code == 0 and "Warning: " in result.output and "another origin" in result.output


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_DATA, reason="COMICSEQ_DATA names no folder of real comics")
def test_real_pages_lie_where_the_vectors_of_their_store_do(tmp_path):
    """A sequence model reads pages of Pepper&Carrot as it reads the Stage 3 store that was made of them elsewhere."""
    data = Path(SHARED_DATA)
    sequence = build("encoder", sequence_config(panel_embedding_dim=512))
    sequence.save_pretrained(tmp_path / "sequence")
    join_checkpoints(str(tmp_path / "sequence"), OFFLINE_ENCODER, tmp_path / "joined")
    pages = {
        Path(each["image"]).name: each for each in json.loads((data / "peppercarrot" / "panels.json").read_text())
    }
    entries = json.loads((data / "stage3" / "peppercarrot" / "stage3_metadata.json").read_text())[:60:20]
    vectors = zarr.open_group(str(data / "stage3" / "peppercarrot" / "stage3_embeddings.zarr"), mode="r")
    asked, expected = [], []
    for entry in entries:
        known = pages[entry["page_name"]]
        boxes = as_shares([each["box"] for each in known["panels"]], known["size"])
        texts = [each["text"] for each in known["panels"]]
        asked.append({"image": data / "peppercarrot" / known["image"], "boxes": boxes, "texts": texts})
        panels = torch.from_numpy(vectors["panel_embeddings"][entry["sequence_index"]][None, : len(boxes)])
        with torch.no_grad():
            expected.append(sequence(panels.float(), panel_boxes=torch.from_numpy(boxes)[None]).pooler_output[0])
    found = pipeline("comic-strip-embedding", model=str(tmp_path / "joined"))(asked, batch_size=3)
    cosines = torch.cosine_similarity(torch.stack(expected), torch.from_numpy(np.stack(found)))
    assert (cosines > 0.999).all(), cosines
