from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.library.embedding_map import project
from modeling_comicseq.library.inspect import Report, _sample, inspect_store, inspect_stores
from modeling_comicseq.library.space import Space, SpaceGatherer
from modeling_comicseq.stores.vectors import VectorStore

from ..stores.vector_stores import Made, random_store, write_store

SHARED_DATA = os.environ.get("COMICSEQ_DATA", "")
WIDTH = 32
STORES = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def corpus(
    seed: int = 0, books: int = 24, pages: int = 8, slots: int = 6
) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """A generator, the mask (pages, slots) and the book of each page."""
    generator = np.random.default_rng(seed)
    mask = np.arange(slots) < generator.integers(2, slots + 1, books * pages)[:, None]
    return generator, mask, np.repeat(np.arange(books), pages)


def made_space(
    folder: Path, *, book: float, page: float, panel: float, common: float = 0.0, rank: int = WIDTH, **options
) -> Made:
    """A store whose panels are sums of a common, a book's, a page's and a panel's own part of these variances."""
    generator, mask, books = corpus(**options)
    directions = np.linalg.qr(generator.standard_normal((WIDTH, rank)))[0].T

    def part(variance: float, *shape: int) -> np.ndarray:
        return np.sqrt(variance / rank) * generator.standard_normal((*shape, rank)) @ directions

    panels = part(common, 1, 1) + part(book, books.max() + 1)[books][:, None] + part(page, len(books), 1)
    panels = panels + part(panel, *mask.shape)
    return write_store(folder, panels.astype(np.float32), mask, books)


def read(made: Made, **options) -> Report:
    return inspect_store(VectorStore.open(made.url), made.metadata, **options)[0]


# The three diagnoses, over strengths, sizes and seeds.


@STORES
@given(
    seed=st.integers(0, 2**32 - 1),
    book=st.floats(0.1, 0.5),
    page=st.floats(0, 0.3),
    common=st.floats(0, 3),
    rank=st.integers(8, WIDTH),
)
def test_spaces_with_books_pages_and_panels_are_healthy(tmp_path_factory, seed, book, page, common, rank):
    made = made_space(
        tmp_path_factory.mktemp("s"), book=book, page=page, panel=1 - book - page, common=common, rank=rank, seed=seed
    )
    report = read(made)
    assert report.diagnosis.verdict == "healthy", report.diagnosis
    assert "tends to belong together" in report.diagnosis.reading[0]


@STORES
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 0.01), book=st.floats(0, 0.5))
def test_vectors_that_are_all_alike_are_a_collapse(tmp_path_factory, seed, noise, book):
    # Whatever structure is left in so small a remainder.
    made = made_space(
        tmp_path_factory.mktemp("s"), common=1, book=noise * book, page=0, panel=noise * (1 - book), seed=seed
    )
    report = read(made)
    assert report.diagnosis.verdict == "collapsed", report.diagnosis
    assert report.diagnosis.reading[0].startswith("All panel vectors are nearly the same")
    assert "All strip vectors are nearly the same" in report.diagnosis.reading[1]


@STORES
@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 2), book=st.floats(0.1, 0.5))
def test_vectors_along_one_or_two_directions_are_a_collapse(tmp_path_factory, seed, rank, book):
    report = read(
        made_space(tmp_path_factory.mktemp("s"), book=book, page=0.1, panel=0.9 - book, rank=rank, seed=seed)
    )
    assert report.diagnosis.verdict == "collapsed"
    assert "directions of 32, fewer than 3" in report.diagnosis.reading[0]


@STORES
@given(
    seed=st.integers(0, 2**32 - 1),
    mark=st.floats(3, 1000),
    common=st.floats(0, 3),
    book=st.floats(0, 0.3),
)
def test_marks_of_pages_are_told_from_content(tmp_path_factory, seed, mark, common, book):
    # The content would be healthy by itself; the mark is `mark` times as strong.
    made = made_space(
        tmp_path_factory.mktemp("s"), book=book, page=mark, panel=1 - book, common=common * (1 + mark), seed=seed
    )
    report = read(made)
    assume(report.panels.between_books < 0.98)
    assert report.diagnosis.verdict == "page fingerprint", report.diagnosis
    assert "same mark of that page" in report.diagnosis.reading[0]


