"""The layout of the Stage 5 store, and the store as plain zarr sees it."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq.stores import stage5 as store
from modeling_comicseq.stores.arrays import (
    create_arrays,
    finish_store,
    metadata_beside,
    open_for_writing,
    part_files,
)
from modeling_comicseq.stores.stage5 import ARRAYS, stage5_layout


@given(
    pages=st.integers(1, 100_000),
    slots=st.integers(1, 64),
    width=st.sampled_from([2, 64, 512, 4096]),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_parts_cover_all_rows_once(pages, slots, width, dtype):
    layout = stage5_layout(pages, slots, width, dtype, 3)
    parts = list(layout.parts())
    assert [number for number, _, _ in parts] == list(range(len(parts)))
    assert [lo for _, lo, _ in parts] == [0] + [hi for _, _, hi in parts[:-1]] and parts[-1][2] == pages
    assert layout.part_rows % layout.chunk_rows == 0
    size = layout.part_rows * slots * width * np.dtype(dtype).itemsize
    assert size <= store._PART_BYTES or layout.part_rows == layout.chunk_rows


def test_a_part_is_about_64_mib():
    layout = stage5_layout(1_200_000, 16, 512, "float32", 3)
    assert (layout.chunk_rows, layout.part_rows) == (256, 2048)
    assert stage5_layout(60, 16, 512, "float32", 3).part_rows == 60


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_no_file_belongs_to_two_parts(tmp_path, monkeypatch, zarr_format):
    monkeypatch.setattr(store, "_CHUNK_ROWS", 4)
    monkeypatch.setattr(store, "_PART_BYTES", 4 * 3 * 6 * 4 * 2)
    layout = stage5_layout(27, 3, 6, "float32", zarr_format)
    root = str(tmp_path / "s.zarr")
    create_arrays(root, layout)
    before = {str(path.relative_to(root)) for path in tmp_path.rglob("*") if path.is_file()}
    arrays = open_for_writing(root, ARRAYS)
    seen = set()
    for number, lo, hi in layout.parts():
        for name, array in arrays.items():
            array[lo:hi] = np.zeros((hi - lo, *array.shape[1:]), array.dtype) if name != "panel_masks" else True
        now = {str(path.relative_to(root)) for path in (tmp_path / "s.zarr").rglob("*") if path.is_file()} - before
        assert now - seen == set(part_files(arrays, lo, hi)), number  # also chunks that are all zero
        seen |= now
    assert layout.part_rows == 8 and len(list(layout.parts())) == 4


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_opens_with_plain_zarr(tmp_path, zarr_format, dtype):
    root = str(tmp_path / "s.zarr")
    create_arrays(root, stage5_layout(300, 3, 6, dtype, zarr_format))
    values = np.random.default_rng(0).standard_normal((300, 3, 6)).astype(dtype)
    open_for_writing(root, ARRAYS)["contextualized_panels"][:] = values
    finish_store(root, {"stage": 5})
    group = zarr.open_group(root, mode="r", use_consolidated=True)
    assert group.metadata.zarr_format == zarr_format and dict(group.attrs) == {"stage": 5}
    found = {name: (array.shape, str(array.dtype)) for name, array in group.arrays()}
    assert found == {
        "contextualized_panels": ((300, 3, 6), dtype),
        "strip_embeddings": ((300, 6), dtype),
        "panel_masks": ((300, 3), "bool"),
    }
    assert set(found) == set(ARRAYS)
    assert group["contextualized_panels"].chunks == (256, 3, 6)
    assert group["contextualized_panels"].shards == ((512, 3, 6) if zarr_format == 3 else None)
    assert np.array_equal(group["contextualized_panels"][:], values)


@pytest.mark.parametrize(
    ("output", "metadata"),
    [
        ("a/stage5_embeddings.zarr", "a/stage5_metadata.json"),
        ("a/comics.zarr/", "a/comics_metadata.json"),
        ("memory://b/comics", "memory://b/comics_metadata.json"),
    ],
)
def test_metadata_stands_beside(output, metadata):
    assert metadata_beside(output) == metadata
