"""What users get wrong: each ends with one sentence that names the value and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import DatasetDict
from transformers import BertConfig

import run_eval
from modeling_comicseq import ComicSeqConfig, ComicSeqForPanelPicking, ComicSeqForPreTraining, ComicSeqModel
from modeling_comicseq.checkpoints.opening import check_fits, load_checkpoint, override_config, read_config
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.errors import ComicSeqError
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.checkpointing import mark_complete
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.run import build_model, find_checkpoint, pretrain
from modeling_comicseq.training.trainer import ComicSeqTrainer

from .data.made_dataset import made_dataset, made_table

BOOKS = [[3, 4, 2, 5], [3, 6, 2], [4, 4]]
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def tiny_config(**fields) -> ComicSeqConfig:
    return ComicSeqConfig(**(TINY | {"panel_embedding_dim": 4} | fields))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A data set and checkpoints, good ones and bad ones."""
    root = tmp_path_factory.mktemp("wrong")
    pages = made_dataset(BOOKS)
    DatasetDict(train=pages, validation=pages, test=pages.select([])).save_to_disk(str(root / "data"))
    DatasetDict(train=pages.remove_columns("num_panels")).save_to_disk(str(root / "foreign"))
    plain = pages.remove_columns("caption_embeddings")
    DatasetDict(test=plain).save_to_disk(str(root / "plain"))
    ComicSeqForPreTraining(tiny_config()).save_pretrained(root / "model")
    ComicSeqForPanelPicking(tiny_config()).save_pretrained(root / "picking")
    ComicSeqModel(tiny_config()).save_pretrained(root / "encoder")
    BertConfig().save_pretrained(root / "bert")
    tiny_config().save_pretrained(root / "broken")
    (root / "broken" / "model.safetensors").write_text("hello")
    return root


def refused(message: str):
    return pytest.raises(ComicSeqError, match=message)


@pytest.mark.parametrize(
    ("folder", "split", "message"),
    [
        ("nowhere", "train", "nowhere is no data set: name the folder that `comicseq convert --output` wrote"),
        ("data/train", "train", "it is a single split, name the folder above it"),
        ("data", "tests", "has no split 'tests' but train, validation, test"),
        ("data", "test", "'test' of .*data holds no page: convert more books"),
        ("foreign", "train", "has no column `num_panels`"),
    ],
)
def test_a_folder_that_is_no_data_set(folders, folder, split, message):
    with refused(message):
        open_split(str(folders / folder), split)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no .*model.json: name a model configuration"),
        ("{hello", "not a valid JSON file"),
        ("[1]", "must be a JSON object"),
        ('{"hiden_size": 8}', "names `hiden_size`, .* did you mean `hidden_size`"),
        ('{"model_type": "bert"}', "its `model_type` is 'bert'"),
        ('{"hidden_size": 30, "num_attention_heads": 4}', "model.json: `hidden_size` is 30 but must be a multiple"),
    ],
)
def test_a_wrong_model_configuration(tmp_path, content, message):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    with refused(message):
        read_config(str(path))


def test_widths_that_are_not_given_follow_from_the_others(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(TINY | {"panel_embedding_dim": 64}))
    assert read_config(str(tmp_path / "model.json")).text_embedding_dim == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hiden_size": 8}, "`config_overrides` names `hiden_size`.* did you mean `hidden_size`"),
        ({"hidden_size": "big"}, "expected int, got str .*'big'"),
        ({"hidden_size": 30, "num_attention_heads": 4}, "`hidden_size` is 30 but must be a multiple"),
        ({"task_weights": {"panel_piking": 0}}, "names the task 'panel_piking' but tasks are"),
    ],
)
def test_a_wrong_override(values, message):
    with refused(message):
        override_config(tiny_config(), values, "`config_overrides`")


