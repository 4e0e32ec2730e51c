"""The pretraining data set: whole batches of views, made from nothing but (seed, epoch, row)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from ..data.draws import Draws
from ..data.page_panels import ContentTable, within
from ..data.panels import PanelTable
from ..data.task import Drawn, Task, cumulative_odds, draw_tasks
from ..data.views import (
    Batch,
    half_page_views,
    masked_panels,
    materialise,
    modality_dropout,
    neighbour_views,
    to_tensors,
    whole_pages,
    without_boxes,
)
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..model.configuration_comicseq import ComicSeqConfig
from ..stores.stage3 import STREAM_ARRAYS
from ..tasks import TASKS


class PretrainingDataset(Dataset):
    """Each row asks a question, or several, of a task drawn by the model's `task_weights`, and joins in the contrastive loss (and in
    masked panel modelling, where the model has it).

    `__getitems__` builds a whole batch at once; pass `first_item` as collator. A batch names every task that is trained,
    with no rows where it has no question: all processes must gather the negatives of the same losses.

    Of a `ContentTable`, a batch has the contents and their rows in the place of vectors. Where the pages of a whole step are
    told (`Share`), wrong candidates come from these as far as they have them, so that few contents are encoded for one
    question alone.

    Args:
        table: The panels.
        config: Gives task weights, contrastive objective and reading-order target.
        num_candidates: Candidates of a question, the answer included.
        protocol: Where wrong candidates come from; each question draws one of several.
        seed: Seed of all draws.
        questions_per_page: How many questions each row asks.
        modality_dropout: Share of the questions and of the strips that are shown by pictures or by texts alone.
    """

    def __init__(
        self,
        table: PanelTable,
        config: ComicSeqConfig,
        num_candidates: int = 5,
        protocol: str | Sequence[str] = ("same_book", "cross_book"),
        seed: int = 0,
        questions_per_page: int = 1,
        modality_dropout: float = 0.0,
    ):
        assert config.task_weights is not None  # the configuration fills it in
        weights = {TASKS[name]: weight for name, weight in config.task_weights.items() if weight > 0}
        if not weights:
            raise ComicSeqArgumentError("`task_weights` are all 0: give at least one task a weight above 0.")
        self.tasks = list(weights)
        for task in self.tasks:
            task.check_servable(table, protocol)
        rows = np.arange(len(table))
        odds = cumulative_odds(table, rows, weights)
        self.rows = rows[odds[:, -1] > 0]  # a page that can serve nothing would leave a hole in its batch
        self.cumulative_odds = odds[self.rows]
        self.table, self.config = table.with_streams(config.streams), config
        self.num_candidates, self.protocol, self.seed = num_candidates, protocol, seed
        self.questions_per_page = questions_per_page
        self.modality_dropout = modality_dropout
        if modality_dropout > 0 and (lacking := [name for name in STREAM_ARRAYS if name not in table]):
            raise ComicSeqDataError(
                f"`modality_dropout` is {modality_dropout} but the data set has no {lacking[0]!r}: set it to 0, or make the"
                " vectors with `comicseq embed` and encoders of pictures and of texts."
            )
        if modality_dropout > 0 and not self.table.has_halves:
            shown = {name: self.table.widths[name] for name in ("panel_embeddings", *STREAM_ARRAYS)}
            raise ComicSeqDataError(
                f"`modality_dropout` is {modality_dropout} but vectors of panels, pictures and texts are"
                f" {', '.join(map(str, shown.values()))} wide, and a fused panel is shown by one alone only where all are as wide:"
                " set it to 0, or `streams` to separate."
            )
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict]:
        batch = self.read(indices)
        if isinstance(self.table, ContentTable):
            batch = self.table.contents.fill(batch)
        tensors = to_tensors(batch)
        return [{name: to_tensors(value) if isinstance(value, dict) else value for name, value in tensors.items()}]

    def read(self, indices: list[int]) -> Batch:
        """The batch of these rows of the data set, as arrays of what the table holds."""
        chosen = np.asarray(indices, dtype=np.int64)
        rows = self.rows[chosen]
        count = self.questions_per_page
        each = [Draws(self.seed, self.epoch * count + number, rows) for number in range(count)]
        draws, asking_rows, asking_draws = each[0], np.tile(rows, count), Draws.joined(each)
        near = self.table
        if isinstance(indices, Share):
            near = within(self.table, self.table.pages[self.rows[indices.of_step]])
        dropout = self.modality_dropout
        batch: dict = {}
        places = draw_tasks(self.cumulative_odds[np.tile(chosen, count)], asking_draws)
        for task, asking in zip(self.tasks, places, strict=True):
            drawn = self._draw(task, near, asking_rows[asking], asking_draws[asking])
            is_question = task.is_question(drawn)
            asked = asking_rows[asking][is_question]
            view = task.view(self.table, asked, drawn.select(is_question), self.config.reading_order_target)
            batch[task.name] = modality_dropout(view, asking_draws[asking][is_question], dropout)
        if self.config.masked_panel_weight > 0:
            batch["masked_panels"] = masked_panels(self.table, rows, draws, dropout=dropout)
        if self.config.contrastive_weight > 0 and self.config.contrastive_objective == "views":
            views = half_page_views if self.config.contrastive_views == "halves" else neighbour_views
            batch |= views(self.table, rows, draws, dropout)
        elif self.config.contrastive_weight > 0:
            batch |= modality_dropout(whole_pages(self.table, rows), draws, dropout, "modality.strips")
        if not self.config.box_embedding:
            batch = without_boxes(batch)
        return materialise(batch, self.table)

    def _draw(self, task: Task, near: PanelTable, rows: np.ndarray, draws: Draws) -> Drawn:
        """Questions with wrong candidates of the table `near`; of all pages where these have less than half of them."""
        drawn = task.draw(near, rows, draws, self.num_candidates, self.protocol)
        if near is self.table:
            return drawn
        wanted = drawn.candidates.shape[1] - 1
        few = np.flatnonzero(2 * ((drawn.candidates >= 0).sum(1) - 1) < wanted)
        if len(few):
            others = task.draw(self.table, rows[few], draws[few], self.num_candidates, self.protocol)
            drawn.candidates[few], drawn.answers[few] = others.candidates, others.answers
        return drawn


class Share(list[int]):
    """The pages of one process in a step, and those of all of them.

    Attributes:
        of_step: All pages of the step `(n,)`.
    """

    def __init__(self, pages: np.ndarray, of_step: np.ndarray):
        super().__init__(pages.tolist())
        self.of_step = of_step


def first_item(items: list[dict]) -> dict[str, torch.Tensor]:
    """Collator: the data set has made the batch already."""
    return items[0]
