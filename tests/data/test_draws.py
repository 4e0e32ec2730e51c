from __future__ import annotations

import numpy as np
from scipy import stats

from modeling_comicseq.data.draws import Draws


def test_draws_are_frozen():
    # Other numbers here would draw other questions for every published result.
    values = Draws(seed=1, epoch=2, rows=np.asarray([0, 7])).uniform("asked", 2)
    assert values.tolist() == [[0.33946496294066575, 0.6748174458249547], [0.49352752576102754, 0.9997947389776539]]


def test_draws_of_a_row_do_not_depend_on_the_batch():
    rows = np.arange(100)
    whole = Draws(3, 4, rows).uniform("x", 5)
    part = Draws(3, 4, rows[40:43]).uniform("x", 3)
    assert np.array_equal(whole[40:43, :3], part)


def test_seed_epoch_row_and_purpose_all_matter():
    base = Draws(0, 0, np.asarray([0])).uniform("x", 8)
    others = [
        Draws(1, 0, np.asarray([0])).uniform("x", 8),
        Draws(0, 1, np.asarray([0])).uniform("x", 8),
        Draws(0, 0, np.asarray([1])).uniform("x", 8),
        Draws(0, 0, np.asarray([0])).uniform("y", 8),
    ]
    assert all(not np.isclose(base, other).any() for other in others)


def test_draws_are_uniform_and_uncorrelated():
    values = Draws(0, 0, np.arange(20000)).uniform("x", 4)
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(np.column_stack((values[:-1], values[1:])).T)
    assert np.abs(correlation - np.eye(8)).max() < 0.04


def test_integer_reaches_every_value_below():
    below = np.full(3000, 7)
    assert set(Draws(0, 0, np.arange(3000)).integer("x", below)) == set(range(7))