def test_a_folder_that_is_no_checkpoint(folders):
    with refused("bert is no ComicSeq checkpoint: its `model_type` is 'bert'"):
        read_config(str(folders / "bert"))
    for name in ("broken", "data"):
        with refused(f"{name} is no ComicSeq checkpoint"):
            load_checkpoint(str(folders / name), read_config(str(folders / name)))
    with refused("config.json is a file: name a checkpoint folder"):
        load_checkpoint(str(folders / "model" / "config.json"), tiny_config())


def test_a_checkpoint_of_other_sizes(folders):
    with refused(r"is \(\d+.*\) in the checkpoint but .* cannot be overridden"):
        load_checkpoint(str(folders / "model"), tiny_config(hidden_size=32))
    with refused("does not hold the whole encoder"):
        load_checkpoint(str(folders / "model"), tiny_config(num_hidden_layers=2))
    table = made_table(BOOKS)
    with refused("`panel_embeddings` of data is 4 wide but `panel_embedding_dim` of model is 8"):
        check_fits(tiny_config(panel_embedding_dim=8), "model", table, "data")
    with refused("pages of 6 panels but `max_position_embeddings` of model is 5: convert .* smaller --window"):
        check_fits(tiny_config(max_position_embeddings=5), "model", table, "data")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("learning_rat: 1\n", (), "names `learning_rat`.* did you mean `learning_rate`"),
        ("a: [1\n", (), "is not valid YAML"),
        ("", (), "must hold `field: value` lines"),
        ("seed: 1\n", ("--learning_rat", "1"), "There is no argument --learning_rat: did you mean `--learning"),
        ("seed:\n", ("--num_candidates", "1"), "`num_candidates` is 1 but must be at least 2"),
        ("num_candidates: 0\n", (), "`num_candidates` is 0 but must be at least 2"),
        ("per_device_train_batch_size: 0\n", (), "`per_device_train_batch_size` is 0"),
        ("protocol: samebook\n", (), "`protocol` is 'samebook' but must be one of same_book"),
        ("config_overrides: 7\n", (), "`config_overrides` is '7' but must be like"),
        ("config_overrides: '{a: [}'\n", (), "`config_overrides` is .* but must be like"),
        ("eval_strategy: 'no'\n", (), "requires the save and eval strategy to match"),
        ("seed: 1\nseed: 2\n", (), "run.yaml is not valid YAML: `seed` is given twice"),
        ("config_overrides: {hidden_size: 8, hidden_size: 16}\n", (), "`hidden_size` is given twice"),
        ("config_overrides: '{hidden_size: 8, hidden_size: 16}'\n", (), "is given twice"),
        ("learning_rate: [1, 2]\n", (), "gives `learning_rate` a list, .1, 2., but it takes one value"),
        ("seed: {a: 1}\n", (), "gives `seed` a mapping, .'a': 1., but it takes one value"),
        ("protocol: {a: 1}\n", (), "gives `protocol` a mapping"),
        ("learning_rate: .nan\n", (), "`learning_rate` is nan but must be at least 0 and finite"),
        ("learning_rate: -1\n", (), "`learning_rate` is -1.0 but must be"),
        ("masked_panel_wight: 1\n", (), "did you mean `masked_panel_weight`"),
        ("seed: 1\n", ("--masked_panel_wight", "1"), "did you mean `--masked_panel_weight`"),
        ("seed: 1\n", ("--masked_panel_weight",), "--masked_panel_weight is given without a value"),
    ],
)
def test_a_wrong_argument_of_pretraining(tmp_path, text, arguments, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with refused(message):
        parse_arguments([str(path), "--output_dir", str(tmp_path / "out"), "--use_cpu", "true", *arguments])


def run_arguments(folders: Path, **fields) -> PretrainingArguments:
    fields = {"output_dir": str(folders / "out"), "model": str(folders / "model"), "dataset": "data"} | fields
    return PretrainingArguments(use_cpu=True, **fields)


def test_an_output_folder_that_is_a_file(folders):
    path = str(folders / "model" / "config.json")
    with refused("`output_dir` is .* which is a file"):
        run_arguments(folders, output_dir=path)
    with refused("`output_dir` is .* which is a file"):
        run_eval.main(["--model", str(folders / "model"), "--dataset", str(folders / "data"), "--output_dir", path])


def test_task_weights_that_leave_nothing(folders):
    with refused("`task_weights` in `config_overrides` is .* but must be like"):
        build_model(run_arguments(folders, config_overrides="{task_weights: [1]}"), made_table(BOOKS))
    with refused("`task_weights` are all 0"):
        PretrainingDataset(made_table(BOOKS), tiny_config(task_weights={"panel_picking": 0.0}))


def test_a_metric_that_validation_does_not_give(folders):
    table, config = made_table(BOOKS), tiny_config()
    with refused("`metric_for_best_model` is 'accuracy' but must be one of"):
        ComicSeqTrainer(
            model=ComicSeqForPreTraining(config),
            args=run_arguments(folders, metric_for_best_model="accuracy"),
            train_dataset=PretrainingDataset(table, config),
            validation_table=table,
        )


def test_resuming_what_is_no_checkpoint_of_this_run(folders):
    with refused("is no complete checkpoint of a run"):
        find_checkpoint(run_arguments(folders, resume_from_checkpoint="nowhere"), tiny_config())
    last = folders / "out" / "checkpoint-5"
    tiny_config().save_pretrained(last)
    for name in ("trainer_state.json", "scheduler.pt", "model.safetensors"):
        (last / name).write_text("{}")
    mark_complete(last)
    assert find_checkpoint(run_arguments(folders), tiny_config()) == str(last)
    assert find_checkpoint(run_arguments(folders, restart=True), tiny_config()) is None
    with refused("checkpoint-5 is of another run: its `hidden_size` is 16, not 32.* --restart"):
        find_checkpoint(run_arguments(folders), tiny_config(hidden_size=32))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("model", ("--tasks", "panelpicking"), "`tasks` names 'panelpicking' but tasks are all, panel_picking"),
        ("model", ("--protocol", "samebook"), "`protocol` is 'samebook'"),
        ("model", ("--num_candidates", "1"), "`num_candidates` is 1 but must be at least 2"),
        ("model", ("--batch_size", "0"), "`batch_size` is 0"),
        ("model", ("--repeats", "0"), "`repeats` is 0"),
        ("model", ("--repeat", "2"), "There is no argument --repeat: did you mean `--repeats`"),
        ("nowhere", (), "There is no .*nowhere"),
        ("picking", ("--tasks", "text_cloze"), "picking has no head for text_cloze"),
        ("encoder", ("--tasks", "all"), "encoder can be asked no question"),
        ("model", ("--tasks", "caption_relevance"), "the data set has no `caption_embeddings`"),
    ],
)
def test_a_wrong_argument_of_evaluation(folders, model, arguments, message):
    with refused(message):
        run_eval.main(["--model", str(folders / model), "--dataset", str(folders / "plain"), *arguments])


def test_all_tasks_are_those_that_can_be_asked(folders, tmp_path, capsys):
    run_eval.main(
        ["--model", str(folders / "picking"), "--dataset", str(folders / "plain"), "--tasks", "all"]
        + ["--repeats", "1", "--output_dir", str(tmp_path)]
    )
    printed = capsys.readouterr()
    assert "Left out text_cloze" in printed.err and "Left out" not in printed.out
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert {result["task"] for result in results} == {"panel_picking"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "`dataset` is not set"), (["missing.yaml"], "There is no configuration file missing.yaml")],
)
def test_a_run_without_data_or_file_is_refused(arguments, message, tmp_path):
    with refused(message):
        pretrain(parse_arguments([*arguments, "--use_cpu", "true", "--output_dir", str(tmp_path)]))
