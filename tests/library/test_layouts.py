"""Drawn layouts as a file and as a data set: the same pages, and the same again from the same seed."""

import json

import datasets
import numpy as np
import pytest

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.layouts.boxes import as_shares
from modeling_comicseq.library.layouts import drawn_pages, write_layouts
from modeling_comicseq.stores.splits import split_of


def test_file_and_data_set_hold_the_same_pages(tmp_path):
    panels = write_layouts(tmp_path / "pages.json", 150, seed=1, progress=False)
    assert write_layouts(tmp_path / "data", 150, seed=1, progress=False) == panels
    listed = json.loads((tmp_path / "pages.json").read_text())
    data = datasets.load_from_disk(tmp_path / "data")
    rows = {(row["book_id"], row["page_index"]): (split, row) for split in data for row in data[split]}
    assert len(rows) == len(listed) == 150
    assert sum(len(page["panels"]) for page in listed) == panels
    for page in listed:
        split, row = rows[page["book_id"], page["page_index"]]
        assert split == split_of(page["book_id"]) and row["reading_direction"] == page["reading_direction"]
        pixels = [panel["box"] for panel in page["panels"]]
        shares = np.array(row["panel_boxes"], np.float32).reshape(-1, 4)
        assert abs(as_shares(pixels, page["size"]) - shares).max() < 1e-3  # a tenth of a pixel


def test_a_book_has_one_direction_and_the_seed_decides(tmp_path):
    pages, again, other = (list(drawn_pages(64, seed)) for seed in (0, 0, 1))
    assert {page["reading_direction"] for page in pages} == {"ltr", "rtl"}
    assert len({(page["book_id"], page["reading_direction"]) for page in pages}) == 4
    assert all(np.array_equal(a["panel_boxes"], b["panel_boxes"]) for a, b in zip(pages, again, strict=True))
    assert not all(np.array_equal(a["panel_boxes"], b["panel_boxes"]) for a, b in zip(pages, other, strict=True))
    assert {page["reading_direction"] for page in drawn_pages(64, 0, "rtl")} == {"rtl"}


def test_nothing_of_value_is_lost(tmp_path):
    write_layouts(tmp_path / "pages.json", 2, progress=False)
    write_layouts(tmp_path / "pages.json", 3, progress=False)  # its own
    (tmp_path / "mine.json").write_text("[]")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    for name in ("mine.json", "data"):
        with pytest.raises(ComicSeqDataError, match="--overwrite"):
            write_layouts(tmp_path / name, 2, progress=False)
