from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from modeling_comicseq.training.sampling import SharedBatches


@settings(deadline=None)
@given(
    pages=st.integers(1, 50),
    batch_size=st.integers(1, 7),
    processes=st.integers(2, 4),
    drop_last=st.booleans(),
)
def test_together_the_processes_take_the_batches_of_one(pages, batch_size, processes, drop_last):
    whole = list(BatchSampler(range(pages), processes * batch_size, drop_last))
    samplers = [
        SharedBatches(BatchSampler(range(pages), batch_size, drop_last), processes, index)
        for index in range(processes)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert {len(sampler) for sampler in samplers} == {len(whole)} == {len(share) for share in shares}
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert [page for part in parts for page in part] == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("pages", [8, 9])
def test_a_batch_that_is_of_all_processes_is_split(pages):
    whole = BatchSampler(range(pages), 4, False)
    shares = [list(SharedBatches(whole, 2, index, split_batches=True)) for index in range(2)]
    assert [one + two for one, two in zip(*shares, strict=True)] == list(whole)
