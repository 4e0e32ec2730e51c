"""Checkpoints that carry their code: loaded where the package cannot be imported, and where it is installed."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from huggingface_hub import HfApi
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForMultipleChoice, AutoModelForPreTraining
from transformers.testing_utils import CaptureLogger

import modeling_comicseq.model
from modeling_comicseq import ComicSeqConfig, ComicSeqModel
from tests.model_inputs import CLASSES, TASKS, boxed_config, build, example, tiny_config

CHOOSING = [task for task in TASKS if task != "reading_order"]
AUTO = {"encoder": AutoModel, "pretraining": AutoModelForPreTraining} | dict.fromkeys(
    CHOOSING, AutoModelForMultipleChoice
)

# Runs in a new interpreter. Whatever path leads to the installed package, importing it fails.
WITHOUT_PACKAGE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == "modeling_comicseq":
            raise ModuleNotFoundError(f"{fullname} is not installed here", name=fullname)

sys.meta_path.insert(0, Blocked())
try:
    import modeling_comicseq
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package can be imported")

import torch, transformers
from transformers import AutoConfig, AutoModel, AutoModelForMultipleChoice, AutoModelForPreTraining
from transformers.dynamic_module_utils import get_class_from_dynamic_module

torch.set_num_threads(1)
folder = sys.argv[1]

def numbers(model, inputs):
    with torch.no_grad():
        outputs = model.eval()(**inputs)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    return {name: outputs[name] for name in ("loss", "logits", "pooler_output") if outputs.get(name) is not None}
"""


def run_without_package(script: str, folder: Path) -> None:
    """Runs `script` in another interpreter and working directory, with its own cache for remote code."""
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf_home"),
        "HF_MODULES_CACHE": str(folder / "modules"),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-I", "-c", WITHOUT_PACKAGE + textwrap.dedent(script), str(folder)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def numbers(name, model) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        outputs = model.eval()(**example(name, model.config))
    return {key: outputs[key] for key in ("loss", "logits", "pooler_output") if outputs.get(key) is not None}


