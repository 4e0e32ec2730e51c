"""Runs that train through the panel encoder: processes, resuming, features made once, checkpoints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modeling_comicseq import ComicPageForPreTraining, ComicPageModel
from modeling_comicseq.checkpoints.provenance import read_training_provenance
from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from modeling_comicseq.errors import ComicSeqError
from modeling_comicseq.training.arguments import parse_arguments
from modeling_comicseq.training.features import embed_table
from modeling_comicseq.training.run import build_model, configuration, open_encoder, take_output
from modeling_comicseq.training.run import main as train
from modeling_comicseq.training.stores import open_data
from modeling_comicseq.training.tuning import freeze
from modeling_comicseq.training.wanted import WantedTasks

from . import processes
from .page_runs import argv, write_inputs
from .processes import Run
from .test_processes import log

EXACT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """18 pages to train on, hence 5 steps an epoch in fours."""
    folder = tmp_path_factory.mktemp("pages")
    write_inputs(folder)
    return folder


def opened(folder: Path, output: Path, tuned: str):
    """The model and the tables of a run before its first step."""
    arguments = parse_arguments(argv(folder, output, tuned))
    encoder, wanted = open_encoder(arguments), WantedTasks(arguments, configuration(arguments))
    train, validation = open_data(arguments, wanted, encoder)
    sequence = build_model(arguments, train, wanted, encoder)
    freeze(encoder.model, arguments.tuning)
    return ComicPageForPreTraining.from_parts(encoder.model, sequence), train, validation


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_one_that_is_not(folder):
    """Bit for bit, with dropout in the text encoder and rates of its own."""
    fields = {"layer_decay": 0.8, "questions_per_page": 2, "encoder": folder / "dropping"}
    fields |= {"save_steps": 3, "eval_steps": 3}
    words = partial(argv, folder, tuned="vision=last_1 text=all", **fields)
    whole, parts = folder / "whole", folder / "parts"
    assert Run(words(whole), folder / "whole.log").exit_codes == [0]
    run = Run(words(parts), folder / "parts.log", partial(processes.kill_at_step, 7))
    assert run.exit_codes == [-signal.SIGKILL], run.output
    run = Run(words(parts), folder / "parts.log")
    assert run.exit_codes == [0] and f"Resuming from {parts}/checkpoint-6" in run.output, run.output
    assert "A batch of 4 pages has some " in run.output and "GiB of activations" in run.output
    told, expected = ([each for each in log(output) if "train_loss" not in each] for output in (parts, whole))
    assert told == expected and len(told) == 14
    weights, expected = (load_file(output / "checkpoint-10" / "model.safetensors") for output in (parts, whole))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    best = json.loads((whole / "trainer_state.json").read_text())["best_model_checkpoint"]
    statistics = [read_training_provenance(str(path))["statistics"] for path in (whole, best)]
    assert statistics[0] == statistics[1] and statistics[0]
    start = load_panel_encoder(str(folder / "dropping"), device="cpu").model.state_dict()
    moved = {name for name, value in start.items() if not torch.equal(weights[f"panel_encoder.{name}"], value)}
    assert moved == {name for name in start if not name.startswith("vision_model.embeddings")}


@pytest.mark.slow
def test_two_processes_compute_what_one_does(folder):
    fields = {"optim": "sgd", "learning_rate": 1e-3, "encoder_learning_rate": 1e-2, "weight_decay": 0.0}
    fields |= {"save_strategy": "no", "load_best_model_at_end": False, "num_train_epochs": 1, "eval_steps": 3}
    fields |= {"config_overrides": EXACT | {"masked_panel_weight": 1.0}}
    outputs = []
    for count in (1, 2):
        outputs.append(folder / f"shared-{count}")
        words = argv(folder, outputs[-1], per_device_train_batch_size=8 // count, **fields)
        run = Run(words, folder / f"{outputs[-1].name}.log", processes=count)
        assert run.exit_codes == [0] * count, run.output
    one, two = map(log, outputs)
    for alone, together in zip(one, two, strict=True):
        names = [name for name in alone if name.endswith(("loss", "accuracy", "score", "norm"))]
        assert alone.keys() == together.keys()
        assert [together[name] for name in names] == pytest.approx([alone[name] for name in names], abs=1e-5, rel=1e-5)
    weights, other = (load_file(output / "model.safetensors") for output in outputs)
    start = load_panel_encoder(str(folder / "encoder"), device="cpu").model.state_dict()
    moved = {name for name, value in start.items() if not torch.equal(value, weights[f"panel_encoder.{name}"])}
    assert {name.partition(".")[0] for name in moved} == {name.partition(".")[0] for name in start}
    for name, weight in weights.items():
        torch.testing.assert_close(other[name], weight, msg=name)


def test_features_that_are_made_once_are_those_of_the_encoder(folder, tmp_path):
    """With frozen layers the same vectors come from the disk, and nothing is read a second time."""
    model, train, _ = opened(folder, tmp_path / "frozen", "projections")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "frozen_data").glob("*.npy")}
    assert len(files) == 2 and train.contents.image_features is not None and train.contents.text_features is not None
    cached = embed_table(model, train)
    _, again, validation = opened(folder, tmp_path / "frozen", "none")
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "frozen_data").glob("*.npy")}
    train.contents.image_features = train.contents.text_features = None
    made = embed_table(model, train)
    for name, pieces in cached.columns.items():
        np.testing.assert_allclose(np.concatenate(pieces), np.concatenate(made.columns[name]), atol=1e-6)
    assert set(validation.book_ids) == {"Book 3"} and not set(train.book_ids) & set(validation.book_ids)


@pytest.mark.slow
def test_a_tuned_encoder_makes_stores_and_its_model_goes_on(folder, tmp_path, capsys):
    output = tmp_path / "model"
    words = argv(folder, output, max_steps=2, encoder_learning_rate=0.01)
    assert train(words) is None
    model = ComicPageModel.from_pretrained(output)
    encoder = load_panel_encoder(str(output), device="cpu")
    start = load_panel_encoder(str(folder / "encoder"), device="cpu")
    assert encoder.fingerprint != start.fingerprint and encoder.origin["projection"] == "learned"
    origin = read_training_provenance(str(output))["origin"]
    assert origin["encoder_fingerprint"] == encoder.fingerprint
    assert "missing keys" not in capsys.readouterr().err  # of the best checkpoint, as of one that is resumed from
    card = (output / "README.md").read_text()
    assert "A panel encoder and a ComicSeq sequence model in one" in card and "18 pages of 3 books" in card
    assert "tiny-vit for pictures and tiny-bert for texts" in card and "AutoModel.from_pretrained" in card
    command = "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.command import main; main()"  # as it is installed
    words = ["embed", str(folder / "pages"), "--encoder", str(output), "--output", str(tmp_path / "store.zarr")]
    done = subprocess.run(
        [sys.executable, "-c", command, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "store.zarr" / "zarr.json").read_text())["attributes"]["origin"] == encoder.origin
    said = str(train(argv(folder, output, "none", max_steps=2)))
    assert "checkpoint-2 is of another run: its `tune_encoders` is ['all'], not ['none']" in said
    said = str(train(argv(folder, output, max_steps=3, layer_decay=0.5)))
    assert "checkpoint-2 is of another run: its `layer_decay` is 1.0, not 0.5" in said
    # Trained further: from its own encoder, which cannot be another.
    words = argv(folder, tmp_path / "further", model=output, max_steps=1, tuned="none", eval_strategy="no")
    words = [word for word in words if word not in ("--encoder", str(folder / "encoder"))]
    words += ["--save_strategy", "no", "--load_best_model_at_end", "false"]
    assert train(words) is None
    further = ComicPageModel.from_pretrained(tmp_path / "further")
    for name, weight in model.panel_encoder.state_dict().items():
        assert torch.equal(further.panel_encoder.state_dict()[name], weight)
    assert "leave `encoder` out" in str(train([*words, "--encoder", str(folder / "encoder")]))


@pytest.mark.slow
def test_streams_apart_modality_dropout_strips_from_their_mean_and_workers_work_on_pages(folder, tmp_path):
    fields = {
        "streams": "separate",
        "modality_dropout": 0.3,
        "strip_pooling": "residual",
        "gradient_checkpointing": True,
    }
    words = argv(folder, tmp_path / "model", tuned="vision=last_1 text=projections", max_steps=2, **fields)
    assert train([*words, "--dataloader_num_workers", "1"]) is None
    model = ComicPageForPreTraining.from_pretrained(tmp_path / "model")
    assert model.config.sequence_config.panel_embedding_dim == 2 * model.panel_encoder.config.projection_dim
    assert model.sequence_model.comicseq.pooler.strip_mean.is_fitted


def test_an_encoder_that_is_read_is_not_written_over(folder, tmp_path):
    (tmp_path / "model").mkdir()
    for name in (tmp_path / "model", f"{tmp_path / 'model'}+all-MiniLM-L6-v2"):
        with pytest.raises(ComicSeqError, match="model/checkpoint-1 lies in the input"), ExitStack() as held:
            take_output(parse_arguments(argv(folder, tmp_path / "model", encoder=name)), held)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tune_encoders=last_0", "`tune_encoders` is 'last_0' but must be none, projections, last_N"),
        ("tune_encoders=picture=all", "`tune_encoders` is 'picture=all' but must be"),
        (
            "tune_encoders=last_3",
            "`tune_encoders` is last_3 for vision but its model has 1 layers: give at most last_1",
        ),
        ("layer_decay=0", "`layer_decay` is 0.0 but must be above 0 and at most 1"),
        ("pages_together=0", "`pages_together` is 0 but must be at least 1"),
        ("pages=pages.json", "has no pictures, which .* is to see: name an encoder of texts alone"),
        ("dataset=data", "`dataset` and `pages` are both set: leave one of them out"),
        ("on_error=skip", "`on_error` is skip, which is for pages of a store, and `pages` is given: leave it out"),
        ("encoder=nothing", "^nothing has no config.json: name efficientnet-lite0"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, tmp_path, given, said):
    name, _, value = given.partition("=")
    if name == "pages":
        page = {"book_id": "b", "page_name": "1", "texts": ["a"], "num_panels": 1}
        (tmp_path / value).write_text(json.dumps([page]))
        value = str(tmp_path / value)
    words = [*argv(folder, tmp_path / "model", tuned="none"), f"--{name}", value]
    with pytest.raises(ComicSeqError, match=said):
        arguments = parse_arguments(words)
        encoder = open_encoder(arguments)
        freeze(encoder.model, arguments.tuning)
        open_data(arguments, WantedTasks(arguments, configuration(arguments)), encoder)


def test_an_encoder_without_pages_is_refused(tmp_path):
    others = (["--layer_decay", "0.5"], ["--encoder_learning_rate", "1e-3"], ["--text_reading_layers", "1"])
    for words in (["--encoder", "+all-MiniLM-L6-v2"], ["--tune_encoders", "all"], ["--pages_together", "4"], *others):
        with pytest.raises(ComicSeqError, match=f"`{words[0][2:]}` is set without `pages`"):
            parse_arguments([*words, "--dataset", "data", "--output_dir", str(tmp_path), "--use_cpu", "true"])
