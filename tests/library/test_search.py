from __future__ import annotations

import json
import os
import time
from pathlib import Path

import faiss
import numpy as np
import pytest
import zarr
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqDataError, ComicSeqError
from modeling_comicseq.library import search as search_module
from modeling_comicseq.library.search import choose_factory, open_index, search
from modeling_comicseq.stores.vectors import VectorStore

from ..closeness import assert_close
from ..stores.vector_stores import Made, random_store, write_store


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return random_store(tmp_path_factory.mktemp("made"))


def found(hits) -> list[tuple[int, int | None]]:
    return [(hit.row, hit.slot) for hit in hits]


def ranked(cosines: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-cosines, kind="stable")[:k]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 49), k=st.integers(1, 49))
def test_pages_near_a_page_are_those_of_brute_force(made, row, k):
    cosines = cosine_similarity(made.strips[[row]], made.strips)[0]
    cosines[row] = -2
    expected = ranked(cosines, k)
    for page in (made.ids[row], row, str(row)):
        hits, _ = search(made.url, page=page, k=k)
        assert found(hits) == [(each, None) for each in expected]
    assert_close([hit.score for hit in hits], cosines[expected])
    assert [hit.rank for hit in hits] == list(range(1, k + 1))
    assert [hit.page_id for hit in hits] == [made.ids[each] for each in expected]
    assert [hit.book_id for hit in hits] == [made.books[each] for each in expected]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 49), data=st.data())
def test_panels_and_pages_near_a_panel(made, row, data):
    slot = data.draw(st.integers(0, int(made.mask[row].sum()) - 1))
    rows, slots = np.nonzero(made.mask)
    cosines = cosine_similarity(made.panels[row, slot][None], made.panels[rows, slots])[0]
    itself = (rows == row) & (slots == slot)
    panels = ranked(np.where(itself, -2, cosines), 12)
    hits, _ = search(made.url, panel=(row, slot), k=12)
    assert found(hits) == list(zip(rows[panels], slots[panels], strict=True))

    best = np.asarray([cosines[rows == page].max() if page != row else -2 for page in range(50)])
    pages = ranked(best, 49 if row % 2 else 7)
    hits, _ = search(made.url, panel=(row, slot), level="strip", k=len(pages))
    assert [hit.row for hit in hits] == pages.tolist()
    assert_close([hit.score for hit in hits], best[pages])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 49))
def test_panels_near_a_page_are_near_one_of_its_panels_and_none_of_them(made, row):
    rows, slots = np.nonzero(made.mask)
    cosines = cosine_similarity(made.panels[row][made.mask[row]], made.panels[rows, slots]).max(axis=0)
    cosines[rows == row] = -2
    expected = ranked(cosines, 20)
    hits, _ = search(made.url, page=row, level="panel", k=20)
    assert found(hits) == list(zip(rows[expected], slots[expected], strict=True))


def test_a_vector_finds_what_it_came_from(made):
    for vector in (7 * made.strips[3], made.strips[[3]].astype(np.float16), made.strips[3].astype(float)):
        hits, _ = search(made.url, vector=vector, k=50)
        assert hits[0].row == 3 and hits[0].score == pytest.approx(1, abs=1e-5) and len(hits) == 50
    hits, _ = search(made.url, vector=made.panels[4, 0], level="panel", k=1)
    assert found(hits) == [(4, 0)]


def test_a_stage_3_store_is_searched_by_the_means_of_its_panels(tmp_path):
    made = random_store(tmp_path, stage=3)
    means = np.asarray([page[real].mean(axis=0) for page, real in zip(made.panels, made.mask, strict=True)])
    cosines = cosine_similarity(means[[6]], means)[0]
    cosines[6] = -2
    hits, _ = search(made.url, page=6, k=9)
    assert [hit.row for hit in hits] == ranked(cosines, 9).tolist()


