"""What loading any encoder has in common: where it runs, and what a user is told when it cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import ComicSeqDataError, ComicSeqError
from ..hub import check_not_mistyped


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device that is named; without a name the GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def explained(name: str, offline: str, kind: str, model: str) -> Iterator[None]:
    """Says in one sentence why the block could not load an encoder.

    Args:
        name: What the user named.
        offline: The encoder of that kind that the extra `encoders` installs.
        kind: `image` or `text`.
        model: What transformers calls a model that can be named, too.

    Raises:
        ComicSeqDataError: In place of an error of what is loaded.
    """
    check_not_mistyped(name, f"{offline}, or the folder or Hub name of a {model} model of transformers")
    try:
        yield
    except ComicSeqError:
        raise
    except (OSError, ValueError, ImportError) as error:
        fault = f"{name} is no {kind} encoder: name {offline}, or the folder or Hub name of a {model} model"
        if name == offline and isinstance(error, ImportError):
            fault = f"The {kind} encoder {name} is not installed: pip install 'comicseq[encoders]', or name a {model} model"
        raise ComicSeqDataError(f"{fault} of transformers ({str(error).strip().splitlines()[0]}).") from None
