"""Exported checkpoints: the same answers, one class, nothing of the training."""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForMultipleChoice, AutoModelForPreTraining
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqForReadingOrder
from modeling_comicseq.checkpoints.export import export_checkpoint
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqDataError
from tests.model_inputs import CLASSES, TASKS, build, example


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a training run, with what a trainer leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    build("pretraining").save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# The card\n")
    (folder / "training_provenance.json").write_text('{"origin": {}}')
    for name in ("optimizer.pt", "trainer_state.json", "training_args.bin", "checkpoint-10/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left over")
    return folder


def outputs(name: str, model) -> torch.Tensor:
    inputs = {field: value for field, value in example(name).items() if field != "labels"}
    with torch.no_grad():
        answer = model.eval()(**inputs)
    return answer.pooler_output if name == "encoder" else answer.logits


@pytest.mark.parametrize("name", ["encoder", *TASKS])
def test_one_class(name, run, tmp_path):
    report = export_checkpoint(str(run), tmp_path / "out", name)
    assert report.class_name == CLASSES[name].__name__
    loaders = {"encoder": AutoModel, "reading_order": ComicSeqForReadingOrder}
    loader = loaders.get(name, AutoModelForMultipleChoice)
    assert report.loader == loader.__name__
    model = loader.from_pretrained(tmp_path / "out")
    assert type(model) is CLASSES[name]
    expected = CLASSES[name].from_pretrained(run)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in expected.state_dict().items())
    # A kernel's sums depend on where in memory the weights lie, which each file decides for those that are mapped from it.
    for each in (model, expected):
        each._apply(torch.clone)
    assert torch.equal(outputs(name, model), outputs(name, expected))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(path.name for path in run.glob("*_comicseq.py")),
        *(
            "config.json",
            "model.safetensors",
            "handler.py",
            "requirements.txt",
            "README.md",
            "training_provenance.json",
        ),
    }
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and f"Loads with `{report.loader}`" in card


def test_precision_and_class_of_the_checkpoint(run, tmp_path):
    report = export_checkpoint(str(run), tmp_path / "half", dtype="float16")
    assert report.class_name == "ComicSeqForPreTraining" and report.num_bytes < 0.6 * size(run)
    half = AutoModelForPreTraining.from_pretrained(tmp_path / "half")
    assert half.dtype == torch.float16
    whole = AutoModelForPreTraining.from_pretrained(run).state_dict()
    for name, weight in half.state_dict().items():
        assert_close(weight.float(), whole[name], atol=1e-3, rtol=1e-3)
    again = export_checkpoint(str(tmp_path / "half"), tmp_path / "picking", "panel_picking")
    assert again.dtype == "float16"
    assert json.loads((tmp_path / "picking" / "config.json").read_text())["dtype"] == "float16"


def size(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_what_cannot_be_exported(run, tmp_path):
    export_checkpoint(str(run), tmp_path / "picking", "panel_picking")
    for task in ("text_cloze", "encoder", "all"):
        with pytest.raises(ComicSeqDataError, match="ComicSeqForPanelPicking and has no head for"):
            export_checkpoint(str(tmp_path / "picking"), tmp_path / "out", task)
    model = build("encoder")
    with torch.no_grad():
        model.layernorm.weight[0] = 1e6
    model.save_pretrained(tmp_path / "large")
    with pytest.raises(ComicSeqDataError, match="outside torch.float16: export with --dtype bfloat16"):
        export_checkpoint(str(tmp_path / "large"), tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command(run, tmp_path):
    command = ["export", str(run), str(tmp_path / "out"), "--task", "visual_closure", "--dtype", "bfloat16"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "ComicSeqForVisualClosure" in result.output and "loads with AutoModelForMultipleChoice" in result.output
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and "exists: name another folder" in result.output
    result = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "other"), "--task", "guessing"])
    assert result.exit_code == 1 and "must be one of encoder, panel_picking" in result.output
    result = CliRunner().invoke(app, ["export", str(tmp_path / "nothing"), str(tmp_path / "other")])
    assert result.exit_code == 1 and "There is no" in result.output
