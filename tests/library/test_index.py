from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import zarr

from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.library.index import build, build_index, open_index

from ..stores.vector_stores import Made, random_store, write_store


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    made = random_store(folder)
    entries = json.loads(Path(made.metadata).read_text())
    for row, entry in enumerate(entries):
        entry |= {
            "year": 1900 + row,
            "Style": "ink" if row % 2 else "paint",
            "tags": ["a"],
            "mixed": "x" if row else 1,
        }
        entry["texts"] = [f"panel {slot} of page {row}" for slot in range(entry["num_panels"])]
    entries[7]["panel_boxes"] = [[0, 0, 1, 1 / entries[7]["num_panels"]]] * entries[7]["num_panels"]
    entries[7]["reading_direction"] = "rtl"
    Path(made.metadata).write_text(json.dumps(entries))
    build_index(made.url, folder / "index", progress=False)
    return made


@pytest.fixture(scope="module")
def index(made):
    return open_index(Path(made.url).parent / "index")


def test_pages_and_books_are_all_there(made, index):
    assert len(index) == 50 and index.width == 8
    books = index.books()
    assert [book["book_id"] for book in books] == sorted(set(made.books))
    assert sum(book["pages"] for book in books) == 50
    assert sum(book["panels"] for book in books) == made.mask.sum() == index.about["counts"]["panels"]
    pages = index.pages("book 3")
    assert [page["page_id"] for page in pages] == [made.ids[row] for row in range(15, 20)]
    assert [page["page_index"] for page in pages] == [0, 1, 2, 3, 4]
    assert len(index.pages()) == 50


def test_a_page_tells_all_that_is_known(made, index):
    page = index.page(made.ids[7])
    count = int(made.mask[7].sum())
    assert page["row"] == 7 and page["book_id"] == "book 1" and page["num_panels"] == count
    assert page["texts"] == [[f"panel {slot} of page 7"] for slot in range(count)]
    assert np.shape(page["panel_boxes"]) == (count, 4) and page["reading_direction"] == "rtl"
    assert page["picture"] is None and page["year"] == 1907 and page["tags"] == ["a"]
    assert not {"vector", "digest", "words", "page_key"} & page.keys()
    assert index.page(7) == index.page("7") == page


