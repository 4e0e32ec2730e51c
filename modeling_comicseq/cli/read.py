"""`comicseq read`."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from .options import Overwrite, ReadingDirection, Seed


def read(
    page: Annotated[
        str,
        Argument(
            metavar="PAGE",
            help="A file of a picture; with --pages also `book_id/page_name`, or the page's row. A picture that --pages has"
            " is that page, unless --ocr, --panel-detector or --reading-direction say how to read it.",
        ),
    ],
    model: Annotated[
        str,
        Option(
            help="A checkpoint that takes pages, as `comicseq export --encoder` makes it: a folder or a name on the Hub."
        ),
    ],
    output: Annotated[Path, Option(help="PNG file to write; a JSON file of the same name is written beside it.")],
    pages: Annotated[
        str | None,
        Option(help="Data set of pages.", show_default="the other pictures of the folder"),
    ] = None,
    panel: Annotated[
        int | None,
        Option(
            min=1, help="The panel that is taken out, by its number in the picture.", show_default="the middle one"
        ),
    ] = None,
    ocr: Annotated[str, Option(help="What reads the texts of a picture: rapidocr (extra `ocr`), or none.")] = "none",
    panel_detector: Annotated[
        str | None,
        Option(help="What finds the panels of a picture, see `ingest`.", show_default="a cut along the gutters"),
    ] = None,
    reading_direction: ReadingDirection = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Read **one page** with a model: its panels, their order and texts, and what the model answers, as a picture.

    Asked is which panel was taken out of the page, what comes after all but the last one, which text belongs into a panel,
    and in which order the panels are read. Wrong candidates are panels of the nearest pages, of the same book where there
    are enough. The right answer is known: the picture marks it and what the model chose.

    Example: `comicseq read comics/page_07.png --model outputs/page_model --ocr rapidocr --output page.png`
    """
    from rich.console import Console
    from rich.table import Table

    from ..errors import counted
    from ..library.read_page import read_page

    reading = read_page(
        page,
        model,
        output,
        pages=pages,
        panel=None if panel is None else panel - 1,
        ocr=ocr,
        panel_detector=panel_detector,
        reading_direction=reading_direction,
        seed=seed,
        overwrite=overwrite,
    )
    seen = reading.page
    console = Console(markup=False)  # what is said in comics may stand in brackets
    if any(seen.texts):
        table = Table("panel", "text", title=seen.page_id)
        for number, texts in enumerate(seen.texts):
            table.add_row(str(number + 1), " / ".join(texts))
        console.print(table)
    else:
        typer.echo(f"{seen.page_id}: {counted(len(seen.boxes), 'panel')}, no texts")
    answers = Table("question", "answer", "score of the right one", "chance")
    for asked in reading.asked:
        question = asked.question
        assert question.truth is not None
        score, chance = question.candidates[question.truth].score, 1 / len(question.candidates)
        is_right = "right" if question.answer == question.truth else "wrong"
        answers.add_row(question.words, is_right, f"{100 * score:.0f} %", f"{100 * chance:.0f} %")
    if reading.order is not None:
        answers.add_row("In which order are the panels read?", reading.told_order(), "", "")
    if reading.asked:
        console.print(answers)
    else:
        typer.echo(
            "Nothing was asked: the page has one panel, the model has learned no such question, or no other page has a panel to choose."
        )
    typer.echo(str(output))
