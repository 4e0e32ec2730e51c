"""Stage 3 store to Arrow data set."""

import errno
import filecmp
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import datasets
import fsspec
import fsspec.implementations.dirfs
import numpy as np
import pytest
import zarr
from datasets import load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from natsort import natsort_keygen
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.data import builder, conversion
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError
from modeling_comicseq.evaluation.probe import places_for_card
from modeling_comicseq.stores.placement import natural_order
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.stores.splits import SPLITS, split_of
from modeling_comicseq.stores.stage3 import Stage3Store
from modeling_comicseq.stores.windows import expand_windows, window_counts

from ..stores.stage3_stores import Source, make_source, vectors_of

SHARED_DATA = os.environ.get("COMICSEQ_DATA", "")


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "in")


def convert(source, output, **options):
    convert_store(source.embeddings, source.metadata, output, progress=False, **options)
    return load_from_disk(str(output))


def rows_of(data) -> dict[tuple[int, int], dict]:
    """All rows of all splits by sequence_index and window_start."""
    return {(row["sequence_index"], row["window_start"]): row for split in data.values() for row in split}


def same_files(first: Path, second: Path) -> bool:
    files = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (first, second)]
    return files[0] == files[1] and not filecmp.cmpfiles(first, second, files[0], shallow=False)[1]


@pytest.mark.parametrize(
    "store",
    [
        {"zarr_format": 2, "dtype": "float32", "mask_name": "panel_mask"},
        {"zarr_format": 3, "dtype": "float16"},
        {"zarr_format": 3, "dtype": "float16", "shard_rows": 8, "names": ("panel_embeddings",)},
        {"zarr_format": 3, "dtype": "float32", "chunk_rows": 7},
        {"zarr_format": 2, "dtype": ">f4"},
    ],
    ids=["v2-float32", "v3-float16", "sharded", "odd-chunks", "big-endian"],
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_hold_the_real_panels(tmp_path, monkeypatch, store, dtype):
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 1)  # a block is one row of chunks
    monkeypatch.setattr(conversion, "_MAX_SHARD_SIZE", 4000)
    source = make_source(tmp_path / "in", **store)
    data = convert(source, tmp_path / "out", dtype=dtype)
    assert list(data) == list(SPLITS)
    rows = rows_of(data)
    assert sorted(rows) == [(row, 0) for row in range(24)]
    for (number, _), row in rows.items():
        entry = source.entries[number]
        assert row["num_panels"] == entry["num_panels"] and row["canonical_id"] == entry["canonical_id"]
        assert json.loads(row["metadata"]) == {"texts": entry["texts"]}
        for name, values in source.arrays.items():
            if name == "page_caption_embeddings":
                found, expected = np.array(row[name], dtype), values[number]
            else:
                found, expected = vectors_of(row, name, dtype), values[number][source.mask[number]]
            assert np.array_equal(found, expected.astype(dtype)), name
    for name, split in data.items():
        assert split.features["panel_embeddings"] == datasets.List(datasets.Value(dtype))
        assert split["sequence_index"][:] == sorted(split["sequence_index"])
        assert {split_of(book) for book in split["book_id"]} <= {name}
        order = np.argsort(split["book_order"])
        assert np.array_equal(np.sort(split["book_order"]), np.arange(len(split)))
        places = [(split[int(i)]["book_id"], split[int(i)]["page_index"]) for i in order]
        assert places == sorted(places)


def test_panels_without_text_are_marked(tmp_path):
    source = make_source(tmp_path / "in", slots=10)
    source.array("text_embeddings")[5:7, :2] = 0
    source.array("text_embeddings")[7, 3] = -0.0
    source.array("caption_embeddings")[8, 1] = 0
    data = convert(source, tmp_path / "out", window=4, stride=2)
    assert data["train"].features["has_text"] == datasets.List(datasets.Value("bool"))
    for row in rows_of(data).values():
        for column, name in {"has_text": "text_embeddings", "has_caption": "caption_embeddings"}.items():
            assert row[column] == vectors_of(row, name).any(axis=1).tolist()
    found = {
        column: sum(row[column].count(False) for row in rows_of(data).values())
        for column in ("has_text", "has_caption")
    }
    assert min(found.values()) > 0
    assert "| `has_text` | bool" in (tmp_path / "out" / "README.md").read_text()
    source = make_source(tmp_path / "pictures", names=("panel_embeddings", "visual_embeddings"))
    assert not {"has_text", "has_caption"} & set(convert(source, tmp_path / "out2")["train"].features)


