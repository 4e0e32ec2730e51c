from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError
from modeling_comicseq.library.index import Index, build, build_index, engine, open_index
from modeling_comicseq.library.index.filters import compile_filter
from modeling_comicseq.library.search import parse_panel

from ..closeness import assert_close
from ..stores.vector_stores import Made, random_store, write_store


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return random_store(tmp_path_factory.mktemp("made"))


def indexed(made: Made, **options) -> Index:
    """The index of a store, beside it."""
    folder = Path(made.url).parent / "index"
    build_index(made.url, folder, overwrite=True, progress=False, **options)
    return open_index(folder)


@pytest.fixture(scope="module")
def index(made) -> Index:
    return indexed(made)


def found(hits) -> list[tuple[int, int | None]]:
    return [(hit.row, hit.slot) for hit in hits]


def ranked(cosines: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-cosines, kind="stable")[:k]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 49), k=st.integers(1, 49))
def test_pages_near_a_page_are_those_of_brute_force(made, index, row, k):
    cosines = cosine_similarity(made.strips[[row]], made.strips)[0]
    cosines[row] = -2
    expected = ranked(cosines, k)
    for page in (made.ids[row], row, str(row)):
        hits = index.search(page=page, k=k)
        assert found(hits) == [(each, None) for each in expected]
    assert_close([hit.score for hit in hits], cosines[expected])
    assert [hit.rank for hit in hits] == list(range(1, k + 1))
    assert [hit.page_id for hit in hits] == [made.ids[each] for each in expected]
    assert [hit.book_id for hit in hits] == [made.books[each] for each in expected]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 49), data=st.data())
def test_panels_and_pages_near_a_panel(made, index, row, data):
    slot = data.draw(st.integers(0, int(made.mask[row].sum()) - 1))
    rows, slots = np.nonzero(made.mask)
    cosines = cosine_similarity(made.panels[row, slot][None], made.panels[rows, slots])[0]
    itself = (rows == row) & (slots == slot)
    panels = ranked(np.where(itself, -2, cosines), 12)
    hits = index.search(panel=(row, slot), k=12)
    assert found(hits) == list(zip(rows[panels], slots[panels], strict=True))

    best = np.asarray([cosines[rows == page].max() if page != row else -2 for page in range(50)])
    pages = ranked(best, 49 if row % 2 else 7)
    hits = index.search(panel=(row, slot), level="strip", k=len(pages))
    assert [hit.row for hit in hits] == pages.tolist()
    assert_close([hit.score for hit in hits], best[pages])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 49))
def test_panels_near_a_page_are_near_one_of_its_panels_and_none_of_them(made, index, row):
    rows, slots = np.nonzero(made.mask)
    cosines = cosine_similarity(made.panels[row][made.mask[row]], made.panels[rows, slots]).max(axis=0)
    cosines[rows == row] = -2
    expected = ranked(cosines, 20)
    hits = index.search(page=row, level="panel", k=20)
    assert found(hits) == list(zip(rows[expected], slots[expected], strict=True))


def test_a_vector_finds_what_it_came_from(made, index):
    for vector in (7 * made.strips[3], made.strips[[3]].astype(np.float16), made.strips[3].astype(float)):
        hits = index.search(vector=vector, k=50)
        assert hits[0].row == 3 and hits[0].score == pytest.approx(1, abs=1e-5) and len(hits) == 50
    hits = index.search(vector=made.panels[4, 0], level="panel", k=1)
    assert found(hits) == [(4, 0)]


def test_a_stage_3_store_is_searched_by_the_means_of_its_panels(tmp_path):
    made = random_store(tmp_path, stage=3)
    means = np.asarray([page[real].mean(axis=0) for page, real in zip(made.panels, made.mask, strict=True)])
    cosines = cosine_similarity(means[[6]], means)[0]
    cosines[6] = -2
    hits = indexed(made).search(page=6, k=9)
    assert [hit.row for hit in hits] == ranked(cosines, 9).tolist()


def clustered_store(folder: Path) -> Made:
    """Pages around the centres of their books, as a real corpus has them."""
    generator = np.random.default_rng(0)
    books = np.repeat(np.arange(60), 20)
    panels = generator.standard_normal((60, 1, 24))[books] + 0.7 * generator.standard_normal((len(books), 2, 24))
    return write_store(folder, panels.astype(np.float16), np.ones((len(books), 2), bool), books, chunk_rows=256)


