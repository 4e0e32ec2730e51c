from __future__ import annotations

import json
import re
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForPreTraining, TrainerCallback, TrainerState

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.checkpoints.provenance import save_training_provenance
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.training import checkpointing
from modeling_comicseq.training.callbacks import change_learning_rate, find_best
from modeling_comicseq.training.checkpointing import (
    MARKER,
    complete_checkpoints,
    discard,
    incomplete_checkpoints,
    is_complete,
    last_checkpoint,
    mark_complete,
    rotate,
)
from modeling_comicseq.training.run import find_checkpoint

from .test_trainer import logged, make_trainer

pytestmark = pytest.mark.slow  # runs of training, dozens of them

SAVES = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
REPOSITORY = {"README.md", "config.json", "model.safetensors", "handler.py", "requirements.txt"} | {
    f"{name}_comicseq.py"
    for name in ("modeling", "configuration", "heads", "packing", "losses", "tasks", "ordering", "pipeline")
}
AUTO_CLASSES = {"AutoConfig", "AutoModel", "AutoModelForPreTraining", "AutoModelForMultipleChoice"}


def make_checkpoint(output: Path, step: int, complete: bool = True) -> Path:
    folder = output / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "inner" / "shard").write_bytes(b"shard")
    if complete:
        mark_complete(folder)
    return folder


def steps(folders: list[Path]) -> list[int]:
    return [int(folder.name.rpartition("-")[2]) for folder in folders]


def test_a_checkpoint_is_complete_only_with_its_marker_and_all_its_files(tmp_path):
    folder = make_checkpoint(tmp_path, 2, complete=False)
    assert not is_complete(folder)
    mark_complete(folder)
    assert is_complete(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "inner", "model.safetensors"]
    (folder / "later.txt").write_text("what is added does no harm")
    assert is_complete(folder)
    (folder / "inner" / "shard").write_bytes(b"s")
    assert not is_complete(folder)
    (folder / "inner" / "shard").write_bytes(b"shard")
    (folder / MARKER).write_text((folder / MARKER).read_text()[:20])
    assert not is_complete(folder)
    (folder / "model.safetensors").unlink()
    mark_complete(folder)
    assert not is_complete(folder)  # nothing to load


def test_checkpoints_are_in_the_order_of_saving(tmp_path):
    # The run went on from checkpoint-2 after checkpoint-9: what it saved then is the newer.
    for step in (9, 2, 10):
        make_checkpoint(tmp_path, step)
    make_checkpoint(tmp_path, 4)
    make_checkpoint(tmp_path, 12, complete=False)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert steps(complete_checkpoints(tmp_path)) == [9, 2, 10, 4]
    assert steps(incomplete_checkpoints(tmp_path)) == [12]
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert last_checkpoint(tmp_path / "nowhere") is None


@settings(deadline=None, max_examples=40)
@given(
    states=st.lists(st.booleans(), max_size=6),
    limit=st.one_of(st.none(), st.integers(0, 4)),
    best=st.one_of(st.none(), st.integers(0, 5)),
)
def test_rotation_keeps_the_last_complete_and_the_best(tmp_path_factory, states, limit, best):
    output = tmp_path_factory.mktemp("run")
    folders = [make_checkpoint(output, step, complete) for step, complete in enumerate(states)]
    complete = [folder for folder, whole in zip(folders, states, strict=True) if whole]
    best_folder = folders[best] if best is not None and best < len(folders) and states[best] else None
    rotate(output, limit, best_folder)
    left = complete_checkpoints(output)
    if not limit:
        assert sorted(output.iterdir()) == sorted(folders)
        return
    assert not incomplete_checkpoints(output)
    if complete:
        assert left[-1] == complete[-1]
    if best_folder is not None:
        assert best_folder in left
    needed = {*complete[-1:], *([best_folder] if best_folder else [])}
    assert len(left) == min(len(complete), max(limit, len(needed)))
    # Beside the best one, the newest stay.
    others = [folder for folder in left if folder != best_folder]
    assert (
        others == [folder for folder in complete if folder != best_folder][len(complete) - len(left) :][-len(others) :]
    )


def test_what_is_being_deleted_is_incomplete_from_the_beginning(tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path, 2)

    def rmtree(path, **kwargs):
        assert not is_complete(folder) and (folder / "model.safetensors").is_file()

    monkeypatch.setattr(checkpointing.shutil, "rmtree", rmtree)
    discard(folder)
    assert incomplete_checkpoints(tmp_path) == [folder]