def test_page_index_is_the_natural_order(source, tmp_path):
    for row in rows_of(convert(source, tmp_path / "out")).values():
        assert row["page_index"] == row["sequence_index"] % 4  # pages 8, 9, 10, 11 of each book


@pytest.mark.parametrize(
    "names",
    [
        ["b/p1.jpg", "b/p2.jpg", "b/p10.jpg", "b/p11.jpg"],
        ["b/page_1", "b/page_10", "b/page_12"],
        ["b/cover.jpg", "b/p1.jpg", "b/p1-2.jpg", "b/p2.png", "b/p10.jpg"],
        ["b/ch2/p9.jpg", "b/ch10/p1.jpg"],
        ["Vol 1/c1/p9.jpg", "Vol 1 (2)/c1/p1.jpg", "Vol 2/c1/p1.jpg"],
        ["Vol/c1/1.jpg", "Vol 1/c1/1.jpg", "Vol 1/c1 extra/1.jpg", "Vol 1!/c1/1.jpg", "Vol-1/c1/1.jpg"],
        ["c/2.jpg", "c/a/1.jpg", "c1/a/1.jpg", "c-1/a/1.jpg"],
        ["s\\Vol 1\\c\\9.jpg", "s/Vol 1 (2)/c/1.jpg"],
        ["1", "2", "10"],
        ["only"],
        ["a", "a"],
        ["p01", "p1", "p2"],
    ],
)
def test_natural_order(names):
    assert natural_order(names) == list(range(len(names)))
    if len(set(names)) == len(names) and "p01" not in names:
        assert [names[::-1][i] for i in natural_order(names[::-1])] == names


@given(st.lists(st.from_regex(r"(?:[a-c]{1,2}[0-9]{1,2}/){1,3}p[0-9]{1,3}[.]jpg", fullmatch=True), max_size=12))
def test_paths_of_words_and_numbers_keep_their_order(names):
    """That of when a path was compared as one string."""
    natural = natsort_keygen()
    folders, files = zip(*(name.rsplit("/", 1) for name in names), strict=True) if names else ((), ())
    before = sorted(range(len(names)), key=lambda place: (natural(folders[place]), natural(files[place][:-4])))
    assert natural_order(names) == before


