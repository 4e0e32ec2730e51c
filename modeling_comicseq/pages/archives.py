"""Comic archives (CBZ, ZIP), read as hostile: nothing is unpacked to the disk, and sizes and names are checked first."""

from __future__ import annotations

import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

from ..errors import PageProblem, in_words
from .comic_info import COMIC_INFO
from .pictures import MOST_BYTES, is_picture

__all__ = ["ARCHIVES", "list_archive", "read_archive"]

ARCHIVES = ("cbz", "zip", "cbr", "rar", "cb7", "7z", "cbt", "tar")  # those but ZIP are refused in words
_MOST_ENTRIES = 20_000
_MOST_IN_ALL = 16 << 30  # bytes of all pictures, unpacked
# Pictures are compressed in themselves. What unpacks to more than this is made to fill a disk, or a large empty bitmap.
_LARGEST_RATIO, _SMALL = 200, 16 << 20
_OTHER_KINDS = {b"Rar!": "RAR", b"7z\xbc\xaf": "7z"}


def list_archive(path: Path) -> tuple[list[str], bytes | None]:
    """The pictures in an archive, in no order, and its `ComicInfo.xml`.

    A name stands once for each entry, also where two have the same; other files and archives in it are left alone.

    Raises:
        PageProblem: The archive cannot be used as a whole.
    """
    with _opened(path) as archive:
        entries = archive.infolist()
        pictures = [entry for entry in entries if _is_page(entry)]
        if not pictures:
            inner = next((_name(each) for each in entries if Path(each.filename).suffix[1:].lower() in ARCHIVES), None)
            found = "holds no pictures" + (f" but another archive, {inner!r}" if inner else "")
            raise PageProblem(found, "unpack that and name what is in it" if inner else "leave it out")
        size = sum(entry.file_size for entry in pictures)
        if size > _MOST_IN_ALL:
            raise PageProblem(f"holds {size:,} bytes of pictures", f"part it into archives below {_MOST_IN_ALL:,}")
        info = next((entry for entry in entries if _name(entry).lower() == COMIC_INFO.lower()), None)
        return [_name(entry) for entry in pictures], None if info is None else _read(archive, info)


def read_archive(path: Path, names: Sequence[str]) -> Iterator[bytes | PageProblem]:
    """The content of some of its pictures, or what is wrong with them.

    Raises:
        PageProblem: The archive cannot be used as a whole.
    """
    with _opened(path) as archive:
        entries: dict[str, list[ZipInfo]] = {}
        for entry in archive.infolist():
            if _is_page(entry):
                entries.setdefault(_name(entry), []).append(entry)
        for name in names:
            found = entries.get(name, [])
            try:
                if len(found) != 1:
                    raise PageProblem("stands twice in the archive" if found else "has gone", "pack it again")
                yield _read(archive, found[0])
            except PageProblem as problem:
                yield problem


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        kind = next((name for magic, name in _OTHER_KINDS.items() if start.startswith(magic)), None)
        if kind or not is_zipfile(path):
            found = f"is a {kind} archive" if kind else "is no ZIP archive, or is cut off"
            raise PageProblem(found, "pack its pictures as ZIP again")
        with ZipFile(path) as archive:
            if len(archive.infolist()) > _MOST_ENTRIES:
                found = f"has {len(archive.infolist()):,} entries"
                raise PageProblem(found, f"part it into archives of at most {_MOST_ENTRIES:,}")
            yield archive
    except (OSError, BadZipFile, NotImplementedError, EOFError, UnicodeError) as error:
        raise PageProblem(f"cannot be read ({in_words(error)})", "pack its pictures as ZIP again") from None


def _is_page(entry: ZipInfo) -> bool:
    return not entry.is_dir() and is_picture(re.sub(r"\.\.+/", "", _name(entry)))


def _name(entry: ZipInfo) -> str:
    """The entry's name; many packers write UTF-8 without saying so, which then was read as that of old IBM PCs."""
    name = entry.filename.replace("\\", "/")
    if not entry.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name


def _read(archive: ZipFile, entry: ZipInfo) -> bytes:
    """The content of an entry.

    Raises:
        PageProblem: Its name, kind or sizes are not those of a picture in a book, or it is encrypted or damaged.
    """
    name = _name(entry)
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        raise PageProblem("has a name that leads out of the archive", "pack it again with names below its folder")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise PageProblem("is a link", "pack the picture itself")
    if entry.flag_bits & 0x1:
        raise PageProblem("is encrypted", "unpack the archive with its password and name the folder")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise PageProblem(f"is packed by method {entry.compress_type}", "pack it again by the usual one, Deflate")
    if entry.file_size > MOST_BYTES:
        raise PageProblem(f"unpacks to {entry.file_size:,} bytes", f"make it smaller than {MOST_BYTES:,}")
    if entry.file_size > max(_SMALL, _LARGEST_RATIO * entry.compress_size):
        found = f"unpacks from {entry.compress_size:,} to {entry.file_size:,} bytes"
        raise PageProblem(found, "save the picture as PNG or JPEG")
    try:
        with archive.open(entry) as file:
            return file.read(MOST_BYTES)
    except (OSError, BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
        raise PageProblem(f"cannot be unpacked ({in_words(error)})", "restore the archive from the original") from None