def test_many_vectors_are_clustered_and_the_nearest_still_found(tmp_path, monkeypatch):
    made = clustered_store(tmp_path)
    monkeypatch.setattr(build, "EXACT_ROWS", 1000)
    index = indexed(made)
    assert [each.index_type for each in index.strips.list_indices() if each.columns == ["vector"]]
    strips, overlap = made.strips.astype(np.float32), []
    for row in range(0, 1200, 60):
        cosines = cosine_similarity(strips[[row]], strips)[0]
        cosines[row] = -2
        hits = index.search(page=row, k=10)
        overlap.append(len({hit.row for hit in hits} & set(ranked(cosines, 10).tolist())) / 10)
    assert np.mean(overlap) > 0.95
    cosines = np.where(np.arange(1200) // 20 % 3 == 1, cosines, -2)
    hits = index.search(
        page=1140, where="book_id in (" + ", ".join(f"'book {book}'" for book in range(1, 60, 3)) + ")"
    )
    assert [hit.row for hit in hits] == ranked(cosines, 10).tolist(), "of few rows every one is compared"
    hits = index.search(page=1140, where="page_index < 19")  # of many, clusters
    assert len(hits) == 10 and all(hit.fields["page_index"] < 19 for hit in hits)


def test_zeros_nan_empty_pages_and_unnamed_rows_are_not_found(tmp_path):
    made = random_store(tmp_path)
    group = zarr.open_group(made.url, mode="r+")
    group["strip_embeddings"][0] = 0
    group["strip_embeddings"][1] = np.nan
    group["panel_masks"][2] = False
    entries = json.loads(Path(made.metadata).read_text())
    del entries[3]
    Path(made.metadata).write_text(json.dumps(entries))
    index = indexed(made)
    hits = index.search(vector=np.ones(8), k=50)
    assert {hit.row for hit in hits} == set(range(4, 50))
    assert len(index) == 49 and index.about["counts"]["pages_without_vector"] == 3
    with pytest.raises(ComicSeqDataError, match="row 1 has no strip with a usable vector"):
        index.search(page=1)
    with pytest.raises(ComicSeqDataError, match="no row 3"):
        index.search(page=3)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"page": "library/book 3/page 17.jpeg"}, "did you mean 'library/book 3/page 17.jpg'"),
        ({"page": "library/bok 3/page 17.jpg"}, "did you mean 'library/book 3/page 17.jpg'"),
        ({"page": "nothing like it"}, "its ids look like 'library/book 0/page 0.jpg'"),
        ({"page": "50"}, "no row 50: it has 50 pages"),
        ({"panel": (3, 5)}, "row 3 has no panel with a usable vector in slot 5"),
        ({"panel": (-1, 0)}, "no page '-1'"),
        ({"vector": np.ones(7)}, r"shape \(7,\) but the vectors of .* are 8 wide"),
        ({"vector": np.ones((2, 8))}, r"shape \(2, 8\)"),
        ({"vector": np.asarray([np.nan] * 8)}, "NaN or infinity"),
        ({"vector": np.zeros(8)}, "all zero"),
        ({"vector": np.asarray(["a"] * 8)}, "dtype <U1"),
        ({"page": 3, "k": 0}, "k is 0 but must be at least 1"),
        ({"page": 3, "level": "page"}, "level 'page' is not possible: give strip, panel or book"),
        ({}, "name what to search for"),
        ({"words": "hello"}, "holds no texts to look for words in"),
        ({"text": "hello"}, "does not say which encoder made its panel vectors"),
        ({"text": " "}, "the text to search for is empty"),
        ({"image": __file__}, "test_search.py. is no picture"),
        ({"image": "absent.png"}, "'absent.png' is no file"),
        ({"image": "/dev/zero"}, "'/dev/zero' is no file"),
        ({"image": b"no picture"}, "the picture is no picture"),
        ({"page": 3, "space": "encoder"}, "no vectors of the panel encoder: make it with --embeddings"),
        ({"vector": np.ones(8), "other_books": True}, "ask for a page or a panel"),
    ],
)
def test_a_wrong_query_is_refused_in_one_sentence(index, query, message):
    with pytest.raises(ComicSeqError, match=message) as refused:
        index.search(**query)
    assert "\n" not in str(refused.value)


