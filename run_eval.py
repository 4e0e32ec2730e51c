"""Asks pretrained ComicSeq models the questions of a data set, beside chance, cosine and what the models know without context.

python run_eval.py --model DIR [DIR ...] --dataset DIR
"""

from __future__ import annotations

import sys

from modeling_comicseq.errors import ComicSeqError
from modeling_comicseq.evaluation.arguments import parse_arguments


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and evaluates."""
    arguments = parse_arguments(argv)
    from modeling_comicseq.evaluation.run import evaluate  # so that `--help` takes no torch
    from modeling_comicseq.tasks import TASKS, get_tasks

    get_tasks(arguments.tasks)  # which exist
    evaluate(arguments, TASKS)


if __name__ == "__main__":
    try:
        main()
    except (ComicSeqError, OSError) as error:
        sys.exit(f"run_eval.py: {' '.join(str(error).split())}")
