"""Opening stores and metadata, and the checks on them; every fault stops with one message that says what to do."""

import gzip
import json
import re
import shutil
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from datasets import load_from_disk

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.pages.json_list import iter_entries
from modeling_comicseq.stores.metadata import dump
from modeling_comicseq.stores.stage3 import Stage3Store, find_bad_vectors, read_rows

from .stage3_stores import make_source


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "in")


def convert(source, **options):
    output = Path(source.metadata).parents[1] / "out"
    convert_store(source.embeddings, source.metadata, output, progress=False, **options)
    return load_from_disk(str(output))


def refused(source, *words, **options):
    """The conversion stops with one line that holds these words, and leaves nothing behind."""
    with pytest.raises(ComicSeqDataError) as error:
        convert(source, **options)
    message = str(error.value)
    for word in words:
        assert word in message
    assert "\n" not in message and ";" in message  # the remedy follows
    assert [path.name for path in Path(source.metadata).parents[1].iterdir()] == ["in"]
    return message


def skipped(source, rows, *words):
    """With on_error="skip" just these rows are left out, with the reason; the others are all there."""
    data = convert(source, on_error="skip")
    report = skipped_pages(source)
    assert sorted(page["sequence_index"] for page in report) == sorted(rows)
    names = {entry["sequence_index"]: entry["canonical_id"] for entry in source.entries}
    for page in report:
        assert page["page"] == names[page["sequence_index"]]
        assert all(word in page["reason"] for word in words)
    kept = sorted(row for split in data.values() for row in split["sequence_index"])
    assert kept == sorted({entry["sequence_index"] for entry in source.entries} - set(rows))
    for split in data.values():
        assert sorted(split["book_order"]) == list(range(len(split)))


def skipped_pages(source):
    return json.loads((Path(source.metadata).parents[1] / "out" / "skipped.json").read_text())


def remove_array(source, name):
    shutil.rmtree(Path(source.embeddings) / name)


def replace_array(source, name, values):
    group = zarr.open_group(source.embeddings, mode="r+")
    group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=values.shape, overwrite=True)[:] = values


# The store as a whole


def test_no_store(source, tmp_path):
    shutil.rmtree(source.embeddings)
    refused(source, source.embeddings, "cannot be opened", "check the path")


def test_folder_of_the_store_given(source):
    refused(source._replace(embeddings=str(Path(source.embeddings).parent)), f"did you mean {source.embeddings}?")


ON_ERROR = pytest.mark.parametrize("on_error", ["stop", "skip"])  # there is no page to leave out


@ON_ERROR
@pytest.mark.parametrize("name", ["panel_embeddings", "panel_masks"])
def test_missing_array(source, name, on_error):
    remove_array(source, name)
    refused(source, source.embeddings, f"no array '{name}'", "write", on_error=on_error)


@ON_ERROR
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("panel_embeddings", (24, 48)),
        ("panel_masks", (24, 5)),
        ("panel_masks", (23, 6)),
        ("text_embeddings", (23, 6, 4)),
        ("visual_embeddings", (24, 5, 6)),
        ("page_caption_embeddings", (24, 6, 4)),
        ("page_caption_embeddings", (25, 4)),
    ],
)
def test_shapes_disagree(source, name, shape, on_error):
    replace_array(source, name, np.ones(shape, bool if name == "panel_masks" else "f2"))
    refused(source, source.embeddings, name, str(shape), "must be", on_error=on_error)


def test_wrong_dtype(source):
    replace_array(source, "text_embeddings", np.ones((24, 6, 4), "f8"))
    refused(source, "text_embeddings has dtype float64", "float16 or float32")


@ON_ERROR
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("content", [None, "", "[]", "3", '{"zarr_format": 3, "node_type": "array"}', "[" * 100_000])
def test_optional_array_whose_metadata_are_damaged(tmp_path, content, zarr_format, on_error):
    """It is not left out without a word."""
    source = make_source(tmp_path / "in", zarr_format=zarr_format)
    path = Path(source.embeddings, "text_embeddings", "zarr.json" if zarr_format == 3 else ".zarray")
    path.unlink()
    if content is not None:
        path.write_text(content)
    refused(source, source.embeddings, "'text_embeddings' cannot be opened", "write it again", on_error=on_error)


def test_group_in_the_place_of_an_array(source):
    remove_array(source, "text_embeddings")
    zarr.create_group(f"{source.embeddings}/text_embeddings")
    refused(source, source.embeddings, "'text_embeddings' is a group and no array")