def test_the_index_is_built_once_and_again_when_the_store_changed(tmp_path, monkeypatch):
    made = random_store(tmp_path)
    built = []
    build = search_module._build
    monkeypatch.setattr(search_module, "_build", lambda *args: (built.append(args[2]), build(*args)))
    first = [search(made.url, page=5, k=3)[0] for _ in range(2)][1]
    assert built == ["strip"]
    search(made.url, panel=(5, 0), k=3)
    assert built == ["strip", "panel"]

    # The nearest page becomes the opposite: the new index must say so.
    time.sleep(0.01)
    array = zarr.open_group(made.url, mode="r+")["strip_embeddings"]
    array[first[0].row] = -made.strips[5]
    (again, index) = search(made.url, page=5, k=49)
    assert built[2:] == ["strip"] and again[-1].row == first[0].row
    assert again[-1].score == pytest.approx(-1, abs=1e-5)
    folders = sorted(path.name.split("-")[0] for path in (tmp_path / "stage5.index").glob("[!.]*"))
    assert folders == ["panel", "strip"], "the index of the old state is gone"

    entries = json.loads(Path(made.metadata).read_text())
    entries[9]["canonical_id"] = "other/book X/page.jpg"
    Path(made.metadata).write_text(json.dumps(entries))
    assert search(made.url, page=5, k=49)[1].find_row("other/book X/page.jpg") == 9


def test_nothing_else_in_the_folder_of_indexes_is_removed(tmp_path):
    """Neither folders of other origin, whatever their names, nor the index of another store."""
    folder = tmp_path / "indexes"
    for name in ("strip-images", f"strip-{'0' * 16}", ".strip-draft"):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text('{"license": "CC0"}')
    for name in ("a", "b"):
        made = random_store(tmp_path / name)
        search(made.url, page=5, index=folder)
    assert len(list(folder.glob("strip-*"))) == 4 and (folder / ".strip-draft" / "manifest.json").exists()


def test_a_build_that_was_killed_leaves_nothing_behind(tmp_path, monkeypatch):
    made = random_store(tmp_path)
    replace = os.replace

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        search(made.url, page=5)
    monkeypatch.setattr(os, "replace", replace)
    folder = tmp_path / "stage5.index"
    assert not list(folder.glob("strip-*"))
    assert len(search(made.url, page=5)[0]) == 10
    assert [path.name.split("-")[0] for path in folder.glob("[!.]*")] == ["strip"] and not list(
        folder.glob(".strip-*")
    )


@pytest.mark.parametrize("name", ["index.faiss", "labels.arrow", "manifest.json"])
@pytest.mark.parametrize("left", [0, 100])
def test_a_damaged_index_says_what_to_remove(tmp_path, name, left):
    made = random_store(tmp_path)
    search(made.url, page=5)
    (folder,) = (tmp_path / "stage5.index").glob("strip-*")
    content = (folder / name).read_bytes()
    (folder / name).unlink()  # a mapped file cannot be cut in place
    (folder / name).write_bytes(content[:left])
    with pytest.raises(ComicSeqDataError, match=f"{folder.name} is damaged .*: remove it"):
        search(made.url, page=5)


def test_the_index_opens_with_datasets_and_faiss_alone(tmp_path):
    made = random_store(tmp_path)
    open_index(VectorStore.open(made.url), made.metadata, "strip", tmp_path / "elsewhere")
    (folder,) = (tmp_path / "elsewhere").glob("strip-*")
    labels = Dataset.from_file(str(folder / "labels.arrow"))
    labels.load_faiss_index("strips", str(folder / "index.faiss"))
    query = made.strips[8] / np.linalg.norm(made.strips[8])
    scores, pages = labels.get_nearest_examples("strips", query, k=2)
    assert pages["page_id"][0] == made.ids[8] and scores[0] == pytest.approx(1, abs=1e-5)
    assert not (tmp_path / "stage5.index").exists()


