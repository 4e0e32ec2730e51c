"""Asks pretrained ComicSeq models the questions of a data set: `comicseq evaluate`, as a script.

python run_eval.py --model DIR [DIR ...] --dataset DIR
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and evaluates."""
    from modeling_comicseq.cli.evaluate import run_evaluation

    run_evaluation(argv, "run_eval.py")


def stop(number: int, frame: FrameType | None) -> None:
    """Ends the process while nothing is begun."""
    print("run_eval.py: stopped before anything was begun: run the same command again.", file=sys.stderr, flush=True)
    os._exit(128 + number)


if __name__ == "__main__":
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    from modeling_comicseq.command import run_in_one_sentence  # takes seconds

    for number, handler in before.items():
        signal.signal(number, handler)
    sys.exit(run_in_one_sentence(main, "run_eval.py"))
