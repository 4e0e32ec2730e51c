"""Which pages each process takes: together exactly those that one process would."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from .dataset import PretrainingDataset


class SharedBatches(Sampler[list[int]]):
    """Deals the pages of every step out to the processes, of the last step of an epoch as many as are left.

    Each page counts once in an epoch, however many processes there are: at the end of an epoch, a process can have fewer
    pages than the others, or none; it still takes part in the step. The order is drawn from the seed and the data set's
    epoch alone, so that a resumed run goes on with it.

    Args:
        dataset: The pages; its `epoch` is the one that is dealt out.
        batch_size: Pages of one process in a step.
        seed: Seed of the order.
        drop_last: Whether to leave out a last step with fewer pages.
        processes: How many processes take part.
        rank: Which of them this one is.
    """

    def __init__(
        self,
        dataset: PretrainingDataset,
        batch_size: int,
        seed: int,
        drop_last: bool = False,
        processes: int = 1,
        rank: int = 0,
    ):
        self.dataset, self.seed, self.drop_last = dataset, seed, drop_last
        self.pages_a_step = batch_size * processes
        self.processes, self.rank = processes, rank

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.dataset.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).numpy()
        for step in range(len(self)):
            pages = order[step * self.pages_a_step : (step + 1) * self.pages_a_step]
            yield np.array_split(pages, self.processes)[self.rank].tolist()

    def __len__(self) -> int:
        steps, left = divmod(len(self.dataset), self.pages_a_step)
        return steps + (left > 0 and not self.drop_last)
