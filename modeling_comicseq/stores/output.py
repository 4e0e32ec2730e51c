"""Where a store is made, how far it is, and putting it in place."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import IO, Any

import fsspec
import zarr

from ..disk_faults import disk_faults
from ..errors import ComicSeqDataError
from ..files import lock_file, locked, put_in_place
from ..urls import file_system, is_url
from .arrays import Layout, create_arrays, finish_store, metadata_beside, open_for_writing, part_files

__all__ = ["Output", "PartialStore", "read_attributes"]

_ZARR_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def read_attributes(store: str, stage: int) -> dict[str, Any] | None:
    """The attributes of a complete store of this stage that was made here, None where there is none.

    A store is complete when its metadata are consolidated, which is done last.
    """
    try:
        group = zarr.open_group(store, mode="r", use_consolidated=True)
    except Exception:  # zarr, fsspec and its back ends each have exceptions of their own
        return None
    attributes = dict(group.attrs)
    return attributes if attributes.get("stage") == stage and "fingerprint" in attributes else None


class PartialStore:
    """A store that is made in parts: the folder beside its target holds which of them are finished.

    Args:
        target: Local path or URL of the store.
        fingerprint: Hash of the input and of the options that change the result.
        ending: What the folder's name ends with.
        in_place: Whether the store under a URL is made in its place, not in the folder.
    """

    def __init__(self, target: str, fingerprint: str, ending: str = ".partial", in_place: bool = True):
        self.fingerprint = fingerprint
        target = re.sub("^(file|local)://", "", target)
        self.is_url = is_url(target)
        self.target = target.rstrip("/") if self.is_url else os.path.abspath(target)
        if self.is_url:
            self.folder = self.target + ending
            self.root = self.target if in_place else f"{self.folder}/arrays.zarr"
        else:
            path = Path(os.path.realpath(self.target))  # a link may lead to another disk
            self.folder = str(path.with_name(f".{path.name}{ending}"))
            self.root = str(Path(self.folder, path.name))
        self._system, self._folder = file_system(self.folder)

    def is_done(self, overwrite: bool) -> bool:
        """Whether the target is complete and made from the same input."""
        raise NotImplementedError

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other commands away from a local output."""
        if self.is_url:
            yield
            return
        with locked(self.target):
            try:
                with disk_faults(self.target, "the same command goes on from the parts that are finished"):
                    yield
            except BaseException:
                if not self.finished_parts():
                    self.remove_leftover()  # nothing worth going on with
                raise

    def prepare(self, layout: Layout) -> None:
        """Makes the output ready for the parts that are not finished.

        Raises:
            ComicSeqDataError: It is a URL that cannot be written to.
        """
        if self._state() == self.fingerprint and self.finished_parts():
            with suppress(Exception):  # a damaged beginning is made again
                self._remove_strays(layout)
                return
        # In this order a kill leaves either no state or one without finished parts.
        self._remove(f"{self._folder}/done")
        try:
            self._system.makedirs(f"{self._folder}/done", exist_ok=True)
            self._system.pipe_file(f"{self._folder}/fingerprint", self.fingerprint.encode())
        except Exception as error:
            self._raise_in_words(error)
            raise
        system, root = file_system(self.root)
        if system.exists(root):
            system.rm(root, recursive=True)
        create_arrays(self.root, layout)

    def _remove_strays(self, layout: Layout) -> None:
        """Removes what a killed process left of parts that are not finished: the result is to have no file too many."""
        arrays = open_for_writing(self.root, layout.arrays)
        finished = self.finished_parts()
        files = {key for n, lo, hi in layout.parts() if n in finished for key in part_files(arrays, lo, hi)}
        system, root = file_system(self.root)
        for path in system.find(root):
            name = path[len(root.rstrip("/")) + 1 :]
            if name not in files and name.rpartition("/")[2] not in _ZARR_METADATA:
                system.rm_file(path)

    def finished_parts(self) -> dict[int, dict[str, Any]]:
        """The reports of the finished parts by number."""
        self._system.invalidate_cache()
        reports = {}
        for path in self._system.find(f"{self._folder}/done"):
            with suppress(ValueError):  # cut off by a kill
                reports[int(Path(path).stem)] = json.loads(self._system.cat_file(path))
        return reports

    def finish_part(self, number: int, report: dict[str, Any]) -> None:
        """Notes that a part is on the disk."""
        self._system.pipe_file(f"{self._folder}/done/{number:05d}.json", json.dumps(report).encode())

    def has_leftover(self) -> bool:
        """Whether a run was killed after its output was in place, before its working folder and its lock were removed."""
        return self._system.exists(self._folder) or (not self.is_url and lock_file(self.target).exists())

    def remove_leftover(self) -> None:
        """Removes the working folder."""
        self._remove(self._folder)

    def _state(self) -> str | None:
        """Fingerprint of the work that was begun."""
        try:
            return self._system.cat_file(f"{self._folder}/fingerprint").decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except Exception as error:
            self._raise_in_words(error)
            raise

    def _raise_in_words(self, error: Exception) -> None:
        """Says what is wrong with a URL: fsspec's back ends each have exceptions of their own."""
        if self.is_url:
            raise ComicSeqDataError(
                f"{self.target} cannot be written to ({type(error).__name__}: {shorten(str(error), 200)}); check the URL"
                " and your rights, or name a local path"
            ) from error

    def _remove(self, path: str) -> None:
        if self._system.exists(path):
            self._system.rm(path, recursive=True)


