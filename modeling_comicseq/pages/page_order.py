"""In which order the pages of a book come, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from os.path import commonprefix

from natsort import natsort_keygen, ns

__all__ = ["in_page_order", "natural_key"]

_COVER = re.compile(r"[\W_]*(front[\W_]*)?cover[\W\d_]*", re.IGNORECASE)
_natural = natsort_keygen(alg=ns.IGNORECASE)


def natural_key(path: str) -> tuple:
    """Sorts paths folder by folder, numbers as numbers, upper case as lower case."""
    return [_natural(each) for each in path.split("/")], path


def in_page_order(names: Iterable[str]) -> list[str]:
    """Paths of pages as a reader turns them: folder by folder, numbers as numbers, upper case as lower case.

    In each folder a file comes first that is called "cover" or "front cover", also after what all names of the folder begin
    with, such as the book's title. The path parts folders with slashes.
    """
    names = list(names)
    stems = defaultdict(list)
    for name in names:
        folder, _, file = name.rpartition("/")
        stems[folder].append(file.rpartition(".")[0])
    shared = {folder: len(commonprefix(each)) for folder, each in stems.items()}

    def key(name: str) -> tuple:
        folder, _, file = name.rpartition("/")
        stem = file.rpartition(".")[0]
        is_cover = any(_COVER.fullmatch(each) for each in (stem, stem[shared[folder] :]))
        folders = [(1, _natural(each)) for each in folder.split("/") if each]
        return [*folders, (int(not is_cover), _natural(stem))], name

    return sorted(names, key=key)
