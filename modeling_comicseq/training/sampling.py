"""Which pages each process takes: together exactly those that one process would."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from .dataset import PretrainingDataset, Share


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
        together: How many pages of a book in a row stand in a step together, as far as they fit; with 1, pages come in any
            order, and the data set is not told which stand in a step.
    """

    def __init__(
        self,
        dataset: PretrainingDataset,
        batch_size: int,
        seed: int,
        drop_last: bool = False,
        processes: int = 1,
        rank: int = 0,
        together: int = 1,
    ):
        self.dataset, self.seed, self.drop_last, self.together = dataset, seed, drop_last, together
        self.pages_a_step = batch_size * processes
        self.processes, self.rank = processes, rank

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.dataset.epoch)
        order = self._order(generator)
        for step in range(len(self)):
            pages = order[step * self.pages_a_step : (step + 1) * self.pages_a_step]
            mine = np.array_split(pages, self.processes)[self.rank]
            yield mine.tolist() if self.together == 1 else Share(mine, pages)

    def _order(self, generator: torch.Generator) -> np.ndarray:
        if self.together == 1:
            return torch.randperm(len(self.dataset), generator=generator).numpy()
        table, rows = self.dataset.table, self.dataset.rows
        places = np.lexsort((rows, table.pages[rows]))  # page after page, and so book after book
        books = table.books[rows[places]]
        starts = np.flatnonzero(np.diff(books, prepend=-1))
        # Where the runs of a book begin is drawn, so that other pages stand together in each epoch.
        first = torch.randint(self.together, (len(starts),), generator=generator).numpy()
        within_book = np.arange(len(places)) - np.repeat(starts, np.diff(starts, append=len(places)))
        run = (within_book + np.repeat(first, np.diff(starts, append=len(places)))) // self.together
        begins = np.flatnonzero(np.diff(books, prepend=-1) | np.diff(run, prepend=-1))
        runs = np.split(places, begins[1:])
        return np.concatenate([runs[each] for each in torch.randperm(len(runs), generator=generator).tolist()])

    def __len__(self) -> int:
        steps, left = divmod(len(self.dataset), self.pages_a_step)
        return steps + (left > 0 and not self.drop_last)