def test_a_page_is_found_in_any_spelling(tmp_path):
    made = random_store(tmp_path, pages=12)
    entries = json.loads(Path(made.metadata).read_text())
    entries[3]["canonical_id"] = "library/Ode\u0301/Zo\u00e9.jpg"
    Path(made.metadata).write_text(json.dumps(entries))
    index = indexed(made)
    expected = index.search(page=3, k=5)
    for page in (
        "library/Ode\u0301/Zo\u00e9.jpg",
        " library/Od\u00e9/Zoe\u0301.jpg",
        "library\\Od\u00e9 \\Zo\u00e9.jpg",
        " 3 ",
    ):
        assert index.search(page=page, k=5) == expected
    with pytest.raises(ComicSeqDataError, match="has no page 'library/od\u00e9/Zo\u00e9.jpg'"):  # upper case stays
        index.search(page="library/od\u00e9/Zo\u00e9.jpg")


@pytest.mark.parametrize("by_name", [False, True])
def test_a_page_that_stands_twice_does_not_find_itself(tmp_path, by_name):
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
    index = indexed(made)
    others = set(range(50)) - {3, *copies}
    for query in ({"page": 3}, {"page": 3, "level": "panel"}, {"panel": (3, 0), "level": "strip"}):
        for k in (1, 5, 30):
            hits = index.search(k=k, **query)
            assert len(hits) == k and {hit.row for hit in hits} <= others, query
    hits = index.search(panel=(3, 0), k=60)
    assert not {(row, 0) for row in copies} & {(hit.row, hit.slot) for hit in hits}
    hits = index.search(vector=made.strips[3], k=3)
    assert hits[0].row == 3  # a vector is no page


def test_books_are_their_best_pages_and_the_own_book_is_left_out_on_request(made, index):
    cosines = cosine_similarity(made.strips[[12]], made.strips)[0]
    cosines[12] = -2
    hits = index.search(page=12, level="book", k=20)
    best = {book: max(cosines[row] for row in range(50) if made.books[row] == book) for book in set(made.books)}
    assert [hit.book_id for hit in hits] == sorted(best, key=lambda book: -best[book])
    assert_close([hit.score for hit in hits], sorted(best.values(), reverse=True))
    hits = index.search(page=12, k=50, other_books=True)
    assert len(hits) == 45 and "book 2" not in {hit.book_id for hit in hits}
    hits = index.search(panel=(12, 0), k=200, other_books=True, where="num_panels > 2")
    assert {hit.row for hit in hits} == {row for row in range(50) if made.mask[row].sum() > 2 and row // 5 != 2}


def test_of_several_queries_the_mean_of_unit_vectors_counts(made, index):
    query = made.strips[4] / np.linalg.norm(made.strips[4]) + made.strips[9] / np.linalg.norm(made.strips[9])
    cosines = cosine_similarity(query[None], made.strips)[0]
    cosines[4] = -2
    hits = index.search(page=4, vector=50 * made.strips[9], k=10)
    assert [hit.row for hit in hits] == ranked(cosines, 10).tolist()
    assert_close([hit.score for hit in hits], cosines[ranked(cosines, 10)])


# Names that files have, and names that try to be more than a name.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(
    ["' or 1=1 --", "a' or ''='", "'; drop table strips; --", "\\'", "%", "_", "`row`", '"', "''", "a\x00b", "\u2028"]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_whatever_an_id_holds_it_is_a_name_and_nothing_more(made, index, name):
    known = set(made.ids)
    try:
        hits = index.search(page=name, k=3)
    except ComicSeqDataError as error:
        assert "has no page" in str(error) or "has no row" in str(error)
    else:
        assert name.strip().isdecimal() and len(hits) == 3
    with pytest.raises(ComicSeqDataError, match="has no book"):
        index.pages(name)
    assert {page["page_id"] for page in index.pages()} == known
    value = name.replace("'", "''")
    assert index.search(page=0, where=f"book_id = '{value}'") == []
    assert len(index.search(page=0, where=f"book_id <> '{value}'", k=60)) == 49


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=4, max_size=4, unique_by=lambda name: name.strip().casefold()))
def test_odd_names_are_found_by_themselves_alone(tmp_path_factory, names):
    names = [name for name in names if name.strip()]
    folder = tmp_path_factory.mktemp("odd")
    made = write_store(
        folder,
        np.eye(len(names) or 1, 8)[:, None],
        np.ones((len(names) or 1, 1), bool),
        np.zeros(len(names) or 1, int),
    )
    entries = [
        {"sequence_index": row, "num_panels": 1, "book_id": name, "page_name": "p", "canonical_id": f"{name}/p"}
        for row, name in enumerate(names)
    ]
    if not entries:
        return
    Path(made.metadata).write_text(json.dumps(entries))
    index = indexed(made)
    for row, name in enumerate(names):
        assert index.page(f"{name}/p")["row"] == row
        assert [page["row"] for page in index.pages(name)] == [row]
        hits = index.search(page=row, other_books=True, k=9)
        assert row not in {hit.row for hit in hits} and len(hits) == len(names) - 1