def assert_equal_numbers(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys() and expected
    for key in expected:
        assert_close(actual[key], expected[key])


@pytest.mark.slow
def test_every_class_without_the_package(tmp_path):
    """Saves each class; a new interpreter loads it by its Auto class and, the order head, by its name."""
    models = {name: build(name, boxed_config()) for name in CLASSES}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        torch.save(example(name, model.config), tmp_path / name / "inputs.pt")
    tiny_config().save_pretrained(tmp_path / "config")
    run_without_package(
        """
        import pathlib
        auto = {"encoder": AutoModel, "pretraining": AutoModelForPreTraining}
        for checkpoint in sorted(pathlib.Path(folder).glob("*/model.safetensors")):
            name, checkpoint = checkpoint.parent.name, checkpoint.parent
            inputs = torch.load(checkpoint / "inputs.pt")
            if name == "reading_order":
                model_class = get_class_from_dynamic_module(
                    "modeling_comicseq.ComicSeqForReadingOrder", checkpoint, trust_remote_code=True
                )
                model = model_class.from_pretrained(checkpoint)
            else:
                auto_class = auto.get(name, AutoModelForMultipleChoice)
                model = auto_class.from_pretrained(checkpoint, trust_remote_code=True)
            torch.save(numbers(model, inputs), checkpoint / "outputs.pt")
            model.save_pretrained(f"{folder}/again/{name}")
            encoder = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)
            assert type(encoder).__name__ == "ComicSeqModel", type(encoder)
        config = AutoConfig.from_pretrained(f"{folder}/config", trust_remote_code=True)
        assert type(config).__module__.startswith("transformers_modules.") and config.panel_embedding_dim == 24
        """,
        tmp_path,
    )
    for name, model in models.items():
        expected = numbers(name, model)
        assert_equal_numbers(torch.load(tmp_path / name / "outputs.pt"), expected)
        # What the other interpreter saved again is as complete: it loads here, and its code is all there.
        again = tmp_path / "again" / name
        assert_equal_numbers(numbers(name, CLASSES[name].from_pretrained(again)), expected)
        assert json.loads((again / "config.json").read_text())["auto_map"] == model.config.auto_map
        config = json.loads((again / "config.json").read_text())
        assert (
            config["custom_pipelines"] == json.loads((tmp_path / name / "config.json").read_text())["custom_pipelines"]
        )
        for file in (path.name for path in (tmp_path / name).iterdir() if path.suffix in (".py", ".txt")):
            assert (again / file).read_text() == (tmp_path / name / file).read_text()


@pytest.mark.slow
def test_one_pretraining_checkpoint_serves_every_class_without_the_package(tmp_path):
    """Saved, loaded and saved again there, and every class taken by name from the second folder."""
    model = build("pretraining")
    model.save_pretrained(tmp_path / "first")
    inputs = {name: example(name) for name in CLASSES}
    torch.save({name: [CLASSES[name].__name__, inputs[name]] for name in CLASSES}, tmp_path / "inputs.pt")
    run_without_package(
        """
        model = AutoModelForPreTraining.from_pretrained(f"{folder}/first", trust_remote_code=True)
        model.save_pretrained(f"{folder}/second")
        assert type(AutoModel.from_pretrained(f"{folder}/second", trust_remote_code=True)).__name__ == "ComicSeqModel"
        results = {}
        for name, (class_name, inputs) in torch.load(f"{folder}/inputs.pt").items():
            model_class = get_class_from_dynamic_module(f"modeling_comicseq.{class_name}", f"{folder}/second")
            model, report = model_class.from_pretrained(f"{folder}/second", output_loading_info=True)
            assert not report["missing_keys"] and not report["mismatched_keys"], report
            results[name] = numbers(model, inputs)
        torch.save(results, f"{folder}/outputs.pt")
        """,
        tmp_path,
    )
    results = torch.load(tmp_path / "outputs.pt")
    assert set(results) == set(CLASSES)
    for name in CLASSES:
        assert_equal_numbers(results[name], numbers(name, CLASSES[name].from_pretrained(tmp_path / "first")))


@pytest.mark.parametrize("name", CLASSES)
def test_saved_folder(name, tmp_path):
    build(name).save_pretrained(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    code = {path.name for path in Path(modeling_comicseq.model.__file__).parent.glob("*_comicseq.py")}
    assert code >= {"modeling_comicseq.py", "configuration_comicseq.py", "pipeline_comicseq.py"}
    assert files == {"config.json", "model.safetensors", "handler.py", "requirements.txt"} | code
    config = json.loads((tmp_path / "config.json").read_text())
    auto_map = config["auto_map"]
    assert config["architectures"] == [CLASSES[name].__name__]
    assert auto_map["AutoConfig"] == "configuration_comicseq.ComicSeqConfig"
    assert auto_map["AutoModel"] == "modeling_comicseq.ComicSeqModel"
    assert auto_map["AutoModelForPreTraining"] == "modeling_comicseq.ComicSeqForPreTraining"
    expected = CLASSES[name].__name__ if name in CHOOSING else "ComicSeqForPanelPicking"
    assert auto_map["AutoModelForMultipleChoice"] == f"modeling_comicseq.{expected}"


def test_what_is_pushed_is_the_whole_folder(tmp_path, monkeypatch):
    pushed = []

    def create_repo(self, repo_id, **kwargs):
        return SimpleNamespace(repo_id=repo_id)

    def create_commit(self, repo_id, operations, **kwargs):
        pushed.append({operation.path_in_repo for operation in operations})

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    build("panel_picking").save_pretrained(tmp_path, push_to_hub=True, repo_id="someone/comics")
    assert pushed == [{path.name for path in tmp_path.iterdir()}]
    assert pushed[0] >= {"handler.py", "pipeline_comicseq.py", "requirements.txt", "model.safetensors"}


@pytest.mark.parametrize("name", AUTO)
def test_with_the_package_no_trust_is_needed(name, tmp_path):
    model = build(name)
    model.save_pretrained(tmp_path)
    loaded = AUTO[name].from_pretrained(tmp_path)
    assert type(loaded) is CLASSES[name]
    assert_equal_numbers(numbers(name, loaded), numbers(name, model))
    assert type(AutoModel.from_pretrained(tmp_path)) is ComicSeqModel
    assert type(AutoConfig.from_pretrained(tmp_path)) is ComicSeqConfig


@pytest.mark.parametrize("name", CLASSES)
def test_pretraining_checkpoint_loads_silently_into_every_class(name, tmp_path):
    """No key is missing, and none of the other tasks' heads is reported as unexpected."""
    pretrained = build("pretraining")
    pretrained.save_pretrained(tmp_path)
    transformers.logging.set_verbosity_warning()
    with CaptureLogger(transformers.logging.get_logger("transformers")) as captured:
        model, report = CLASSES[name].from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"] and not report["unexpected_keys"]
    assert captured.out == ""
    weights = pretrained.state_dict()
    prefix = "comicseq." if name == "encoder" else ""
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[prefix + key]), key


@pytest.mark.parametrize("task", TASKS)
def test_a_task_checkpoint_with_a_strip_query_loads_silently(task, tmp_path):
    """Those of earlier versions hold one, which no task reads; the encoder still takes it from them."""
    model, encoder = build(task), build("encoder")
    model.save_pretrained(tmp_path)
    pooler = {f"comicseq.{key}": value for key, value in encoder.state_dict().items() if key.startswith("pooler.")}
    save_file(model.state_dict() | pooler, tmp_path / "model.safetensors", metadata={"format": "pt"})
    transformers.logging.set_verbosity_warning()
    with CaptureLogger(transformers.logging.get_logger("transformers")) as captured:
        loaded, report = CLASSES[task].from_pretrained(tmp_path, output_loading_info=True)
        whole = AutoModel.from_pretrained(tmp_path)
    assert not any(report.values()) and captured.out == ""
    assert_equal_numbers(numbers(task, loaded), numbers(task, model))
    assert torch.equal(whole.pooler.strip_query, encoder.pooler.strip_query)


def test_a_head_from_an_encoder_checkpoint_says_what_is_new(tmp_path):
    build("encoder").save_pretrained(tmp_path)
    model, report = CLASSES["panel_picking"].from_pretrained(tmp_path, output_loading_info=True)
    expected = {key for key in model.state_dict() if key.startswith("panel_picking_head.")}
    assert set(report["missing_keys"]) == expected and not report["unexpected_keys"]


def test_weights_survive_every_precision(tmp_path):
    build("encoder").save_pretrained(tmp_path)
    for dtype in (torch.float16, torch.bfloat16):
        model = ComicSeqModel.from_pretrained(tmp_path, dtype=dtype)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
