"""The one exception of the data layer."""


class ComicSeqDataError(ValueError):
    """A store, a metadata file or a data set that cannot be used as it is.

    The message is one sentence for the user: which file or page, which value, and what to do about it.
    """
