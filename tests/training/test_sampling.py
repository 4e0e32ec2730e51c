from __future__ import annotations

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
