"""Runs of `comicseq pretrain --pages`, opened to be asked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modeling_comicseq import ComicPageForPreTraining, ComicPanelProcessor
from modeling_comicseq.data.contents import Contents
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.page_panels import ContentTable
from modeling_comicseq.data.panels import VECTOR_COLUMNS, PanelTable
from modeling_comicseq.pages.page_set import PageSet
from modeling_comicseq.training.features import embed_table


def open_run(
    path: Path, splits: Iterable[str], pages: str | None = None
) -> tuple[ComicPageForPreTraining, dict[str, PanelTable]]:
    """The model of a run, and the vectors that its encoder makes of the books of each of `splits`.

    Args:
        path: The folder of the run, beside which stands that of its data, or a checkpoint in it.
        splits: Splits of its data.
        pages: The data set of pages that it was trained on, where these have pictures.
    """
    folder = path.parent if path.name.startswith("checkpoint-") else path
    data = folder.with_name(f"{folder.name}_data")
    model = ComicPageForPreTraining.from_pretrained(path).eval()
    pictures = None if pages is None else PageSet.open(pages)
    contents = Contents.open(data / "contents", pictures, ComicPanelProcessor.from_pretrained(path))
    widths = dict.fromkeys(VECTOR_COLUMNS, model.panel_encoder.config.projection_dim)
    tables = {name: ContentTable(open_split(str(data / "train"), name).dataset, contents, widths) for name in splits}
    return model, {name: embed_table(model, table) for name, table in tables.items()}
