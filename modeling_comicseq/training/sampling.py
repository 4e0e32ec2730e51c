"""Which pages each process takes: together exactly those that one process would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from accelerate.data_loader import BatchSamplerShard


class SharedBatches(BatchSamplerShard):
    """Deals the pages of every step out to the processes, of the last step of an epoch as many as are left.

    Accelerate's own fills the last step up with the pages that the epoch began with, which would then count twice. Here
    a process can be left with fewer pages than the others, or with none; it still takes part in the step.
    """

    def __iter__(self) -> Iterator[list[int]]:
        batches_a_step = 1 if self.split_batches else self.num_processes
        step: list[list[int]] = []
        for batch in self.batch_sampler:
            step.append(batch)
            if len(step) == batches_a_step:
                yield self._share(step)
                step = []
        if step and not self.drop_last:
            yield self._share(step)

    def _share(self, step: list[list[int]]) -> list[int]:
        pages = [page for batch in step for page in batch]
        return np.array_split(np.asarray(pages, dtype=np.int64), self.num_processes)[self.process_index].tolist()

    def __len__(self) -> int:
        batches_a_step = 1 if self.split_batches else self.num_processes
        steps, left = divmod(len(self.batch_sampler), batches_a_step)
        return steps + (left > 0 and not self.drop_last)
