from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV

from modeling_comicseq.evaluation.probe import Place, PlaceProbe, probe_places, probe_tables, sample_pages
from modeling_comicseq.evaluation.ridge import PENALTIES, BookRidge

from ..closeness import assert_close
from ..data.made_dataset import made_table

WIDTH = 32


def pages(seed: int, books: int = 12, num_pages: int = 96) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """A generator, the panels of each page and its book."""
    generator = np.random.default_rng(seed)
    return generator, generator.integers(2, 7, num_pages), np.sort(generator.integers(0, books, num_pages))


def slots_of(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.arange(count) for count in counts])


def composition(generator: np.random.Generator, third: np.ndarray) -> np.ndarray:
    """Seven features of a panel's composition through a random network, as fusing encoders have it; `third` is the third."""
    features = generator.standard_normal((len(third), 7)) / 2
    features[:, 2] = third
    hidden = np.maximum(features @ generator.standard_normal((7, 64)), 0) @ generator.standard_normal((64, WIDTH))
    return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)


def content(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.standard_normal((count, WIDTH)) / WIDTH**0.5


SEEDS = settings(max_examples=8, deadline=None, derandomize=True)


@SEEDS
@given(seed=st.integers(0, 2**32 - 1), of_panels=st.booleans())
def test_the_panel_s_number_in_a_feature_is_read_off(seed, of_panels):
    generator, counts, books = pages(seed)
    number = slots_of(counts) / (np.repeat(counts, counts) if of_panels else 1)
    vectors = content(generator, counts.sum()) / 4 + composition(generator, number)
    place = probe_places(vectors, counts, books)
    assert place.verdict == "readable" and 0.75 < place.low < place.pairs < place.high, place
    assert "every task that knows positions can be answered without reading the page" in place.sentence()


@SEEDS
@given(seed=st.integers(0, 2**32 - 1), with_number=st.booleans())
def test_vectors_without_a_number_and_shuffled_pages_are_not_cried_at(seed, with_number):
    generator, counts, books = pages(seed)
    number = slots_of(counts) if with_number else generator.standard_normal(counts.sum())
    vectors = content(generator, counts.sum()) + composition(generator, number)
    page = np.repeat(np.arange(len(counts)), counts)
    vectors = vectors[np.lexsort((generator.random(len(page)), page))]
    place = probe_places(vectors, counts, books)
    # A 95 % interval misses chance upwards once in forty.
    assert place.verdict in ("not readable", "hardly readable") and place.low < 0.55, place
    assert "can be read off" not in place.sentence()


def test_weak_cues_of_the_content_are_told_from_a_number():
    """Most pages open on a view of the place: surely above chance, and no number."""
    generator, counts, books = pages(0, books=60, num_pages=1200)
    slots = slots_of(counts)
    vectors = content(generator, len(slots))
    vectors[:, 0] += 0.1 * (slots == 0)
    place = probe_places(vectors, counts, books)
    assert place.verdict == "hardly readable" and 0.5 < place.low and place.pairs < 0.6, place
    assert "real comics" in place.sentence()


def test_wide_vectors_are_read_through_a_projection(monkeypatch):
    monkeypatch.setattr("modeling_comicseq.evaluation.probe.WIDEST", 24)
    generator, counts, books = pages(0, num_pages=300)
    noise = content(generator, counts.sum())
    vectors = noise / 4 + composition(generator, slots_of(counts))
    assert PlaceProbe(vectors, counts, books).ridge.weights[0].shape == (24, 1)
    assert probe_places(vectors, counts, books).verdict == "readable"
    assert probe_places(noise, counts, books).verdict == "not readable"


def test_verdicts_and_what_they_say():
    verdicts = [Place(low + 0.02, low, low + 0.04, 90, 12).verdict for low in (0.49, 0.51, 0.61, 0.76)]
    assert verdicts == ["not readable", "hardly readable", "partly readable", "readable"]
    place = Place(0.968, 0.95, 0.98, 90, 12)
    assert "96.8 [95.0, 98.0] % of the pairs" in place.sentence() and place.to_json()["verdict"] == "readable"
    assert "what the encoder was told of positions" in place.sentence(is_contextualised=True)


def test_few_pages_or_books_bear_no_verdict():
    _, counts, books = pages(0)
    vectors = np.random.default_rng(0).standard_normal((counts.sum(), 4))
    assert probe_places(vectors, counts, np.zeros(len(counts))) is None
    few = counts[:19]
    assert probe_places(vectors[: few.sum()], few, np.arange(19)) is None
    assert probe_places(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)) is None
    vectors[0] = np.nan  # a page that is damaged is left out
    assert probe_places(vectors, counts, books).pages == len(counts) - 1


