"""What happens when a request is at fault: one sentence in the page, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ...errors import ComicSeqError, in_words
from .render import say

__all__ = ["in_one_sentence"]

logger = logging.getLogger(__name__)


def in_one_sentence(ask: Callable[[], Any]) -> tuple[Any, str]:
    """Asks, and tells what is wrong.

    Returns:
        The answer, None where there is none, and the sentence as HTML, empty where nothing is wrong.
    """
    try:
        return ask(), ""
    except ComicSeqError as error:
        return None, say(" ".join(str(error).split()), is_fault=True)
    except OSError as error:
        logger.warning("a request failed: %s", error)
        return None, say(f"The index could not be read ({in_words(error)}): try again.", is_fault=True)
    except Exception:  # a fault of ours: the log has the traceback, people have a sentence
        logger.exception("a request failed")
        return None, say("This could not be answered; the log of the server says why.", is_fault=True)
