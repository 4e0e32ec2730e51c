"""How a command ends: with one sentence and an exit code, also where it is interrupted while its first imports run."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from .errors import ComicSeqError, Terminated


def main() -> None:
    """The `comicseq` command."""

    def run() -> None:
        from .cli import app

        app()

    sys.exit(run_in_one_sentence(run, "Error"))


def run_in_one_sentence(run: Callable[[], None], program: str) -> int | str | None:
    """Runs a command.

    Args:
        run: The command, with all that it imports.
        program: What its sentence begins with.

    Returns:
        What the process ends with: nothing, an exit code, or one sentence that says what is wrong.
    """
    listen()
    try:
        run()
    except BrokenPipeError:  # whoever read the output has seen enough
        raise
    except (ComicSeqError, OSError) as error:
        let_go(error)
        return f"{program}: {' '.join(str(error).split())}"
    except KeyboardInterrupt as error:
        return interrupted(error)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return None


def interrupted(error: KeyboardInterrupt, command: str | None = None) -> int:
    """Says how to go on after an interrupt, and returns the exit code."""
    let_go(error)
    is_term = isinstance(error, Terminated)
    how = "goes on from the parts that are finished" if command == "encode" else "starts again"
    what = "Terminated" if is_term else "Interrupted"
    print(f"{what}: nothing half-written is in place, and the same command {how}.", file=sys.stderr)
    return 128 + (signal.SIGTERM if is_term else signal.SIGINT)


def let_go(error: BaseException | None) -> None:
    """Drops what the frames of an error hold: threads that read ahead for one of them would keep the process alive."""
    seen = []  # a cause can have its effect as context
    while error is not None and error not in seen:
        seen.append(error)
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def listen() -> None:
    """Makes SIGTERM, as schedulers send it before they kill, an exception as Ctrl-C is, so that it leaves as little."""
    process = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a worker, which has inherited the handler
            os._exit(128 + number)
        raise Terminated

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