def test_panels_are_counted_where_slots_between_them_are_empty(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    made = write_store(tmp_path, vectors, np.array([[True, False, True], [True, True, True]]), np.array([0, 1]))
    entries = json.loads(Path(made.metadata).read_text())
    for entry in entries:
        entry["texts"] = [f"{entry['canonical_id']} {number}" for number in range(entry["num_panels"])]
    Path(made.metadata).write_text(json.dumps(entries))
    build_index(made.url, tmp_path / "index", progress=False)
    index = open_index(tmp_path / "index")
    (hit, *_) = index.search(vector=vectors[0, 2], level="panel")
    assert (hit.row, hit.slot, hit.fields["text"]) == (0, 1, f"{made.ids[0]} 1")
    assert {hit.slot for hit in index.search(panel=(0, 1), level="panel") if hit.row == 0} == {0}


def test_fields_of_one_plain_type_are_columns(index):
    assert index.about["columns"] == {"year": "int64", "Style": "string"}
    hits = index.search(page=7, where="year > 1940 and style = 'ink'", k=50)
    assert {hit.row for hit in hits} == {41, 43, 45, 47, 49}
    assert hits[0].fields["year"] == 1900 + hits[0].row


@pytest.mark.parametrize("name", ["_score", "_distance", "_relevance_score", "_rowid"])
def test_fields_that_are_called_like_what_the_engine_adds_are_no_columns(tmp_path, name):
    made = random_store(tmp_path, pages=6)
    entries = json.loads(Path(made.metadata).read_text())
    for entry in entries:
        entry |= {name: 0.5, "texts": ["a cat"] * entry["num_panels"]}
    Path(made.metadata).write_text(json.dumps(entries))
    build_index(made.url, tmp_path / "index", progress=False)
    index = open_index(tmp_path / "index")
    for query in ({"page": 3}, {"words": "cat"}, {"page": 3, "words": "cat"}):
        assert len(index.search(**query, k=5)) == 5
    assert index.page(3)[name] == 0.5


def test_pages_of_one_id_in_several_books_have_their_book_before_it(tmp_path):
    made = random_store(tmp_path, pages=20)
    entries = json.loads(Path(made.metadata).read_text())
    for row, entry in enumerate(entries):
        entry |= {"book_id": f"book {row // 5}", "canonical_id": f"{row % 5}.png"}
    entries[7]["canonical_id"] = "other.png"
    Path(made.metadata).write_text(json.dumps(entries[:15]))
    build_index(made.url, tmp_path / "index", progress=False)
    Path(made.metadata).write_text(json.dumps(entries))
    build_index(made.url, tmp_path / "index", update=True, progress=False)
    index = open_index(tmp_path / "index")
    assert index.page("book 2/3.png")["row"] == 13 and index.page("other.png")["row"] == 7
    for page in index.pages():
        assert index.page(page["page_id"])["row"] == page["row"]
    with pytest.raises(ComicSeqDataError, match="has no page '3.png'; its ids look like 'book"):
        index.page("3.png")


def test_half_a_surrogate_pair_in_the_metadata_is_a_question_mark(tmp_path):
    made = random_store(tmp_path, pages=6)
    entries = json.loads(Path(made.metadata).read_text())
    for entry in entries:
        entry |= {
            "title": "x\ud800y",
            "tags": ["\udfff"],
            "huge": 1 << 70,
            "odd": float("nan"),
            "texts": ["a\ud800 cat"] * entry["num_panels"],
        }
    Path(made.metadata).write_text(json.dumps(entries))
    build_index(made.url, tmp_path / "index", progress=False)
    index = open_index(tmp_path / "index")
    page = index.page(3)
    assert page["title"] == "x?y" and page["tags"] == ["?"] and page["texts"][0] == ["a? cat"]
    assert len(index.search(words="cat", where="title = 'x?y'")) == 6


def test_a_name_that_is_not_there_gets_the_nearest(index):
    with pytest.raises(ComicSeqDataError, match="did you mean 'library/book 3/page 17.jpg'"):
        index.page("library/bok 3/page 17.jpg")
    with pytest.raises(ComicSeqDataError, match="no book 'bok 3'; did you mean 'book 3'"):
        index.pages("bok 3")


def test_an_index_that_is_there_is_not_made_again(made, index):
    before = index.about
    assert build_index(made.url, index.url, progress=False) == before


def test_another_state_is_not_taken_for_this_one(tmp_path):
    made = random_store(tmp_path)
    build_index(made.url, tmp_path / "index", progress=False)
    other = random_store(tmp_path / "other", seed=1)
    with pytest.raises(ComicSeqDataError, match="--update, or make it anew with --overwrite"):
        build_index(other.url, tmp_path / "index", progress=False)
    build_index(other.url, tmp_path / "index", overwrite=True, progress=False)
    assert open_index(tmp_path / "index").about["store"]["url"] == other.url


def rewrite(made: Made, strips: dict[int, np.ndarray], entries: list[dict]) -> None:
    """Other strip vectors in the store, and other metadata."""
    time.sleep(0.01)
    array = zarr.open_group(made.url, mode="r+")["strip_embeddings"]
    for row, values in strips.items():
        array[row] = values
    Path(made.metadata).write_text(json.dumps(entries))


def all_rows(folder: Path) -> list[dict]:
    """Everything that the two tables hold."""
    index = open_index(folder)
    rows = []
    for table in (index.strips, index.panels):
        rows += sorted(table.search().to_arrow().to_pylist(), key=lambda row: (row["row"], row.get("slot", 0)))
    return rows


def test_an_update_writes_new_changed_and_removed_pages_alone_and_ends_as_a_new_index_would(tmp_path):
    made = random_store(tmp_path)
    entries = json.loads(Path(made.metadata).read_text())
    Path(made.metadata).write_text(json.dumps(entries[:45]))
    build_index(made.url, tmp_path / "index", progress=False)
    before = open_index(tmp_path / "index")
    entries[4]["canonical_id"] = "library/book 0/page four.jpg"
    rewrite(made, {9: -made.strips[9]}, entries[:2] + entries[3:])
    about = build_index(made.url, tmp_path / "index", update=True, progress=False)
    # Pages 4 and 9, and page 3, which is now the third of its book.
    assert about["updated"] == {"new": 5, "changed": 3, "removed": 1}
    build_index(made.url, tmp_path / "fresh", progress=False)
    assert all_rows(tmp_path / "index") == all_rows(tmp_path / "fresh")
    after = open_index(tmp_path / "index")
    assert after.page("library/book 0/page four.jpg")["row"] == 4 and len(after) == 49
    assert len(before) == 45 and before.page(2)["row"] == 2, "who has it open reads on"
    assert len(before.search(page=9, k=44)) == 44


def test_what_is_open_is_kept_a_day_after_it_was_replaced_and_can_then_be_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_KEPT", timedelta(seconds=3))  # in place of a day
    monkeypatch.setattr(build, "_LONGEST_OPTIMIZING", timedelta(0))
    made = random_store(tmp_path)
    entries = json.loads(Path(made.metadata).read_text())
    build_index(made.url, tmp_path / "index", progress=False)
    opened = [open_index(tmp_path / "index")]
    assert opened[0].renewed() is None
    expected = [(hit.row, hit.score) for hit in open_index(tmp_path / "index").search(page=3, k=40)]
    time.sleep(3.1)  # what is replaced was made more than a day ago
    for row in (9, 10):
        rewrite(made, {row: -made.strips[row]}, entries)
        build_index(made.url, tmp_path / "index", update=True, progress=False)
        assert [(hit.row, hit.score) for hit in opened[0].search(page=3, k=40)] == expected
        opened.append(open_index(tmp_path / "index"))
    time.sleep(3.1)
    rewrite(made, {11: -made.strips[11]}, entries)
    build_index(made.url, tmp_path / "index", update=True, progress=False)
    now = open_index(tmp_path / "index")
    newest = [(hit.row, hit.score) for hit in now.search(page=3, k=40)]
    assert [(hit.row, hit.score) for hit in opened[2].search(page=3, k=40)] != newest, "it was replaced just now"
    there = {each["version"] for each in now.strips.list_versions()}
    assert [each.about["tables"]["strips"] in there for each in [*opened, now]] == [False, False, True, True]
    assert [(hit.row, hit.score) for hit in opened[0].renewed().search(page=3, k=40)] == newest
    other = random_store(tmp_path / "other", width=6)
    build_index(other.url, tmp_path / "index", overwrite=True, progress=False)
    assert opened[2].renewed() is None, "another index"


def test_an_update_of_another_space_is_refused(tmp_path):
    made = random_store(tmp_path)
    build_index(made.url, tmp_path / "index", progress=False)
    other = random_store(tmp_path / "other", width=6)
    with pytest.raises(ComicSeqDataError, match="its width is another"):
        build_index(other.url, tmp_path / "index", update=True, progress=False)
    with pytest.raises(ComicSeqDataError, match="no complete index that could be brought up to date"):
        build_index(made.url, tmp_path / "none", update=True, progress=False)
    with pytest.raises(ComicSeqArgumentError, match="leave out update or overwrite"):
        build_index(made.url, tmp_path / "index", update=True, overwrite=True, progress=False)


def test_columns_of_an_index_that_has_grown_are_indexed(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "LOOKED_THROUGH", 40)
    made = random_store(tmp_path, slots=1)
    entries = json.loads(Path(made.metadata).read_text())
    Path(made.metadata).write_text(json.dumps(entries[:30]))
    build_index(made.url, tmp_path / "index", progress=False)
    rewrite(made, {}, entries)
    build_index(made.url, tmp_path / "index", update=True, progress=False)
    build_index(made.url, tmp_path / "fresh", progress=False)
    updated, fresh = (
        {name for each in open_index(tmp_path / folder).strips.list_indices() for name in each.columns}
        for folder in ("index", "fresh")
    )
    assert updated == fresh and "page_id" in fresh


def test_what_a_kill_left_beside_a_finished_index_is_in_nobody_s_way(tmp_path):
    made = random_store(tmp_path, pages=6)
    build_index(made.url, tmp_path / "index", progress=False)
    # Killed after the new index was in its place, and before the one that it replaced was removed.
    shutil.copytree(tmp_path / "index", tmp_path / ".index.partial" / "replaced")
    (tmp_path / ".index.partial" / "begun").touch()
    other = random_store(tmp_path / "other", pages=8)
    build_index(other.url, tmp_path / "index", overwrite=True, progress=False)
    assert len(open_index(tmp_path / "index")) == 8 and not (tmp_path / ".index.partial").exists()
    # Killed after the old index was moved away, and before the new one was in its place.
    (tmp_path / ".index.partial").mkdir()
    (tmp_path / "index").rename(tmp_path / ".index.partial" / "index")
    finished = (tmp_path / ".index.partial" / "index" / "strips.lance").stat().st_ino
    build_index(other.url, tmp_path / "index", progress=False)
    assert (tmp_path / "index" / "strips.lance").stat().st_ino == finished, "what was finished is taken"
    assert len(open_index(tmp_path / "index")) == 8 and not (tmp_path / ".index.partial").exists()


KILLED = """
import os, signal, sys
from modeling_comicseq.library.index import build, build_index
from modeling_comicseq.stores import vectors
vectors._BLOCK_BYTES = 1  # a chunk at a time
rows, calls = build.read_rows, [0]
def read_rows(*args, **options):
    calls[0] += 1
    if calls[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows(*args, **options)
build.read_rows = read_rows
build_index(sys.argv[1], sys.argv[2], update=sys.argv[3] == "update", progress=False)
"""


def killed(made: Made, folder: Path, how: str) -> None:
    """Builds or updates in a process that is killed at its third block."""
    words = [sys.executable, "-c", KILLED, made.url, str(folder), how]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
def test_a_killed_build_and_a_killed_update_are_gone_on_with_and_the_old_index_answers(tmp_path):
    made = random_store(tmp_path, pages=160)
    entries = json.loads(Path(made.metadata).read_text())
    Path(made.metadata).write_text(json.dumps(entries[:150]))
    killed(made, tmp_path / "index", "build")
    assert not (tmp_path / "index").exists() and (tmp_path / ".index.partial").is_dir()
    with pytest.raises(ComicSeqDataError, match="is no index"):
        open_index(tmp_path / "index")
    build_index(made.url, tmp_path / "index", progress=False)
    assert not (tmp_path / ".index.partial").exists()
    build_index(made.url, tmp_path / "fresh", progress=False)
    assert all_rows(tmp_path / "index") == all_rows(tmp_path / "fresh")

    rewrite(made, {row: -made.strips[row] for row in range(0, 150, 10)}, entries[:1] + entries[2:])
    expected = [(hit.row, hit.score) for hit in open_index(tmp_path / "fresh").search(page=3, k=20)]
    killed(made, tmp_path / "index", "update")
    assert [(hit.row, hit.score) for hit in open_index(tmp_path / "index").search(page=3, k=20)] == expected
    about = build_index(made.url, tmp_path / "index", update=True, progress=False)
    assert about["updated"] == {"new": 10, "changed": 18, "removed": 1}
    shutil.rmtree(tmp_path / "fresh")
    build_index(made.url, tmp_path / "fresh", progress=False)
    assert all_rows(tmp_path / "index") == all_rows(tmp_path / "fresh")
