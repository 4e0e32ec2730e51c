"""What the package raises where the user is to change something, and checks of arguments that raise it.

Each message is one sentence that names the place, the value and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import HfArgumentParser


class ComicSeqError(ValueError):
    """Any fault that one sentence explains; commands print it and end with exit code 1."""


class ComicSeqArgumentError(ComicSeqError):
    """An argument, an option or a setting is not possible, whatever the data."""


class ComicSeqDataError(ComicSeqError):
    """A file, a store, a data set or a checkpoint is not what it should be, or does not fit another."""


class PageProblem(ValueError):
    """A reason why one page cannot be used: what was found, and what to do about it.

    Whoever knows the page's name and file makes a `ComicSeqDataError` of it, or leaves the page out.
    """

    def __init__(self, found: str, remedy: str):
        super().__init__(found, remedy)  # both, so that it can be sent between processes
        self.found, self.remedy = found, remedy

    def __str__(self) -> str:
        return f"{self.found}; {self.remedy}"


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it before they kill."""


def did_you_mean(name: str, known: set[str]) -> str:
    """The words ": did you mean `…`" where one of the `known` names is close to `name`, else nothing."""
    matches = get_close_matches(str(name), sorted(known), n=1)
    return f": did you mean `{matches[0]}`" if matches else ""


def counted(number: int, noun: str) -> str:
    """Such as "1 page" and "1,200 pages"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_words(error: BaseException) -> str:
    """What an error of the system or of a library says, on one line, without the name of its class."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or "no reason is given"


def split_names(words: Sequence[str]) -> list[str]:
    """The names that an option lists, with blanks or commas between them."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()]


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises a `ComicSeqArgumentError` if `value` is below `least`."""
    if value < least:
        raise ComicSeqArgumentError(f"`{name}` is {value} but must be at least {least}.")


def parse_into(parser: HfArgumentParser, argv: Sequence[str] | None = None, also: Iterable[str] = ()) -> Any:
    """Parses into the parser's one dataclass.

    Args:
        parser: The parser.
        argv: The words of the command line; by default those of the process.
        also: Fields that can be meant, beside those that the parser knows.

    Raises:
        ComicSeqArgumentError: An argument does not exist, or its value is refused.
    """
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except ComicSeqError:
        raise
    except ValueError as error:
        raise ComicSeqArgumentError(" ".join(str(error).split())) from None
    if unknown:
        known = {option for action in parser._actions for option in action.option_strings}
        known |= {f"--{name}" for name in also}
        raise ComicSeqArgumentError(
            f"There is no argument {unknown[0]}{did_you_mean(unknown[0], known)}. --help lists them."
        )
    return parsed[0]
