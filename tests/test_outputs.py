"""Outputs are checked before the work."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.outputs import check_output


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
