from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
from accelerate.data_loader import SeedableRandomSampler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from modeling_comicseq.training.sampling import SharedBatches


class Pages:
    """A data set of which only the length and the epoch count."""

    def __init__(self, count: int):
        self.count, self.epoch = count, 0

    def __len__(self) -> int:
        return self.count


@settings(deadline=None)
@given(
    pages=st.integers(1, 50),
    batch_size=st.integers(1, 7),
    processes=st.integers(2, 4),
    drop_last=st.booleans(),
)
def test_together_the_processes_take_the_batches_of_one(pages, batch_size, processes, drop_last):
    dataset = Pages(pages)
    samplers = [SharedBatches(dataset, batch_size, 7, drop_last, processes, rank) for rank in range(processes)]
    whole = list(SharedBatches(dataset, batch_size * processes, 7, drop_last))
    shares = [list(sampler) for sampler in samplers]
    assert {len(sampler) for sampler in samplers} == {len(whole)} == {len(share) for share in shares}
    dealt = [page for step in whole for page in step]
    assert len(set(dealt)) == len(dealt) == (pages - pages % (batch_size * processes) if drop_last else pages)
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert [page for part in parts for page in part] == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_order_is_that_of_the_seed_and_the_epoch():
    """The order of Accelerate's sampler, in which runs before this one were trained."""
    dataset = Pages(20)
    for dataset.epoch in (0, 3):
        sampler = SeedableRandomSampler(range(20), data_seed=5)
        sampler.set_epoch(dataset.epoch)
        assert list(SharedBatches(dataset, 6, 5)) == list(BatchSampler(sampler, 6, False))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    together=st.integers(2, 5),
    processes=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_pages_of_a_book_stand_together_and_each_once(sizes, together, processes, epoch):
    books = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.arange(1, len(books))  # the first page asks nothing
    dataset = Pages(len(rows))
    dataset.table, dataset.rows, dataset.epoch = SimpleNamespace(books=books, pages=np.arange(len(books))), rows, epoch
    shares = [list(SharedBatches(dataset, 4, 7, False, processes, rank, together)) for rank in range(processes)]
    order = [page for step in zip(*shares, strict=True) for share in step for page in share]
    assert sorted(order) == list(range(len(rows)))
    for step in zip(*shares, strict=True):
        assert all(share.of_step.tolist() == [page for each in step for page in each] for share in step)
    # Where the next page in the order is not the next one of the book, a run has ended: at most one a `together` pages, and
    # one at either end of a book.
    ends = sum(b != a + 1 or books[rows[a]] != books[rows[b]] for a, b in pairwise(order))
    assert ends < sum(-(-(size - 1) // together) + 1 for size in sizes)
