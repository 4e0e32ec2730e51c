"""How far a long work is, on stderr where that is a terminal: in a pipe or a log a bar is noise."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress import track as rich_track

_Item = TypeVar("_Item")


@contextmanager
def progress_bar(what: str, total: int | None, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar with the time left; gives the function that moves it on by a number of items.

    Args:
        what: What is done with which items, such as "Reading pages".
        total: Number of items, None where it is not known.
        shown: Whether to show it.
    """
    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not shown or not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda items: bar.advance(task, items)


def track(items: Iterable[_Item], what: str, total: int | None = None, shown: bool = True) -> Iterable[_Item]:
    """The items, with a bar of how many of them are done."""
    console = Console(stderr=True)
    return rich_track(items, what, total, console=console, disable=not shown or not console.is_terminal)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and no tables of transformers while files of a second are read or written."""
    from transformers.utils import logging

    shows_progress, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_progress:
            logging.enable_progress_bar()


@contextmanager
def dataset_bars(shown: bool) -> Iterator[None]:
    """Shows the progress bars of `datasets`, or not, whatever the process has chosen for them."""
    import datasets

    were_shown = not datasets.utils.are_progress_bars_disabled()
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    try:
        yield
    finally:
        (datasets.enable_progress_bars if were_shown else datasets.disable_progress_bars)()
