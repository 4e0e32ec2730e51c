from __future__ import annotations

import inspect
import json
import re

import numpy as np
import pytest
import torch
from transformers import Trainer

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.checkpoints.provenance import read_training_provenance, save_training_provenance
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.run import build_model
from modeling_comicseq.training.trainer import PRIVATE, ComicSeqTrainer

from ..closeness import assert_close
from ..data.made_dataset import made_dataset, made_table

BOOKS = [[3, 4, 2, 5, 6, 3]] * 4


def make_trainer(
    folder, *, dropout: float = 0.0, validate: bool = True, boxes: bool = False, **fields
) -> ComicSeqTrainer:
    torch.manual_seed(0)
    config = ComicSeqConfig(
        panel_embedding_dim=4,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        box_embedding=boxes,
    )
    defaults = {"per_device_train_batch_size": 8, "num_train_epochs": 2, "logging_steps": 1, "use_cpu": True}
    defaults |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
    table = made_table(BOOKS, boxes=boxes)
    return ComicSeqTrainer(
        model=ComicSeqForPreTraining(config),
        args=PretrainingArguments(output_dir=str(folder), **(defaults | fields)),
        train_dataset=PretrainingDataset(table, config),
        validation_table=table if validate else None,
    )


def logged(trainer: ComicSeqTrainer, name: str = "loss") -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.slow
def test_accumulation_gives_the_loss_of_one_batch(tmp_path):
    # Same pages a step; the contrastive loss compares within a batch and would differ.
    runs = []
    for batch_size, steps in ((8, 1), (2, 4)):
        trainer = make_trainer(
            tmp_path, per_device_train_batch_size=batch_size, gradient_accumulation_steps=steps, max_steps=3
        )
        trainer.model.config.contrastive_weight = 0.0
        trainer.model.caption_relevance_head.eval()  # no in-batch negatives
        trainer.model.train = lambda mode=True: trainer.model  # noqa: B023
        trainer.train()
        runs.append(logged(trainer))
    assert_close(runs[1], runs[0])


def test_logs_name_every_task_s_own_loss(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=6, logging_steps=6)
    trainer.train()
    (entry,) = (entry for entry in trainer.state.log_history if "loss" in entry)
    assert {"panel_picking_loss", "reading_order_loss", "text_cloze_loss", "contrastive_loss"} <= set(entry)
    assert {"panel_picking_accuracy", "grad_norm", "pages_per_second", "padding_share"} <= set(entry)
    assert {"eval_strip_effective_rank", "eval_strip_mean_cosine"} <= set(trainer.evaluate())


@pytest.mark.slow
def test_resuming_in_mid_epoch_is_bit_exact(tmp_path):
    fields = {"dropout": 0.3, "boxes": True}
    whole = make_trainer(tmp_path / "whole", **fields)
    whole.train()
    first = make_trainer(tmp_path / "parts", save_strategy="steps", save_steps=2, save_total_limit=None, **fields)
    first.train()
    resumed = make_trainer(tmp_path / "parts", **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    assert logged(resumed) == logged(whole)
    weights = whole.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in resumed.model.state_dict().items())


@pytest.mark.slow
def test_validation_asks_the_same_questions_every_time_and_leaves_training_untouched(tmp_path):
    trainer = make_trainer(tmp_path)
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first == second
    assert {"eval_panel_picking_accuracy", "eval_reading_order_accuracy", "eval_score"} <= set(first)
    levels = []
    for task in TASKS.values():
        for _, batch in trainer._validation_questions(trainer.validation_table, task).batches(
            trainer.validation_table, 10**6
        ):
            masks = batch.get("candidate_mask")
            levels.append(0.5 if masks is None else float((1 / masks.sum(1)).mean()))
    assert len(levels) == len(TASKS) and first["eval_chance"] == pytest.approx(np.mean(levels), rel=1e-6)
    losses = []
    for eval_strategy in ("no", "epoch"):
        trainer = make_trainer(tmp_path, dropout=0.3, eval_strategy=eval_strategy)
        trainer.train()
        losses.append(logged(trainer))
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_best_checkpoint_is_kept(tmp_path):
    trainer = make_trainer(
        tmp_path,
        num_train_epochs=3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        save_total_limit=1,
    )
    trainer.train()
    scores = logged(trainer, "eval_score")
    assert trainer.state.best_metric == max(scores)
    assert trainer.evaluate()["eval_score"] == pytest.approx(max(scores))


def test_a_checkpoint_remembers_its_vectors_and_others_are_refused(tmp_path):
    trainer = make_trainer(tmp_path / "first", max_steps=1)
    trainer.write_card(tmp_path / "first")
    trainer.model.save_pretrained(tmp_path / "first")
    known = read_training_provenance(str(tmp_path / "first"))
    (norm, *_) = {round(known["statistics"][f"{each}_embeddings"]["norm"], 3) for each in ("panel",)}
    vectors = trainer.train_dataset.table.gather("panel_embeddings", trainer.train_dataset.table.pool.panels)
    assert norm == round(float(np.linalg.norm(vectors, axis=1).mean()), 3)
    save_training_provenance(tmp_path / "first", {"origin": {"encoders": "mine"}}, known["statistics"])

    def open_again(dataset, **fields):
        dataset.info.description = json.dumps({"origin": {"encoders": "others"}})
        given = {"output_dir": str(tmp_path / "out"), "model": str(tmp_path / "first"), "dataset": "data", **fields}
        return build_model(PretrainingArguments(use_cpu=True, **given), PanelTable(dataset))

    with pytest.raises(ComicSeqDataError, match="'mine' here and 'others' there.* give --other-origin to go on"):
        open_again(made_dataset(BOOKS))
    assert open_again(made_dataset(BOOKS), other_origin=True).config.hidden_size == 16
    trainer.train_dataset.table.dataset.info.description = json.dumps({"origin": {"image_encoder": "clip"}})
    trainer.write_card(tmp_path / "first")
    assert "Their vectors: visual_encoder clip." in (tmp_path / "first" / "README.md").read_text()


