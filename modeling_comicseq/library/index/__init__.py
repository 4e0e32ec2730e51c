"""An index of a library of comics on LanceDB: made from a store, brought up to date, asked.

>>> from modeling_comicseq.library.index import build_index, open_index  # doctest: +SKIP
>>> build_index("data/stage5.zarr", "data/index", pages="data/pages")  # doctest: +SKIP
>>> open_index("data/index").search(words="a witch", k=5)  # doctest: +SKIP
"""

from .build import build_index
from .reading import Index, open_index
from .searching import Hit

__all__ = ["Hit", "Index", "build_index", "open_index"]
