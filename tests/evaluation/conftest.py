"""A synthetic corpus in a small width, converted: what several tests ask questions about."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.synthetic.world import DEMO_WORLD, SyntheticCorpus, synthesize


def make_corpus(folder: Path, **kwargs) -> Path:
    """A converted corpus with all books in the train split; returns the data set's folder."""
    world = dataclasses.replace(DEMO_WORLD, width=32, **kwargs.pop("world", {}))
    synthesize(folder / "store", world=world, progress=False, **kwargs)
    store, metadata = folder / "store/stage3_embeddings.zarr", folder / "store/stage3_metadata.json"
    convert_store(store, metadata, folder / "arrow", fractions=(1.0, 0.0, 0.0), progress=False)
    return folder / "arrow"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), num_books=40)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("small"), num_books=8)


@pytest.fixture(scope="session")
def data(corpus):
    return open_split(str(corpus), "train"), SyntheticCorpus.from_provenance(read_provenance(str(corpus))).world
