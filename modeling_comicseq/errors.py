"""What the package raises where the user is to change something: one sentence that names the place, the value and the remedy."""

from __future__ import annotations


class ComicSeqError(ValueError):
    """Any fault that one sentence explains; commands print it and end with exit code 1."""


class ComicSeqArgumentError(ComicSeqError):
    """An argument, an option or a setting is not possible, whatever the data."""


class ComicSeqDataError(ComicSeqError):
    """A file, a store, a data set or a checkpoint is not what it should be, or does not fit another."""
