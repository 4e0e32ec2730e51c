"""Checkpoints of the original Stage 4 code: the same numbers after the import, and everything else refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForPreTraining
from typer.testing import CliRunner

from modeling_comicseq.checkpoints.importing import import_checkpoint
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqError
from tests.checkpoints.upstream_stage4 import UpstreamModel, upstream_checkpoint, upstream_inputs


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    return UpstreamModel()


@pytest.fixture
def file(original, tmp_path):
    torch.save(upstream_checkpoint(original), tmp_path / "best_model.pt")
    return tmp_path / "best_model.pt"


def assert_same_outputs(folder: Path, inputs: dict, expected: dict) -> None:
    """Encoder and strip vector through the model, the seven heads through their modules with raw vectors."""
    encoder = AutoModel.from_pretrained(folder).eval()
    model = AutoModelForPreTraining.from_pretrained(folder).eval()
    panels, mask = inputs["panel_embeddings"], inputs["panel_mask"].bool()
    context, candidates, text = inputs["context"], inputs["candidates"], inputs["text"]
    with torch.no_grad():
        outputs = encoder(panels, attention_mask=mask)
        actual = {
            "strip_embedding": outputs.strip_embedding,
            "panel_picking_scores": model.panel_picking_head(context, candidates),
            "character_coherence_score": model.character_coherence_head(panels, context),
            "visual_closure_scores": model.visual_closure_head(panels, candidates),
            "text_closure_scores": model.text_closure_head(panels, candidates),
            "caption_relevance_score": model.caption_relevance_head(context, text),
            "text_cloze_scores": model.text_cloze_head(context, text, candidates),
            "reading_order_scores": model.reading_order_head(panels),
        }
    assert_close(outputs.contextualized_panels[mask], expected["contextualized_panels"][mask])
    for name, values in actual.items():
        assert_close(values, expected[name], msg=lambda text, name=name: f"{name}: {text}")


def test_imported_model_computes_what_the_original_does(original, file, tmp_path):
    report = import_checkpoint(file, tmp_path / "imported")
    inputs = upstream_inputs()
    assert_same_outputs(tmp_path / "imported", inputs, original.outputs(inputs))
    config = report.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (24, 3, 4)
    assert (config.intermediate_size, config.hidden_act, config.input_scale) == (40, "relu", 1.0)
    assert (config.hidden_dropout_prob, config.similarity_term, config.max_position_embeddings) == (0.2, False, 32)
    assert report.imported == len(original.state_dict())


def test_reference_of_the_original_code(tmp_path):
    if "COMICSEQ_DATA" not in os.environ:
        pytest.skip("COMICSEQ_DATA names no folder with upstream_stage4")
    data = Path(os.environ["COMICSEQ_DATA"]) / "upstream_stage4"
    import_checkpoint(data / "best_model.pt", tmp_path / "imported")
    reference = {name: torch.from_numpy(values) for name, values in np.load(data / "reference.npz").items()}
    assert_same_outputs(tmp_path / "imported", reference, reference)


def test_what_was_never_trained_is_neutral_and_stated(original, file, tmp_path):
    report = import_checkpoint(file, tmp_path / "imported")
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "imported").eval()
    embeddings = model.comicseq.embeddings
    vectors, mask = torch.randn(2, 3, 24), torch.ones(2, 3, dtype=torch.bool)
    for modality in ("panel", "visual", "text", "caption"):
        assert torch.equal(embeddings.project(vectors, mask, modality), vectors)
    assert not embeddings.mask_embedding.any()
    # Every weight is either of the original, bit by bit, or named as untrained.
    known = {tensor.numpy().tobytes() for tensor in original.state_dict().values()}
    known |= {part.numpy().tobytes() for tensor in original.state_dict().values() for part in tensor.chunk(3)}
    unknown = {name for name, tensor in model.state_dict().items() if tensor.numpy().tobytes() not in known}
    assert unknown and unknown == set(report.untrained)
    card = (tmp_path / "imported" / "README.md").read_text()
    assert all(f"`{name}`" in card for name in report.untrained)
    assert "## What was never trained" in card and "epoch 3, validation loss 0.5" in card
    assert not list(tmp_path.glob(".*")), "nothing is left beside the folder"


def test_command(file, tmp_path):
    run = CliRunner().invoke(app, ["import-checkpoint", str(file), str(tmp_path / "imported")])
    assert run.exit_code == 0, run.output
    assert "width 24, 3 layers, 4 heads, feed-forward 40" in run.output
    assert "  comicseq.embeddings.mask_embedding" in run.output
    run = CliRunner().invoke(app, ["import-checkpoint", str(file), str(tmp_path / "imported")])
    assert run.exit_code == 1 and "exists: name another folder" in run.output
    run = CliRunner().invoke(app, ["import-checkpoint", str(file), str(tmp_path / "imported"), "--overwrite"])
    assert run.exit_code == 0
    run = CliRunner().invoke(app, ["import-checkpoint", str(file), str(tmp_path / "other"), "--heads", "5"])
    assert run.exit_code == 1 and "cannot be split into 5 attention heads" in run.output
    assert not (tmp_path / "other").exists()


ENCODER = "sequence_transformer."
SCORER = "reading_order_head.order_scorer.weight"


def replace(weights: dict, name: str, change) -> None:
    weights[name] = change(weights[name])


BROKEN_WEIGHTS = {
    "lacks a head": (lambda weights: weights.pop("text_cloze_head.text_scorer.bias"), "text_scorer.bias` is missing"),
    "lacks the encoder": (lambda weights: weights.pop(ENCODER + "strip_query"), "strip_query` is missing"),
    "lacks a layer": (
        lambda weights: [weights.pop(name) for name in list(weights) if "layers.1." in name],
        "layers.1.self_attn.in_proj_weight` is missing",
    ),
    "has more": (lambda weights: weights.update(extra=torch.ones(1)), "no place for its `extra`"),
    "mismatched": (
        lambda weights: weights.update({"panel_picking_head.scorer.0.weight": torch.ones(24, 24)}),
        r"`panel_picking_head.scorer.0.weight` has the shape \(24, 24\) but \(24, 48\)",
    ),
    "other axes": (
        lambda weights: weights.update({ENCODER + "strip_query": torch.ones(24)}),
        "strip_query` has the shape",
    ),
    "NaN": (
        lambda weights: weights["reading_order_head.order_scorer.bias"].fill_(torch.nan),
        "holds NaN, infinity or",
    ),
    "beyond float32": (
        lambda weights: replace(weights, "reading_order_head.order_scorer.bias", lambda bias: bias.double() + 1e300),
        "a number outside float32; take",
    ),
    "sparse": (lambda weights: replace(weights, SCORER, torch.Tensor.to_sparse), f"'{SCORER}' in .* no dense tensor"),
    "without data": (lambda weights: replace(weights, SCORER, lambda t: t.to("meta")), "is no dense tensor"),
    "eight bits": (
        lambda weights: replace(weights, SCORER, lambda t: t.to(torch.float8_e4m3fn)),
        "is no dense tensor of floating-point numbers",
    ),
    # A file of some kilobytes whose tensor would fill a terabyte.
    "one number for all": (
        lambda weights: weights.update({ENCODER + "strip_query": torch.zeros(1).expand(1, 1, 2**40)}),
        "is no dense tensor",
    ),
    "learned positions": (lambda weights: weights[ENCODER + "pos_encoder.pe"].add_(0.1), "sinusoidal positions"),
    "no floats": (lambda weights: weights.update(extra=torch.ones(1, dtype=torch.long)), "'extra' in its"),
    "a name that is none": (lambda weights: weights.update({3: torch.ones(1)}), "3 in its `model_state_dict`"),
}


@pytest.mark.parametrize("fault", BROKEN_WEIGHTS)
def test_other_weights_are_refused(fault, original, tmp_path):
    change, message = BROKEN_WEIGHTS[fault]
    saved = upstream_checkpoint(original)
    saved["model_state_dict"] = {name: tensor.clone() for name, tensor in saved["model_state_dict"].items()}
    change(saved["model_state_dict"])
    torch.save(saved, tmp_path / "best_model.pt")
    assert_refused(tmp_path, message)


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(ComicSeqError, match=message) as refused:
        import_checkpoint(folder / "best_model.pt", folder / "imported")
    assert "\n" not in str(refused.value)
    assert [path.name for path in folder.iterdir()] in ([], ["best_model.pt"])


class Planted:
    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_other_files_are_refused(original, file, monkeypatch):
    folder = file.parent
    monkeypatch.chdir(folder)
    whole = file.read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:-100],
        whole[:10],
        b"",
        b"text",
        b"\x80\x05garbage",
        b"PK\x03\x04",
    ):
        file.write_bytes(content)
        assert_refused(folder, "best_model.pt (cannot be read|is no checkpoint)")
    saved = upstream_checkpoint(original)
    for code in (Planted(), original):
        torch.save({**saved, "args": code}, file)
        assert_refused(folder, "holds code or other objects")
        file.write_bytes(pickle.dumps({**saved, "args": Planted()}))
        assert_refused(folder, "best_model.pt (cannot be read|is no checkpoint)")
    for other in (saved["model_state_dict"], [1, 2], torch.ones(3), {"model_state_dict": {}}, {"model_state_dict": 3}):
        torch.save(other, file)
        assert_refused(folder, "it has no `model_state_dict` of tensors")
    for arguments in ({}, {"nhead": "4"}, {"nhead": 0}, {"nhead": 7}, None):
        torch.save({**saved, "args": arguments}, file)
        assert_refused(folder, "give --heads")
    file.unlink()
    assert_refused(folder, "is no file")
    file.mkdir()
    assert_refused(folder, "is no file")


def test_number_of_heads_can_be_given(original, file, tmp_path):
    saved = upstream_checkpoint(original)
    del saved["args"]
    torch.save(saved, file)
    report = import_checkpoint(file, tmp_path / "imported", num_attention_heads=4)
    inputs = upstream_inputs()
    assert report.config.num_attention_heads == 4
    assert_same_outputs(tmp_path / "imported", inputs, original.outputs(inputs))