@pytest.mark.parametrize(
    "where",
    [
        "1=1; drop table strips", "row > ?", "row > $1", "(select 1) = 1", "row = 1 union select 1", "row > 3) or (1 = 1",
        "row > 3 -- and", "row > 3 /* ", "bok = 'x'", "book_id = 3", "row like 'a'", "book_id =", "book_id", "", "  ",
        "read_csv('/etc/passwd') = 'x'", "repeat(book_id, 1000000000) = 'x'", "sleep(5) = 1", "book_id = 'x", "`x` = 1",
        "(" * 100 + "row" + ")" * 100 + " = 1", " or ".join(["row = 1"] * 2000), "row in (" + "1," * 60000 + "1)",
        "vector is not null", "digest = 1", "row = 1 \\ 2", "row = \x00", "lower(1, 2) = 'a'", "lower = 'a'", "'a'",
        "row > 3 -- and row < 5\n", "row > 3 /* and row < 5 */", "row % 0 = 1", "row / 0 > 1",
    ],
)  # fmt: skip
def test_a_filter_that_is_none_is_refused_in_one_sentence(index, where):
    with pytest.raises(ComicSeqArgumentError, match="filter") as refused:
        index.search(page=3, where=where)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 700 and ".rs" not in str(refused.value)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("row in (1, 2, 3)", {1, 2}),
        ("ROW < 3 AND NOT (row = 1)", {0, 2}),
        ("`book_id` = 'book 1' and page_index between 1 and 2", {6, 7}),
        ("lower(page_name) like 'page 4_.jpg' or row = 0", {0, *range(40, 50)}),
        ("starts_with(page_id, 'library/book 9/') and row * 2 >= 92 and reading_direction is null", {46, 47, 48, 49}),
    ],
)
def test_a_filter_says_which_pages_are_looked_among(index, where, rows):
    assert {hit.row for hit in index.search(page=3, where=where, k=50)} == rows
    assert compile_filter(where, index.columns()).startswith("(")


