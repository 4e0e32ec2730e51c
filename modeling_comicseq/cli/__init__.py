"""The `comicseq` command, one file a command. What a command needs is imported when it runs, so that help is there at once."""

from typing import Annotated

import typer
from typer.core import TyperGroup

from ..command import find_interrupt, interrupted, let_go
from ..errors import ComicSeqError
from .app import serve
from .comics_pap import comics_pap
from .convert import convert
from .draw import draw
from .embed import embed
from .encode import encode
from .evaluate import evaluate
from .export import export
from .export_table import export_table
from .import_checkpoint import import_checkpoint
from .index import index
from .ingest import ingest
from .inspect import inspect
from .layouts import layouts
from .options import PASSED_ON
from .order import order
from .pretrain import pretrain
from .questions import questions
from .read import read
from .search import search
from .synthesize import synthesize


class Commands(TyperGroup):
    """The commands; each ends with one sentence and exit code 1, without a traceback, where the input is at fault."""

    def invoke(self, ctx):
        """Runs the command that the command line names."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has seen enough
            raise
        except (Exception, KeyboardInterrupt) as error:
            if (interrupt := find_interrupt(error)) is not None:
                raise typer.Exit(interrupted(interrupt, ctx.invoked_subcommand)) from None
            if not isinstance(error, ComicSeqError | OSError):
                raise
            let_go(error)
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    # `--split_books` is `--split-books`.
    context_settings={"token_normalize_func": lambda word: word.replace("_", "-")},
)


def show_version(wanted: bool) -> None:
    """Prints the version and ends."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"comicseq {version('comicseq')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Print the version.")
    ] = False,
) -> None:
    """ComicSeq: comics as sequences of panels. From pictures, or vectors of panels, to answers, vectors in context, and search."""


def _add(*commands) -> None:
    for command in commands:
        app.command(command.__name__.replace("_", "-"))(command)


# As one comes to them, from pictures to answers.
_add(draw, ingest, embed, synthesize, convert)
app.command(context_settings=PASSED_ON, options_metavar="[CONFIG] [--option value ...]")(pretrain)
app.command(context_settings=PASSED_ON, options_metavar="[--option value ...]")(evaluate)
_add(questions, export, read, encode, index, search)
app.command("app")(serve)
_add(inspect, export_table, order, layouts, comics_pap, import_checkpoint)