def test_array_in_the_place_of_the_store(source):
    shutil.rmtree(source.embeddings)
    zarr.create_array(source.embeddings, data=np.ones((24, 6, 8), "f2"))
    refused(source, source.embeddings, "cannot be opened as a Zarr group", "array")


@pytest.mark.parametrize("shape", [(0, 6, 8), (24, 0, 8), (24, 6, 0), (10**12, 6, 8), (24, 10**12, 8)])
def test_store_without_pages_or_of_too_many(source, shape):
    remove_array(source, "panel_embeddings")
    zarr.create_array(f"{source.embeddings}/panel_embeddings", shape=shape, dtype="f2", chunks=(1, 1, 1))
    refused(source, source.embeddings, str(shape), "each at least 1 and below 2147483648")


@pytest.mark.parametrize("dtype", ["c8", "S1", "U1", "M8[s]"])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_mask_of_another_dtype(source, dtype):
    replace_array(source, "panel_masks", source.mask.astype(dtype))
    refused(source, source.embeddings, "panel_masks has dtype", "store it as bool")


# The metadata as a whole

PAGES = [f'{{"sequence_index": {n}, "num_panels": 1, "canonical_id": "a/{n}"}}' for n in range(3)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("[]", "is an empty list"),
        ('{"sequence_index": 0}', "is not a JSON list"),
        ("pages", "is not a JSON list"),
        ("[1, 2]", "entry 0 begins with '1, 2]'"),
        ('[{"sequence_index": 0, "num_panels": 1', "is truncated inside entry 0"),
        ('[{"canonical_id": "a/b/c.jp', "is truncated inside entry 0"),
        ('[{"sequence_index": 0, "num_panels": 1, "canonical_id": "a/b"}', "is truncated after entry 0"),
        ('[{"sequence_index": 0, "num_panels": 1, "canonical_id": "a/b"},', "is truncated after entry 0"),
        ('[{"sequence_index": 0, num_panels: 1}]', "is not JSON at entry 0"),
        ('[{"sequence_index": 0, "num_panels": 1, "canonical_id": "a/b"} {}]', "no comma after entry 0"),
        ('[{"sequence_index": 0, "num_panels": 1, "canonical_id": "a/b"}] x', "follows the end"),
        ('[{"a": "\xff"}]'.encode("latin-1"), "is not JSON in UTF-8"),
        (f"[{PAGES[0]}, {PAGES[1]}, 3, {PAGES[2]}]", "entry 2 begins with '3, "),
        (f'[{PAGES[0]}, {PAGES[1]}, {{"a" 3}}, {PAGES[2]}]', "is not JSON at entry 2"),
    ],
)
@ON_ERROR
def test_metadata_is_no_list_of_pages(source, text, found, on_error):
    Path(source.metadata).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ComicSeqDataError, match=re.escape(found)) as error:
        convert(source, on_error=on_error)
    assert source.metadata in str(error.value) and "\n" not in str(error.value)


def test_metadata_is_absent(source):
    Path(source.metadata).unlink()
    refused(source, source.metadata, "cannot be read", "check the path")


def test_metadata_is_read_in_pieces(tmp_path, monkeypatch):
    """Entries that a read cuts anywhere come out whole."""
    # Pieces of an entry look like the border of two, within lists and within strings.
    deep = [{"text": 1}, {"text": [1, {}]}, {"text": '}, {"text": '}]
    entries = [{"text": 'a "quoted", [bracketed] {text}', "n": n, "deep": deep[: n % 4]} for n in range(30)]
    path = tmp_path / "metadata.json"
    for indent in (None, 2):
        path.write_text("\ufeff" + json.dumps(entries, indent=indent), encoding="utf-8")
        for block in (1, 7, 64, 1000):
            monkeypatch.setattr("modeling_comicseq.pages.json_list._BLOCK", block)
            assert list(iter_entries(str(path))) == entries
    with gzip.open(tmp_path / "metadata.json.gz", "wt") as file:
        json.dump(entries, file)
    assert list(iter_entries(str(tmp_path / "metadata.json.gz"))) == entries


def test_rest_of_the_entry_is_kept():
    values = [{"texts": ["ü", "\ud800"]}, {}, {"x": None, "y": [{"z": 1e16}]}, {"id": 2**64, "longest": 2**63}]
    assert [json.loads(dump(value)) for value in values] == values
    assert dump({"text": "ü", "score": float("nan")}) == '{"text":"ü","score":null}'.encode()


