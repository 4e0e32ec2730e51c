"""Which checkpoints of a run are complete: a marker that is written last lists the files of a checkpoint.

Trainer writes a checkpoint file by file. A run that is killed in between leaves a folder that looks like a checkpoint
and cannot be resumed from; one that is killed while it deletes an old checkpoint leaves the same.
"""

import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..files import write_json

MARKER = "complete.json"
PARTIAL = "_saving"  # in a folder: the model while it is written

# What Trainer needs to resume and a repository on the Hub does not; some of it is pickled.
STATE_FILES = (
    "optimizer*",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*.pth",
    "pytorch_model_fsdp*",
    "training_args.bin",
    MARKER,
)


def mark_complete(folder: Path) -> None:
    """Marks a checkpoint as complete, after all its files have reached the disk.

    Args:
        folder: The checkpoint, in which nothing is written any more.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    for path in files:
        sync(path)
    marker = {
        "saved_at": datetime.now(UTC).isoformat(),
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
    }
    write_json(folder / MARKER, marker)  # cut short by a crash, it marks nothing
    for path in (folder / MARKER, folder, folder.parent):
        sync(path)


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_complete(folder: str | Path) -> bool:
    """Whether a checkpoint has its marker, weights, and every file that the marker lists in its full length."""
    files = _read_marker(Path(folder))["files"]
    return any(name.endswith(".safetensors") for name in files) and all(
        Path(folder, name).is_file() and Path(folder, name).stat().st_size == size for name, size in files.items()
    )


def complete_checkpoints(output_dir: str | Path) -> list[Path]:
    """The complete checkpoints of a run, in the order in which they were saved.

    The order is that of the clock, not of the steps: after a restart, or after resuming from an earlier checkpoint, one
    of fewer steps can be the newer.
    """

    def age(folder: Path) -> tuple[str, int]:
        return _read_marker(folder)["saved_at"], int(folder.name.rpartition("-")[2])

    return sorted((folder for folder in _folders(output_dir) if is_complete(folder)), key=age)


def incomplete_checkpoints(output_dir: str | Path) -> list[Path]:
    """The checkpoints of a run whose saving, or deleting, was broken off."""
    return sorted(folder for folder in _folders(output_dir) if not is_complete(folder))


def last_checkpoint(output_dir: str | Path) -> Path | None:
    """The complete checkpoint that was saved last, or None."""
    return next(reversed(complete_checkpoints(output_dir)), None)


def discard(folder: Path) -> None:
    """Deletes a checkpoint, its marker first, so that it counts as incomplete from the beginning."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def rotate(output_dir: str | Path, limit: int | None, best: str | Path | None) -> None:
    """Deletes the oldest complete checkpoints beyond `limit`, and incomplete ones, of which none can be resumed from.

    The last complete checkpoint and the best one stay, as in Trainer's own rotation.

    Args:
        output_dir: The run's folder, whose last save has ended.
        limit: `save_total_limit`: how many to keep; None or 0 deletes nothing.
        best: The best checkpoint.
    """
    if not limit or limit <= 0:
        return
    checkpoints = complete_checkpoints(output_dir)
    kept = set(checkpoints[-1:]) | {folder for folder in checkpoints if best and folder.samefile(best)}
    excess = len(checkpoints) - max(limit, len(kept))
    old = [folder for folder in checkpoints if folder not in kept]
    for folder in [*old[: max(excess, 0)], *incomplete_checkpoints(output_dir)]:
        discard(folder)


def _folders(output_dir: str | Path) -> list[Path]:
    name = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-\d+")
    return [path for path in Path(output_dir).glob("*") if path.is_dir() and name.fullmatch(path.name)]


def _read_marker(folder: Path) -> dict:
    try:
        return {"saved_at": "", "files": {}} | json.loads((folder / MARKER).read_text())
    except (OSError, ValueError, TypeError):
        return {"saved_at": "", "files": {}}
