"""Separate streams along the main line: pretraining, evaluation beside a fused model, a Stage 5 store, orders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqError
from modeling_comicseq.evaluation.arguments import EvaluationArguments
from modeling_comicseq.evaluation.run import evaluate
from modeling_comicseq.library.encode import encode_store
from modeling_comicseq.library.order import order_store
from modeling_comicseq.synthetic.world import synthesize
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.arguments import parse_arguments
from modeling_comicseq.training.run import pretrain

WORDS = ["--model", "comicseq-tiny", "--hidden_size", "32", "--num_attention_heads", "2", "--num_hidden_layers", "1"]
WORDS += ["--intermediate_size", "32", "--per_device_train_batch_size", "32", "--use_cpu", "true", "--max_steps", "3"]
WORDS += ["--eval_strategy", "steps", "--eval_steps", "3", "--save_strategy", "steps", "--save_steps", "3"]
WORDS += ["--report_to", "none", "--disable_tqdm", "true"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A store with vectors of both, its data set, and a model of each kind that was trained on it."""
    folder = tmp_path_factory.mktemp("streams")
    synthesize(folder / "store", num_books=14, seed=0, progress=False)
    store, metadata = folder / "store" / "stage3_embeddings.zarr", folder / "store" / "stage3_metadata.json"
    convert_store(store, metadata, folder / "data", fractions=(0.6, 0.4, 0), progress=False)
    for streams in ("fused", "separate"):
        run = ["--dataset", str(folder / "data"), "--output_dir", str(folder / streams), "--streams", streams]
        pretrain(parse_arguments([*WORDS, *run, "--modality_dropout", "0.3"], "comicseq pretrain"))
    return folder


@pytest.mark.slow
def test_widths_follow_from_the_data(made):
    config = ComicSeqForPreTraining.from_pretrained(made / "separate").config
    assert config.streams == "separate" and config.panel_embedding_dim == 2 * config.visual_embedding_dim == 1024
    card = (made / "separate" / "README.md").read_text()
    assert "(512) and that of its text (512), side by side" in card
    assert "side by side" not in (made / "fused" / "README.md").read_text()
    state = json.loads((made / "separate" / "trainer_state.json").read_text())
    assert np.isfinite([entry["loss"] for entry in state["log_history"] if "loss" in entry]).all()
    assert json.loads((made / "separate" / "training_args.json").read_text())["modality_dropout"] == 0.3


@pytest.mark.slow
def test_both_kinds_answer_the_same_questions(made, tmp_path):
    models = [str(made / name) for name in ("fused", "separate")]
    named = {
        "tasks": ["panel_picking", "visual_closure", "reading_order"],
        "repeats": 1,
        "modalities": True,
        "split": "validation",
        "protocol": ["same_book"],
    }
    evaluate(EvaluationArguments(models, str(made / "data"), output_dir=str(tmp_path / "out"), **named), TASKS)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    asked = {(row["task"], row["answerer"]) for row in results["results"]}
    for name in ("fused", "separate"):
        assert {("panel_picking", name), ("panel_picking", f"{name}, texts alone")} <= asked
        assert ("reading_order", f"{name}, pictures alone") in asked
        assert ("visual_closure", f"{name}, pictures alone") not in asked  # which is of pictures anyway
    pairs = {(row["answerer"], row["minus"]) for row in results["differences"]}
    assert ("fused", "separate") in pairs


@pytest.mark.slow
def test_stores_are_read_for_what_the_model_wants(made, tmp_path):
    store, metadata = made / "store" / "stage3_embeddings.zarr", made / "store" / "stage3_metadata.json"
    encode_store(str(made / "separate"), store, metadata, tmp_path / "out.zarr", progress=False)
    given, found = zarr.open_group(str(store), mode="r"), zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    mask = torch.from_numpy(given["panel_masks"][:4].astype(bool))
    vectors = np.concatenate([given[name][:4] for name in ("visual_embeddings", "text_embeddings")], axis=-1)
    model = ComicSeqForPreTraining.from_pretrained(made / "separate").comicseq.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(vectors).float(), attention_mask=mask.long())
    strips = torch.from_numpy(found["strip_embeddings"][:4])
    torch.testing.assert_close(strips, expected.pooler_output, atol=1e-4, rtol=1e-4)
    panels = torch.from_numpy(found["contextualized_panels"][:4])
    torch.testing.assert_close(panels[mask], expected.last_hidden_state[mask], atol=1e-4, rtol=1e-4)
    summary = order_store(str(made / "separate"), str(store), str(metadata), tmp_path / "orders.json", progress=False)
    assert summary.pages == given["panel_masks"].shape[0]


@pytest.mark.slow
def test_a_store_without_texts_is_refused(made, tmp_path):
    store = zarr.open_group(str(tmp_path / "lacking.zarr"), mode="w")
    given = zarr.open_group(str(made / "store" / "stage3_embeddings.zarr"), mode="r")
    for name in ("panel_embeddings", "visual_embeddings", "panel_masks"):
        store.create_array(name, data=given[name][:])
    metadata = made / "store" / "stage3_metadata.json"
    with pytest.raises(
        ComicSeqError, match="lacking.zarr has no 'text_embeddings', which a model with separate streams"
    ):
        encode_store(str(made / "separate"), tmp_path / "lacking.zarr", metadata, tmp_path / "out.zarr")
    convert_store(tmp_path / "lacking.zarr", metadata, tmp_path / "data", fractions=(0.6, 0.4, 0), progress=False)
    run = ["--dataset", str(tmp_path / "data"), "--output_dir", str(tmp_path / "model"), "--tasks", "available"]
    for option, said in (("--streams=separate", "separate streams"), ("--modality_dropout=0.5", "`modality_dropout`")):
        with pytest.raises(ComicSeqError, match=rf"(?s){said}"):
            pretrain(parse_arguments([*WORDS, *run, option], "comicseq pretrain"))