def test_metadata_in_another_order_or_for_some_rows(source, tmp_path):
    whole = rows_of(convert(source, tmp_path / "whole"))
    source.write_metadata(source.entries[::-1])
    reverse = rows_of(convert(source, tmp_path / "reverse"))
    assert reverse == whole
    books = [entry for entry in source.entries if entry["sequence_index"] // 4 in (1, 4)]
    source.write_metadata(books[3:] + books[:3])
    data = convert(source, tmp_path / "some")
    assert sorted(row for row, _ in rows_of(data)) == [4, 5, 6, 7, 16, 17, 18, 19]
    for key, row in rows_of(data).items():
        assert {**row, "book_order": 0} == {**whole[key], "book_order": 0}


def test_metadata_in_no_order(tmp_path, monkeypatch):
    source = make_source(tmp_path / "in", pages=200)
    whole = rows_of(convert(source, tmp_path / "whole"))
    monkeypatch.setattr("modeling_comicseq.pages.json_list._BLOCK", 1024)  # many batches
    source.write_metadata([source.entries[row] for row in np.random.default_rng(0).permutation(200)])
    assert rows_of(convert(source, tmp_path / "mixed")) == whole


def test_book_and_page_fields(source, tmp_path):
    for entry in source.entries:
        del entry["canonical_id"]
        entry["book_id"], entry["page_name"] = f"b{entry['sequence_index'] // 4}", entry["sequence_index"] % 4
    source.write_metadata(source.entries)
    row = rows_of(convert(source, tmp_path / "out"))[9, 0]
    assert (row["book_id"], row["page_name"], row["canonical_id"]) == ("b2", "1", "b2/1")


@pytest.mark.parametrize("field", ["canonical_id", "book_id"])
def test_spellings_of_a_book_are_one_book(source, tmp_path, field):
    """Composed, decomposed, and with a blank behind: composed, the hash puts it into validation, decomposed into train."""
    names = ["Ode\u0301 0", "Od\u00e9 0", "Od\u00e9 0 ", "Ode\u0301 0"]
    for entry, name in zip(source.entries[8:12], names, strict=True):
        page = entry["canonical_id"].rpartition("/")[2]
        entry["canonical_id"] = f"a/b/{name}/{page}"
        if field == "book_id":
            entry["book_id"] = name
    source.write_metadata(source.entries)
    rows = [row for row in convert(source, tmp_path / "out")["validation"] if row["sequence_index"] // 4 == 2]
    assert [row["sequence_index"] for row in rows] == [8, 9, 10, 11] and [row["page_index"] for row in rows] == [
        0,
        1,
        2,
        3,
    ]
    assert {row["book_id"] for row in rows} == {"Ode\u0301 0"}  # as it came first
    assert [row["canonical_id"] for row in rows] == [entry["canonical_id"] for entry in source.entries[8:12]]
    assert sum(counts["books"] for counts in read_provenance(tmp_path / "out")["counts"].values()) == 6


def test_books_that_an_earlier_version_took_for_two_are_told(source, tmp_path, monkeypatch, caplog):
    for entry, name in zip(source.entries[8:12], ["Ode\u0301", "Od\u00e9"] * 2, strict=True):
        entry["canonical_id"] = f"library/{name}/{entry['sequence_index']}.jpg"
    source.write_metadata(source.entries)
    convert(source, tmp_path / "now", fractions=(1, 0, 0))
    assert len(open_split(str(tmp_path / "now"), "train").book_ids) == 6 and not caplog.messages[2:]
    monkeypatch.setattr("modeling_comicseq.stores.pages.normal_form", str)
    convert(source, tmp_path / "earlier", fractions=(1, 0, 0))
    assert len(open_split(str(tmp_path / "earlier"), "train").book_ids) == 7
    assert r"takes 'Ode\u0301' and 'Od\xe9' for two books" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("convert the store again with this version.")


@pytest.mark.parametrize("name", [" ", "\t", "\u3000"])
def test_blanks_are_no_name(source, tmp_path, name):
    source.entries[3]["canonical_id"] = f"library/{name}/1.jpg"
    source.write_metadata(source.entries)
    with pytest.raises(ComicSeqDataError, match="field 'book_id' is missing"):
        convert(source, tmp_path / "out")
    source.entries[3] |= {"canonical_id": "library/Book 00/1.jpg", "book_id": name, "page_name": name}
    source.write_metadata(source.entries)
    row = rows_of(convert(source, tmp_path / "out"))[3, 0]
    assert (row["book_id"], row["page_name"]) == ("Book 00", "1.jpg")


@pytest.mark.parametrize(("window", "stride"), [(4, None), (4, 4), (4, 1), (1, 1), (20, None), (7, 3)])
def test_long_pages_become_windows(tmp_path, window, stride):
    source = make_source(tmp_path / "in", slots=20)
    data = convert(source, tmp_path / "out", window=window, stride=stride)
    rows = rows_of(data)
    seen = {number: np.zeros(entry["num_panels"], int) for number, entry in enumerate(source.entries)}
    for (number, start), row in rows.items():
        stop = start + row["num_panels"]
        assert row["num_panels"] == min(window, source.entries[number]["num_panels"])
        assert np.array_equal(
            vectors_of(row, "panel_embeddings"), source.arrays["panel_embeddings"][number, start:stop]
        )
        seen[number][start:stop] += 1
        assert row["page_caption_embeddings"] == source.arrays["page_caption_embeddings"][number].tolist()
    assert all(panels.min() >= 1 for panels in seen.values())  # no panel is lost
    for split in data.values():
        order = np.argsort(split["book_order"])
        places = [tuple(split[int(i)][key] for key in ("book_id", "page_index", "window_start")) for i in order]
        assert places == sorted(places) and np.array_equal(np.sort(split["book_order"]), np.arange(len(split)))
    counts = read_provenance(data)["counts"]
    assert sum(split["panels"] for split in counts.values()) == int(source.mask.sum())
    assert sum(split["pages"] for split in counts.values()) == 24


def test_windows_of_skipped_pages_leave_no_gap(tmp_path):
    source = make_source(tmp_path / "in", slots=20)
    source.array("panel_embeddings")[[2, 9, 23], 0] = np.nan
    data = convert(source, tmp_path / "out", window=4, stride=3, on_error="skip")
    assert not {2, 9, 23} & {row for row, _ in rows_of(data)}
    for split in data.values():
        order = np.argsort(split["book_order"])
        places = [tuple(split[int(i)][key] for key in ("book_id", "page_index", "window_start")) for i in order]
        assert places == sorted(places) and np.array_equal(np.sort(split["book_order"]), np.arange(len(split)))


@pytest.mark.parametrize("panels", range(0, 40))
def test_windows(panels):
    page, first, count = expand_windows(np.array([3, panels, 5]), 16, 8)
    starts = first[page == 1].tolist()
    assert len(starts) == window_counts(np.array([panels]), 16, 8)[0]
    covered = {panel for start in starts for panel in range(start, min(start + 16, panels))}
    assert covered == set(range(panels)) and starts == sorted(set(starts))
    assert (first + count)[page == 1].max(initial=0) == panels


def test_a_list_that_names_a_book_that_is_not_there_is_refused(source, tmp_path):
    path = tmp_path / "books.json"
    path.write_text(json.dumps({"validation": ["Book 01"], "test": ["Book 2"]}))
    with pytest.raises(ComicSeqDataError) as error:
        convert(source, tmp_path / "out", split_books=path)
    start = f"{path}: {source.metadata} holds no book 'Book 2': did you mean `Book 02`; "
    assert str(error.value).startswith(start) and not (tmp_path / "out").exists()


def test_lists_of_books(source, tmp_path):
    data = convert(source, tmp_path / "out", split_books={"validation": ["Book 01"], "test": ["Book 02", "Book 03"]})
    assert {name: sorted(set(split["book_id"])) for name, split in data.items()} == {
        "train": ["Book 00", "Book 04", "Book 05"],
        "validation": ["Book 01"],
        "test": ["Book 02", "Book 03"],
    }
    data = convert(source, tmp_path / "two", split_books={"train": ["Book 01"], "test": ["Book 03"]})
    assert data.num_rows == {"train": 4, "validation": 0, "test": 4}


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "bfloat16"},
        {"on_error": "ignore"},
        {"num_proc": 0},
        {"window": 0},
        {"stride": 17},
        {"stride": 0},
        {"fractions": (1, 1, 1)},
    ],
)
def test_wrong_options(source, tmp_path, options):
    with pytest.raises(ComicSeqError, match=f"{next(iter(options))} .*; |fractions .*; "):
        convert(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_processes_write_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 1500)
    source = make_source(tmp_path / "in", pages=96)
    one, two = convert(source, tmp_path / "one"), convert(source, tmp_path / "two", num_proc=2)
    assert len(list((tmp_path / "two/train").glob("*.arrow"))) == 2
    assert {name: split[:] for name, split in two.items()} == {name: split[:] for name, split in one.items()}
    assert read_provenance(two) == read_provenance(one)


