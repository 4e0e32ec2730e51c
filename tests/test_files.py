"""Files and folders are locked while they are written, and complete or not there after it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_comicseq import files
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.files import locked, write_json, written_folder


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("kept")
    return folder


def test_an_empty_folder_on_another_disk_is_put_in_place_through_its_link(tmp_path):
    (tmp_path / "scratch" / "empty").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "scratch" / "empty")
    with written_folder(link, overwrite=False) as folder:
        assert folder.is_relative_to(tmp_path / "scratch")  # the same file system
        (folder / "a").write_text("a")
    assert link.is_symlink() and (tmp_path / "scratch" / "empty" / "a").read_text() == "a"
    file = tmp_path / "link.json"
    file.symlink_to(tmp_path / "scratch" / "out.json")
    write_json(file, 1)
    assert file.is_symlink() and (tmp_path / "scratch" / "out.json").read_text() == "1\n"
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["empty", "out.json"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    make(tmp_path, "out/old")
    replace, calls = os.replace, []

    def fail_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail_second)
    with pytest.raises(ComicSeqDataError, match="out cannot be written: the disk failed; nothing of it was left"):
        with written_folder(tmp_path / "out", overwrite=True) as folder:
            (folder / "new").write_text("new")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_one_process_at_a_time(tmp_path):
    place = tmp_path / "new" / "out"
    code = "import sys; from modeling_comicseq.files import locked\nwith locked(sys.argv[1]): pass"
    with locked(place):
        done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, timeout=60)
        assert done.returncode and f"another process is writing {place}: wait" in done.stderr
        with pytest.raises(ComicSeqDataError, match="another process"), written_folder(place, overwrite=True):
            pass
    assert not list(place.parent.iterdir())
    with pytest.raises(ZeroDivisionError), locked(place):
        raise ZeroDivisionError
    with locked(place):
        pass
    assert not list(place.parent.iterdir())
