"""Comics become a data set of pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import load_from_disk
from PIL import Image
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.pages.ingest import ingest
from modeling_comicseq.pages.ocr import OCR_ENGINES, TextLine
from modeling_comicseq.pages.panel_finding import PANEL_FINDERS

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
    one, _ = make(comics, annotations=None)
    two, _ = make(comics, annotations=None, num_proc=2, overwrite=True)
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
    with pytest.raises(ComicSeqDataError, match="without 1 page with a fault"):
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


def test_panels_are_found_where_none_are_given(comics):
    (comics.parent / "panels.json").write_text(json.dumps([annotation("a/p1.png"), annotation("a/p2.png")]))
    dataset, report = make(comics)
    assert report["boxes_origin"] == {"given": 2, "gutter cut": 3}
    assert "- gutter cut: F1 of panels" in (comics.parent / "pages" / "README.md").read_text()
    found = dataset[2]
    np.testing.assert_allclose(found["boxes"], np.array(BOXES) / (*SIZE, *SIZE), atol=0.03)
    assert found["texts"] == [[], []] and found["texts_origin"] is None and found["order_origin"] == "order predictor"
    with pytest.raises(ComicSeqDataError, match="page 'p10.png': no panels are given"):
        make(comics, panels="given", overwrite=True)
    dataset, report = make(comics, panels="none", overwrite=True)
    assert not any(dataset["boxes"]) and report["panels"] == 0


def test_texts_without_boxes_go_to_the_panels_that_are_found(comics):
    """As models write them that tell no boxes, one file a page."""
    for name in NAMES:
        path = comics.parent / "said" / f"{name[:-4]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        panels = [
            {
                "panel_number": 2,
                "text_content": [{"text": "B", "character": "Pepper"}, {"text": "C", "character": ""}],
            },
            {"panel_number": 1, "caption": "A cat.", "text_content": []},
        ]
        path.write_text(json.dumps({"panels": panels}))
    dataset, _ = make(comics, annotations=comics.parent / "said")
    row = dataset[0]
    assert row["texts"] == [[], ["B", "C"]] and row["speakers"] == [[], ["Pepper", None]]
    assert row["captions"] == ["A cat.", None] and row["boxes_origin"] == "gutter cut"
    (comics.parent / "said" / "a" / "p1.json").write_text('{"panels": [{"text": "A"}]}')
    with pytest.raises(
        ComicSeqDataError, match="page 'p1.png': 2 panels were found where 1 are described; give their"
    ):
        make(comics, annotations=comics.parent / "said", overwrite=True)


def test_a_coco_file_gives_boxes_in_no_order(comics):
    images = [{"id": n, "file_name": name, "width": 48, "height": 64} for n, name in enumerate(NAMES)]
    boxes = [
        {"image_id": n, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for n in range(len(NAMES))
        for x0, y0, x1, y1 in reversed(BOXES)
    ]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "panel"}]}
    (comics.parent / "coco.json").write_text(json.dumps(coco))
    dataset, report = make(comics, annotations=comics.parent / "coco.json")
    np.testing.assert_allclose(dataset[0]["boxes"], np.array(BOXES) / (*SIZE, *SIZE), rtol=1e-6)
    assert report["boxes_origin"] == {"given": 5} and "given" not in report["order_origin"]


def test_texts_are_read_where_none_are_given(comics, monkeypatch):
    lines = [
        TextLine((0.3, 0.6, 0.7, 0.65), "LOW"),
        TextLine((0.3, 0.1, 0.7, 0.15), "HIGH"),
        TextLine((0, 0, 0.05, 0.01), "1"),
    ]
    monkeypatch.setitem(OCR_ENGINES, "made", lambda: lambda image: lines)
    (comics.parent / "panels.json").write_text(json.dumps([annotation("a/p1.png")]))
    dataset, report = make(comics, ocr="made")
    assert dataset[0]["texts"] == [["a/p1.png 0"], ["a/p1.png 1"]]
    assert dataset[1]["texts"] == [["HIGH"], ["LOW"]] and dataset[1]["outside_texts"] == ["1"]
    assert report["texts_origin"] == {"given": 1, "made": 4}


def test_another_finder_is_named(comics, monkeypatch):
    whole = np.array([[0, 0, 1, 1]], np.float32)
    monkeypatch.setitem(PANEL_FINDERS, "whole", lambda image: whole)
    monkeypatch.setattr("modeling_comicseq.pages.panel_detector.load_panel_detector", lambda name: lambda image: whole)
    for name in ("whole", "owner/detector"):
        dataset, report = make(comics, annotations=None, panel_detector=name, overwrite=True)
        assert dataset[0]["boxes"] == [[0, 0, 1, 1]] and report["boxes_origin"] == {name: 5}


def test_annotations_sort_pages_into_books(comics):
    told = [
        annotation(name, book_id=f"book {name[0] == 'b'}", page_index=-number) for number, name in enumerate(NAMES)
    ]
    (comics.parent / "panels.json").write_text(json.dumps(told))
    dataset, report = make(comics)
    assert dataset["page_name"][:] == ["p10.png", "p2.png", "p1.png", "1.png", "Cover.png"] and report["books"] == 2
    assert dataset["book_id"][:] == ["book False"] * 3 + ["book True"] * 2
    assert dataset["page_index"][:] == [0, 1, 2, 0, 1]


def test_what_is_no_unicode_or_too_large_in_annotations_is_carried_along(comics):
    told = annotation("a/p1.png", book_id="b\ud83dk", number=2**70)
    told["panels"][0]["text"] = ["half \ud83d"]
    (comics.parent / "panels.json").write_text(json.dumps([told]))
    dataset, _ = make(comics)
    (row,) = dataset.filter(lambda row: row["book_id"] == "b?k")
    assert row["texts"][0] == ["half ?"] and json.loads(row["metadata"])["number"] == 2**70


def test_what_a_run_left_that_was_killed_at_its_end_is_removed(comics):
    make(comics)
    (comics.parent / ".pages.partial" / "replaced").mkdir(parents=True)
    make(comics)
    assert sorted(path.name for path in comics.parent.iterdir()) == ["comics", "pages", "panels.json"]


def test_annotations_of_sources_without_pages(comics, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ComicSeqDataError, match="empty leaves no page .1 left out, the first for: holds no pictures"):
        ingest(
            [tmp_path / "empty"],
            tmp_path / "out",
            annotations=tmp_path / "panels.json",
            on_error="skip",
            progress=False,
        )


def test_boxes_are_those_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = write_pages(tmp_path / "comics", ["1.jpg"])
    (folder / "1.jpg").write_bytes(content(page(size=(64, 48)), "JPEG", exif=exif))
    (tmp_path / "panels.json").write_text(json.dumps([annotation("1.jpg")]))
    dataset, _ = make(folder)
    assert dataset[0]["size"] == list(SIZE) and dataset[0]["boxes_origin"] == "given"
    (tmp_path / "panels.json").write_text(json.dumps([annotation("1.jpg", size=[64, 60])]))
    with pytest.raises(ComicSeqDataError, match="has 48 × 64 pixels, but .* on 64 × 60; .* turned as its EXIF says"):
        make(folder, overwrite=True)


def test_of_one_there_is_no_plural(tmp_path):
    folder = write_pages(tmp_path / "comics", ["1.png"])
    result = CliRunner().invoke(app, ["ingest", str(folder), "--output", str(tmp_path / "out")])
    assert "1 book, 1 page, 2 panels, 0 texts" in result.output and "gutter cut (1 page)\n" in result.output
    assert "`comicseq ingest`: 1 book, 1 page, 2 panels,\n0 texts." in (tmp_path / "out" / "README.md").read_text()


def test_a_broken_annotation_spoils_no_page_of_another_book(comics):
    write_pages(comics, ["b/p1.png"])
    told = [annotation("p1.png", book_id="a"), annotation("p1.png", book_id="b", size=[0, 0])]
    (comics.parent / "panels.json").write_text(json.dumps(told))
    make(comics, on_error="skip")
    (skipped,) = json.loads((comics.parent / "pages" / "skipped.json").read_text())
    assert (skipped["place"], skipped["page"]) == (str(comics / "b"), "p1.png") and "size is [0, 0]" in skipped[
        "reason"
    ]


def test_boxes_in_pixels_without_a_size_are_those_of_the_picture(comics):
    told = [annotation("a/p1.png"), annotation("a/p2.png")]
    for entry in told:
        del entry["size"]
    told[1]["panels"][0]["box"] = [0, 0, 99, 9]
    (comics.parent / "panels.json").write_text(json.dumps(told))
    with pytest.raises(ComicSeqDataError, match="page 'p2.png': box 0 .*; correct the box"):
        make(comics)
    dataset, report = make(comics, on_error="skip")
    np.testing.assert_allclose(dataset[0]["boxes"], np.array(BOXES) / (*SIZE, *SIZE), rtol=1e-6)
    assert report["boxes_origin"] == {"given": 1, "gutter cut": 3}