def test_large_splits_become_several_files(source, tmp_path, monkeypatch):
    whole = rows_of(convert(source, tmp_path / "whole"))
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(conversion, "_MAX_SHARD_SIZE", 1500)
    data = convert(source, tmp_path / "out")
    assert len(list((tmp_path / "out/train").glob("*.arrow"))) > 2 and rows_of(data) == whole


def test_a_fault_in_a_process_stops_all(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 1500)
    source = make_source(tmp_path / "in", pages=96)
    source.array("panel_embeddings")[9, 0] = np.nan
    with pytest.raises(ComicSeqDataError, match="sequence_index 9"):
        convert(source, tmp_path / "out", num_proc=2)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# Interrupts


def convert_until(step: int, source: Source, output: Path, steps) -> None:
    """Converts, counting everything that is done to files, and kills itself before the given step."""
    done = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal done
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            steps.value = done

    sys.addaudithook(count)
    convert(source, output)
    os._exit(0)


@pytest.mark.slow
def test_killed_anywhere(source, tmp_path, monkeypatch):
    """No output or the complete one, and the next run completes it with the same rows."""
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 6000)
    output = tmp_path / "out"
    reference = rows_of(convert(source, tmp_path / "reference" / "out"))
    fork = multiprocessing.get_context("fork")
    steps = fork.Value("i")

    def run(step: int) -> int:
        process = fork.Process(target=convert_until, args=(step, source, output, steps))
        process.start()
        process.join(60)
        assert process.exitcode is not None
        return process.exitcode

    assert run(-1) == 0
    total = steps.value
    assert total > 40
    # Ten moments over the whole work, and the last ones: state, card, provenance, the rename.
    moments = sorted({*np.linspace(0, total - 1, 10).astype(int).tolist(), *range(total - 16, total)})
    seen = set()
    for moment in moments:
        conversion.shutil.rmtree(output)
        assert run(moment) == -signal.SIGKILL
        seen.add(output.exists())
        if not output.exists():
            assert [path.name for path in tmp_path.iterdir() if "out" in path.name] in ([], [".out.partial"])
        assert rows_of(convert(source, output)) == reference
        assert not (tmp_path / ".out.partial").exists()
    assert seen == {True, False}


