"""`comicseq questions`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer import Option

from .options import Seed

ALL = ["all"]
BOTH = ["same_book", "cross_book"]


def questions(
    dataset: Annotated[Path, Option(help="Folder of the Arrow data set that `comicseq convert` wrote.")],
    output: Annotated[Path, Option(help="Folder of the question set to create.")],
    split: Annotated[Literal["train", "validation", "test"], Option(help="Split to ask about.")] = "test",
    tasks: Annotated[list[str], Option(help="Tasks, or `all` that the data can serve.")] = ALL,
    protocol: Annotated[list[str], Option(help="Where wrong candidates come from; see above.")] = BOTH,
    num_candidates: Annotated[int, Option(min=2, help="Candidates, the right one included.")] = 5,
    repeats: Annotated[
        int, Option(min=1, help="Questions that each page asks in each task; in reading order, its shuffles.")
    ] = 3,
    seed: Seed = 0,
) -> None:
    """Draw **questions** about a data set once and freeze them, so that any model can be asked the same ones.

    The output opens with `datasets.load_from_disk`: one row a question, which names panels of the data set by their
    number. `questions.json` in it has the fingerprints: of the questions, and of the split that they are about, which is
    checked when they are asked. `comicseq evaluate` with the same arguments asks the same questions without a frozen set.

    Wrong candidates come from the `same_book`, from other books (`cross_book`), in closure from the `later_panels` of the
    page, or from the page itself (`in_page`, leaky). Several tasks or protocols: repeat the option, or separate by commas.

    Example: `comicseq questions --dataset data/arrow --output data/questions`, then
    `comicseq evaluate --model outputs/model --dataset data/arrow --questions data/questions`
    """

    from ..data.distractors import check_protocols
    from ..data.opening import open_split, splits_of, tell_twins
    from ..evaluation.question_sets import freeze
    from ..evaluation.results import LEAKY
    from ..outputs import check_output
    from ..tasks import get_tasks
    from ..urls import refuse_url

    refuse_url(output)
    splits_of(str(dataset))  # of a folder above it, the output would be said to lie in it
    check_output(output, [dataset], overwrite=None, folder=True)
    names, protocols = ([name for item in items for name in item.split(",")] for items in (tasks, protocol))
    check_protocols(protocols)
    opened = open_split(str(dataset), split)
    twins = tell_twins(opened, f"the split {split!r}")
    if twins is not None:
        typer.echo(f"Warning: {twins}", err=True)
    about = freeze(
        opened,
        output,
        split=split,
        tasks=get_tasks(names),
        protocols=protocols,
        num_candidates=num_candidates,
        repeats=repeats,
        seed=seed,
        left_out=partial(typer.echo, err=True) if "all" in names else None,
    )
    table = Table("task", "protocol", "questions", "books", "fingerprint", title=str(output))
    for each in about["sets"]:
        numbers = (f"{each[name]:,}" for name in ("questions", "books"))
        table.add_row(each["task"], LEAKY.get(each["protocol"], each["protocol"]), *numbers, each["fingerprint"])
    Console().print(table)
    typer.echo(f"fingerprint {about['fingerprint']}")
