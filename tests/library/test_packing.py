"""Packing: every panel of every page is in every window that holds it, and nowhere else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.library.packing import pack_pages
from modeling_comicseq.stores.windows import window_starts


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=30), window=st.integers(2, 40))
def test_tokens_are_the_panels_of_one_window_in_order(counts, window):
    counts = np.array(counts)
    stride = window // 2
    vectors = 1.0 + np.arange(counts.sum(), dtype=np.float32)[:, None]
    packed = pack_pages(vectors, counts, window, stride)
    tokens, positions, sequences = (
        packed.vectors.reshape(-1),
        packed.positions.reshape(-1),
        packed.sequences.reshape(-1),
    )
    assert np.array_equal(tokens > 0, sequences >= 0)

    expected, first = [], 0
    for count in counts:
        for start in window_starts(int(count), window, stride):
            expected.append(list(range(first + start, first + min(start + window, count))))
        first += count
    found = []
    for sequence in range(sequences.max(initial=-1) + 1):
        (places,) = np.nonzero(sequences == sequence)
        assert len(set(places // packed.vectors.shape[1])) == 1  # in one row
        assert positions[places].tolist() == list(range(len(places)))
        found.append((tokens[places] - 1).astype(int).tolist())
    assert found == expected

    for panel, places in enumerate(packed.places):
        real = places[places >= 0]
        assert set(tokens[real]) == {panel + 1} and len(set(real)) == len(real)
    assert (packed.places >= 0).sum() == (sequences >= 0).sum()


def test_rows_are_full():
    counts = np.random.default_rng(0).integers(1, 12, 300)
    packed = pack_pages(np.ones((counts.sum(), 2), np.float16), counts, 32, 16)
    assert packed.vectors.dtype == np.float16 and packed.vectors.shape[1] == 32
    assert (packed.sequences >= 0).mean() > 0.97