def clustered_store(folder: Path) -> Made:
    """Pages around the centres of their books, as a real corpus has them."""
    generator = np.random.default_rng(0)
    books = np.repeat(np.arange(150), 20)
    panels = generator.standard_normal((150, 1, 24))[books] + 0.7 * generator.standard_normal((len(books), 2, 24))
    return write_store(folder, panels.astype(np.float16), np.ones((len(books), 2), bool), books, chunk_rows=256)


def test_large_stores_are_clustered_and_still_find_the_nearest(tmp_path, monkeypatch):
    made = clustered_store(tmp_path)
    exact, index = search(made.url, page=100, k=10)
    assert index.description["factory"] == "Flat"
    monkeypatch.setattr(search_module, "EXACT_BYTES", 1 << 10)
    overlap = []
    strips = made.strips.astype(np.float32)
    for row in range(0, 3000, 100):
        cosines = cosine_similarity(strips[[row]], strips)[0]
        cosines[row] = -2
        hits, index = search(made.url, page=row, k=10)
        overlap.append(len({hit.row for hit in hits} & set(ranked(cosines, 10))) / 10)
    assert index.description["factory"] == "IVF109,SQ8"
    assert faiss.extract_index_ivf(index.labels.get_index("vectors").faiss_index).nprobe == 27
    assert np.mean(overlap) > 0.95


def test_the_kind_of_index_follows_the_size():
    assert choose_factory(500_000, 512) == "Flat"
    assert choose_factory(6_250_000, 512) == "IVF5000,SQ8"


def test_a_kind_of_one_s_own(tmp_path):
    made = random_store(tmp_path)
    expected = found(search(made.url, page=3, k=5)[0])
    hits, index = search(made.url, page=3, k=5, factory="HNSW16")
    assert found(hits) == expected and index.description["factory"] == "HNSW16"
    hits, _ = search(made.url, page=3, k=5, factory="SQ8")
    assert len(set(found(hits)) & set(expected)) >= 4
    with pytest.raises(ComicSeqDataError, match="'Flatt' is no index that FAISS knows"):
        search(made.url, page=3, factory="Flatt")
    with pytest.raises(ComicSeqDataError, match="FAISS cannot train this index on 50 vectors"):
        search(made.url, page=3, factory="IVF64,Flat")


def test_zeros_nan_empty_pages_and_unnamed_rows_are_left_out(tmp_path):
    made = random_store(tmp_path)
    group = zarr.open_group(made.url, mode="r+")
    group["strip_embeddings"][0] = 0
    group["strip_embeddings"][1] = np.nan
    group["panel_masks"][2] = False
    entries = json.loads(Path(made.metadata).read_text())
    del entries[3]
    Path(made.metadata).write_text(json.dumps(entries))
    hits, index = search(made.url, vector=np.ones(8), k=46)
    assert {hit.row for hit in hits} == set(range(4, 50))
    assert index.description["vectors"] == 46 and index.description["left_out"] == 2
    with pytest.raises(ComicSeqDataError, match="row 1 has no panel with a usable vector"):
        search(made.url, page=1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"page": "library/book 3/page 17.jpeg"}, "did you mean 'library/book 3/page 17.jpg'"),
        ({"page": "library/bok 3/page 17.jpg"}, "did you mean 'library/book 3/page 17.jpg'"),
        ({"page": "nothing like it"}, "its ids look like 'library/book 0/page 0.jpg'"),
        ({"page": "50"}, "no row 50: its rows are 0 to 49"),
        ({"panel": (3, 5)}, "no panel 3:5: its rows are 0 to 49, its slots 0 to 4"),
        ({"panel": (-1, 0)}, "no panel -1:0"),
        ({"vector": np.ones(7)}, r"shape \(7,\) but the vectors of .* are 8 wide"),
        ({"vector": np.ones((2, 8))}, r"shape \(2, 8\)"),
        ({"vector": np.asarray([np.nan] * 8)}, "NaN or infinity"),
        ({"vector": np.zeros(8)}, "all zero"),
        ({"vector": np.asarray(["a"] * 8)}, "dtype <U1"),
        ({"page": 3, "k": 0}, "k is 0 but must be at least 1"),
        ({}, "name one query"),
        ({"page": 3, "panel": (3, 0)}, "name one query"),
    ],
)
def test_a_wrong_query_is_refused_in_one_sentence(made, query, message):
    with pytest.raises(ComicSeqError, match=message):
        search(made.url, **query)