def test_pages_are_sampled_from_all_over_the_splits(monkeypatch):
    # The vectors of these tables say which panel they are: its number is the fourth entry.
    tables = [made_table([[3, 4, 1], [5, 3]] * 6), made_table([[2] * 30])]
    vectors, counts, books = sample_pages(tables)
    assert len(counts) == 24 + 30 and len(vectors) == counts.sum() and (counts > 1).all()
    assert (vectors[:, 3] == slots_of(counts) + 1).all()
    assert probe_tables(tables).verdict == "readable"
    monkeypatch.setattr("modeling_comicseq.evaluation.probe.MOST_PAGES", 22)
    _, fewer, some_books = sample_pages(tables)
    assert len(fewer) <= 22 and len(set(some_books)) > 8


def test_a_page_is_put_in_order_by_books_that_are_not_its_own():
    generator, counts, books = pages(3)
    vectors = content(generator, counts.sum()) + composition(generator, slots_of(counts))
    names = np.asarray([f"book {book}" for book in books])
    probe = PlaceProbe(vectors, counts, names)
    panels = np.zeros((1, 7, WIDTH))
    own = vectors[: counts[0]][::-1]
    panels[0, : counts[0]] = own
    mask = (np.arange(7) < counts[0]).astype(np.int64)[None]
    (order,) = probe.orders({"panel_embeddings": panels, "attention_mask": mask, "book_ids": names[:1]})
    assert order.tolist() == np.argsort(probe.places(own, np.repeat(names[:1], counts[0]))).tolist()
    assert np.isfinite(probe.places(own, np.repeat("a book of none", counts[0]))).all()
    # Whatever stands in its own book, it is answered the same.
    mine = np.repeat(books, counts) == books[0]
    other = PlaceProbe(np.where(mine[:, None], generator.standard_normal(vectors.shape), vectors), counts, names)
    (again,) = other.orders({"panel_embeddings": panels, "attention_mask": mask, "book_ids": names[:1]})
    assert again.tolist() == order.tolist()


def test_the_ridge_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((60, 5))
    targets = inputs @ generator.standard_normal((5, 2)) + 3 * generator.standard_normal((60, 2))
    books = np.repeat([0, 1, 2], 20)
    ridge = BookRidge(inputs, targets, books)
    for book in range(3):
        rest = books != book
        scale = np.linalg.eigvalsh(inputs[rest].T @ inputs[rest]).mean()
        # Its generalised cross-validation leaves out one at a time: of the same kind, not the same.
        fits = [Ridge(alpha, fit_intercept=False).fit(inputs[rest], targets[rest]) for alpha in PENALTIES * scale]
        found = ridge.predict(inputs[~rest], books[~rest])
        errors = [np.abs(found - fit.predict(inputs[~rest])).max() for fit in fits]
        best = int(np.argmin(errors))
        assert_close(found, fits[best].predict(inputs[~rest]))
        theirs = RidgeCV(PENALTIES * scale, fit_intercept=False).fit(inputs[rest], targets[rest])
        assert abs(np.log10(theirs.alpha_ / (PENALTIES * scale)[best])) < 1.5


@pytest.mark.parametrize("noise", [True, False])
def test_noise_is_shrunk_to_nothing(noise):
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((80, 60))
    targets = generator.standard_normal((80, 1)) if noise else inputs[:, :1]
    found = BookRidge(inputs, targets, np.repeat(np.arange(8), 10)).predict(inputs, np.repeat(np.arange(8), 10))
    error, null = ((found - targets) ** 2).mean(), (targets**2).mean()
    assert error < 1.3 * null if noise else error < 0.3 * null