def test_the_best_checkpoint_is_found_where_the_run_lies_now(tmp_path):
    best = make_checkpoint(tmp_path, 4)
    state = TrainerState(best_global_step=4, best_metric=0.5, best_model_checkpoint=None)  # Trainer did not find it
    find_best(state, str(tmp_path))
    assert state.best_model_checkpoint == str(best) and state.best_metric == 0.5

    # The best step was not saved, an earlier best was.
    earlier = make_checkpoint(tmp_path, 2)
    state = TrainerState(best_global_step=3, best_metric=0.5, best_model_checkpoint="/elsewhere/checkpoint-2")
    find_best(state, str(tmp_path))
    assert state.best_model_checkpoint == str(earlier)

    (best / "model.safetensors").unlink()
    state = TrainerState(best_global_step=4, best_metric=0.5, best_model_checkpoint=str(best))
    find_best(state, str(tmp_path))
    assert (state.best_model_checkpoint, state.best_metric, state.best_global_step) == (None, None, None)


def test_a_changed_learning_rate_goes_on_along_the_schedule():
    def optimiser(rate: float):
        made = SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
        return made, LambdaLR(made, lambda step: 1 - step / 10)

    old, old_schedule = optimiser(0.5)
    new, new_schedule = optimiser(0.1)
    for _ in range(3):
        for made, schedule in ((old, old_schedule), (new, new_schedule)):
            made.step()
            schedule.step()
    change_learning_rate(old, old_schedule, 0.1)
    assert old.param_groups[0]["lr"] == pytest.approx(new.param_groups[0]["lr"])
    for made, schedule in ((old, old_schedule), (new, new_schedule)):
        made.step()
        schedule.step()
    assert old.param_groups[0]["lr"] == pytest.approx(new.param_groups[0]["lr"])
    before = old.param_groups[0]["lr"]
    change_learning_rate(old, old_schedule, 0.1)
    assert old.param_groups[0]["lr"] == before


