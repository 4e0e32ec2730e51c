"""Pages are found in folders, archives, PDF files and data sets, and what is wrong with one leaves the others."""

from __future__ import annotations

import os
import sys

import datasets
import pytest

from modeling_comicseq.errors import ComicSeqDataError, PageProblem
from modeling_comicseq.pages.comic_info import ComicInfo
from modeling_comicseq.pages.sources import find_pages, read_pages

from .made_pages import content, page, write_archive, write_pages


def find(source, faults=None):
    """Book and name of each page; faults go to a list, or are errors."""

    def fault(place, name, problem):
        if faults is None:
            raise AssertionError((place, name, problem))
        faults.append((place, name, str(problem)))

    return [(each.book_id, each.name) for each in find_pages(str(source), fault)]


def test_a_flat_folder_is_one_book_with_its_name(tmp_path):
    write_pages(tmp_path / "My Comic", ["2.png", "10.png", "1.png"])
    assert find(tmp_path / "My Comic") == [("My Comic", "1.png"), ("My Comic", "2.png"), ("My Comic", "10.png")]


def test_every_folder_archive_and_pdf_below_is_a_book(tmp_path):
    lib = write_pages(tmp_path / "lib", ["vol 10/1.png", "vol 2/ch1/1.png", "vol 2/ch2/1.png", "Ночь/1.png"])
    write_archive(lib / "more" / "x.cbz", {"a/1.png": content(), "a/2.png": content()})
    page().save(lib / "y.pdf")
    for ignored in (".cache/1.png", "__MACOSX/1.png", "notes/readme.txt"):
        (lib / ignored).parent.mkdir()
        (lib / ignored).write_bytes(content())
    assert find(lib) == [
        ("more/x", "a/1.png"), ("more/x", "a/2.png"), ("vol 2/ch1", "1.png"), ("vol 2/ch2", "1.png"),
        ("vol 10", "1.png"), ("y", "1"), ("Ночь", "1.png"),
    ]  # fmt: skip


def test_one_archive_is_a_source(tmp_path):
    assert find(write_archive(tmp_path / "x.zip", {"1.png": b""})) == [("x", "1.png")]


def test_links_that_lead_in_a_circle_end(tmp_path):
    lib = write_pages(tmp_path / "lib", ["a/1.png"])
    os.symlink(lib, lib / "a" / "again")
    os.symlink(write_pages(tmp_path / "elsewhere", ["1.png"]), lib / "b")
    assert find(lib) == [("a", "1.png"), ("b", "1.png")]


def test_a_book_with_a_fault_leaves_the_others(tmp_path):
    lib = write_pages(tmp_path / "lib", ["a/1.png"])
    (lib / "b.cbz").write_bytes(b"PK")
    (lib / "c.cbr").write_bytes(b"Rar!")
    (lib / "d.pdf").write_bytes(b"")
    (lib / "a" / "ComicInfo.xml").write_text("<!DOCTYPE a><ComicInfo/>")
    faults: list = []
    assert find(lib, faults) == [("a", "1.png")]
    assert sorted((os.path.basename(place), reason.split(" ")[0]) for place, _, reason in faults) == [
        ("a", "ComicInfo.xml"), ("b.cbz", "is"), ("c.cbr", "is"), ("d.pdf", "cannot"),
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_unicode_are_told(tmp_path):
    lib = write_pages(tmp_path / "lib", ["a/1.png"])
    with open(os.fsencode(lib / "a") + b"/\xff.png", "wb") as file:
        file.write(content())
    os.mkdir(os.fsencode(lib) + b"/\xff")
    faults: list = []
    assert find(lib, faults) == [("a", "1.png")]
    says = "has a name that is no Unicode; rename it"
    assert faults == [(str(lib), "�", says), (str(lib / "a"), "�.png", says)]
    faults.clear()
    assert find(os.fsdecode(os.fsencode(lib) + b"/\xff"), faults) == [] and len(faults) == 1


def test_two_books_of_one_name_are_refused(tmp_path):
    lib = write_pages(tmp_path / "lib", ["x/1.png"])
    write_archive(lib / "x.cbz", {"1.png": b""})
    with pytest.raises(ComicSeqDataError, match="are both called 'x': rename one"):
        find(lib)


def test_other_things_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    faults: list = []
    assert find(tmp_path / "empty", faults) == []
    assert "holds no pictures" in faults[0][2]
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ComicSeqDataError, match="a.txt is no archive, PDF file or data set"):
        find(tmp_path / "a.txt")
    with pytest.raises(ComicSeqDataError, match="There is no .*: did you mean `empty`"):
        find(tmp_path / "emty")


