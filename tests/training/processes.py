"""Runs `run_pretraining.py` in processes of its own that can be made to fail.

The processes are forked from one that has imported everything once, so that a run costs a second and not ten.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from datasets import DatasetDict
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from ..data.made_dataset import made_dataset

REPOSITORY = Path(__file__).resolve().parents[2]
get_checkpoint_conversion_mapping("")  # compiles the patterns of all models, half a second that no fork then takes
MODEL = {"panel_embedding_dim": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
MODEL |= {"intermediate_size": 16}
FIELDS = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "save_total_limit": 2}
FIELDS |= {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "use_cpu": True}
FIELDS |= {"disable_tqdm": True}

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["modeling_comicseq.training.run", __name__])


def write_inputs(folder: Path, books: list[list[int]] | None = None, boxes: bool = False) -> None:
    """Writes the data set and the model configuration that `argv` names; by default 24 pages, hence 6 steps an epoch."""
    dataset = made_dataset(books or [[3, 4, 2, 5, 6, 3]] * 4, boxes=boxes)
    DatasetDict({split: dataset for split in ("train", "validation")}).save_to_disk(folder / "data")
    (folder / "model.json").write_text(json.dumps(MODEL))


def argv(folder: Path, output: Path, **fields) -> list[str]:
    values = FIELDS | {"dataset": folder / "data", "model": folder / "model.json", "output_dir": output} | fields
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


class Run:
    """A run that has ended: each process's exit code (negative: killed by that signal) and what all wrote."""

    def __init__(self, words: list[str], log: Path, fault: Callable[[], None] | None = None, processes: int = 1):
        environments = [{}] if processes == 1 else ranks(processes)
        logs = [log.with_name(f"{log.name}-{rank}") for rank in range(processes)]
        started = [
            CONTEXT.Process(target=_run, args=(words, str(each), fault, rank))
            for each, rank in zip(logs, environments, strict=True)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join(300)
            assert process.exitcode is not None, "the run does not end"
        self.exit_codes = [process.exitcode for process in started]
        self.output = "".join(each.read_text() for each in logs)


def ranks(processes: int) -> list[dict[str, str]]:
    """The environment that a launcher gives each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    common |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "ACCELERATE_USE_CPU": "true"}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def _run(words: list[str], log: str, fault: Callable[[], None] | None, environment: dict[str, str]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | environment
    import torch

    from modeling_comicseq.training.run import main

    torch.set_num_threads(1)
    sys.argv = ["run_pretraining.py", *words]
    if fault is not None:
        fault()
    sys.exit(main())


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step: int, what: Callable[[], None]) -> None:
    """Does `what` when the optimiser has done its `step`-th step of the run, before that is logged or saved."""
    from transformers.trainer_callback import DefaultFlowCallback

    ordinary = DefaultFlowCallback.on_step_end

    def patched(self, args, state, control, **kwargs):
        if state.global_step == step:
            what()
        return ordinary(self, args, state, control, **kwargs)

    DefaultFlowCallback.on_step_end = patched  # type: ignore[method-assign]


def kill_at_step(step: int) -> None:
    at_step(step, kill)


def signal_at_step(step: int, number: int) -> None:
    at_step(step, partial(os.kill, os.getpid(), number))


def kill_in_mid_file(step: int) -> None:
    """Kills the run when half of the optimiser's state is in the checkpoint of `step`."""
    import torch

    ordinary = torch.save

    def patched(value, path, *args, **kwargs):
        ordinary(value, path, *args, **kwargs)
        if Path(path).name == "optimizer.pt" and f"checkpoint-{step}" in str(path):
            os.truncate(path, os.path.getsize(path) // 2)
            kill()

    torch.save = patched  # type: ignore[assignment]


def kill_before_marker(step: int) -> None:
    """Kills the run when all files of the checkpoint of `step` are there but its marker."""
    ordinary = os.replace

    def patched(source, target):
        if Path(target).name == "complete.json" and f"checkpoint-{step}" in str(target):
            kill()
        ordinary(source, target)

    os.replace = patched  # type: ignore[assignment]


def kill_in_rotation(step: int) -> None:
    """Kills the run when it has begun to delete the checkpoint of `step`."""
    from modeling_comicseq.training import checkpointing

    ordinary = checkpointing.shutil.rmtree

    def patched(folder, *args, **kwargs):
        if Path(folder).name == f"checkpoint-{step}" and Path(folder, "model.safetensors").is_file():
            Path(folder, "model.safetensors").unlink()
            kill()
        ordinary(folder, *args, **kwargs)

    checkpointing.shutil.rmtree = patched  # type: ignore[assignment]


def limit_file_size(step: int, size: int) -> None:
    """Lets no file grow beyond `size` bytes from `step` on, as a full disk would."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    at_step(step, partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, hard)))


def nan_in_rank(rank: int, step: int) -> None:
    """Gives one process weights that are not finite before its `step`-th step."""
    if os.environ.get("RANK") == str(rank):
        spoil_weights(step)


def spoil_weights(step: int) -> None:
    """Makes the encoder's last weights NaN before the `step`-th step."""
    import torch

    from modeling_comicseq.training.trainer import ComicSeqTrainer

    ordinary = ComicSeqTrainer.training_step

    def patched(self, model, *args, **kwargs):
        if self.state.global_step == step - 1:
            with torch.no_grad():
                for parameter in self.model.comicseq.layernorm.parameters():
                    parameter.fill_(float("nan"))
        return ordinary(self, model, *args, **kwargs)

    ComicSeqTrainer.training_step = patched  # type: ignore[method-assign]
