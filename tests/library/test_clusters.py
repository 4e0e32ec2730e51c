import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from modeling_comicseq.library import clusters
from modeling_comicseq.library.clusters import Clusters, nearest
from modeling_comicseq.vectors import unit


def groups(count: int, each: int, width: int = 24, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around `count` centres, and the group of each."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(count), each)
    centres = unit(generator.standard_normal((count, width)))
    return unit(centres[labels] + noise * generator.standard_normal((len(labels), width)) / width**0.5), labels


def everything(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(len(vectors), bool), np.arange(len(vectors))


def test_clusters_are_the_groups_and_the_largest_comes_first():
    vectors, labels = groups(6, 50)
    vectors, labels = vectors[20:], labels[20:]
    found = Clusters.fit(vectors, 6).label(vectors)
    assert adjusted_rand_score(labels, found) == 1
    assert np.bincount(found).tolist() == [50] * 5 + [30]
    assert (found == Clusters.fit(vectors, 6).label(vectors)).all()


def test_fewer_vectors_than_clusters_are_one_each():
    vectors = np.eye(3, dtype=np.float32)
    assert sorted(Clusters.fit(vectors, 8).label(vectors)) == [0, 1, 2]
    assert Clusters.fit(vectors[:0], 8).label(vectors).tolist() == [-1] * 3
    assert Clusters.fit(np.repeat(vectors[:1], 5, axis=0), 8).label(vectors[:1]).tolist() == [0]


def test_the_nearest_are_those_of_scikit_learn():
    vectors, _ = groups(10, 40)
    places, cosines = nearest(vectors, 5, *everything(vectors))
    distances, expected = NearestNeighbors(n_neighbors=6, metric="cosine").fit(vectors).kneighbors(vectors)
    assert (places == expected[:, 1:]).mean() > 0.999  # but for ties
    assert cosines == pytest.approx(1 - distances[:, 1:], abs=1e-6)


def test_neither_itself_nor_what_is_barred_is_a_neighbour():
    vectors, _ = groups(2, 4)
    allowed, unlike = everything(vectors)
    allowed[1], unlike[0] = False, 2
    places, cosines = nearest(vectors, 7, allowed, unlike)
    assert set(places[0]) == {3, 4, 5, 6, 7, -1} and set(places[3]) == {0, 2, 4, 5, 6, 7, -1}
    assert np.isnan(cosines[places < 0]).all() and (np.diff(cosines[3, :6]) <= 0).all()
    vectors[5] = 0
    assert (nearest(vectors, 3, *everything(vectors))[0][5] == -1).all()
    assert nearest(vectors, 0, allowed, unlike)[0].shape == (8, 0)


def test_many_are_compared_with_those_of_near_clusters(monkeypatch):
    vectors, _ = groups(60, 40)
    exact, _ = nearest(vectors, 5, *everything(vectors))
    monkeypatch.setattr(clusters, "_FEW", 1000)
    found, cosines = nearest(vectors, 5, *everything(vectors))
    shared = [len(set(one) & set(other)) / 5 for one, other in zip(exact, found, strict=True)]
    assert np.mean(shared) > 0.99 and (np.diff(cosines, axis=1) <= 0).all()
