"""Opening and reading the vectors of Stage 5 and Stage 3 stores."""

import shutil

import numpy as np
import pytest
import zarr

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.stores.arrays import Part, create_arrays, finish_store, open_for_writing, write_part
from modeling_comicseq.stores.output import read_attributes
from modeling_comicseq.stores.stage3 import Stage3Store
from modeling_comicseq.stores.stage5 import ARRAYS, stage5_layout
from modeling_comicseq.stores.vectors import VectorStore

from .vector_stores import random_store


@pytest.fixture(params=[2, 3])
def encoded(request, tmp_path):
    """A complete Stage 5 store as `comicseq encode` writes it, of either format."""
    root, layout = str(tmp_path / "stage5.zarr"), stage5_layout(6, 3, 4, "float32", request.param)
    create_arrays(root, layout)
    vectors = np.arange(6 * 2 * 4, dtype="f4").reshape(12, 4) + 1
    mask = np.arange(3) < np.full((6, 1), 2)
    values = {"contextualized_panels": vectors, "strip_embeddings": vectors[:6], "panel_masks": mask}
    write_part(open_for_writing(root, ARRAYS), Part(0, 0, 6), mask, values)
    finish_store(root, {"stage": 5, "fingerprint": "made"})
    return root


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_array_added_after_consolidation(encoded):
    group = zarr.open_group(encoded, mode="r+", use_consolidated=False)
    strips, zarr_format = group["strip_embeddings"][...], group.metadata.zarr_format
    del group["strip_embeddings"]
    zarr.consolidate_metadata(encoded)
    zarr.create_array(f"{encoded}/strip_embeddings", data=strips, zarr_format=zarr_format)
    assert np.array_equal(VectorStore.open(encoded).read_strips(0, 6), strips)


def test_complete_store_is_told_by_its_consolidated_metadata(encoded):
    assert read_attributes(encoded, 5) == {"stage": 5, "fingerprint": "made"}
    group = zarr.open_group(encoded, mode="r+", use_consolidated=False)
    if group.metadata.zarr_format == 2:
        (group.store.root / ".zmetadata").unlink()
    else:
        group.attrs["more"] = 1  # removes what was consolidated
    assert read_attributes(encoded, 5) is None


@pytest.mark.parametrize("left", [0.9, 0.0])
def test_chunk_that_was_cut_off(encoded, left):
    """Blosc reads such a buffer as noise, or beyond the end of the memory."""
    store = VectorStore.open(encoded)
    name = "0.0" if store.strips.metadata.zarr_format == 2 else "c/0/0"
    path = store.strips.store.root / "strip_embeddings" / name
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(ComicSeqDataError, match=rf"rows 0 to 5: chunk strip_embeddings/{name} is damaged .*; encode"):
        store.read_strips(0, 6)


@pytest.mark.parametrize("stage", [3, 5])
@pytest.mark.parametrize("value", [2.0, -1.0, np.nan, 0.5])
def test_mask_of_other_values(tmp_path, stage, value):
    made = random_store(tmp_path, stage=stage)
    mask = made.mask.astype("f4")
    mask[7, 1] = value
    zarr.create_array(f"{made.url}/panel_masks", data=mask, overwrite=True)
    store = VectorStore.open(made.url)
    assert np.array_equal(store.read_mask(0, 7), made.mask[:7])
    with pytest.raises(ComicSeqDataError, match=f"row 7: the mask holds {value}; write 1"):
        store.read_strips(0, 10)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/x.zarr", r"not installed: Install s3fs to access S3\); install that with pip"),
        ("gs://bucket/x.zarr", "gcsfs"),
        ("zip://x::s3://bucket/x.zip", "s3fs"),
        ("foo://x.zarr", "Protocol not known: foo.*name a local path"),
        ("http://127.0.0.1:9/x.zarr", "cannot be opened"),
        ("memory://nowhere/x.zarr", "cannot be opened"),
    ],
)
@pytest.mark.parametrize("store", [VectorStore, Stage3Store])
def test_urls_that_cannot_be_opened(url, message, store):
    with pytest.raises(ComicSeqDataError, match=message) as error:
        store.open(url)
    assert str(error.value).startswith(url) and "\n" not in str(error.value)


def test_store_in_an_archive(tmp_path):
    made = random_store(tmp_path)
    shutil.make_archive(made.url, "zip", made.url)
    with pytest.raises(ComicSeqDataError, match=r"zarr.zip is a file and .* archive as zip://::/.*zarr.zip"):
        VectorStore.open(f"{made.url}.zip")
    assert np.array_equal(VectorStore.open(f"zip://::{made.url}.zip").read_strips(0, 50), made.strips)
