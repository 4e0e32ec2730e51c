"""Options that leave the model as it is: precision, memory, compilation, loggers; and the files for `accelerate launch`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.run import pretrain

from .processes import REPOSITORY, argv, write_inputs

EXACT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    write_inputs(folder)
    return folder


def run(folder: Path, name: str, **fields) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses and the final weights of a run of an epoch in five steps, of five pages and the last of four."""
    output = folder / name
    fields |= {"num_train_epochs": 1, "per_device_train_batch_size": 5, "config_overrides": EXACT}
    pretrain(parse_arguments(argv(folder, output, eval_steps=3, save_steps=3, **fields)))
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry], load_file(output / "model.safetensors")


@pytest.fixture(scope="module")
def ordinary(folder) -> tuple[list[float], dict[str, torch.Tensor]]:
    return run(folder, "ordinary")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "tolerance"),
    [
        ({"bf16": True}, 0.05),
        ({"gradient_checkpointing": True}, 1e-5),
        pytest.param({"torch_compile": True, "torch_compile_backend": "aot_eager"}, 1e-5, marks=pytest.mark.thorough),
    ],
    ids=["bf16", "checkpointing", "compiled"],
)
def test_a_run_with_it_trains_the_same_model(folder, ordinary, fields, tolerance):
    torch.compiler.reset()
    counters.clear()
    losses, weights = run(folder, next(iter(fields)), **fields)
    assert losses == pytest.approx(ordinary[0], rel=tolerance)
    assert weights.keys() == ordinary[1].keys(), "the checkpoint loads without it"
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    # Batches have other numbers of pages, questions and panels; a graph for each would take minutes. One is for training
    # and one for validation, each with another for inputs that need no gradient.
    graphs = counters["stats"]["unique_graphs"]
    assert 1 <= graphs <= 4 if "torch_compile" in fields else graphs == 0


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configuration" / "accelerate").glob("*.yaml")), ids=lambda p: p.stem
)
def test_files_for_accelerate_leave_the_precision_to_the_run(path, tmp_path, monkeypatch):
    """A precision that the launcher asks for would hold whatever `bf16` says."""
    values = yaml.safe_load(path.read_text())
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", values["mixed_precision"])
    for bf16 in (True, False):
        arguments = PretrainingArguments(output_dir=str(tmp_path), use_cpu=True, bf16=bf16)
        assert arguments.mixed_precision == ("bf16" if bf16 else "no")


def test_ways_to_load_data_that_would_repeat_questions_are_refused(tmp_path):
    fields = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True, "use_cpu": True}
    with pytest.raises(ComicSeqArgumentError, match="`dataloader_persistent_workers` is true but must be off"):
        PretrainingArguments(output_dir=str(tmp_path), **fields)
    with pytest.raises(ComicSeqArgumentError, match="`train_sampling_strategy` is 'sequential' but must be random"):
        PretrainingArguments(output_dir=str(tmp_path), use_cpu=True, train_sampling_strategy="sequential")


def test_a_run_is_logged_to_wandb(folder, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    run(folder, "wandb", report_to="wandb")
    assert {"train/loss", "train/contrastive_loss", "eval/score"} <= set(dict(wandb.run.summary))
    wandb.finish()
