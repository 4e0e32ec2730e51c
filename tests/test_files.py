"""Outputs: checked before the work, locked during it, complete or not there after it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from safetensors import SafetensorError

from modeling_comicseq import files
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.files import check_output, disk_faults, locked, write_json, written_file, written_folder


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("kept")
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("output", "given", "how"),
    [
        ("meta.json", "meta.json", "is"),
        ("meta.json", "a/../meta.json", "is"),
        ("link.json", "meta.json", "is"),
        ("meta.json", "link.json", "is"),
        ("hard.json", "meta.json", "is"),
        ("file://{}/meta.json", "meta.json", "is"),
        ("store/new/out", "store", "lies in"),
        ("folder_link/new/out", "store", "lies in"),
        ("../{name}", "store/zarr.json", "holds"),
        ("s3://bucket/store.zarr/", "s3://bucket/store.zarr", "is one of"),
    ],
)
def test_no_output_is_an_input(tmp_path, monkeypatch, output, given, how, overwrite):
    monkeypatch.chdir(make(tmp_path, "meta.json", "store/zarr.json", "a/b"))
    Path("link.json").symlink_to("meta.json")
    Path("folder_link").symlink_to("store")
    os.link("meta.json", "hard.json")
    output = output.format(tmp_path, name=tmp_path.name)
    with pytest.raises(ComicSeqDataError, match=f"The output {output} {how} .*: name another output"):
        check_output(output, [None, "user/name", given], overwrite, folder="json" not in output)


def test_outputs_beside_inputs_are_fine(tmp_path):
    make(tmp_path, "store/zarr.json", "store-2/a")
    check_output(tmp_path / "stor", [tmp_path / "store", "s3://bucket/store", "user/model"], folder=True)
    check_output("memory://bucket/out.zarr", [tmp_path / "store", "s3://bucket/store"], remote=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store-2"]


@pytest.mark.parametrize("url", ["s3://bucket/out", "file:///tmp/out", "foo://out", "simplecache::s3://bucket/out"])
def test_a_url_is_no_local_output(url):
    for output in (url, Path(url)):  # which takes a slash
        with pytest.raises(ComicSeqArgumentError, match="The output .* is a URL: name a local path"):
            check_output(output)
    check_output(Path("C:/out"), overwrite=True)


@pytest.mark.parametrize(
    ("url", "message"), [("s3://bucket/out", "Install s3fs"), ("foo://out", "Protocol not known")]
)
def test_output_at_a_url_without_its_driver(url, message):
    with pytest.raises(ComicSeqDataError, match=f"{url} cannot be opened .*{message}"):
        check_output(url, remote=True)


def test_what_is_there_is_overwritten_only_if_that_is_said_or_it_is_the_command_s_own(tmp_path):
    make(tmp_path, "a.json", "folder/file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.json").touch()
    for name, folder in (("a.json", False), ("folder", True)):
        with pytest.raises(ComicSeqDataError, match="exists: name another .*, or give --overwrite"):
            check_output(tmp_path / name, folder=folder, is_own=lambda path: False)
        check_output(tmp_path / name, overwrite=True, folder=folder)
        check_output(tmp_path / name, folder=folder, is_own=lambda path: path.exists())
    check_output(tmp_path / "empty", folder=True)
    check_output(tmp_path / "empty.json")


@pytest.mark.parametrize(
    ("output", "folder", "message"),
    [
        ("folder", False, "folder is a folder: name a file"),
        ("a.json", True, "a.json is a file: name a folder"),
        ("a.json/b/c", True, r"c cannot be made: .*a.json is a file"),
        ("pipe", False, "is no plain file"),
        ("x" * 300, False, "the name is too long"),
        ("/", True, "whole drive.*: name a folder in it"),
        ("a\0b", False, "null character"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(tmp_path, output, folder, message):
    make(tmp_path, "a.json", "folder/file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ComicSeqDataError, match=message):
        check_output(os.path.join(tmp_path, output), overwrite=True, folder=folder)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.ENOSPC, "is full")]
)
def test_a_folder_that_takes_no_file_is_told_before_the_work(tmp_path, monkeypatch, code, words):
    def refuse(dir):
        raise OSError(code, os.strerror(code), f"{dir}/tmp")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ComicSeqDataError, match=rf"a/b/out.json cannot be written: .*{words}.*; nothing was begun\."):
        check_output(tmp_path / "a" / "b" / "out.json")
    assert not list(tmp_path.iterdir())


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
