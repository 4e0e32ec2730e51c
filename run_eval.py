"""Asks pretrained ComicSeq models the questions of a data set: `comicseq evaluate`, as a script.

python run_eval.py --model DIR [DIR ...] --dataset DIR
"""

from __future__ import annotations

import sys

from modeling_comicseq.cli.evaluate import run_evaluation
from modeling_comicseq.errors import ComicSeqError


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and evaluates."""
    run_evaluation(argv, "run_eval.py")


if __name__ == "__main__":
    try:
        main()
    except (ComicSeqError, OSError) as error:
        sys.exit(f"run_eval.py: {' '.join(str(error).split())}")
