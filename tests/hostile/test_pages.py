"""Pages, archives, PDF files and annotations that are none, are damaged, or are made to do harm."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pypdfium2
import pytest
from datasets import load_from_disk
from PIL import Image

from ..pages.made_pages import content, page
from .commands import INGEST, READ
from .conftest import write_comics
from .table import Breaks, check_refused, cut, folder, link, remove, row, rows_of, run, write

PAGE = "comics/two/2.png"
FOUND = "ingest comics --output out"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with comics alone, in which the test runs."""
    write_comics(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(image: Image.Image, kind: str = "PNG", **options) -> Breaks:
    return write(PAGE, content(image, kind, **options))


def huge() -> bytes:
    """A PNG that says it has 30,000 × 30,000 pixels."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    packed = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def archive(change: Callable[[ZipFile], None] = lambda archive: None, **options) -> Breaks:
    """A third book, an archive with one good page and what `change` adds."""

    def breaks(place: Path) -> None:
        with ZipFile(place / "comics" / "three.cbz", "w", **options) as archive:
            archive.writestr("1.png", content())
            change(archive)

    return breaks


def encrypted(place: Path) -> None:
    archive(lambda archive: archive.writestr("2.png", content()))(place)
    path = place / "comics" / "three.cbz"
    raw = bytearray(path.read_bytes())
    raw[raw.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


def a_link(archive: ZipFile) -> None:
    entry = ZipInfo("2.png")
    entry.external_attr = 0o120777 << 16
    archive.writestr(entry, "/etc/passwd")


def pdf(place: Path) -> None:
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 300)
    document.save(place / "comics" / "three.pdf")


def about(name: str, panel: dict | None = None, **fields) -> Breaks:
    """Other fields in the annotation of a page, and in its first panel."""

    def breaks(place: Path) -> None:
        entries = json.loads((place / "comics.json").read_text())
        (entry,) = (entry for entry in entries if entry["image"] == name)
        entry["panels"][0] |= panel or {}
        entry |= fields
        (place / "comics.json").write_text(json.dumps(entries))

    return breaks


def no_unicode(place: Path) -> None:
    os.rename(place / PAGE, os.fsencode(place / "comics" / "two") + b"/\xff.png")


TWO = ("comics/two: page '2.png'",)
THREE = ("comics/three.cbz: page ",)
# What is wrong with a page or a book, of which the others can go on.
OF_A_PAGE = {
    "cut off JPEG": row(INGEST, *TWO, "cut off or damaged", breaks=write(PAGE, content(page(), "JPEG")[:-150])),
    "cut off PNG": row(INGEST, *TWO, "cut off or damaged", "restore it", breaks=cut(PAGE, 0.8)),
    "empty file": row(INGEST, *TWO, "no picture", breaks=write(PAGE, b"")),
    "text": row(INGEST, *TWO, "no picture", breaks=write(PAGE, "hello")),
    "1 × 1": row(INGEST, *TWO, "1 × 1 pixels", "at least 16", breaks=picture(page(size=(1, 1)))),
    "30,000 × 30,000": row(INGEST, *TWO, "900,000,000 pixels", "89,478,485", breaks=write(PAGE, huge())),
    "floats": row(
        INGEST, *TWO, "pixels of another kind", breaks=picture(Image.fromarray(np.ones((64, 48), "f4")), "TIFF")
    ),
    "a link that leads nowhere": row(INGEST, *TWO, "cannot be read", breaks=link(PAGE, "nowhere")),
    "a name that is no Unicode": row(INGEST, "comics/two", "no Unicode; rename it", breaks=no_unicode),
    "another picture than was annotated": row(
        INGEST, *TWO, "64 × 48 pixels, but its boxes were measured on 48 × 64", breaks=picture(page(size=(64, 48)))
    ),
    "a box of no area": row(
        INGEST, *TWO, "has no area", breaks=about("two/2.png", panel={"box": [4, 4, 4, 30]})
    ),
    "a box off the page": row(
        INGEST, *TWO, "outside the page", breaks=about("two/2.png", panel={"box": [4, 4, 60, 30]})
    ),
    "an inverted box": row(INGEST, *TWO, "inverted", breaks=about("two/2.png", panel={"box": [30, 4, 4, 30]})),
    "a box of words": row(INGEST, *TWO, "four numbers", breaks=about("two/2.png", panel={"box": "here"})),
    "no panels": row(
        INGEST + " --panels given", *TWO, "no panels are given", breaks=about("two/2.png", panels=[])
    ),
    "an annotation for two pages": row(
        INGEST, "shares with other pages the annotation '2.png'", breaks=about("two/2.png", image="2.png")
    ),
    "encrypted": row(FOUND, *THREE, "is encrypted", "password", breaks=encrypted),
    "endless": row(
        FOUND, *THREE, "unpacks from", "PNG or JPEG",
        breaks=archive(lambda archive: archive.writestr("2.png", bytes(17 << 20)), compression=ZIP_DEFLATED),
    ),
    "../": row(FOUND, *THREE, "leads out", breaks=archive(lambda archive: archive.writestr("../2.png", b""))),
    "an absolute name": row(FOUND, *THREE, "leads out", breaks=archive(lambda archive: archive.writestr("/2.png", b""))),
    "a link in an archive": row(FOUND, *THREE, "is a link", breaks=archive(a_link)),
    "a cut off archive": row(FOUND, "comics/three.cbz: ", "no ZIP", breaks=(archive(), cut("comics/three.cbz"))),
    "an archive without pictures": row(
        FOUND, "comics/three.cbz: holds no pictures", breaks=write("comics/three.cbz", b"PK\x05\x06" + bytes(18))
    ),
    "an archive of archives": row(
        FOUND, "holds no pictures but another archive, 'a.cbz'",
        breaks=(write("comics/three.cbz", b""), lambda place: nested(place)),
    ),
    "RAR": row(FOUND, "comics/three.cbr: is a RAR archive", "as ZIP", breaks=write("comics/three.cbr", b"Rar!\x1a")),
    "PDF without pictures": row(FOUND, "comics/three.pdf: holds no pictures", breaks=pdf),
    "cut off PDF": row(FOUND, "comics/three.pdf: cannot be read", breaks=(pdf, cut("comics/three.pdf", 0.2))),
    "entities in ComicInfo.xml": row(
        FOUND, "comics/two: ComicInfo.xml declares a document type",
        breaks=write("comics/two/ComicInfo.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
    ),
}  # fmt: skip
TABLE = OF_A_PAGE | {
    "read: no such picture": row(READ.replace("2.png", "9.png"), "comics/two/9.png", "--pages"),
    "read: a folder": row(READ.replace("/2.png", ""), "'comics/two'", "name one of a picture"),
    "read: cut off": row(READ, PAGE, "cut off or damaged", "restore it", breaks=cut(PAGE, 0.8)),
    "read: 30,000 × 30,000": row(READ, PAGE, "900,000,000 pixels", breaks=write(PAGE, huge())),
    "read: no data set of pages": row(READ + " --pages nowhere", "nowhere", "name another"),
    "read: no such model": row(READ, "no model", "Hub"),
    "read: no PNG to write": row(READ.replace("out.png", "out.jpg"), "out.jpg", ".png"),
    "read: into its own page": row(READ.replace("out.png", PAGE), PAGE, "is the input"),
    "read: what stands beside": row(READ, "out.json exists", "--overwrite", breaks=write("out.json", "a chapter")),
    "read: no such engine": row(READ + " --ocr nothing", "nothing", "rapidocr"),
    "read: panel 0": row(READ + " --panel 0", "--panel", "greater than or equal to 1", code=2),
    "read: panel 99": row(READ + " --panel 99", "no panel 99"),
    "nothing there": row(INGEST, "There is no comics", "did you mean", breaks=remove("comics")),
    "an empty folder": row(FOUND, "comics: holds no pictures", breaks=folder("comics")),
    "a text file": row(FOUND.replace("comics", "comics.json"), "comics.json is no archive, PDF file or data set"),
    "an output in the source": row("ingest comics --output comics/out", "lies in the input comics"),
    "something stands there": row(INGEST, "out exists", "--overwrite", breaks=write("out/thesis.txt", "a chapter")),
    "a URL": row(INGEST.replace(" out", " s3://bucket/out"), "is a URL", "local path"),
    "no such direction": row(INGEST + " --reading-direction up", "up", "ltr", code=2),
    "no such OCR": row(INGEST + " --ocr tesseract", "'tesseract'", "rapidocr"),
    "no such detector": row(FOUND + " --panel-detector ./nothing", "There is no ./nothing"),
    "no process": row(INGEST + " --num-proc 0", "--num-proc", "greater than or equal to 1", code=2),
    "no annotations there": row(INGEST, "comics.json cannot be read", breaks=remove("comics.json")),
    "cut off JSON": row(INGEST, "comics.json", breaks=cut("comics.json")),
    "annotations of other pages": row(
        INGEST, "comics.json names none of the 6 pages", breaks=write("comics.json", '[{"image": "x", "panels": []}]')
    ),
    "two books of one name": row(
        FOUND, "are both called 'two'", "rename", breaks=lambda place: nested(place, "two.cbz", "1.png")
    ),
    "one source twice": row("ingest comics comics --output out", "both have a book 'one'"),
}


def nested(place: Path, name: str = "three.cbz", inner: str = "a.cbz") -> None:
    with ZipFile(place / "comics" / name, "w") as archive:
        archive.writestr(inner, content())


@pytest.mark.parametrize("row", rows_of(TABLE))
def test_what_is_wrong_is_told_in_one_sentence(row, place):
    check_refused(replace(row, makes=(".out.partial",)), place)  # of the pages before, which are kept


@pytest.mark.parametrize("row", rows_of(OF_A_PAGE))
def test_the_rest_is_processed_where_faults_are_skipped(row, place):
    for breaks in row.breaks:
        breaks(place)
    code, printed = run(row.command + " --on-error skip")
    assert code == 0, printed
    skipped = json.loads((place / "out" / "skipped.json").read_text())
    assert skipped and f"{len(skipped)} left out" in printed
    told = " ".join(f"{each['place']}: page {each['page']!r}: {each['reason']}" for each in skipped)
    assert any(part.rsplit(": ")[-1] in told for part in row.says[1:] or row.says), told
    pages = load_from_disk(str(place / "out"))
    assert 4 <= len(pages) <= 7 and {"one", "two"} <= set(pages["book_id"])


KINDS = {
    "CMYK": lambda: content(page(mode="CMYK"), "JPEG"),
    "16 bits": lambda: content(Image.fromarray(np.asarray(page(mode="L")).astype(np.uint16) << 8)),
    "animated": lambda: content(page(), "GIF", save_all=True, append_images=[page(200)]),
    "palette": lambda: content(page(mode="P")),
    "transparent": lambda: content(page(mode="RGBA")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_unusual_pictures_become_usual_ones(kind, place):
    (place / PAGE).write_bytes(KINDS[kind]())
    assert run(INGEST)[0] == 0
    row = load_from_disk(str(place / "out"))[4]
    assert row["page_name"] == "2.png" and row["image"].mode in ("L", "RGB") and row["image"].size == (48, 64)
    assert Image.open(
        io.BytesIO(load_from_disk(str(place / "out")).with_format("arrow")[4]["image"][0].as_py()["bytes"])
    ).mode in ("L", "RGB")


def test_names_in_any_script(place):
    names = ["Ночь/第１話.png", "قصة/é 🦊.png", "a b/'\"&<>.png"]
    for name in names:
        write(f"comics/{name}", content())(place)
    assert run(FOUND)[0] == 0
    pages = load_from_disk(str(place / "out"))
    found = {f"{book}/{name}" for book, name in zip(pages["book_id"], pages["page_name"], strict=True)}
    assert set(names) <= found