# Single entries


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("sequence_index", None, "'sequence_index' is missing"),
        ("sequence_index", -1, "sequence_index is -1"),
        ("sequence_index", "7", "sequence_index is '7'"),
        ("sequence_index", True, "sequence_index is True"),
        ("num_panels", None, "'num_panels' is missing"),
        ("num_panels", 2.5, "num_panels is 2.5"),
        ("canonical_id", None, "'book_id' is missing"),
        ("canonical_id", "page.jpg", "'book_id' is missing"),
        ("canonical_id", 3.5, "canonical_id is 3.5"),
        ("canonical_id", "a/\ud800/c.jpg", "is not valid Unicode"),
    ],
)
def test_faulty_field(source, field, value, found):
    source.entries[7][field] = value
    if value is None:
        del source.entries[7][field]
    source.write_metadata(source.entries)
    refused(source, source.metadata, found, "--on-error skip")
    data = convert(source, on_error="skip")
    assert sum(split.num_rows for split in data.values()) == 23
    (page,) = skipped_pages(source)
    assert page["entry"] == 7 and found in page["reason"]


def test_sequence_index_out_of_range(source):
    source.entries[7]["sequence_index"] = 24
    source.write_metadata(source.entries)
    refused(source, source.metadata, "page 11.jpg", "sequence_index 24 is out of range", "0 to 23", "correct")
    skipped(source, [24], "sequence_index 24 is out of range")


def test_sequence_index_twice(source):
    source.entries[7]["sequence_index"] = 3
    source.write_metadata(source.entries)
    refused(source, source.metadata, "sequence_index 3 stands twice", "own row")
    source.entries[7]["sequence_index"] = 7  # the row that no entry names is not in the data set
    data = convert(source, on_error="skip")
    kept = {row for split in data.values() for row in split["sequence_index"]}
    assert kept == set(range(24)) - {3, 7}  # which of the two is right cannot be known
    assert [(page["sequence_index"], "stands twice" in page["reason"]) for page in skipped_pages(source)] == [
        (3, True)
    ] * 2


def test_one_book_from_two_sources(source):
    for row in (12, 13):
        source.entries[row]["canonical_id"] = source.entries[row]["canonical_id"].replace("library", "other library")
    source.write_metadata(source.entries)
    refused(source, source.metadata, "book 'Book 03' comes from 2 sources ('library', 'other library')", "book_id")
    skipped(source, [12, 13, 14, 15], "2 sources")


def test_chapters_of_a_book_are_one_source(source):
    for row in range(12, 16):
        source.entries[row]["book_id"] = "Book 03"
        source.entries[row]["canonical_id"] = f"library/Book 03/chapter {row % 2}/{row}.jpg"
    source.write_metadata(source.entries)
    pages = {row["sequence_index"]: row for split in convert(source).values() for row in split}
    assert [pages[row]["page_index"] for row in (12, 14, 13, 15)] == [0, 1, 2, 3]


# Single pages of the store


def test_num_panels_against_the_mask(source):
    source.entries[9]["num_panels"] = 5
    source.write_metadata(source.entries)
    refused(source, source.embeddings, "Book 02/page 9.jpg", "sequence_index 9", "num_panels is 5", "marks 4", "agree")
    skipped(source, [9], "num_panels is 5 but the mask marks 4")


def test_mask_with_a_hole(source):
    source.array("panel_masks")[9] = [True, True, False, True, True, False]
    refused(source, "sequence_index 9", "hole (110110)", "first slots")
    skipped(source, [9], "hole")


def test_mask_with_other_values(tmp_path):
    source = make_source(tmp_path / "in")
    mask = source.mask.astype("f4")
    replace_array(source, "panel_masks", mask)
    assert sum(split.num_rows for split in convert(source).values()) == 24
    shutil.rmtree(tmp_path / "out")
    for value in (0.5, 2, -1, np.nan, np.inf):
        mask[9, 0] = value
        replace_array(source, "panel_masks", mask)
        refused(source, "sequence_index 9", f"the mask holds {mask[9, 0]}", "write 1")
    skipped(source, [9], "inf")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -np.nan])
@pytest.mark.parametrize("name", ["panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings"])
def test_not_finite(source, name, value):
    source.array(name)[9, 3, 1] = value
    refused(source, source.embeddings, "sequence_index 9", f"{name}, panel 3, holds", str(abs(value)), "compute")
    skipped(source, [9], name)