def test_contents_come_in_order_and_faults_in_their_place(tmp_path):
    lib = write_pages(tmp_path / "lib", ["a/1.png", "a/2.png"])
    write_archive(lib / "b.cbz", {"1.png": b"one", "../2.png": b"two", "3.png": b"three"})
    pages = find_pages(str(lib), None)
    (lib / "a" / "2.png").unlink()
    kinds = [type(read) for read, _ in read_pages(pages)]
    assert kinds == [bytes, PageProblem, bytes, bytes, PageProblem]
    (lib / "b.cbz").write_bytes(b"")
    assert [type(read) for read, _ in read_pages(pages)][2:] == [PageProblem] * 3


def test_comic_info_goes_with_each_page(tmp_path):
    lib = write_pages(tmp_path / "lib", ["1.png"])
    (lib / "ComicInfo.xml").write_text("<ComicInfo><Title>T</Title></ComicInfo>")
    assert [each.info for each in find_pages(str(lib), None)] == [ComicInfo(title="T")]


def test_a_comic_info_that_cannot_be_read_is_told(tmp_path):
    lib = write_pages(tmp_path / "lib", ["1.png"])
    (lib / "ComicInfo.xml").symlink_to("away")
    told = []
    assert [each.info for each in find_pages(str(lib), lambda *fault: told.append(fault))] == [ComicInfo()]
    assert "ComicInfo.xml cannot be read (No such file" in str(told[0][2])


@pytest.fixture
def rows():
    pictures = [{"bytes": content(page(shade)), "path": f"{shade}.png"} for shade in (3, 1, 2)]
    features = datasets.Features({"picture": datasets.Image(), "note": datasets.Value("string")})
    return datasets.Dataset.from_dict({"picture": pictures, "note": ["c", "a", "b"]}, features=features)


def test_data_sets_are_sources(tmp_path, rows):
    rows.save_to_disk(str(tmp_path / "saved"))
    assert find(tmp_path / "saved") == [("saved", "3.png"), ("saved", "1.png"), ("saved", "2.png")]
    read = list(read_pages(find_pages(str(tmp_path / "saved"), None)))
    assert [each[1] for each in read] == [{"note": "c"}, {"note": "a"}, {"note": "b"}]
    assert read[0][0] == content(page(3))
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "splits"))
    assert len(find(tmp_path / "splits")) == 6
    rows.to_parquet(tmp_path / "folder.parquet")
    assert find(tmp_path / "folder.parquet")[0] == ("folder", "3.png")


def test_books_and_places_of_a_data_set_are_those_of_its_columns(tmp_path, rows):
    rows = rows.add_column("book_id", ["b", "a", "b"]).add_column("page_index", [1, 0, 0])
    rows.add_column("page_name", ["x", "y", "z"]).save_to_disk(str(tmp_path / "saved"))
    assert find(tmp_path / "saved") == [("b", "z"), ("b", "x"), ("a", "y")]


def test_a_data_set_without_pictures_is_refused(tmp_path, rows):
    rows.remove_columns("picture").save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ComicSeqDataError, match="has not one column of pictures but note"):
        find(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(ComicSeqDataError, match="cannot be opened as a data set"):
        find(tmp_path / "saved")