def test_a_page_is_found_in_any_spelling(tmp_path):
    made = random_store(tmp_path, pages=12)
    entries = json.loads(Path(made.metadata).read_text())
    entries[3]["canonical_id"] = "library/Ode\u0301/Zo\u00e9.jpg"
    Path(made.metadata).write_text(json.dumps(entries))
    expected, _ = search(made.url, page=3, k=5)
    for page in (
        "library/Ode\u0301/Zo\u00e9.jpg",
        " library/Od\u00e9/Zoe\u0301.jpg",
        "library\\Od\u00e9 \\Zo\u00e9.jpg",
        " 3 ",
    ):
        assert search(made.url, page=page, k=5)[0] == expected
    with pytest.raises(ComicSeqDataError, match="has no page 'library/od\u00e9/Zo\u00e9.jpg'"):  # upper case stays
        search(made.url, page="library/od\u00e9/Zo\u00e9.jpg")


@pytest.mark.parametrize("factory", ["Flat", "IVF2,SQ8"])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_page_that_stands_twice_does_not_find_itself(tmp_path, by_name, factory):
    """Rows 7 and 30 to 37 are row 3 once more: by their vectors, or by their names with other vectors."""
    made, copies = random_store(tmp_path), [7, *range(30, 38)]
    entries = json.loads(Path(made.metadata).read_text())
    group = zarr.open_group(made.url, mode="r+")
    for row in copies:
        if by_name:
            entries[row]["canonical_id"] = entries[3]["canonical_id"].replace("/", "\\") + " "
        else:
            for name in ("contextualized_panels", "strip_embeddings", "panel_masks"):
                group[name][row] = group[name][3]
            entries[row]["num_panels"] = entries[3]["num_panels"]
    Path(made.metadata).write_text(json.dumps(entries))
    others = set(range(50)) - {3, *copies}
    for query in ({"page": 3}, {"page": 3, "level": "panel"}, {"panel": (3, 0), "level": "strip"}):
        for k in (1, 5, 30):
            hits, _ = search(made.url, k=k, factory=factory, **query)
            assert len(hits) == k or factory != "Flat"
            assert {hit.row for hit in hits} <= others, query
    hits, _ = search(made.url, panel=(3, 0), k=60, factory=factory)
    assert not {(row, 0) for row in copies} & {(hit.row, hit.slot) for hit in hits}
    hits, _ = search(made.url, vector=made.strips[3], k=3, factory="Flat")
    assert hits[0].row == 3  # a vector is no page


def test_an_empty_slot_is_no_panel(made):
    row = int(np.flatnonzero(~made.mask[:, 4])[0])
    with pytest.raises(ComicSeqDataError, match=f"row {row} has no panel with a usable vector in slot 4"):
        search(made.url, panel=(row, 4))


