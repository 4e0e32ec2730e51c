"""What goes wrong with a disk is one sentence, and what does not stays as it is."""

from __future__ import annotations

import errno
import os

import pytest
from safetensors import SafetensorError

from modeling_comicseq.disk_faults import disk_faults
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.files import written_file, written_folder


def test_a_full_disk_is_said_of_what_the_user_named(tmp_path):
    with pytest.raises(ComicSeqDataError, match=r"out cannot be written: the disk is full; nothing of it.*Free some"):
        with written_folder(tmp_path / "out", overwrite=False) as folder:
            with written_file(folder / "a.json"), open("/dev/full", "w") as full:
                full.write("a")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ComicSeqDataError, match="the disk is full"):  # as safetensors and Arrow say it
        with disk_faults(tmp_path / "out"):
            raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_other_faults_stay_as_they_are(tmp_path):
    for error in (ZeroDivisionError(), ComicSeqDataError("No such page."), FileNotFoundError(2, "No", "a.zarr")):
        with pytest.raises(type(error)) as raised, disk_faults(tmp_path / "out"):
            raise error
        assert raised.value is error
    with pytest.raises(PermissionError), disk_faults(tmp_path / "out" / "a.json"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/input.json")


def test_what_safetensors_says_of_a_disk(tmp_path):
    """Its errors come from Rust and are no `OSError`."""
    with pytest.raises(ComicSeqDataError, match="cannot be written: there is no permission to write there"):
        with disk_faults(tmp_path / "model.safetensors"):
            raise SafetensorError("Error while serializing: I/O error: Permission denied (os error 13)")


def test_a_copy_that_cannot_be_written_is_about_what_is_written(tmp_path):
    source = tmp_path / "elsewhere" / "code.py"
    with pytest.raises(ComicSeqDataError, match="out cannot be written: there is no permission"):
        with disk_faults(tmp_path / "place" / "out"):
            fault = os.strerror(errno.EACCES)
            raise PermissionError(errno.EACCES, fault, str(source), None, str(tmp_path / "place" / "out" / "code.py"))