class Output(PartialStore):
    """A store of its own, and its metadata beside it.

    On a local disk, the store and its metadata are made in a hidden folder beside the target and renamed when they are
    complete. Object stores have no rename: under a URL the store is made in place, and its consolidated metadata,
    written last, mark it as complete. The folder beside it, `TARGET.partial`, holds which parts are finished.

    Args:
        target: Local path or URL of the store.
        fingerprint: Hash of the input and of the options that change the result.
        stage: 5 for what a model makes of the panels' vectors, 3 for these.
    """

    def __init__(self, target: str, fingerprint: str, stage: int = 5):
        super().__init__(target, fingerprint)
        self.stage = stage
        self.metadata = metadata_beside(self.target)

    def is_done(self, overwrite: bool) -> bool:
        """Whether the target is complete and made from the same input.

        Raises:
            ComicSeqDataError: Something else is in its place, and `overwrite` does not say to replace it.
        """
        attributes = read_attributes(self.target, self.stage)
        system, target = file_system(self.target)
        has_metadata = system.exists(metadata_beside(target))
        if attributes is None:
            # What a killed run has left: a store under a URL is made in place, metadata are put in place first.
            is_begun = self._state() is not None
            is_empty = not system.exists(target) or (system.isdir(target) and not system.ls(target))
            is_foreign = not is_empty and not (is_begun and self.is_url)
            for path, found in ((self.target, is_foreign), (self.metadata, has_metadata and not is_begun)):
                if found:
                    raise ComicSeqDataError(
                        f"{path} exists and is of no Stage {self.stage} store that was made here; give another --output or"
                        " remove it"
                    )
            return False
        if attributes["fingerprint"] == self.fingerprint and has_metadata:
            return True
        if overwrite:
            return False
        why = "was made from other input or with other options" if has_metadata else f"lacks {self.metadata}"
        raise ComicSeqDataError(f"{self.target} {why}; give another --output, or --overwrite to replace it")

    def complete(self, write_metadata: Callable[[IO[bytes]], None], attributes: dict[str, Any]) -> None:
        """Writes the metadata and the attributes, and puts everything in place."""
        if self.is_url:
            with fsspec.open(self.metadata, "wb") as file:
                write_metadata(file)
            finish_store(self.root, attributes)
        else:
            finish_store(self.root, attributes)
            # Always of one name, so that the next run writes over what a killed one has left.
            beside = Path(self.metadata).with_name(f".{Path(self.metadata).name}.partial")
            try:
                with open(beside, "wb") as file:
                    write_metadata(file)
                os.replace(beside, self.metadata)
            finally:
                beside.unlink(missing_ok=True)
            replaced = Path(self.folder, "replaced")
            shutil.rmtree(replaced, ignore_errors=True)
            put_in_place(Path(self.root), Path(os.path.realpath(self.target)), replaced)
        self.remove_leftover()