def saved(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_every_checkpoint_and_the_final_folder_are_repositories_without_pickled_weights(tmp_path):
    output = tmp_path / "run"
    trainer = make_trainer(output, max_steps=4, load_best_model_at_end=True, save_total_limit=None, **SAVES)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    folders = [*complete_checkpoints(output), output]
    assert [folder.name for folder in folders] == ["checkpoint-2", "checkpoint-4", "run"]
    for folder in folders:
        assert REPOSITORY <= saved(folder)
        config = json.loads((folder / "config.json").read_text())
        assert set(config["auto_map"]) == AUTO_CLASSES
        assert json.loads((folder / "training_args.json").read_text())["learning_rate"] == 5e-4
        AutoModelForPreTraining.from_pretrained(folder)
    state = {"optimizer.pt", "scheduler.pt", "rng_state.pth"}  # what Trainer resumes from
    pickled = [
        {name for name in saved(folder) if not name.endswith((".json", ".py", ".md", ".safetensors", ".txt"))}
        for folder in folders
    ]
    assert pickled == [state, state, set()]
    scores = dict(
        zip(
            (2, 4),
            logged(trainer, "eval_panel_picking_accuracy"),
            strict=True,
        )
    )
    for folder, step in zip(folders, (2, 4, trainer.state.best_global_step), strict=True):
        assert f"| panel_picking | {100 * scores[step]:.1f} |" in (folder / "README.md").read_text()


def test_a_new_run_in_the_place_of_an_old_one_keeps_its_own_checkpoints(tmp_path):
    fields = SAVES | {"save_total_limit": 1, "load_best_model_at_end": True}
    make_trainer(tmp_path, max_steps=6, **fields | {"save_total_limit": 3}).train()
    assert steps(complete_checkpoints(tmp_path)) == [2, 4, 6]
    # Its steps are fewer than the old one's.
    trainer = make_trainer(tmp_path, max_steps=2, **fields)
    trainer.train()
    assert steps(complete_checkpoints(tmp_path)) == [2]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")


def test_which_checkpoint_a_run_resumes_from(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=4, validate=False, save_strategy="steps", save_steps=2)
    config, arguments = trainer.model.config, trainer.args
    assert find_checkpoint(arguments, config) is None
    trainer.train()
    (tmp_path / "checkpoint-4" / MARKER).unlink()
    assert find_checkpoint(arguments, config) == str(tmp_path / "checkpoint-2")
    arguments.restart = True
    assert find_checkpoint(arguments, config) is None
    arguments.resume_from_checkpoint = str(tmp_path / "checkpoint-4")
    with pytest.raises(ComicSeqDataError, match="checkpoint-4 is no complete checkpoint of a run"):
        find_checkpoint(arguments, config)


def test_a_checkpoint_of_other_data_is_of_another_run(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=2, validate=False, save_strategy="steps", save_steps=2)
    trainer.train()
    last = tmp_path / "checkpoint-2"
    save_training_provenance(last, {"source": {"fingerprint": "xxh3:1"}})
    mark_complete(last)
    find = partial(find_checkpoint, trainer.args, trainer.model.config)
    assert find({"source": {"fingerprint": "xxh3:1"}}) == find({}) == str(last)
    with pytest.raises(ComicSeqDataError, match="was trained on other data than .*xxh3:1, not xxh3:2.*--model"):
        find({"source": {"fingerprint": "xxh3:2"}})


def test_a_run_that_has_ended_within_an_epoch_is_not_trained_on(tmp_path):
    fields = {"validate": False, "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    make_trainer(tmp_path, **fields).train()
    again = make_trainer(tmp_path, **fields)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.state.global_step == 4


@pytest.mark.slow
def test_a_lower_learning_rate_is_taken_on_a_resume(tmp_path):
    fields = {"validate": False, "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    first = make_trainer(tmp_path, **fields)
    first.train()
    rates = []
    for rate in (5e-4, 5e-5):
        trainer = make_trainer(tmp_path, learning_rate=rate, **fields)
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        rates.append(logged(trainer, "learning_rate"))
    assert rates[0] == logged(first, "learning_rate")
    assert rates[1] == pytest.approx([*rates[0][:2], *(rate / 10 for rate in rates[0][2:])])


def test_the_best_checkpoint_ends_a_resumed_run_too(tmp_path):
    """It was saved before the run was broken off, and what came after it is worse."""
    fields = SAVES | {"max_steps": 6, "save_total_limit": 2, "load_best_model_at_end": True}
    scores = {2: 0.9, 4: 0.3, 6: 0.5}

    def run():
        trainer = make_trainer(tmp_path, **fields)
        trainer._validation_accuracy = lambda model, table, task: scores[trainer.state.global_step]
        return trainer

    broken_off = run()
    broken_off.add_callback(StopAfter(4))
    broken_off.train()
    assert steps(complete_checkpoints(tmp_path)) == [2, 4]  # the best one, and the last
    resumed = run()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert resumed.state.global_step == 6 and resumed.state.best_metric == pytest.approx(0.9)
    expected = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(resumed.model.state_dict()[name].cpu(), value) for name, value in expected.items())


class StopAfter(TrainerCallback):
    """Ends a run after some of its steps."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= state.global_step == self.step


@pytest.fixture
def hub(monkeypatch) -> list[SimpleNamespace]:
    """The commits that would have been made."""
    commits: list[SimpleNamespace] = []

    def create_repo(self, repo_id, **kwargs):
        return SimpleNamespace(repo_id=f"someone/{repo_id}")

    def create_commit(self, repo_id, operations, *, commit_message, **kwargs):
        time.sleep(0.3)  # meanwhile the next save deletes old checkpoints
        files = {}
        for operation in operations:
            with operation.as_file() as file:
                files[operation.path_in_repo] = file.read()
        commits.append(SimpleNamespace(repo_id=repo_id, files=files, message=commit_message))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *args, **kwargs: None)  # asks the Hub
    # Without it, a folder is one commit.
    monkeypatch.setattr("huggingface_hub.hf_api.is_xet_available", lambda: False, raising=False)
    return commits


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["end", "every_save", "checkpoint"])
def test_what_reaches_the_hub_is_whole_repositories(tmp_path, hub, strategy):
    trainer = make_trainer(
        tmp_path / "comics", max_steps=4, save_total_limit=1, load_best_model_at_end=True,
        push_to_hub=True, hub_strategy=strategy, hub_always_push=True, hub_token="a-secret", **SAVES,
    )  # fmt: skip
    trainer.train()
    trainer.push_to_hub()
    assert {commit.repo_id for commit in hub} == {"someone/comics"}
    whole = [commit for commit in hub if not any(name.startswith("last-checkpoint") for name in commit.files)]
    assert len(whole) == (1 if strategy == "end" else 3)
    for number, commit in enumerate(whole):
        assert REPOSITORY <= set(commit.files), commit.message
        assert {Path(name).suffix for name in commit.files} <= {".md", ".json", ".py", ".safetensors", ".txt"}
        assert not any(name.startswith("checkpoint-") or name == MARKER for name in commit.files)
        assert not any(b"a-secret" in content for content in commit.files.values())
        assert set(json.loads(commit.files["config.json"])["auto_map"]) == AUTO_CLASSES
        card = commit.files["README.md"].decode()
        figures = {float(figure) for figure in re.findall(r"\| panel_picking \| ([\d.]+) \|", card)}
        assert (
            figures <= {round(100 * value, 1) for value in logged(trainer, "eval_panel_picking_accuracy")} and figures
        )
        assert 'from_pretrained("someone/comics"' in card or number < len(whole) - 1
        folder = tmp_path / f"downloaded-{number}"
        folder.mkdir()
        for name, content in commit.files.items():
            (folder / name).write_bytes(content)
        ComicSeqForPreTraining.from_pretrained(folder)
    last = [commit for commit in hub if commit not in whole]
    assert len(last) == (2 if strategy == "checkpoint" else 0)
    assert not list((tmp_path / "comics").glob("_*"))
    for commit in last:  # asked for, to resume from elsewhere
        assert {f"last-checkpoint/{name}" for name in (*REPOSITORY, "optimizer.pt", MARKER)} <= set(commit.files)
