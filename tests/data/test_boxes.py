"""Boxes and reading directions on their way from a store, its metadata or a file beside it to the data set."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from datasets import Dataset, load_from_disk
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.views import Vectors, materialise
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.layouts.boxes import as_shares, mirror
from modeling_comicseq.stores.boxed_pages import read_boxed_pages
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.stores.stage3 import Stage3Store

from ..stores.stage3_stores import Source, make_source

PAGES, SLOTS, SIZE = 8, 6, (800, 1200)
ONE_SPLIT = {"fractions": (1, 0, 0), "progress": False}


def pixel_boxes(row: int, panels: int) -> list[list[int]]:
    """Boxes of a page, of which no two of the corpus are the same."""
    return [[10 * row, 100 * panel, 400 + 10 * row + panel, 100 * panel + 90] for panel in range(panels)]


def shares(row: int, panels: int) -> np.ndarray:
    return as_shares(pixel_boxes(row, panels), SIZE)


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "in", pages=PAGES, slots=SLOTS, names=("panel_embeddings",))


def with_array(source: Source, dtype: str = "float32") -> np.ndarray:
    """Writes the boxes into the store, garbage into the padded slots."""
    boxes = np.full((PAGES, SLOTS, 4), np.nan, dtype)
    for row, mask in enumerate(source.mask):
        boxes[row, mask] = shares(row, mask.sum())
    group = zarr.open_group(source.embeddings, mode="r+")
    group.create_array("panel_boxes", shape=boxes.shape, dtype=boxes.dtype, chunks=(3, SLOTS, 4))[:] = boxes
    return boxes


def in_metadata(source: Source, describe) -> None:
    """Gives every entry what `describe` makes of its row and number of panels."""
    source.write_metadata([e | describe(e["sequence_index"], e["num_panels"]) for e in source.entries])


def panels_json(row: int, panels: int) -> dict:
    return {"size": SIZE, "panels": [{"box": box} for box in pixel_boxes(row, panels)]}


def of_model(row: int, panels: int) -> dict:
    boxes = (shares(row, panels) * 1000).astype(np.float64)
    return {"panels": [{"box_2d": [y0, x0, y1, x1]} for x0, y0, x1, y1 in boxes.tolist()]}


def beside(source: Source, path: Path) -> dict:
    """Writes a file of boxes, backwards, and names its pages otherwise than the metadata do."""
    pages = [
        {
            "book_id": e["canonical_id"].split("/")[1],
            "image": "scans/" + e["canonical_id"].split("/")[2].replace("jpg", "PNG"),
        }
        | panels_json(e["sequence_index"], e["num_panels"])
        for e in source.entries
    ]
    path.write_text(json.dumps(pages[::-1]))
    return {"boxes": path}


def convert(source: Source, output: Path, **options):
    convert_store(source.embeddings, source.metadata, output, **ONE_SPLIT | options)
    return load_from_disk(str(output))["train"]


def boxes_of(row: dict) -> np.ndarray:
    return np.array(row["panel_boxes"], np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    "place", ["array", "float16 array", "panel_boxes", "panels.json", "model", "file", "folder", "pages"]
)
def test_boxes_reach_the_data_set_from_wherever_they_are(tmp_path, source, place):
    options, told = {}, source.metadata
    if "array" in place:
        with_array(source, "float16" if place == "float16 array" else "float32")
        in_metadata(source, lambda row, panels: {"panel_boxes": "wrong, and not read"})
        told = f"{source.embeddings}/panel_boxes"
    elif place == "file":
        options = beside(source, tmp_path / "boxes.json")
        with_array(source)[:] = 0  # what is beside the store counts above what is in it
        told = tmp_path / "boxes.json"
    elif place == "folder":
        for entry in source.entries:
            page = tmp_path / "pages" / f"{entry['canonical_id'].removeprefix('library/')}.json"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(json.dumps(of_model(entry["sequence_index"], entry["num_panels"])))
        options, told = {"boxes": tmp_path / "pages"}, tmp_path / "pages"
    elif place == "pages":
        books, names = zip(*(entry["canonical_id"].split("/")[1:] for entry in source.entries), strict=True)
        boxes = [shares(entry["sequence_index"], entry["num_panels"]).tolist() for entry in source.entries]
        Dataset.from_dict({"book_id": books, "page_name": names, "boxes": boxes}).save_to_disk(str(tmp_path / "pages"))
        options, told = {"boxes": tmp_path / "pages"}, tmp_path / "pages"
    else:
        forms = {"panels.json": panels_json, "model": of_model}
        in_metadata(source, forms.get(place, lambda row, panels: {"panel_boxes": shares(row, panels).tolist()}))
    data = convert(source, tmp_path / "out", **options)
    assert len(data) == PAGES
    for row in data:
        expected = shares(row["sequence_index"], row["num_panels"])
        if place == "float16 array":
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(boxes_of(row), expected, rtol=0 if "array" in place or place == "file" else 1e-6)
    panels = int(source.mask.sum())
    provenance = read_provenance(tmp_path / "out")
    assert provenance["panel_boxes"] == {"source": str(told), "pages": PAGES, "panels": panels}
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"boxes of the panels: `{told}`, of {panels} panels on {PAGES} pages" in card and "`panel_boxes`" in card
    assert "reading_direction" not in data.column_names and "reading direction" not in card


def test_a_store_without_boxes_converts_as_ever(tmp_path, source):
    data = convert(source, tmp_path / "out")
    assert not {"panel_boxes", "reading_direction"} & {*data.column_names}
    assert not {"panel_boxes", "reading_directions"} & {*read_provenance(tmp_path / "out")}
    assert not {"boxes", "reading_direction"} & {*read_provenance(tmp_path / "out")["conversion"]}
    assert "boxes of" not in (tmp_path / "out" / "README.md").read_text()
    assert "panel_boxes" not in open_split(str(tmp_path / "out"), "train")


def test_windows_cut_boxes_as_they_cut_vectors(tmp_path, source):
    with_array(source)
    data = convert(source, tmp_path / "out", window=3, stride=2)
    assert max(row["window_start"] for row in data) > 0
    for row in data:
        first, panels = row["window_start"], int(source.mask[row["sequence_index"]].sum())
        expected = shares(row["sequence_index"], panels)[first : first + row["num_panels"]]
        np.testing.assert_array_equal(boxes_of(row), expected)


def test_views_get_boxes_as_if_all_pages_were_read_from_left_to_right(tmp_path, source):
    with_array(source)
    in_metadata(source, lambda row, panels: {"reading_direction": "rtl"} if row < 4 else {})
    data = convert(source, tmp_path / "out")
    table = PanelTable(data)
    assert "panel_boxes" in table and "panel_boxes" not in table.widths
    panels = np.array([[*range(int(table.num_panels.sum()))], [-1] * int(table.num_panels.sum())])
    read = materialise({"panel_boxes": Vectors("panel_boxes", panels)}, table)["panel_boxes"]
    assert read.dtype == np.float32 and not read[1].any()
    expected = [mirror(boxes_of(row)) if row["sequence_index"] < 4 else boxes_of(row) for row in data]
    np.testing.assert_array_equal(read[0], np.concatenate(expected))
    some = table.dataset.select([6, 1])
    np.testing.assert_array_equal(
        PanelTable(some).gather("panel_boxes", np.arange(sum(some["num_panels"]))),
        np.concatenate([expected[6], expected[1]]),
    )


def test_what_is_known_from_elsewhere_joins_the_metadata_of_a_next_stage(tmp_path, source):
    with_array(source)
    in_metadata(
        source, lambda row, panels: {"reading_direction": "rtl", "id": 2**70} if row == 0 else {"direction": "ltr"}
    )
    pages = read_boxed_pages(Stage3Store.open(source.embeddings), source.metadata, text="entry")
    with (tmp_path / "next.json").open("wb") as file:
        pages.write_metadata(file)
    entries = json.loads((tmp_path / "next.json").read_text())
    assert entries[0]["reading_direction"] == "rtl" and entries[0]["id"] == 2**70
    assert entries[5]["direction"] == "ltr" and "reading_direction" not in entries[5]
    read = read_boxed_pages(replace(Stage3Store.open(source.embeddings), boxes=None), str(tmp_path / "next.json"))
    some = np.array([0, 5])
    torch.testing.assert_close(torch.tensor(read.boxes(some)), torch.tensor(pages.boxes(some)))
    first, rest = np.split(pages.boxes(some), [entries[0]["num_panels"]])
    np.testing.assert_array_equal(pages.boxes(some, as_read=True), np.concatenate([mirror(first), rest]))


def test_metadata_of_a_next_stage_tell_the_boxes_that_were_used(tmp_path, source):
    in_metadata(source, lambda row, panels: {"panel_boxes": shares(row, panels).tolist(), "direction": "ltr"})
    path = beside(source, tmp_path / "boxes.json")["boxes"]
    others = json.loads(path.read_text())
    for page in others:
        page["reading_direction"] = "rtl"
        page["panels"][0]["box"] = [1, 2, 3, 4]
    path.write_text(json.dumps(others))
    store = Stage3Store.open(source.embeddings)
    for boxes, first, direction in ((None, shares(0, 1)[0], "ltr"), (path, as_shares([1, 2, 3, 4], SIZE), "rtl")):
        pages = read_boxed_pages(store, source.metadata, text="entry", boxes=boxes)
        with (tmp_path / "next.json").open("wb") as file:
            pages.write_metadata(file)
        read = read_boxed_pages(store, str(tmp_path / "next.json"))
        np.testing.assert_allclose(read.boxes(np.array([0]))[0], first, atol=1e-6)
        assert read.strings("reading_direction")[0] == direction


def test_of_the_table_no_more_is_copied_than_is_asked_for(source, monkeypatch):
    with_array(source)
    pages = read_boxed_pages(Stage3Store.open(source.embeddings), source.metadata)
    asked = []

    class Table:
        def slice(self, offset, length):
            asked.append((offset, length))
            return pages.table.slice(offset, length)

    expected = pages.boxes(np.array([3, 5]))
    some = replace(pages, table=Table())
    monkeypatch.setattr(type(pages), "counts", pages.counts)
    monkeypatch.setattr(type(pages), "has", lambda self, column: True)
    np.testing.assert_array_equal(some.boxes(np.array([3, 5])), expected)
    assert asked == [(3, 3)] and len(some.take(np.array([], int))) == 0


def test_directions_of_a_page_its_book_and_the_rest(tmp_path, source):
    # Two books of four pages: one page of the first tells, none of the second.
    in_metadata(source, lambda row, panels: {"direction": "right-to-left"} if row == 2 else {})
    store = Stage3Store.open(source.embeddings)

    def directions(**options):
        return read_boxed_pages(store, source.metadata, **options).strings("reading_direction")

    assert directions() == ["rtl"] * 4 + [None] * 4
    assert directions(reading_direction="ltr") == ["rtl"] * 4 + ["ltr"] * 4
    beside(source, tmp_path / "boxes.json")
    pages = json.loads((tmp_path / "boxes.json").read_text())
    pages[0]["direction"] = "ltr"  # of the last page of the second book
    (tmp_path / "boxes.json").write_text(json.dumps(pages))
    assert directions(boxes=tmp_path / "boxes.json") == ["rtl"] * 4 + ["ltr"] * 4
    in_metadata(source, lambda row, panels: {"reading_direction": "rtl" if row % 2 else "ltr"} if row < 2 else {})
    assert directions() == ["ltr", "rtl"] + [None] * 6  # the book's pages do not agree
    zarr.open_group(source.embeddings, mode="r+").attrs["reading_direction"] = "rtl"
    store = Stage3Store.open(source.embeddings)
    assert directions() == ["ltr", "rtl"] + ["rtl"] * 6
    data = convert(source, tmp_path / "out", reading_direction="ltr")
    assert [row["reading_direction"] for row in data] == ["ltr", "rtl"] + ["ltr"] * 6
    assert read_provenance(tmp_path / "out")["reading_directions"] == {"ltr": 7, "rtl": 1}
    assert "7 pages from left to right, 1 from right to left" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_says_what_it_found(tmp_path, source):
    options = beside(source, tmp_path / "boxes.json")
    command = [
        "convert",
        "--embeddings",
        source.embeddings,
        "--metadata",
        source.metadata,
        "--output",
        str(tmp_path / "out"),
    ]
    command += ["--boxes", str(options["boxes"]), "--reading-direction", "rtl", "--fractions", "1", "0", "0"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert f"boxes of {source.mask.sum()} panels on {PAGES} pages from" in said
    assert f"read from left to right: 0 pages, from right to left: {PAGES}" in said


def shift(page: dict, by: int) -> dict:
    """One box less or more, and of a panel that the list has no place for."""
    return page | {"panels": page["panels"][:by] if by < 0 else page["panels"] + page["panels"][:1]}


FAULTS = {
    "inverted": ([0.5, 0.1, 0.2, 0.3], "is inverted"),
    "no area": ([0.5, 0.1, 0.5, 0.3], "has no area"),
    "outside": ([0.5, 0.1, 1.5, 0.3], "is outside the page"),
    "NaN": ([0.5, np.nan, 0.6, 0.3], "is not finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["array", "metadata"])
def test_a_faulty_box_stops_or_leaves_out_its_page(tmp_path, source, place, fault):
    box, words = FAULTS[fault]
    if place == "array":
        with_array(source)
        source.array("panel_boxes")[1, 1] = box
        words = f"panel_boxes, panel 1, .*{words}"
    else:
        boxes = {row: shares(row, int(mask.sum())).tolist() for row, mask in enumerate(source.mask)}
        boxes[1][1] = box
        in_metadata(source, lambda row, panels: {"panel_boxes": boxes[row]})
        words = f"box 1 .*{words}"
    page = source.entries[1]["canonical_id"]
    with pytest.raises(
        ComicSeqDataError, match=rf"page '{page}' \(sequence_index 1\): {words}; correct .*--on-error skip"
    ):
        convert(source, tmp_path / "out")
    data = convert(source, tmp_path / "out", on_error="skip")
    assert sorted(data["sequence_index"]) == [0, *range(2, PAGES)]
    (skipped,) = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert skipped["page"] == page and FAULTS[fault][1] in skipped["reason"]
    assert read_provenance(tmp_path / "out")["panel_boxes"]["pages"] == PAGES - 1


@pytest.mark.parametrize("place", ["array", "metadata", "file"])
def test_boxes_stay_with_their_panels_where_other_pages_are_left_out(tmp_path, source, place):
    options = beside(source, tmp_path / "boxes.json") if place == "file" else {}
    if place == "array":
        with_array(source)
    elif place == "metadata":
        in_metadata(source, panels_json)
    source.array("panel_embeddings")[3, 0] = np.nan
    data = convert(source, tmp_path / "out", on_error="skip", num_proc=2, **options)
    assert sorted(data["sequence_index"]) == [0, 1, 2, *range(4, PAGES)]
    for row in data:
        np.testing.assert_array_equal(boxes_of(row), shares(row["sequence_index"], row["num_panels"]))
    assert read_provenance(tmp_path / "out")["panel_boxes"]["pages"] == PAGES - 1


@pytest.mark.parametrize("more", [-1, 1])
def test_boxes_that_are_fewer_or_more_than_the_panels(tmp_path, source, more):
    in_metadata(
        source,
        lambda row, panels: (
            shift(panels_json(row, panels), more if row == 1 else 0) if row == 1 else panels_json(row, panels)
        ),
    )
    panels = int(source.mask[1].sum())
    with pytest.raises(ComicSeqDataError, match=f"it has {panels + more} boxes for {panels} panels; give one a panel"):
        convert(source, tmp_path / "out")
    assert len(convert(source, tmp_path / "out", on_error="skip")) == PAGES - 1


def test_lists_of_models_are_aligned_only_where_that_is_certain(tmp_path, source, caplog):
    counts = source.mask.sum(1).tolist()
    full = counts.index(SLOTS)

    def describe(row, panels):
        page = of_model(row, panels)
        if row == full:  # more panels than there are slots: Stage 3 takes the first ones
            page["panels"] += of_model(7, 2)["panels"]
        elif row == 2:  # a panel without a box, which Stage 3 leaves out
            page["panels"].insert(1, {"box_2d": None, "description": "?"})
        elif row == 3:  # nobody knows which
            page["panels"].append(page["panels"][0])
        elif row == 4:  # matched with a detector's, best match first
            numbers = [{"rcnn_bbox": [x0, y0, x1 - x0, y1 - y0]} for x0, y0, x1, y1 in pixel_boxes(row, panels)]
            page = {"panels": numbers, "image_width": SIZE[0], "image_height": SIZE[1]}
        elif row == 6:  # what cannot be understood
            page["panels"][0]["box_2d"] = [1, 2, 3]
        return page

    assert full not in (2, 3, 4, 6)
    in_metadata(source, describe)
    with caplog.at_level(logging.WARNING):
        data = convert(source, tmp_path / "out")
    for row in data:
        known = row["sequence_index"] not in (3, 4, 6)
        expected = shares(row["sequence_index"], row["num_panels"]) * known
        np.testing.assert_allclose(boxes_of(row), expected, rtol=1e-6)
    assert read_provenance(tmp_path / "out")["panel_boxes"]["pages"] == PAGES - 3
    (said,) = [record.message for record in caplog.records if "left without boxes" in record.message]
    assert f"3 pages are left without boxes, the first '{source.entries[3]['canonical_id']}'" in said
    assert f"{counts[3] + 1} boxes for {counts[3]} panels" in said


def test_a_file_of_boxes_for_other_pages(tmp_path, source, caplog):
    path = beside(source, tmp_path / "boxes.json")["boxes"]
    pages = json.loads(path.read_text())
    path.write_text(json.dumps([page | {"book_id": "another"} for page in pages]))
    with pytest.raises(ComicSeqDataError, match=r"boxes.json names no page of the metadata, but 'scans/page"):
        convert(source, tmp_path / "out", boxes=path)
    path.write_text(json.dumps([*pages, pages[-1]]))
    with pytest.raises(ComicSeqDataError, match=r"boxes.json: page .* it stands twice; keep one of the two"):
        convert(source, tmp_path / "out", boxes=path)
    path.write_text(json.dumps([*pages, pages[-1], pages[-1]]))
    assert len(convert(source, tmp_path / "skipped", boxes=path, on_error="skip")) == PAGES - 1
    assert len(json.loads((tmp_path / "skipped" / "skipped.json").read_text())) == 1
    path.write_text(json.dumps(pages[:5]))
    with caplog.at_level(logging.WARNING):
        convert(source, tmp_path / "out", boxes=path)
    assert "boxes.json names 5 of 8 pages: 'library/Book 00/page 8.jpg' and others have no boxes" in caplog.text
    with pytest.raises(ComicSeqDataError, match=r"out was made from other input"):  # the file has changed
        path.write_text(json.dumps(pages))
        convert(source, tmp_path / "out", boxes=path)
    with pytest.raises(ComicSeqDataError, match=r"absent.json cannot be read"):
        convert(source, tmp_path / "other", boxes=tmp_path / "absent.json")
    with pytest.raises(ComicSeqArgumentError, match="reading_direction 'up' is not possible; give ltr or rtl"):
        convert(source, tmp_path / "other", reading_direction="up")


def test_names_that_do_not_tell_pages_apart_find_none(tmp_path, source):
    path = beside(source, tmp_path / "boxes.json")["boxes"]
    pages = json.loads(path.read_text())
    for page in pages:
        del page["book_id"]  # and both books have a page 8
    path.write_text(json.dumps(pages))
    with pytest.raises(ComicSeqDataError, match="names no page of the metadata"):
        convert(source, tmp_path / "out", boxes=path)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((PAGES, SLOTS), "float32"), ((PAGES, SLOTS, 4), "int32"), ((3, SLOTS, 4), "float32")]
)
def test_an_array_of_another_shape_or_type(source, shape, dtype):
    group = zarr.open_group(source.embeddings, mode="r+")
    group.create_array("panel_boxes", shape=shape, dtype=dtype)
    with pytest.raises(ComicSeqDataError, match=r"panel_boxes has shape .* it must be \(8, 6, 4\) of float32"):
        Stage3Store.open(source.embeddings)


@pytest.mark.parametrize("numbers", [0, 3, 8])
def test_a_column_that_does_not_hold_a_box_a_panel(tmp_path, source, numbers):
    with_array(source)
    data = convert(source, tmp_path / "out")
    changed = data.map(lambda row: {"panel_boxes": [0.0] * numbers * row["num_panels"]})
    with pytest.raises(
        ComicSeqDataError, match="Column `panel_boxes` does not hold one .* per panel: convert the store"
    ):
        PanelTable(changed)


@pytest.mark.skipif("COMICSEQ_DATA" not in os.environ, reason="COMICSEQ_DATA names no folder of real comics")
def test_a_real_store_with_the_boxes_beside_it(tmp_path):
    comics = Path(os.environ["COMICSEQ_DATA"])
    store = comics / "stage3" / "peppercarrot" / "stage3_embeddings.zarr"
    boxes = comics / "peppercarrot" / "panels.json"
    options = ONE_SPLIT | {"boxes": boxes, "reading_direction": "ltr"}
    convert_store(store, store.with_name("stage3_metadata.json"), tmp_path / "out", **options)
    data = load_from_disk(str(tmp_path / "out"))["train"]
    pages = {(page["book_id"], Path(page["image"]).name): page for page in json.loads(boxes.read_text())}
    for row in data:
        page = pages[row["book_id"], row["page_name"]]
        expected = as_shares([panel["box"] for panel in page["panels"]], page["size"])
        np.testing.assert_array_equal(boxes_of(row), expected)
    assert read_provenance(tmp_path / "out")["panel_boxes"] == {"source": str(boxes), "pages": 92, "panels": 311}