def test_a_full_disk_ends_in_one_sentence(source, tmp_path, monkeypatch):
    def fill_up(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("datasets.arrow_writer.ArrowWriter.write_table", fill_up)
        with pytest.raises(
            ComicSeqDataError, match=f"{tmp_path / 'out'} cannot be written: the disk is full; .*Free some space"
        ):
            convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert len(rows_of(convert(source, tmp_path / "out"))) == 24


def test_an_interrupt_leaves_nothing(source, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Stage3Store, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_output_with_gaps_is_not_complete(source, tmp_path):
    source.array("panel_embeddings")[9, 0] = np.nan
    assert len(rows_of(convert(source, tmp_path / "out", on_error="skip"))) == 23
    with pytest.raises(ComicSeqDataError, match="leaves out 1 pages"):
        convert(source, tmp_path / "out")


def test_complete_output(source, tmp_path, capsys):
    first = convert(source, tmp_path / "out")
    written = (tmp_path / "out" / "provenance.json").stat().st_mtime_ns
    convert_store(source.embeddings, source.metadata, tmp_path / "out")
    assert "already complete" in " ".join(capsys.readouterr().err.split())
    assert rows_of(load_from_disk(str(tmp_path / "out"))) == rows_of(first)
    assert (tmp_path / "out" / "provenance.json").stat().st_mtime_ns == written
    with pytest.raises(ComicSeqDataError, match="other options; .* --overwrite"):
        convert(source, tmp_path / "out", window=4)
    data = convert(source, tmp_path / "out", window=4, overwrite=True)
    assert max(data["train"]["num_panels"]) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_other_folders_are_left_alone(source, tmp_path):
    (tmp_path / "out").mkdir()
    convert(source, tmp_path / "out")  # empty: nothing to lose
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("text")
    with pytest.raises(ComicSeqDataError, match="is no converted data set"):
        convert(source, tmp_path / "thesis", overwrite=True)
    with pytest.raises(ComicSeqArgumentError, match="is a URL"):
        convert(source, "s3://bucket/out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "thesis"]


def test_two_conversions_to_one_output(source, tmp_path):
    with conversion._work_folder(tmp_path / "out"):
        with pytest.raises(ComicSeqDataError, match="another process"):
            convert(source, tmp_path / "out")


# Elsewhere


@pytest.mark.parametrize("protocol", ["memory", "file"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_url(tmp_path, protocol, zarr_format):
    source = make_source(tmp_path / "in", zarr_format=zarr_format, names=("panel_embeddings",))
    root = f"memory://stores/{zarr_format}" if protocol == "memory" else f"file://{tmp_path / 'in'}"
    if protocol == "memory":
        fsspec.filesystem("memory").put(str(tmp_path / "in") + "/", f"/stores/{zarr_format}/", recursive=True)
    there = source._replace(embeddings=f"{root}/stage3_embeddings.zarr", metadata=f"{root}/stage3_metadata.json")
    assert rows_of(convert(there, tmp_path / "there")) == rows_of(convert(source, tmp_path / "here"))
    system, path = fsspec.core.url_to_fs(there.embeddings)
    system.rm(next(name for name in system.find(path + "/panel_embeddings") if name.endswith(("2.0.0", "2/0/0"))))
    with pytest.raises(ComicSeqDataError, match="sequence_index 8.*panel 0, is all zero"):
        convert(there, tmp_path / "missing")


@pytest.mark.parametrize("protocol", ["zip", "simplecache"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chained_url(tmp_path, protocol, zarr_format):
    """A store in an archive, and one that is kept in a local cache."""
    source = make_source(tmp_path / "in", zarr_format=zarr_format)
    names = Path(source.embeddings).name, Path(source.metadata).name
    if protocol == "zip":
        archive = conversion.shutil.make_archive(str(tmp_path / "store"), "zip", tmp_path / "in")
        embeddings, metadata = (f"zip://{name}::file://{archive}" for name in names)
    else:
        fsspec.filesystem("memory").put(f"{tmp_path / 'in'}/", f"/cached/{zarr_format}/", recursive=True)
        embeddings, metadata = (f"simplecache::memory://cached/{zarr_format}/{name}" for name in names)
    there = source._replace(embeddings=embeddings, metadata=metadata)
    assert rows_of(convert(there, tmp_path / "there")) == rows_of(convert(source, tmp_path / "here"))


def test_provenance_and_card(source, tmp_path):
    data = convert(source, tmp_path / "out")
    provenance = read_provenance(tmp_path / "out")
    assert read_provenance(data) == read_provenance(data["test"]) == provenance
    assert read_provenance(datasets.load_from_disk(str(tmp_path / "out" / "train"))) == provenance
    assert provenance["origin"] == {"encoders": {"visual": "some-encoder"}}
    assert provenance["widths"]["visual_embeddings"] == 6
    card = (tmp_path / "out" / "README.md").read_text()
    for text in (provenance["source"]["fingerprint"], source.embeddings, "some-encoder", "| train |"):
        assert text in card
    for split, counts in provenance["counts"].items():
        assert counts["rows"] == data[split].num_rows and f"| {split} | {counts['books']} |" in card


def test_the_card_says_whether_places_can_be_read_off(tmp_path):
    """The store's third number is the panel's, as in compositions of the original pipeline."""
    source = make_source(tmp_path / "in", pages=40)
    group = zarr.open_group(source.embeddings, mode="r+")
    panels = np.asarray(group["panel_embeddings"][...])
    panels[..., 2] = np.arange(panels.shape[1])
    group["panel_embeddings"][...] = panels
    convert(source, tmp_path / "out", probe=places_for_card)
    place = read_provenance(tmp_path / "out")["place"]
    assert place["verdict"] == "readable" and place["pages"] == int((source.mask.sum(1) > 1).sum())
    assert place["sentence"] in (tmp_path / "out" / "README.md").read_text()
    few = make_source(tmp_path / "few", pages=8)
    convert(few, tmp_path / "none", probe=places_for_card)
    assert read_provenance(tmp_path / "none")["place"] is None


def test_fingerprint_is_of_the_vectors(source, tmp_path, monkeypatch):
    """The same for a copy in other chunks, another format and other shards; another for one changed value."""
    first = read_provenance(convert(source, tmp_path / "1"))["source"]["fingerprint"]
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 1500)
    copy = make_source(tmp_path / "copy", zarr_format=2, chunk_rows=5)
    assert read_provenance(convert(copy, tmp_path / "2"))["source"]["fingerprint"] == first
    copy.array("text_embeddings")[9, 0, 0] = 0.125
    assert read_provenance(convert(copy, tmp_path / "3"))["source"]["fingerprint"] != first


def test_opens_with_load_dataset(source, tmp_path):
    data = convert(source, tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in found.items()} == {n: s for n, s in data.num_rows.items() if s}
    assert found["train"][0] == data["train"][0]


def test_push_to_hub(source, tmp_path, monkeypatch):
    """What would be uploaded are the splits as parquet files."""
    import huggingface_hub
    import pyarrow.parquet

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    uploaded = {}

    def keep(self, *args, additions=(), operations=(), **kwargs):
        for operation in [*additions, *operations]:
            if getattr(operation, "path_in_repo", "").endswith(".parquet") and operation.path_in_repo not in uploaded:
                with operation.as_file() as file:
                    uploaded[operation.path_in_repo] = pyarrow.parquet.read_table(file).num_rows

    api = huggingface_hub.HfApi
    url = huggingface_hub.RepoUrl("https://huggingface.co/datasets/user/name")
    commit = huggingface_hub.CommitInfo(
        commit_url="https://huggingface.co/datasets/user/name/commit/1",
        commit_message="",
        commit_description="",
        oid="1",
    )
    monkeypatch.setattr(api, "create_repo", lambda *args, **kwargs: url)
    monkeypatch.setattr(api, "create_branch", lambda *args, **kwargs: None)
    monkeypatch.setattr(api, "preupload_lfs_files", keep)
    monkeypatch.setattr(api, "create_commit", lambda *args, **kwargs: keep(*args, **kwargs) or commit)
    # The files that the repository holds so far: none.
    (tmp_path / "repository").mkdir()
    nothing = fsspec.implementations.dirfs.DirFileSystem(str(tmp_path / "repository"), fsspec.filesystem("file"))
    monkeypatch.setattr("datasets.dataset_dict.DirFileSystem", lambda **kwargs: nothing)
    monkeypatch.setattr(
        api, "repo_info", lambda *args, **kwargs: type("Info", (), {"id": "user/name", "sha": "1", "siblings": []})()
    )
    data = convert(source, tmp_path / "out")
    data.push_to_hub("user/name")
    rows = {name: sum(n for path, n in uploaded.items() if f"/{name}-" in path) for name in data}
    assert rows == data.num_rows


# Command line


@pytest.mark.slow
def test_command(source, tmp_path):
    arguments = ["convert", "--embeddings", source.embeddings, "--metadata", source.metadata]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out"), "--fractions", "0.5", "0.5", "0"])
    assert result.exit_code == 0, result.output
    assert datasets.load_from_disk(str(tmp_path / "out"))["test"].num_rows == 0
    assert "validation" in result.output
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out"), "--num_proc", "1"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and "--overwrite" in result.stderr
    books = tmp_path / "books.json"
    books.write_text('{"test": ["Book 01"]}')
    source.array("panel_embeddings")[0, 0] = np.nan
    more = ["--output", str(tmp_path / "out2"), "--split-books", str(books), "--on-error", "skip", "--stride", "2"]
    result = CliRunner().invoke(app, [*arguments, *more, "--window", "4", "--dtype", "float32"])
    assert result.exit_code == 0, result.output
    assert "1 pages left out" in result.output
    assert set(datasets.load_from_disk(str(tmp_path / "out2"))["test"]["book_id"]) == {"Book 01"}


@pytest.mark.skipif(not SHARED_DATA, reason="COMICSEQ_DATA names no folder with the stores of real comics")
@pytest.mark.parametrize("name", ["upstream_stage4", "stage3/comics_text", "stage3/peppercarrot"])
def test_stores_of_real_comics(tmp_path, name, caplog):
    folder = Path(SHARED_DATA) / name
    store = str(folder / "stage3_embeddings.zarr")
    convert_store(store, folder / "stage3_metadata.json", tmp_path / "out", dtype="float32", progress=False)
    twice = [message.split(" (")[0] for message in caplog.messages if "twice" in message]
    assert twice == (["10 pages stand twice"] if name == "stage3/comics_text" else [])
    data = load_from_disk(str(tmp_path / "out"))
    group = zarr.open_group(store, mode="r")
    mask, panels = group["panel_masks"][:].astype(bool), group["panel_embeddings"][:]
    rows = rows_of(data)
    assert sum(row["num_panels"] for row in rows.values()) == mask.sum()
    for (number, _), row in rows.items():
        assert np.array_equal(vectors_of(row, "panel_embeddings", "float32"), panels[number][mask[number]])


def test_character_ids(tmp_path):
    source = make_source(tmp_path / "in")
    cast = {
        row: [[f"hero {row}", panel] for panel in range(entry["num_panels"])]
        for row, entry in enumerate(source.entries)
        if row % 3
    }
    for row, ids in cast.items():
        source.entries[row]["character_ids"] = ids
    source.write_metadata(source.entries)
    data = convert(source, tmp_path / "out", window=4, stride=2)
    assert read_provenance(data)["character_ids"]
    for (row, start), found in rows_of(data).items():
        expected = cast.get(row)
        if expected is not None:
            expected = [[str(each) for each in ids] for ids in expected[start : start + found["num_panels"]]]
        assert found["character_ids"] == expected
        assert json.loads(found["metadata"]).get("character_ids") == cast.get(row)
    assert "`character_ids`" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([["a"]], "character_ids is 1 lists for 2 panels"),
        ("a", "character_ids is 'a' for 2 panels"),
        ([["a"], "b"], "character_ids of panel 1 is 'b'"),
        ([["a"], [None]], r"character_ids of panel 1 is \[None\]"),
    ],
)
def test_faulty_character_ids(tmp_path, ids, message):
    source = make_source(tmp_path / "in")
    row = next(row for row, entry in enumerate(source.entries) if entry["num_panels"] == 2)
    source.entries[row]["character_ids"] = ids
    source.write_metadata(source.entries)
    with pytest.raises(ComicSeqDataError, match=message):
        convert(source, tmp_path / "out")
    data = convert(source, tmp_path / "out", on_error="skip")
    assert row not in {row for row, _ in rows_of(data)} and "character_ids" not in data["train"].features
