"""Files written past the page cache hold exactly what was written to them."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.data import unbuffered
from modeling_comicseq.data.unbuffered import UnbufferedFile


@pytest.mark.parametrize("has_direct", [True, False])
@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 20_000), max_size=6), seed=st.integers(0, 255))
def test_any_sizes(tmp_path_factory, has_direct, sizes, seed):
    path = tmp_path_factory.mktemp("unbuffered") / "file"
    path.write_bytes(b"what was there before")
    data = [bytes((seed + at + place) % 251 for place in range(size)) for at, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unbuffered, "_BLOCK", 8192)
        if not has_direct:
            patch.delattr(os, "O_DIRECT", raising=False)
        with UnbufferedFile(path) as file:
            assert [file.write(part) for part in data] == sizes
    assert path.read_bytes() == b"".join(data)


def test_file_system_without_direct_writes(tmp_path, monkeypatch):
    open_file = os.open

    def refuse_direct(path, flags, mode=0o777):
        if flags & getattr(os, "O_DIRECT", 0):
            raise OSError(22, "Invalid argument")
        return open_file(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse_direct)
    with UnbufferedFile(tmp_path / "file") as file:
        file.write(b"panels")
    assert (tmp_path / "file").read_bytes() == b"panels"


def test_full_disk_is_an_error_and_closes_the_file(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    file = UnbufferedFile(tmp_path / "file")
    file.write(b"panels")
    monkeypatch.setattr(os, "pwrite", no_space)
    with pytest.raises(OSError, match="No space left"):
        file.close()
    assert file.closed
    with pytest.raises(OSError):
        os.fstat(file._file)
