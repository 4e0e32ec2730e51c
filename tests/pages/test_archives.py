"""Archives are read as hostile: what leads out of them, is a link, encrypted, endless or damaged is refused in words."""

from __future__ import annotations

import io
import stat
import struct
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

import pytest

from modeling_comicseq.errors import PageProblem
from modeling_comicseq.pages import archives
from modeling_comicseq.pages.archives import list_archive, read_archive

from .made_pages import content, write_archive


def only(path: Path) -> bytes | PageProblem:
    """The content of the only page, or what is wrong with it."""
    (name,) = list_archive(path)[0]
    (found,) = read_archive(path, [name])
    return found


def test_pictures_are_listed_and_read_and_nothing_else(tmp_path):
    entries = {
        "b/2.png": b"two", "b/10.JPG": b"ten", "ComicInfo.xml": b"<ComicInfo/>", "x.exe": b"", "__MACOSX/b/._2.png": b"",
        ".hidden.png": b"", "inner.cbz": b"",
    }  # fmt: skip
    path = write_archive(tmp_path / "a.cbz", entries)
    assert list_archive(path) == (["b/2.png", "b/10.JPG"], b"<ComicInfo/>")
    assert list(read_archive(path, ["b/10.JPG", "b/2.png"])) == [b"ten", b"two"]


def test_names_in_any_script(tmp_path):
    names = ["第1話/頁.png", "Ночь.png", "é.png", "🦊.png"]
    path = write_archive(tmp_path / "a.cbz", dict.fromkeys(names, b"x"))
    assert list_archive(path)[0] == names
    raw = path.read_bytes()
    unflagged = bytearray(raw)  # as packers do that write UTF-8 and do not say so
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = raw.find(magic)
        while start >= 0:
            unflagged[start + offset + 1] &= ~0x08
            start = raw.find(magic, start + 4)
    path.write_bytes(unflagged)
    assert list_archive(path)[0] == names


@pytest.mark.parametrize(
    "name", ["../up.png", "a/../../up.png", "/etc/up.png", "C:/up.png", "..\\up.png", "C:\\up.png"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    problem = only(write_archive(tmp_path / "a.cbz", {name: content()}))
    assert "leads out of the archive" in str(problem)
    assert [each.name for each in tmp_path.iterdir()] == ["a.cbz"]


def test_links_are_refused(tmp_path):
    entry = ZipInfo("a.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(tmp_path / "a.cbz", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert "is a link" in str(only(tmp_path / "a.cbz"))


def test_encrypted_pictures_are_refused(tmp_path):
    path = write_archive(tmp_path / "a.cbz", {"a.png": content()})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert "is encrypted; unpack the archive with its password" in str(only(path))


def test_what_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    with ZipFile(tmp_path / "a.cbz", "w", ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(17 << 20))
    assert "unpacks from 17," in str(only(tmp_path / "a.cbz"))
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    assert "unpacks to 17,825,792 bytes" in str(only(tmp_path / "a.cbz"))
    monkeypatch.setattr(archives, "_MOST_IN_ALL", 1 << 20)
    with pytest.raises(PageProblem, match="holds 17,825,792 bytes of pictures"):
        list_archive(tmp_path / "a.cbz")


def test_no_more_is_unpacked_than_the_archive_says(tmp_path):
    """An entry that says it is small cannot fill the memory."""
    with ZipFile(tmp_path / "a.cbz", "w", ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(17 << 20))
    raw = bytearray((tmp_path / "a.cbz").read_bytes())
    place = raw.find(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", raw, place)[0] == 17 << 20
    struct.pack_into("<I", raw, place, 1000)
    (tmp_path / "a.cbz").write_bytes(raw)
    assert "cannot be unpacked" in str(only(tmp_path / "a.cbz"))


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_ENTRIES", 2)
    path = write_archive(tmp_path / "a.cbz", dict.fromkeys(["1.png", "2.png", "3.png"], b""))
    with pytest.raises(PageProblem, match="has 3 entries"):
        list_archive(path)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    with ZipFile(tmp_path / "a.cbz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.png", b"one")
        archive.writestr("a.png", b"two")
    (found,) = read_archive(tmp_path / "a.cbz", ["a.png"])
    assert "stands twice" in str(found)


def test_unusual_compression_is_refused(tmp_path):
    with ZipFile(tmp_path / "a.cbz", "w", ZIP_LZMA) as archive:
        archive.writestr("a.png", content())
    assert "packed by method 14" in str(only(tmp_path / "a.cbz"))


def test_archives_in_archives_are_not_followed(tmp_path):
    inner = io.BytesIO()
    with ZipFile(inner, "w") as archive:
        archive.writestr("a.png", content())
    path = write_archive(tmp_path / "a.zip", {"book.cbz": inner.getvalue()})
    with pytest.raises(PageProblem, match="no pictures but another archive, 'book.cbz'; unpack that"):
        list_archive(path)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is no ZIP archive"),
        (b"Rar!\x1a\x07\x01\x00", "is a RAR archive; pack its pictures as ZIP again"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
        (b"PK\x05\x06" + bytes(18), "holds no pictures; leave it out"),
    ],
)
def test_other_files_are_refused(tmp_path, raw, says):
    (tmp_path / "a.cbz").write_bytes(raw)
    with pytest.raises(PageProblem, match=says):
        list_archive(tmp_path / "a.cbz")


def test_every_cut_and_every_damage_is_told_in_words(tmp_path):
    picture = content()
    path = write_archive(tmp_path / "a.cbz", {"a.png": picture, "b/c.png": picture})
    raw = path.read_bytes()
    damaged = [raw[:length] for length in range(0, len(raw), 7)]
    damaged += [raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :] for place in range(0, len(raw), 5)]
    as_a_whole = pictures = 0
    for each in damaged:
        path.write_bytes(each)
        try:
            names, _ = list_archive(path)
            found = list(read_archive(path, names))
        except PageProblem:
            as_a_whole += 1
            continue
        assert all(
            isinstance(one, PageProblem) or one == picture for one in found
        )  # nothing wrong passes for a picture
        pictures += sum(isinstance(one, PageProblem) for one in found)
    assert as_a_whole >= len(raw) // 7 and pictures  # what is cut off has no directory