def test_page_caption_not_finite(source):
    source.array("page_caption_embeddings")[9, 3] = np.nan
    refused(source, "sequence_index 9", "page_caption_embeddings holds nan")
    skipped(source, [9], "page_caption_embeddings")


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("name", ["panel_embeddings", "visual_embeddings"])
def test_all_zero(source, name, zero):
    source.array(name)[9, 3] = zero
    refused(source, "sequence_index 9", f"{name}, panel 3, is all zero", "correct the mask")
    skipped(source, [9], "all zero")


def test_panel_without_text_is_no_fault(source):
    source.array("text_embeddings")[9, 3] = 0
    convert(source)
    provenance = json.loads((Path(source.metadata).parents[1] / "out" / "provenance.json").read_text())
    assert provenance["empty_vectors"]["text_embeddings"] == 1


def test_too_large_for_float16(tmp_path):
    source = make_source(tmp_path / "in", dtype="float32")
    source.array("panel_embeddings")[9, 3, 1] = 1e5
    refused(source, "sequence_index 9", "panel 3", "100000", "--dtype float32")
    skipped(source, [9], "outside float16")
    shutil.rmtree(tmp_path / "out")
    assert sum(split.num_rows for split in convert(source, dtype="float32").values()) == 24


def test_too_small_for_float16(tmp_path):
    source = make_source(tmp_path / "in", dtype="float32")
    source.array("panel_embeddings")[9, 3] = 1e-12
    refused(source, "sequence_index 9", "panel 3", "outside float16", "--dtype float32")


def test_several_faults_on_a_page_are_one_skipped_page(source):
    source.array("panel_masks")[9] = False
    source.array("panel_embeddings")[9] = np.nan
    source.array("panel_embeddings")[10] = np.nan
    source.array("text_embeddings")[10] = np.nan
    skipped(source, [9, 10])


def chunk_file(source, name, chunk):
    (path,) = [p for p in (Path(source.embeddings) / name).rglob("*") if p.is_file() and p.match(chunk)]
    return path


FORMATS = [
    {"zarr_format": 2},
    {"zarr_format": 3},
    {"zarr_format": 3, "shard_rows": 8, "chunk_rows": 4},
]


def chunk_8(source, name, options):
    """Name of the chunk of an array that holds row 8, and the rows that its file holds."""
    number, size = (1, 8) if "shard_rows" in options else (2, 4)
    coordinates = [str(number)] + ["0"] * (source.array(name).ndim - 1)
    return ".".join(coordinates) if options["zarr_format"] == 2 else "/".join(["c", *coordinates]), range(8, 8 + size)


@pytest.mark.parametrize("options", FORMATS, ids=["v2", "v3", "sharded"])
@pytest.mark.parametrize("name", ["panel_embeddings", "text_embeddings", "panel_masks", "page_caption_embeddings"])
@pytest.mark.parametrize("fault", ["cut off", "empty", "a folder"])
def test_damaged_chunk(tmp_path, options, name, fault):
    source = make_source(tmp_path / "in", **options)
    pattern, rows = chunk_8(source, name, options)
    path = chunk_file(source, name, pattern)
    content = path.read_bytes()
    path.unlink()
    if fault == "a folder":
        path.mkdir()
    else:
        path.write_bytes(content[: len(content) // 2] if fault == "cut off" else b"")
    refused(source, source.embeddings, "sequence_index 8", f"chunk {name}/{pattern} is damaged", "restore")
    skipped(source, rows, f"chunk {name}/{pattern} is damaged")


@pytest.mark.parametrize("options", FORMATS, ids=["v2", "v3", "sharded"])
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("panel_embeddings", "panel_embeddings, panel 0, is all zero"),
        ("visual_embeddings", "visual_embeddings, panel 0, is all zero"),
        ("panel_masks", "but the mask marks 0"),
    ],
)
def test_absent_chunk_of_what_is_never_zero(tmp_path, options, name, found):
    source = make_source(tmp_path / "in", **options)
    pattern, rows = chunk_8(source, name, options)
    chunk_file(source, name, pattern).unlink()
    refused(source, source.embeddings, "sequence_index 8", found, "mask")
    skipped(source, rows, found)