@STORES
@given(seed=st.integers(0, 2**32 - 1), mark=st.floats(0, 0.6))
def test_weak_marks_are_no_fingerprint(tmp_path_factory, seed, mark):
    report = read(made_space(tmp_path_factory.mktemp("s"), book=0.3, page=mark, panel=0.7, seed=seed))
    assert report.diagnosis.verdict == "healthy", report.diagnosis


def test_a_pure_fingerprint_says_nothing_of_the_book(tmp_path):
    report = read(made_space(tmp_path, book=0, page=0.99, panel=0.01))
    assert report.diagnosis.verdict == "page fingerprint"
    assert report.panels.within_pages > 0.98 and abs(report.panels.within_books - report.panels.between_books) < 0.02
    assert report.diagnosis.reading[2].endswith("the mark is arbitrary, it says nothing about the book.")


def test_a_page_that_stands_twice_is_not_its_own_neighbour(tmp_path):
    made = random_store(tmp_path / "one")  # vectors of noise: neighbours are of other books, but for copies
    panels, mask = (np.concatenate((each, each)) for each in (made.panels, made.mask))
    twice = write_store(tmp_path / "two", panels, mask, np.tile(np.arange(50) // 5, 2))
    once = write_store(tmp_path / "three", made.panels, made.mask, np.arange(50) // 5)
    assert read(twice).neighbours == read(once).neighbours


def test_places_that_can_be_read_off_are_told(tmp_path):
    made = made_space(tmp_path / "five", book=0.3, page=0.2, panel=0.5)
    panels = made.panels.copy()
    panels[..., 0] = np.arange(panels.shape[1]) / 4
    books = np.repeat(np.arange(24), 8)
    reports = [read(write_store(tmp_path / str(stage), panels, made.mask, books, stage=stage)) for stage in (3, 5)]
    assert reports[0].diagnosis.headline == "healthy, but places can be read off"
    assert "can be read off its vector" in reports[0].diagnosis.reading[0]
    # An encoder is told positions, and its vectors may know them.
    assert reports[1].diagnosis.headline == "healthy" and "the encoder was told" in reports[1].diagnosis.reading[-1]
    assert reports[0].place == reports[1].place and reports[0].place.verdict == "readable"
    assert read(made).place.verdict == "not readable"


def test_pages_without_panels_and_pages_that_stand_again_are_listed(tmp_path):
    made = random_store(tmp_path / "one")
    panels, mask = np.concatenate((made.panels, made.panels[:2])), np.concatenate((made.mask, made.mask[:2]))
    mask[[10, 11]] = False
    books = np.append(np.arange(50) // 5, [0, 9])  # one copy in its own book, one in another
    report = read(write_store(tmp_path / "two", panels, mask, books))
    names = [f"library/book {book}/page {row}.jpg" for row, book in enumerate(books)]
    found = [(each.kind, each.pages[0].page, each.of and each.of.page) for each in report.findings]
    assert found == [
        *(("no panel", names[row], None) for row in (10, 11)),
        *(("copy", names[row], names[row - 50]) for row in (50, 51)),
    ]
    assert "2 pages (no panel): pages without a panel, as 'library/book 2/page 10.jpg'." in report.diagnosis.reading
    sentence = report.diagnosis.reading[-1]
    assert "1 in their own book and 1 in another book" in sentence
    assert sentence.endswith(f"as {names[50]!r}, which is {names[0]!r}.")
    assert read(made).findings == []


def test_noise_is_not_healthy(tmp_path):
    verdicts = [
        read(made_space(tmp_path / str(seed), book=0, page=0, panel=1, seed=seed)).diagnosis.verdict
        for seed in range(8)
    ]
    # A 95 % interval misses chance upwards once in forty.
    assert verdicts.count("no book structure") >= 7


def test_books_without_pages_of_their_own_are_remarked(tmp_path):
    report = read(made_space(tmp_path, book=1, page=0.002, panel=0.002))
    assert report.diagnosis.verdict == "healthy"
    assert any("books are told apart, pages are not" in sentence for sentence in report.diagnosis.reading)


def test_a_collapse_of_the_strips_alone_is_seen(tmp_path):
    made = made_space(tmp_path, book=0.3, page=0.2, panel=0.5)
    array = zarr.open_group(made.url, mode="r+")["strip_embeddings"]
    array[...] = 1 + 0.01 * made.strips
    report = read(made)
    assert report.diagnosis.verdict == "collapsed"
    assert len([sentence for sentence in report.diagnosis.reading if "nearly the same" in sentence]) == 1


def test_too_little_is_undetermined(tmp_path):
    few = made_space(tmp_path / "few", book=0.3, page=0.2, panel=0.5, books=2, pages=5)
    one = made_space(tmp_path / "one", book=0.3, page=0.2, panel=0.5, books=1, pages=50)
    alone = made_space(tmp_path / "alone", book=0.3, page=0.2, panel=0.5, books=50, pages=1)
    for made, why in ((few, "at least 20 pages"), (one, "one book"), (alone, "Fewer than 3 books have two pages")):
        report = read(made)
        assert report.diagnosis.verdict == "undetermined" and why in report.diagnosis.reading[0]


def test_pages_of_one_panel_say_that_fingerprints_were_not_looked_for(tmp_path):
    generator, _, books = corpus()
    panels = generator.standard_normal((24, 1, WIDTH))[books] + generator.standard_normal((len(books), 1, WIDTH))
    report = read(write_store(tmp_path, panels, np.ones((len(books), 1), bool), books))
    assert report.diagnosis.verdict == "healthy" and report.panels.within_pages is None
    assert "No page has two panels" in report.diagnosis.reading[2]


# The measures, against plain computations.


def brute_force(vectors: np.ndarray, pages: np.ndarray, books: np.ndarray) -> tuple[float, float, float]:
    cosines = cosine_similarity(vectors)
    np.fill_diagonal(cosines, np.nan)
    same_page, same_book = pages[:, None] == pages, books[:, None] == books
    within_pages = [
        np.nanmean(cosines[np.ix_(pages == page, pages == page)]) for page in set(pages) if sum(pages == page) > 1
    ]
    within_books = [
        np.mean(cosines[(books == book)[:, None] & same_book & ~same_page])
        for book in set(books)
        if len(set(pages[books == book])) > 1
    ]
    return float(np.mean(within_pages)), float(np.mean(within_books)), float(np.mean(cosines[~same_book]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_measures_are_those_of_all_pairs_however_the_blocks_are_cut(seed, cuts):
    generator = np.random.default_rng(seed)
    pages = np.sort(generator.integers(0, 20, 60))
    pages[:2] = pages[0]  # there is a page with two panels
    books = pages // 3
    vectors = generator.standard_normal((7, 5))[books] + generator.standard_normal((60, 5)) + 0.5
    vectors = vectors.astype(np.float32)
    assume(any(len(set(pages[books == book])) > 1 for book in books) and len(set(books)) > 1)
    gatherer = SpaceGatherer(5)
    for block in np.split(np.arange(60), sorted(cuts)):
        gatherer.add(vectors[block], pages[block], books[block])
    space = gatherer.finish()
    measured = (space.within_pages, space.within_books, space.between_books)
    assert measured == pytest.approx(brute_force(vectors, pages, books), abs=1e-5)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    variances = PCA().fit(units).explained_variance_
    assert space.effective_rank == pytest.approx(np.exp(entropy(variances)), rel=1e-3)


def test_variance_shares_are_those_the_space_was_made_with(tmp_path):
    report = read(made_space(tmp_path, book=0.25, page=0.35, panel=0.4, books=120, pages=10))
    assert report.panels.shares == pytest.approx((0.25, 0.35, 0.4), abs=0.03)
    assert sum(report.panels.shares) == pytest.approx(1)


def test_unusable_vectors_copies_and_dead_dimensions_are_counted():
    vectors = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    vectors[:, 2] = 0.25
    vectors[3] = vectors[9] = vectors[4]
    vectors[20] = 0
    vectors[21, 0] = np.nan
    vectors[22, 1] = np.inf
    gatherer = SpaceGatherer(6)
    gatherer.add(vectors, np.arange(40), np.arange(40) // 4)
    space = gatherer.finish()
    assert (space.vectors, space.usable, space.zero, space.not_finite) == (40, 37, 1, 2)
    assert (space.duplicates, space.constant_dimensions) == (3, 1)
    assert np.isfinite([space.effective_rank, space.within_books, space.between_books]).all()


def test_faults_are_remarked(tmp_path):
    made = made_space(tmp_path, book=0.3, page=0.2, panel=0.5)
    array = zarr.open_group(made.url, mode="r+")["strip_embeddings"]
    strips = made.strips.copy()
    strips[0], strips[1], strips[:, 5] = np.nan, 0, 0
    strips[100:140] = strips[99]
    array[...] = strips
    report = read(made)
    assert report.diagnosis.headline.startswith("damaged, what is left is ")
    assert report.diagnosis.reading[0].startswith("1 strip vectors hold NaN")
    text = " ".join(report.diagnosis.reading)
    assert "1 strip vectors hold NaN" in text and "1 strip vectors are all zero" in text
    assert "1 of 32 dimensions of the strip vectors have one value throughout" in text
    assert "22 % of the strip vectors are exact copies" in text and "panel vectors are exact" not in text


def test_a_narrow_cone_is_remarked_but_no_collapse(tmp_path):
    report = read(made_space(tmp_path, common=19, book=0.3, page=0.2, panel=0.5))
    assert report.diagnosis.verdict == "healthy"
    assert any("narrow cone" in sentence for sentence in report.diagnosis.reading)


def test_samples_are_whole_books_up_to_a_share(tmp_path):
    sizes = np.asarray([300, *[10] * 200])
    books = np.random.default_rng(1).permutation(np.repeat(np.arange(201), sizes))
    chosen = _sample(books, 800, seed=3)
    assert (np.diff(chosen) > 0).all() and 700 < len(chosen) <= 800
    counts = np.bincount(books[chosen], minlength=201)
    assert counts[0] in (0, 40) and set(counts[1:]) == {0, 10}
    assert chosen.tolist() == _sample(books, 800, seed=3).tolist() != _sample(books, 800, seed=4).tolist()
    assert _sample(books, 2300, seed=0).tolist() == list(range(2300))


def test_a_sample_reads_as_the_whole(tmp_path):
    made = made_space(tmp_path, book=0.3, page=0.2, panel=0.5, books=150)
    whole, part = read(made), read(made, pages=400, seed=1)
    assert whole.seed is None and (part.seed, part.pages, part.books) == (1, 1200, 150)
    assert 350 < part.sampled_pages <= 400 and part.diagnosis.verdict == whole.diagnosis.verdict == "healthy"
    assert part.panels.within_pages == pytest.approx(whole.panels.within_pages, abs=0.03)
    assert part.panels.effective_rank == pytest.approx(whole.panels.effective_rank, rel=0.05)


def test_the_map_is_that_of_scikit_learn_up_to_direction():
    vectors = np.random.default_rng(0).standard_normal((50, 6)) * [5, 3, 1, 1, 1, 1]
    points, explained = project(vectors)
    pca = PCA(2).fit(vectors)
    assert np.abs(points) == pytest.approx(np.abs(pca.transform(vectors)), abs=1e-9)
    assert explained == pytest.approx(pca.explained_variance_ratio_)


# The command.


@pytest.mark.slow
def test_stores_are_reported_side_by_side(tmp_path):
    healthy = made_space(tmp_path / "healthy", book=0.3, page=0.2, panel=0.5)
    collapsed = made_space(tmp_path / "collapsed", common=1, book=0, page=0, panel=0.001)
    marked = made_space(tmp_path / "marked", book=0, page=0.95, panel=0.05)
    stage3 = write_store(tmp_path / "stage3", healthy.panels, healthy.mask, np.repeat(np.arange(24), 8), stage=3)
    output = tmp_path / "out" / "inspection"
    urls = [made.url for made in (healthy, collapsed, marked, stage3)]
    result = CliRunner().invoke(app, ["inspect", *urls, "--output", str(output)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    written = json.loads((output / "inspect.json").read_text())["stores"]
    verdicts = [each["diagnosis"]["verdict"] for each in written]
    assert verdicts == ["healthy", "collapsed", "page fingerprint", "healthy"]
    assert [each["stage"] for each in written] == [5, 5, 5, 3]
    # The strips of Stage 3 are the means that the made Stage 5 store holds.
    for key, value in written[0]["strips"].items():
        assert written[3]["strips"][key] == pytest.approx(value, abs=1e-5)
    assert sum(written[0]["panels"]["variance_shares"].values()) == pytest.approx(1)
    assert set(written[0]["neighbours"]) == {"same_book", "low", "high", "chance", "pages", "books"}
    for made, verdict in zip((healthy, collapsed, marked), verdicts, strict=False):
        assert f"{Path(made.url).parent.name}/stage5.zarr: {verdict}" in result.output.replace("\n", "")
    lost = [
        each["diagnosis"]["reading"][-1].startswith("Its nearest pages are of the same book less") for each in written
    ]
    assert lost == [False, True, True, False]
    assert (output / "map.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and (
        output / "map.png"
    ).stat().st_size > 20_000
    assert {path.name for path in output.iterdir()} == {"inspect.json", "map.png", "findings.json"}


def test_the_default_place_is_beside_the_store_and_metadata_may_be_named(tmp_path):
    made = random_store(tmp_path)
    named = Path(made.metadata).rename(tmp_path / "named.json")
    with pytest.raises(ComicSeqDataError, match="stage5_metadata.json beside it: name its metadata with --metadata"):
        inspect_stores([made.url])
    reports, folder = inspect_stores([made.url, made.url], [str(named)])
    assert folder == tmp_path / "stage5.inspect" and len(reports) == 2
    with pytest.raises(ComicSeqArgumentError, match="2 metadata files for 3 stores"):
        inspect_stores([made.url] * 3, [str(named)] * 2)


@pytest.mark.parametrize("fault", ["no store", "no panels", "no books"])
def test_what_cannot_be_inspected_ends_with_one_line(tmp_path, fault):
    made = random_store(tmp_path)
    url = made.url
    if fault == "no store":
        url = str(tmp_path / "absent.zarr")
    elif fault == "no panels":
        zarr.open_group(url, mode="r+")["panel_masks"][...] = False
    else:
        Path(made.metadata).write_text('[{"sequence_index": 0, "num_panels": 1}]')
    result = CliRunner().invoke(app, ["inspect", url])
    expected = {"no store": "cannot be opened", "no panels": "no page with panels", "no books": "'book_id' is missing"}
    assert result.exit_code == 1 and expected[fault] in result.stderr and result.stderr.count("\n") == 1


def test_all_vectors_unusable_is_undetermined_not_a_crash(tmp_path):
    made = random_store(tmp_path)
    group = zarr.open_group(made.url, mode="r+")
    group["strip_embeddings"][...] = np.nan
    group["contextualized_panels"][...] = 0
    (report,), folder = inspect_stores([made.url])
    assert report.diagnosis.verdict == "undetermined" and report.strips.usable == 0
    assert json.loads((folder / "inspect.json").read_text())["stores"][0]["neighbours"] is None


@pytest.mark.skipif(not SHARED_DATA, reason="COMICSEQ_DATA names no folder with the stores of real comics")
@pytest.mark.parametrize("name", ["comics_text", "peppercarrot"])
def test_real_comics_are_healthy(name):
    folder = Path(SHARED_DATA) / "stage3" / name
    store = VectorStore.open(folder / "stage3_embeddings.zarr")
    report, _ = inspect_store(store, str(folder / "stage3_metadata.json"), pages=1000)
    assert report.diagnosis.verdict == "healthy", report.diagnosis


def test_shares_of_equal_vectors_do_not_exist():
    assert Space(4, 3, 0, 0, 4, 3, 1.0, 1.0, 1.0, 1.0).shares is None