def test_a_wrong_store_is_refused_in_one_sentence(tmp_path, monkeypatch):
    made = random_store(tmp_path)

    def refused(store: str, message: str, metadata: str | None = None) -> None:
        with pytest.raises(ComicSeqDataError, match=message):
            build_index(store, tmp_path / "index", metadata=metadata, progress=False)
        assert not (tmp_path / "index").exists() and not (tmp_path / ".index.partial").exists()

    refused(str(tmp_path / "absent.zarr"), "cannot be opened as a Zarr group")
    Path(made.metadata).rename(tmp_path / "elsewhere.json")
    refused(made.url, "no .*stage5_metadata.json beside it: name its metadata with --metadata")
    other = write_store(tmp_path / "other", np.ones((60, 1, 8)), np.ones((60, 1), bool), np.zeros(60))
    refused(made.url, "sequence_index 50 is out of range; the store has rows 0 to 49", other.metadata)
    group = zarr.open_group(made.url, mode="r+")
    group["panel_masks"][...] = False
    refused(made.url, "no strip vector but zeros and NaN", str(tmp_path / "elsewhere.json"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("a chapter")
    with pytest.raises(ComicSeqDataError, match="notes exists and is no index"):
        build_index(other.url, tmp_path / "notes", overwrite=True, progress=False)
    for path in ("notes", "absent", "other/stage5.zarr"):
        with pytest.raises(ComicSeqDataError, match="is no (complete )?index: make"):
            open_index(tmp_path / path)
    assert sorted(path.name for path in (tmp_path / "notes").iterdir()) == ["mine.txt"]
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(ComicSeqDataError, match=r"pip install 'comicseq\[search\]'"):
        open_index(tmp_path / "other")


def test_a_damaged_index_says_what_to_do(tmp_path):
    index = indexed(random_store(tmp_path))
    for path in sorted(Path(index.url, "strips.lance", "data").iterdir()):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ComicSeqDataError, match="make it again with `comicseq index --overwrite`"):
        open_index(index.url).search(page=3)


def run(*words: object):
    return CliRunner().invoke(app, ["search", *map(str, words)], env={"COLUMNS": "300"})


def test_a_small_library_gives_what_there_is(made, index, tmp_path):
    assert len(index.search(page=3, k=50)) == 49
    assert len(index.search(panel=(3, 0), level="strip", k=50)) == 49
    assert len(index.search(vector=np.ones(8), level="panel", k=1000)) == made.mask.sum()
    result = run("--index", index.url, "--page", 3, "-k", 50)
    assert result.exit_code == 0 and "49 results, as there are no more." in result.output
    alone = write_store(tmp_path / "alone", np.ones((1, 1, 8)), np.ones((1, 1), bool), np.zeros(1))
    assert indexed(alone).search(page=0) == []


def test_the_command_prints_a_table_and_writes_json(made, index, tmp_path):
    output = tmp_path / "results" / "hits.json"
    words = ["--index", index.url, "--panel", f"{made.ids[3]}:0", "-k", 4, "--output", output]
    result = run(*words)
    assert result.exit_code == 0, result.output
    written = json.loads(output.read_text())
    assert run(*words).exit_code == 0  # its own
    output.write_text('{"store": 1}')
    assert "hits.json exists: name another file, or give --overwrite" in run(*words).output
    assert run(*words, "--overwrite").exit_code == 0
    assert json.loads(output.read_text()) == written
    hits = index.search(panel=(3, 0), k=4)
    assert [(hit["row"], hit["slot"]) for hit in written["results"]] == found(hits)
    assert set(written["results"][0]) == {"rank", "page_id", "book_id", "row", "slot", "score", "fields"}
    assert written["query"]["panel"] == f"{made.ids[3]}:0" and written["about"]["pages"] == 50
    assert all(hit.book_id in result.output for hit in hits)
    np.save(tmp_path / "vector.npy", made.strips[2])
    result = run("--index", index.url, "--vector", tmp_path / "vector.npy", "-k", 1)
    assert result.exit_code == 0 and "1.000" in result.output


def test_a_query_in_brackets_is_shown_as_it_is(made, index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("[").mkdir()
    np.save("[/a].npy", made.strips[2])
    result = run("--index", index.url, "--vector", "[/a].npy", "-k", 1)
    assert result.exit_code == 0 and "nearest to vector [/a].npy" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--panel", "3"], "write ROW:SLOT or PAGE:SLOT"),
        (["--vector", "absent.npy"], "absent.npy cannot be read"),
        (["--page", "nowhere"], "has no page 'nowhere'"),
        (["--page", "3", "--contact-sheet", "out.png"], "holds no pictures: make it with --pages"),
        (["--store", "stage5.zarr"], "make one with `comicseq index --store stage5.zarr --output INDEX`"),
    ],
)
def test_the_command_ends_with_one_line(index, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run("--index", index.url, *arguments)
    assert result.exit_code == 1 and message in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_page_may_have_colons_in_its_name():
    assert parse_panel("a:b/c:2") == ("a:b/c", 2) and parse_panel("12:0") == ("12", 0)
    for text in ("a:", ":3", "a:-1", "-1:0", "a:b", "a:²"):
        with pytest.raises(ComicSeqArgumentError, match="names no panel"):
            parse_panel(text)
