"""Two stores are compared page by page, whatever the order of their rows and slots."""

import json

import numpy as np
import pytest
import zarr

from benchmarks.same_vectors import compare

COLUMNS = {"panel_embeddings": "panel_embeddings"}


def write(folder, vectors, masks, names):
    folder.mkdir()
    group = zarr.open_group(folder / "stage3_embeddings.zarr", mode="w")
    group.create_array("panel_embeddings", data=vectors)
    group.create_array("panel_masks", data=masks)
    entries = [{"sequence_index": row, "book_id": "book", "page_name": name} for row, name in enumerate(names)]
    (folder / "stage3_metadata.json").write_text(json.dumps(entries))
    return folder / "stage3_embeddings.zarr"


def test_pages_are_matched_and_the_least_cosine_is_found(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((3, 2, 8)).astype(np.float32)
    masks = np.asarray([[1, 1], [1, 0], [1, 1]])
    vectors[2, 1] = 0  # a panel without anything
    known = write(tmp_path / "known", vectors, masks, ["1.jpg", "2.jpg", "3.jpg"])
    order = [2, 0, 1]
    garbage = vectors[order].copy()
    garbage[2, 1] = 7  # of a slot that holds no panel
    made = write(tmp_path / "made", garbage, masks[order], ["3.png", "1.png", "2.png"])
    (row,) = compare(made, known, COLUMNS)
    assert (row["vectors"], row["empty in both"], row["below 0.999"]) == (5, 1, 0)
    assert row["least cosine"] == pytest.approx(1) and row["equal numbers, %"] == 100
    vectors[0, 1] = -vectors[0, 1]
    (row,) = compare(made, write(tmp_path / "other", vectors, masks, ["1", "2", "3"]), COLUMNS)
    assert row["least cosine"] == pytest.approx(-1) and row["below 0.999"] == 1


def test_other_pages_or_panels_are_refused(tmp_path):
    vectors, masks = np.ones((1, 2, 4), np.float32), np.asarray([[1, 1]])
    known = write(tmp_path / "known", vectors, masks, ["1"])
    with pytest.raises(SystemExit, match="Pages of one store alone"):
        compare(write(tmp_path / "page", vectors, masks, ["2"]), known, COLUMNS)
    with pytest.raises(SystemExit, match="has 1 panels in one store and 2 in the other"):
        compare(write(tmp_path / "panel", vectors, np.asarray([[1, 0]]), ["1"]), known, COLUMNS)
