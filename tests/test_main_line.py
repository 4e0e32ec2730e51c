"""The main line in real processes: store, data set, pretraining, evaluation, Auto classes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.synthetic.world import synthesize

REPOSITORY = Path(__file__).resolve().parents[1]
FIELDS = {
    "model": "configuration/model/comicseq-tiny.json",
    "config_overrides": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1},
    "num_train_epochs": 2,
    "per_device_train_batch_size": 32,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    synthesize(folder / "store", num_books=24, seed=0, progress=False)
    store = folder / "store"
    fractions = (0.6, 0.2, 0.2)
    convert_store(
        store / "stage3_embeddings.zarr", store / "stage3_metadata.json", folder / "dataset", fractions=fractions
    )
    return folder / "dataset"


def run(*command: str, ok: bool = True) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done


def write_config(path: Path, **fields) -> str:
    path.write_text(yaml.safe_dump(FIELDS | fields))
    return str(path)


def losses(folder: Path) -> list[dict]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


@pytest.mark.slow
def test_store_to_checkpoint_to_results(dataset, tmp_path):
    config = write_config(tmp_path / "run.yaml", dataset=str(dataset), output_dir=str(tmp_path / "model"))
    run("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "run_pretraining.py", config)
    names = {path.name for path in (tmp_path / "model").iterdir() if path.is_file()}
    assert {
        "model.safetensors",
        "config.json",
        "README.md",
        "modeling_comicseq.py",
        "configuration_comicseq.py",
    } <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl")) and name != "training_args.bin"]
    assert "| panel_picking |" in (tmp_path / "model" / "README.md").read_text()

    model = AutoModel.from_pretrained(tmp_path / "model")
    assert model(torch.randn(1, 6, 512)).strip_embedding.shape == (1, 32)

    done = run("run_eval.py", "--model", str(tmp_path / "model"), "--dataset", str(dataset), "--tasks", "all")
    assert "same_book: wrong candidates" in done.stdout and "character_coherence" in done.stdout
    results = json.loads((tmp_path / "model" / "results.json").read_text())["results"]
    picking = {
        r["answerer"]: r["score"] for r in results if (r["task"], r["protocol"]) == ("panel_picking", "same_book")
    }
    assert set(picking) == {
        "chance",
        "last-panel cosine",
        "context-mean cosine",
        "farthest from the context",
        "optimum, one candidate",
        "optimum",
        "model, without context",
        "model, shuffled context",
        "model, candidates only",
        "model",
    }
    assert picking["optimum"] == max(picking.values())
    card = ModelCard.load(tmp_path / "model" / "README.md")
    # Six tasks under two protocols, reading order and two kinds of retrieval.
    assert len({result.dataset_config for result in card.data.eval_results}) == 15

    # The same command again finds the finished run and does not train a second one.
    again = run("-m", "modeling_comicseq.cli", "pretrain", config)
    assert "Resuming from" in again.stdout and len(losses(tmp_path / "model")) > 2


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(dataset, tmp_path):
    """Four examples a process: most of the seven tasks are without one in some process, and negatives come from both."""
    overrides = FIELDS["config_overrides"] | {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "masked_panel_weight": 1.0,
    }
    fields = {"dataset": str(dataset), "config_overrides": overrides, "max_steps": 4, "eval_strategy": "no"}
    fields |= {"save_strategy": "no", "load_best_model_at_end": False}
    one = write_config(tmp_path / "one.yaml", output_dir=str(tmp_path / "one"), **fields)
    run("run_pretraining.py", one, "--per_device_train_batch_size", "8")
    two = write_config(tmp_path / "two.yaml", output_dir=str(tmp_path / "two"), **fields)
    # Accelerate starts several CPU processes only under this flag; without a GPU they speak gloo.
    launch = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    run(*launch, "run_pretraining.py", two, "--per_device_train_batch_size", "4")
    for alone, together in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert alone.keys() == together.keys()
        for name in alone:
            if name.endswith("loss"):
                assert together[name] == pytest.approx(alone[name], abs=1e-5, rel=1e-5), name
    assert (tmp_path / "two" / "trainer_state.json").is_file()
    weights, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    # Adam's first steps divide tiny gradients by themselves: rounding shows more than in the losses.
    assert all(torch.allclose(weights[name], other[name], atol=2e-4) for name in weights)


@pytest.mark.slow
def test_wrong_input_ends_with_one_sentence(tmp_path):
    done = run("run_pretraining.py", "--dataset", "nowhere", "--use_cpu", "true", ok=False)
    assert "nowhere is no data set" in done.stderr and "Traceback" not in done.stderr
    done = run("run_eval.py", "--model", str(tmp_path), "--dataset", "nowhere", ok=False)
    assert "nowhere is no data set" in done.stderr and "Traceback" not in done.stderr
