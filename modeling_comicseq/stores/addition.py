"""Arrays that are added to a store that is there already."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import fsspec
import zarr
from fsspec.utils import infer_compression

from ..files import put_in_place, written_file
from ..urls import file_system, is_url
from .arrays import Layout, consolidate
from .output import PartialStore

__all__ = ["Addition"]

_ARRAY_METADATA = ("zarr.json", ".zattrs", ".zarray")  # in the order in which they are written, the last one counts


class Addition(PartialStore):
    """Arrays that are made beside a store, in `.STORE.adding` or `STORE.adding`, and put in place when all are complete.

    At any moment the store is one that can be read: an array is whole or not there. On a local disk its folder is renamed. Object
    stores have no rename: the files of an array are copied, and what says that it is one, its metadata, last. Then come the
    metadata of the pages, in one step. A run that was interrupted in between goes on where it was: an array that was put in
    place carries the fingerprint of the work.

    Args:
        target: Local path or URL of the store.
        fingerprint: Hash of the input and of the options that change the result.
    """

    def __init__(self, target: str, fingerprint: str):
        super().__init__(target, fingerprint, ".adding", in_place=False)

    def is_done(self, overwrite: bool) -> bool:
        """Never: what is there already is not made again."""
        return False

    def complete(
        self,
        layout: Layout | None,
        attributes: Mapping[str, Mapping[str, Any]],
        metadata: str,
        write_metadata: Callable[[IO[bytes]], None] | None,
    ) -> None:
        """Puts everything in place.

        Args:
            layout: The arrays; None where all of them are in place.
            attributes: What each of them says about itself.
            metadata: Path or URL of the metadata.
            write_metadata: Writes them, where something is to be added.
        """
        if layout is not None:
            made = zarr.open_group(self.root, mode="r+", use_consolidated=False)
            for name in layout.arrays:
                made[name].attrs.put({**attributes[name], "fingerprint": self.fingerprint})
            for name in layout.arrays:
                self._put_array(name)
        self._consolidate_again()
        if write_metadata is not None:
            _replace_file(metadata, write_metadata)
        self.remove_leftover()

    def _put_array(self, name: str) -> None:
        if not self.is_url:
            place = Path(os.path.realpath(self.target), name)
            replaced = Path(self.folder, f"replaced {name}")
            shutil.rmtree(replaced, ignore_errors=True)  # of a run that was killed
            put_in_place(Path(self.root, name), place, replaced)
            return
        system, root = file_system(self.root)
        _, target = file_system(self.target)
        old, new = f"{target}/{name}", f"{root}/{name}"
        for metadata in _ARRAY_METADATA[::-1]:
            if system.exists(f"{old}/{metadata}"):
                system.rm_file(f"{old}/{metadata}")  # from now on it is not there
        if system.exists(old):
            system.rm(old, recursive=True)
        files = {path[len(new.rstrip("/")) + 1 :] for path in system.find(new)}
        for file in [*sorted(files - {*_ARRAY_METADATA}), *(each for each in _ARRAY_METADATA if each in files)]:
            system.makedirs(f"{old}/{file}".rpartition("/")[0], exist_ok=True)
            system.cp_file(f"{new}/{file}", f"{old}/{file}")
        system.rm(new, recursive=True)

    def _consolidate_again(self) -> None:
        """Consolidated metadata know the new arrays, too."""
        try:
            group = zarr.open_group(self.target, mode="r", use_consolidated=True)
        except (ValueError, KeyError, FileNotFoundError):  # it has none
            return
        consolidate(self.target, group.metadata.zarr_format)


def _replace_file(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Writes a file anew, complete or not at all."""
    system, inside = file_system(path)
    packed = infer_compression(inside)
    if not is_url(path):
        with written_file(Path(inside)) as beside, fsspec.open(str(beside), "wb", compression=packed) as file:
            write(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder, "metadata")
        with fsspec.open(str(beside), "wb", compression=packed) as file:
            write(file)
        system.put_file(str(beside), inside)