def test_a_wrong_store_is_refused_in_one_sentence(tmp_path, monkeypatch):
    made = random_store(tmp_path)
    with pytest.raises(ComicSeqDataError, match="cannot be opened as a Zarr group"):
        search(str(tmp_path / "absent.zarr"), page=0)
    os.rename(made.metadata, tmp_path / "elsewhere.json")
    with pytest.raises(
        ComicSeqDataError, match="no .*stage5_metadata.json beside it: name its metadata with --metadata"
    ):
        search(made.url, page=0)
    other = write_store(tmp_path / "other", np.ones((60, 1, 8)), np.ones((60, 1), bool), np.zeros(60))
    with pytest.raises(ComicSeqDataError, match="sequence_index 50 is out of range; the store has rows 0 to 49"):
        search(made.url, other.metadata, page=0)
    group = zarr.open_group(made.url, mode="r+")
    group["panel_masks"][...] = False
    with pytest.raises(ComicSeqDataError, match="holds no strip that .* names: there is nothing to search"):
        search(made.url, str(tmp_path / "elsewhere.json"), page=0)
    del group["strip_embeddings"]
    with pytest.raises(ComicSeqDataError, match="no array 'strip_embeddings'"):
        search(made.url, page=0)
    del group["contextualized_panels"]
    with pytest.raises(ComicSeqDataError, match="neither 'contextualized_panels'"):
        search(made.url, page=0)
    empty = zarr.open_group(str(tmp_path / "empty.zarr"), mode="w")
    for name, shape in {"contextualized_panels": (0, 4, 8), "strip_embeddings": (0, 8), "panel_masks": (0, 4)}.items():
        empty.create_array(name, shape=shape, dtype="float32")
    with pytest.raises(ComicSeqDataError, match="is empty"):
        search(str(tmp_path / "empty.zarr"), page=0)
    monkeypatch.setattr(search_module, "find_spec", lambda name: None)
    with pytest.raises(ComicSeqDataError, match=r"pip install 'comicseq\[search\]'"):
        search(other.url, page=0)


def test_a_small_library_gives_what_there_is(made, tmp_path):
    assert len(search(made.url, page=3, k=50)[0]) == 49
    assert len(search(made.url, panel=(3, 0), level="strip", k=50)[0]) == 49
    hits, index = search(made.url, vector=np.ones(8), level="panel", k=1000)
    assert len(hits) == len(index)
    result = CliRunner().invoke(app, ["search", "--store", made.url, "--page", "3", "-k", "50"])
    assert result.exit_code == 0 and "49 results, as there are no more." in result.output
    alone = write_store(tmp_path / "alone", np.ones((1, 1, 8)), np.ones((1, 1), bool), np.zeros(1))
    with pytest.raises(ComicSeqDataError, match="has no other page: search a store of several"):
        search(alone.url, alone.metadata, page=0)


def test_the_command_prints_a_table_and_writes_json(made, tmp_path):
    output = tmp_path / "results" / "hits.json"
    result = CliRunner().invoke(
        app, ["search", "--store", made.url, "--panel", "3:0", "-k", "4", "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    written = json.loads(output.read_text())
    words = ["search", "--store", made.url, "--panel", "3:0", "-k", "4", "--output", str(output)]
    assert CliRunner().invoke(app, words).exit_code == 0  # its own
    output.write_text('{"store": 1}')
    assert "hits.json exists: name another file, or give --overwrite" in CliRunner().invoke(app, words).output
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    assert json.loads(output.read_text()) == written
    hits, _ = search(made.url, panel=(3, 0), k=4)
    assert [(hit["row"], hit["slot"]) for hit in written["results"]] == found(hits)
    assert set(written["results"][0]) == {"rank", "page_id", "book_id", "row", "slot", "score"}
    assert written["query"] == {"panel": "3:0", "level": "panel", "k": 4} and written["index"]["factory"] == "Flat"
    assert all(hit.book_id in result.output for hit in hits)

    np.save(tmp_path / "vector.npy", made.strips[2])
    result = CliRunner().invoke(
        app, ["search", "--store", made.url, "--vector", str(tmp_path / "vector.npy"), "-k", "1"]
    )
    assert result.exit_code == 0 and "1.000" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--panel", "3"], "write ROW:SLOT"),
        (["--vector", "absent.npy"], "absent.npy cannot be read"),
        (["--page", "0", "--panel", "0:0"], "name one query"),
        (["--page", "nowhere"], "has no page 'nowhere'"),
    ],
)
def test_the_command_ends_with_one_line(made, arguments, message):
    result = CliRunner().invoke(app, ["search", "--store", made.url, *arguments])
    assert result.exit_code == 1 and message in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