def test_a_validation_split_that_cannot_be_asked_is_refused_before_training(tmp_path):
    table = made_table([[1], [1]])
    trainer = make_trainer(tmp_path)
    with pytest.raises(ComicSeqDataError, match="cannot be asked"):
        ComicSeqTrainer(
            model=trainer.model, args=trainer.args, train_dataset=trainer.train_dataset, validation_table=table
        )


@pytest.mark.slow
def test_what_is_read_of_trainer_s_private_names_is_there(tmp_path, monkeypatch):
    """With `auto_find_batch_size`, Trainer tries a smaller batch after a lack of memory, and the loader follows."""
    assert list(PRIVATE) == ["_train_batch_size"]
    trainer = make_trainer(tmp_path, validate=False, max_steps=2, auto_find_batch_size=True)
    sizes, ordinary = [], trainer.training_step

    def training_step(model, inputs, *args):
        sizes.append(len(inputs["panel_embeddings"]))
        if sizes[-1] >= 2 * 8:  # two views of a page
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return ordinary(model, inputs, *args)

    monkeypatch.setattr(trainer, "training_step", training_step)
    trainer.train()
    assert sizes[0] == 16 and max(sizes[1:]) < 16 and trainer.state.global_step == 2


def test_only_public_methods_of_trainer_are_overridden():
    overridden = set(vars(ComicSeqTrainer)) & set(vars(Trainer)) - {"__init__", "__module__", "__doc__", "__dict__"}
    assert {name for name in overridden if name.startswith("_")} <= {"__annotations__", "__weakref__", "__qualname__"}
    used = {"train", "set_initial_training_values", "get_train_dataloader", "get_batch_samples", "compute_loss"}
    assert overridden >= used | {"evaluate", "log", "save_model", "create_model_card"}
    words = ["self", "epoch_iterator", "num_batches", "device"]
    assert list(inspect.signature(Trainer.get_batch_samples).parameters) == words
    assert list(inspect.signature(Trainer.save_model).parameters) == ["self", "output_dir", "_internal_call"]
    assert list(inspect.signature(Trainer.set_initial_training_values).parameters) == ["self", "args", "dataloader"]


def test_a_log_entry_is_a_line_for_people(tmp_path, capsys):
    trainer = make_trainer(tmp_path, max_steps=2, logging_steps=2, eval_strategy="steps", eval_steps=2)
    trainer.train()
    step, score, *accuracies, end = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"step +2  epoch 0\.7  loss [\d.]+  lr [\d.e-]+  grad norm [\d.]+  [\d,]+ pages/s", step)
    assert re.fullmatch(r"step +2  epoch 0\.7  score [\d.]+%  chance \d\d\.\d%", score)
    assert re.fullmatch(r"step +2  epoch 0\.7  mean loss [\d.]+  trained for \d+ s", end)
    assert re.findall("[a-z_]+", " ".join(accuracies)) == list(TASKS)
    assert all(len(line) <= 80 for line in (step, score, *accuracies, end))


@pytest.mark.slow
def test_pages_are_loaded_by_workers_as_without_them(tmp_path):
    losses = []
    for workers in (0, 2):
        trainer = make_trainer(tmp_path, validate=False, dataloader_num_workers=workers)
        trainer.train()
        losses.append(logged(trainer))
    assert losses[0] == losses[1]


def test_the_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "learning_rate: 1.0e-4\nnum_candidates: 7\nprotocol: [same_book]\nconfig_overrides: {task_weights: {text_cloze: 0}}\n"
    )
    arguments = parse_arguments(
        [str(path), "--num_candidates", "3", "--output_dir", str(tmp_path), "--use_cpu", "true"]
    )
    assert arguments.learning_rate == 1e-4 and arguments.num_candidates == 3 and arguments.protocol == ["same_book"]
    assert arguments.config_fields() == {"task_weights": {"text_cloze": 0}}
    with pytest.raises(ValueError, match="`config_overrides` is"):
        parse_arguments([str(path), "--config_overrides", "7", "--output_dir", str(tmp_path)])


def test_overrides_of_the_command_line_are_added_to_those_of_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("config_overrides: {hidden_size: 64, task_weights: {text_cloze: 0, caption_relevance: 2}}\n")
    words = ["--config_overrides={hidden_size: 32}", "--config_overrides", "{task_weights: {caption_relevance: 0}}"]
    arguments = parse_arguments([str(path), *words, "--output_dir", str(tmp_path)])
    weights = {"text_cloze": 0, "caption_relevance": 0}
    assert arguments.config_fields() == {"hidden_size": 32, "task_weights": weights}
    assert parse_arguments(["--output_dir", str(tmp_path)]).config_fields() == {}


def test_fields_of_the_model_are_given_like_those_of_the_run(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("hidden_size: 64\nmasked_panel_weight: 0.5\ntask_weights: {text_cloze: 0}\n")
    words = ["--masked-panel-weight", "1.0", "--contrastive_objective=nt_xent", "--input_scale", "-1"]
    arguments = parse_arguments([str(path), *words, "--output_dir", str(tmp_path)])
    weights = {"text_cloze": 0}
    given = {"hidden_size": 64, "masked_panel_weight": 1.0, "contrastive_objective": "nt_xent", "input_scale": -1}
    assert arguments.config_fields() == given | {"task_weights": weights}
