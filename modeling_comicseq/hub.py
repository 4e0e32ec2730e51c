"""Names on the Hub, and the files behind them."""

import os
from pathlib import Path

from .errors import ComicSeqDataError, did_you_mean


def check_not_mistyped(name: str, what: str) -> None:
    """Refuses a local path at which nothing is, before the Hub is asked for it: without a network, that takes long.

    A path is what no name on the Hub looks like, and what stands in a folder that is here. A model in the Hub's cache
    keeps its name even where a folder here is called like its owner.

    Args:
        name: A local path, or the name of something on the Hub.
        what: What to name instead, for the message.

    Raises:
        ComicSeqDataError: It is a path, and nothing is there.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    path = Path(name)
    if os.path.exists(path):
        return
    is_path = name.count("/") > 1 or name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name
    if "/" in name and not is_path and path.parent.is_dir():
        is_path = not any(Path(HF_HUB_CACHE).glob(f"*--{name.replace('/', '--')}"))
    if is_path:
        beside = {each.name for each in path.parent.iterdir()} if path.parent.is_dir() else set()
        raise ComicSeqDataError(f"There is no {name}: name {what}{did_you_mean(path.name, beside)}.")


def find_file(name: str, file: str) -> Path | None:
    """A file of a model, which is a folder or on the Hub, in its cache; None where it has none or cannot be reached."""
    from transformers.utils.hub import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(name, file, **quiet)
    return None if path is None else Path(path)
