"""Checks of arguments that training and evaluation share; what is wrong is said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from transformers import HfArgumentParser

from .data.distractors import PROTOCOLS
from .errors import ComicSeqDataError


def parse_into(parser: HfArgumentParser, argv: Sequence[str] | None = None) -> Any:
    """Parses into the parser's one dataclass; unknown arguments and refused values raise a `ComicSeqDataError`."""
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except ValueError as error:
        raise ComicSeqDataError(" ".join(str(error).split())) from None
    if unknown:
        known = {option for action in parser._actions for option in action.option_strings}
        raise ComicSeqDataError(
            f"There is no argument {unknown[0]}{did_you_mean(unknown[0], known)}. --help lists them."
        )
    return parsed[0]


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises a `ComicSeqDataError` if `value` is below `least`."""
    if value < least:
        raise ComicSeqDataError(f"`{name}` is {value} but must be at least {least}.")


def check_protocols(protocols: Sequence[str]) -> None:
    """Raises a `ComicSeqDataError` if one of `protocols` does not exist."""
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ComicSeqDataError(f"`protocol` is {protocol!r} but must be one of {', '.join(PROTOCOLS)}.")


def did_you_mean(name: str, known: set[str]) -> str:
    """The words ": did you mean `…`" where one of the `known` names is close to `name`, else nothing."""
    matches = get_close_matches(str(name), sorted(known), n=1)
    return f": did you mean `{matches[0]}`" if matches else ""
