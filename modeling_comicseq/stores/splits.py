"""Which side of the data a book stands on: a stable hash of its id, or lists of books."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import ComicSeqDataError
from .names import check_known, normal_form

__all__ = ["SPLITS", "check_fractions", "hash_place", "load_split_books", "split_of", "SplitRule"]

SPLITS = ("train", "validation", "test")


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Returns the three fractions of train, validation and test as floats.

    Raises:
        ComicSeqDataError: They are not three numbers in [0, 1] that sum to 1.
    """
    values = tuple(float(value) for value in fractions)
    if len(values) != 3 or any(not 0 <= value <= 1 for value in values) or not math.isclose(sum(values), 1.0):
        raise ComicSeqDataError(
            f"fractions {list(fractions)} are not three shares of train, validation and test that sum to 1; "
            "give for example 0.8 0.1 0.1"
        )
    return values[0], values[1], values[2]


def hash_place(book_id: str) -> float:
    """A book's place in [0, 1): the SHA-256 of its id's normal form as a number. Splits and folds are cut along it."""
    digest = hashlib.sha256(normal_form(book_id).encode("utf-8", "surrogatepass")).digest()
    # 53 bits, so that the quotient is exact and always below 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_of(book_id: str, fractions: Sequence[float] = (0.8, 0.1, 0.1)) -> str:
    """The split of a book: its SHA-256 as a number in [0, 1), cut at the fractions.

    Nothing but the id goes in, so a book stands on the same side in every data set with the same fractions.

    Args:
        book_id: The book's id, in any spelling that has the same normal form.
        fractions: Shares of train, validation and test; they sum to 1.

    Returns:
        "train", "validation" or "test".
    """
    place = hash_place(book_id)
    for split, end in zip(SPLITS, itertools.accumulate(fractions), strict=True):
        if place < end:
            return split
    # Rounding can leave the sum a hair below 1: the last split with a share takes what is left.
    return [split for split, share in zip(SPLITS, fractions, strict=True) if share > 0][-1]


def load_split_books(source: str | Path | Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Reads lists of books: `{"train": [...], "validation": [...], "test": [...]}`, a mapping or a JSON file.

    "train" may be absent: then every book that no list names is trained on.

    Raises:
        ComicSeqDataError: The file is no such mapping, names another split, or names a book twice.
    """
    name = "split_books" if isinstance(source, Mapping) else str(source)
    lists: object = source
    if not isinstance(source, Mapping):
        try:
            lists = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ComicSeqDataError(
                f"{name} cannot be read as JSON ({error}); give a file of lists of books"
            ) from error
    if not isinstance(lists, Mapping) or not lists or not set(lists) <= set(SPLITS):
        found = sorted(map(str, lists)) if isinstance(lists, Mapping) else type(lists).__name__
        raise ComicSeqDataError(f"{name} holds {found}; it must map {', '.join(SPLITS)} to lists of book ids")
    side: dict[str, str] = {}
    for split, books in lists.items():
        if isinstance(books, str) or not isinstance(books, Sequence) or any(not isinstance(b, str) for b in books):
            raise ComicSeqDataError(
                f"{name}: the value of {split!r} is not a list of book ids; write it as a list of strings"
            )
        for book in books:
            if side.setdefault(normal_form(book), split) != split:
                raise ComicSeqDataError(
                    f"{name}: book {book!r} stands in {side[normal_form(book)]} and in {split}; keep it on one side"
                )
    return {split: list(dict.fromkeys(lists[split])) for split in SPLITS if split in lists}


class SplitRule:
    """The split of every book of a data set, by hash or by lists.

    Args:
        fractions: Shares of train, validation and test for the hash.
        books: Lists of books as `load_split_books` returns them; they replace the hash.
        source: What they were read from, for the error.
    """

    def __init__(
        self,
        fractions: Sequence[float],
        books: Mapping[str, Sequence[str]] | None = None,
        source: str = "split_books",
    ):
        self.fractions, self.source = check_fractions(fractions), source
        self.names = [] if books is None else [book for names in books.values() for book in names]
        self.side = None
        if books is not None:
            self.side = {normal_form(book): split for split, names in books.items() for book in names}
        self.rest = "train" if books is not None and "train" not in books else None

    def check(self, books: Iterable[str], data: str) -> None:
        """Raises a `ComicSeqDataError` if the lists name a book that is not among `books`, which `data` holds."""
        check_known(self.names, books, "book", self.source, data)

    def __call__(self, book_id: str) -> str | None:
        """The split of a book; None when the lists leave it out."""
        if self.side is None:
            return split_of(book_id, self.fractions)
        return self.side.get(normal_form(book_id), self.rest)
