"""Comics become a data set of pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import load_from_disk

from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.pages.ingest import ingest

from .made_pages import BOXES, SIZE, annotation, content, page, write_archive, write_pages

NAMES = ["a/p1.png", "a/p2.png", "a/p10.png", "b/Cover.png", "b/1.png"]


@pytest.fixture
def comics(tmp_path):
    """A folder of two books, and annotations of their pages."""
    folder = write_pages(tmp_path / "comics", NAMES)
    (tmp_path / "panels.json").write_text(json.dumps([annotation(name) for name in NAMES]))
    return folder


def make(comics, **options):
    output = comics.parent / "pages"
    options = {"annotations": comics.parent / "panels.json", "progress": False} | options
    report = ingest([comics], output, **options)
    return load_from_disk(str(output)), report


def test_a_folder_of_books_becomes_a_data_set(comics):
    dataset, report = make(comics)
    assert list(zip(dataset["book_id"], dataset["page_name"], dataset["page_index"], strict=True)) == [
        ("a", "p1.png", 0), ("a", "p2.png", 1), ("a", "p10.png", 2), ("b", "Cover.png", 0), ("b", "1.png", 1)
    ]  # fmt: skip
    row = dataset[1]
    assert row["size"] == list(SIZE) and row["reading_direction"] is None
    np.testing.assert_allclose(row["boxes"], np.array(BOXES) / (*SIZE, *SIZE), rtol=1e-6)
    assert row["texts"] == [["a/p2.png 0"], ["a/p2.png 1"]]
    assert row["boxes_origin"] == row["texts_origin"] == row["order_origin"] == "given"
    assert json.loads(row["metadata"]) == annotation("a/p2.png")
    np.testing.assert_array_equal(np.asarray(row["image"]), np.asarray(page(41)))
    assert "speakers" not in dataset.column_names and "series" not in dataset.column_names
    assert (report["books"], report["pages"], report["panels"], report["texts"]) == (2, 5, 10, 10)
    assert "5 pages, 10 panels" in (comics.parent / "pages" / "README.md").read_text()
    assert sorted(path.name for path in comics.parent.iterdir()) == ["comics", "pages", "panels.json"]


def test_the_same_call_again_does_nothing_and_another_is_refused(comics, capsys):
    dataset, report = make(comics)
    again, told = make(comics)
    assert told == report and again._fingerprint == dataset._fingerprint
    with pytest.raises(ComicSeqDataError, match="was made of other pages or otherwise: .* --overwrite"):
        make(comics, images="paths")
    paths, _ = make(comics, images="paths", overwrite=True)
    raw = paths.with_format("arrow")[0]["image"][0].as_py()
    assert raw == {"bytes": None, "path": str(comics / "a" / "p1.png")}
    np.testing.assert_array_equal(np.asarray(paths[0]["image"]), np.asarray(page(40)))


def test_archives_tell_series_and_direction(tmp_path):
    info = "<ComicInfo><Series>S</Series><Number>2</Number><Manga>YesAndRightToLeft</Manga></ComicInfo>"
    pages = {f"x/{name}": content() for name in ("10.png", "9.png", "cover.png")}
    write_archive(tmp_path / "lib" / "Том 2.cbz", pages | {"ComicInfo.xml": info.encode(), "notes.txt": b""})
    (tmp_path / "panels.json").write_text(json.dumps([annotation("Том 2/x/9.png"), annotation("Том 2/x/10.png")]))
    dataset, report = make(tmp_path / "lib", panels="none")
    assert dataset["page_name"][:] == ["x/cover.png", "x/9.png", "x/10.png"]
    row = dataset[1]
    assert (row["book_id"], row["series"], row["number"]) == ("Том 2", "S", "2")
    assert (row["reading_direction"], row["reading_direction_origin"]) == ("rtl", "ComicInfo.xml")
    assert "title" not in dataset.column_names
    assert dataset["boxes"][:] == [[], [], []] and report["boxes_origin"] == {"not known": 3}


def test_two_processes_make_the_same(comics):
    one, _ = make(comics)
    two, _ = make(comics, num_proc=2, overwrite=True)
    assert one.with_format("arrow")[:].equals(two.with_format("arrow")[:])


def test_a_page_with_a_fault_stops_the_run_or_is_skipped(comics):
    (comics / "a" / "p2.png").write_bytes(content()[:-60])
    with pytest.raises(ComicSeqDataError, match="comics/a: page 'p2.png': is cut off or damaged .*; restore it"):
        make(comics)
    assert not (comics.parent / "pages").exists()
    dataset, report = make(comics, on_error="skip")
    assert dataset["page_index"][:] == [0, 2, 0, 1] and report["skipped"] == 1
    (skipped,) = json.loads((comics.parent / "pages" / "skipped.json").read_text())
    assert skipped["page"] == "p2.png" and "cut off" in skipped["reason"]
    with pytest.raises(ComicSeqDataError, match="without 1 pages that have a fault"):
        make(comics)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"panels": "some"}, "`panels` is 'some': give one of auto, given, none"),
        ({"reading_direction": "up"}, "`reading_direction` is 'up': give one of ltr, rtl"),
        ({"num_proc": 0}, "`num_proc` is 0"),
    ],
)
def test_impossible_options_are_refused(comics, options, says):
    with pytest.raises(ComicSeqArgumentError, match=says):
        make(comics, **options)
