"""`comicseq evaluate`."""

from collections.abc import Sequence

import typer

from .options import passed_on


def evaluate(context: typer.Context) -> None:
    """**Evaluate** models: ask them the questions of a data set, beside chance, cosine and what they know without context.

    Options:

    - `--model`: a checkpoint folder or a model on the Hub; several, each two of which are compared
    - `--dataset`: folder of the Arrow data set that `comicseq convert` wrote
    - `--questions`: folder of frozen questions that `comicseq questions` wrote; drawn anew without
    - `--tasks`: tasks to ask, or `all` (the default) that a model was trained on and the data can serve; several
    - `--protocol`: where wrong candidates come from: same_book, cross_book, later_panels, or in_page (leaky); several
    - `--split`: test (the default), validation or train
    - `--num-candidates`: candidates of a question, the right one included
    - `--repeats`: questions that each page asks in each task; in reading order, its shuffles
    - `--seed`: seed of the questions
    - `--batch-size`: questions in a batch
    - `--modalities`: ask also with pictures alone and with texts alone
    - `--other-origin`: ask about vectors of other encoders than a model was trained on, too
    - `--output-dir`: folder of `results.json`, `report.md` and the plots; the models and their cards are then left alone;
      by default the folder of a single local model, else `evaluation`

    `comicseq evaluate --help-all` says more of each, with its default.

    Example: `comicseq evaluate --model outputs/a outputs/b --dataset data/arrow`
    """
    run_evaluation(passed_on(context), "comicseq evaluate")


def run_evaluation(words: Sequence[str] | None, program: str) -> None:
    """Parses a command line and evaluates; `run_eval.py` does so, too.

    Args:
        words: The command line's words; by default those of the process.
        program: Name of the command in its help.

    Raises:
        ComicSeqError: In one sentence, what cannot be evaluated and why.
    """
    from ..evaluation.arguments import parse_arguments

    arguments = parse_arguments(words, program)
    from ..evaluation.run import evaluate as run  # after the arguments: a mistake in them is told at once
    from ..tasks import TASKS, get_tasks

    get_tasks(arguments.tasks)  # which exist
    run(arguments, TASKS)