@pytest.mark.parametrize("options", FORMATS, ids=["v2", "v3", "sharded"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["path", "url"])
def test_absent_chunk_of_pages_without_text(tmp_path, options, elsewhere):
    """Zarr writes no chunk of zeros, and zeros are what a panel without text or caption has."""
    source = make_source(tmp_path / "in", **options)
    for name in ("text_embeddings", "caption_embeddings", "page_caption_embeddings"):
        pattern, rows = chunk_8(source, name, options)
        array = source.array(name)
        array[rows.start : rows.stop] = 0
        assert not list((Path(source.embeddings) / name).glob(pattern))
    source.array("text_embeddings")[0, 0] = 0  # within a chunk that has others
    reference = make_source(tmp_path / "reference", **options)
    for name in ("text_embeddings", "caption_embeddings", "page_caption_embeddings"):
        with zarr.config.set({"array.write_empty_chunks": True}):
            reference.array(name)[...] = np.asarray(source.array(name)[...])
    if elsewhere:
        source = source._replace(embeddings=f"file://{source.embeddings}")
    for made, output in ((source, "out"), (reference, "full")):
        convert_store(made.embeddings, made.metadata, tmp_path / output, progress=False)
    pages = {row["sequence_index"]: row for split in load_from_disk(str(tmp_path / "out")).values() for row in split}
    full = {row["sequence_index"]: row for split in load_from_disk(str(tmp_path / "full")).values() for row in split}
    assert pages == full and sorted(pages) == list(range(24))
    for row, page in pages.items():
        assert page["has_text"] == [row not in rows and (row, slot) != (0, 0) for slot in range(page["num_panels"])]
        assert any(page["page_caption_embeddings"]) == (row not in rows)


def test_absent_chunk_of_another_fill_value(tmp_path):
    source = make_source(tmp_path / "in")
    values, options = source.arrays["text_embeddings"].copy(), {"dtype": "f2", "chunks": (4, 6, 4), "overwrite": True}
    values[8:12] = np.nan
    group = zarr.open_group(source.embeddings, mode="r+")
    group.create_array("text_embeddings", shape=values.shape, fill_value=np.nan, **options)[...] = values
    assert not (Path(source.embeddings) / "text_embeddings/c/2").exists()
    refused(source, "sequence_index 8", "text_embeddings, panel 0, holds nan")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["path", "url"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_array_added_after_consolidation(tmp_path, zarr_format, elsewhere):
    source = make_source(tmp_path / "in", zarr_format=zarr_format, names=("panel_embeddings",))
    zarr.consolidate_metadata(source.embeddings)
    text = zarr.create_array(
        f"{source.embeddings}/text_embeddings", data=np.ones((24, 6, 4), "f2"), zarr_format=zarr_format
    )
    assert "text_embeddings" not in zarr.open_group(source.embeddings, mode="r", use_consolidated=True)
    url = f"file://{source.embeddings}" if elsewhere else source.embeddings
    assert Stage3Store.open(url).widths == {"panel_embeddings": 8, "text_embeddings": 4, "page_caption_embeddings": 4}
    data = convert(source)
    assert all(all(page["has_text"]) and len(page["text_embeddings"]) for page in data["train"]) and text.shape[2] == 4


@pytest.mark.parametrize("elsewhere", [False, True], ids=["path", "url"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("left", [0.3, 0.9])
def test_blosc_chunk_that_was_cut_off(tmp_path, zarr_format, elsewhere, left):
    """Blosc reads such a buffer as noise, or beyond the end of the memory: it must not be decoded."""
    source = make_source(tmp_path / "in", zarr_format=zarr_format, names=("panel_embeddings",))
    group = zarr.open_group(source.embeddings, mode="r+")
    values = np.random.default_rng(0).standard_normal((24, 6, 2048)).astype("f2")
    codec = numcodecs.Blosc(cname="lz4") if zarr_format == 2 else zarr.codecs.BloscCodec(typesize=2, cname="lz4")
    options = {"chunks": (4, 6, 2048), "compressors": codec, "overwrite": True}
    group.create_array("panel_embeddings", shape=values.shape, dtype="f2", **options)[:] = values
    name = "2.0.0" if zarr_format == 2 else "c/2/0/0"
    path = chunk_file(source, "panel_embeddings", name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left)])
    if elsewhere:
        source = source._replace(embeddings=f"file://{source.embeddings}")
    found = f"chunk panel_embeddings/{name} is damaged (it has {path.stat().st_size} of {len(content)} bytes)"
    refused(source, "sequence_index 8", found, "restore")
    skipped(source, range(8, 12), found)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_flipped_bytes_of_a_blosc_chunk(tmp_path, zarr_format):
    """They are found, or make other values; a length that is none is no fault of Python's."""
    values = np.random.default_rng(0).standard_normal((8, 6, 16)).astype("f2")
    codec = numcodecs.Blosc(cname="lz4") if zarr_format == 2 else zarr.codecs.BloscCodec(typesize=2, cname="lz4")
    options = {"chunks": (4, 6, 16), "compressors": codec, "zarr_format": zarr_format}
    array = zarr.create_array(f"{tmp_path}/x.zarr", data=values, **options)
    path = tmp_path / "x.zarr" / ("1.0.0" if zarr_format == 2 else "c/1/0/0")
    content, rng = path.read_bytes(), np.random.default_rng(0)
    negative = content[:4] + b"\xff" * 4 + content[8:]  # decoded bytes
    flipped = [bytearray(content) for _ in range(50)]
    for each in flipped:
        each[rng.integers(16)] ^= int(rng.integers(1, 256))
    for number, damaged in enumerate([negative, *flipped]):
        path.write_bytes(damaged)
        read, failures = read_rows(array, 0, 8)
        assert np.array_equal(read[:4], values[:4]) and [failure[:2] for failure in failures] in ([], [(4, 8)])
        assert failures or number


def test_absent_chunk_of_padding_is_no_fault(tmp_path):
    """Chunks may cut the slots too; one that no real panel reaches was never written."""
    source = make_source(tmp_path / "in", names=("panel_embeddings",))
    values = source.arrays["panel_embeddings"].copy()
    group = zarr.open_group(source.embeddings, mode="r+")
    array = group.create_array("panel_embeddings", shape=values.shape, dtype="f2", chunks=(1, 2, 8), overwrite=True)
    array[:] = np.where(source.mask[..., None], values, 0)  # zarr writes no chunk of zeros
    assert not (Path(source.embeddings) / "panel_embeddings/c/0/2").exists()
    assert sum(split.num_rows for split in convert(source).values()) == 24
    shutil.rmtree(tmp_path / "out")
    (Path(source.embeddings) / "panel_embeddings/c/9/1/0").unlink()
    refused(source, "sequence_index 9", "panel_embeddings, panel 2, is all zero")


def test_no_usable_page(source):
    source.array("panel_embeddings")[:] = np.nan
    with pytest.raises(ComicSeqDataError, match="no usable page .24 left out"):
        convert(source, on_error="skip")
    assert [path.name for path in Path(source.metadata).parents[1].iterdir()] == ["in"]


def test_only_pages_without_panels(source):
    source.array("panel_masks")[:] = False
    for entry in source.entries:
        entry["num_panels"] = 0
    source.write_metadata(source.entries)
    refused(source, "no usable page")


def test_page_without_panels_has_no_row(source):
    source.array("panel_masks")[9] = False
    source.entries[9]["num_panels"] = 0
    source.write_metadata(source.entries)
    data = convert(source)
    assert 9 not in {row for split in data.values() for row in split["sequence_index"]}
    for split in data.values():
        assert sorted(split["book_order"]) == list(range(len(split)))


# Parts


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f2", ">f4"])
def test_find_bad_vectors(dtype):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 5)).astype(dtype)
    values = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(np.dtype(dtype).newbyteorder("=")).tiny]
    vectors[:300] = rng.choice(values, (300, 5))
    vectors[300:310], vectors[310:320, 0] = -0.0, 0.0
    vectors[320:330, :2] = 1.0, -2.0  # the bits of their exponents together are those of infinity
    not_finite, zero = find_bad_vectors(vectors)
    assert np.array_equal(not_finite, ~np.isfinite(vectors).all(axis=1))
    assert np.array_equal(zero, (vectors == 0).all(axis=1))


def test_fingerprint_follows_the_files(source):
    before = Stage3Store.open(source.embeddings).fingerprint()
    assert before == Stage3Store.open(source.embeddings).fingerprint()
    source.array("panel_embeddings")[0, 0, 0] = 7
    assert before != Stage3Store.open(source.embeddings).fingerprint()


def test_storage_failure_is_not_skipped(source, monkeypatch):
    """A lost connection must not pass for damaged data."""

    def fail(*args):
        raise ConnectionResetError("connection lost")

    monkeypatch.setattr("zarr.Array.__getitem__", fail)
    with pytest.raises(ConnectionResetError):
        convert(source, on_error="skip")


def test_answer_of_a_server_is_not_skipped(source, monkeypatch):
    """Drivers have exceptions of their own, which are no OSError."""

    class ServerDisconnected(Exception):
        pass

    def fail(*args):
        raise ServerDisconnected("503")

    monkeypatch.setattr("zarr.Array.__getitem__", fail)
    with pytest.raises(OSError, match="503"):
        convert(source, on_error="skip")
