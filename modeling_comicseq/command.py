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
    except (Exception, KeyboardInterrupt) as error:
        if (interrupt := find_interrupt(error)) is not None:
            return interrupted(interrupt)
        if not isinstance(error, ComicSeqError | OSError):
            raise
        let_go(error)
        return f"{program}: {' '.join(str(error).split())}"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return None


def interrupted(error: KeyboardInterrupt, command: str | None = None) -> int:
    """Says how to go on after an interrupt, and returns the exit code."""
    let_go(error)
    how = "goes on from the parts that are finished" if command in ("embed", "encode", "ingest") else "starts again"
    print(f"{how_it_ended(error)}: nothing half-written is in place, and the same command {how}.", file=sys.stderr)
    return exit_code(error)


def how_it_ended(error: KeyboardInterrupt) -> str:
    """The word for Ctrl-C or SIGTERM."""
    return "Terminated" if isinstance(error, Terminated) else "Interrupted"


def exit_code(error: KeyboardInterrupt) -> int:
    """That of a process which Ctrl-C or SIGTERM ends."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def find_interrupt(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that led to an error: what ends in its midst may raise one of its own, as pools of processes do."""
    return next((each for each in _chain(error) if isinstance(each, KeyboardInterrupt)), None)


def let_go(error: BaseException) -> None:
    """Drops what the frames of an error hold: threads that read ahead for one of them would keep the process alive."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and what it came from."""
    seen: list[BaseException] = []  # a cause can have its effect as context
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def listen() -> None:
    """Makes SIGTERM, as schedulers send it before they kill, an exception as Ctrl-C is, so that it leaves as little."""
    process = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a worker, which has inherited the handler
            os._exit(128 + number)
        raise Terminated

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
