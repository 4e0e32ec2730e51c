"""The drawn corpus that is measured on: its parameters, its fingerprint, and which of its books serve what.

What a model gains on drawn comics means something only beside what cosine and an oracle get on the same comics. Those were
measured before any training, on this corpus; other parameters, or a change of stories, layouts or words, make another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from .book import plan_book

VERSION = 1
SEED, BOOKS, PAGES, WIDTH = 0, 200, 8, 500
TEST, VALIDATION = range(60), range(60, 80)  # the other books are for training; difficulty is that of the test books
# Of the first books: those that tests plan, those that are asked about, and all of them.
FINGERPRINTS = {8: "9bd727fd628d6783", 60: "2effac027fd2caa6", 200: "8bf3427677d70d85"}


def fingerprint(entries: Iterable[Mapping[str, Any]]) -> str:
    """16 hexadecimal digits for what `panels.json` says of pages: stories, layouts, words and captions, not pixels."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(json.dumps(entry, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def plan_corpus(books: Iterable[int] = range(BOOKS)) -> Iterable[dict[str, Any]]:
    """The entries of `panels.json` for books of the corpus, without drawing a picture."""
    return (page.entry for book in books for page in plan_book(SEED, book, PAGES, WIDTH))


def part_of(book: int) -> str:
    """The split that a book of the corpus is in."""
    return "test" if book in TEST else "validation" if book in VALIDATION else "train"
