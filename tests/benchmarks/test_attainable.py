"""The share of the attainable gain."""

import numpy as np
import pytest

from benchmarks.attainable import attainable_share

BOOKS = np.repeat(np.arange(40), 25)


def answers(seed: int, probability: float) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(BOOKS)) < probability).astype(float)


@pytest.mark.parametrize(("model", "share"), [("optimum", 1.0), ("chance", 0.0)])
def test_optimum_is_one_and_chance_is_zero_whatever_the_books(model, share):
    optimum, chance = answers(0, 0.9), np.full(len(BOOKS), 0.2)
    found = attainable_share({"optimum": optimum, "chance": chance}[model], chance, optimum, BOOKS)
    assert found == pytest.approx((share, share, share))


def test_a_model_that_answers_as_the_optimum_every_second_time():
    optimum, chance = answers(0, 0.9), np.full(len(BOOKS), 0.2)
    knows = answers(1, 0.5) == 1
    share, low, high = attainable_share(np.where(knows, optimum, chance), chance, optimum, BOOKS)
    assert low < 0.5 < high
    assert share == pytest.approx(0.5, abs=0.05)
    assert high - low < 0.15


def test_the_interval_covers_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        easy = np.repeat(generator.uniform(0.5, 1.0, 40), 25)  # books differ, and so do their questions
        optimum = (generator.random(len(BOOKS)) < easy).astype(float)
        model = np.where(generator.random(len(BOOKS)) < 0.6, optimum, 0.2)
        _, low, high = attainable_share(model, np.full(len(BOOKS), 0.2), optimum, BOOKS, resamples=400, seed=seed)
        covered += low <= 0.6 <= high
    assert 180 <= covered <= 199


def test_a_single_book_has_no_interval():
    share, low, high = attainable_share(np.ones(4), np.full(4, 0.2), np.ones(4), np.zeros(4))
    assert share == 1.0
    assert np.isnan([low, high]).all()
