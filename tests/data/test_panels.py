from __future__ import annotations

import pickle

import numpy as np
import pytest
from datasets import concatenate_datasets

from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.errors import ComicSeqDataError

from .made_dataset import identities, made_dataset, made_table, vector


def test_gather_returns_the_vectors_of_the_panels_asked_for():
    table = made_table([[3, 1], [2]])
    panels = table.panel(np.asarray([0, 2]), np.asarray([2, 1]))
    assert identities(table.gather("text_embeddings", panels)) == [(0, 0, 2), (1, 0, 1)]
    assert np.array_equal(table.gather("text_embeddings", panels)[0], vector("text_embeddings", 0, 0, 2))
    assert table.gather("panel_embeddings", np.asarray([[-1, 0]])).tolist()[0][0] == [0, 0, 0, 0]
    assert table.widths == dict.fromkeys(
        ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings"), 4
    )


def test_several_chunks_and_selections_read_as_one_table():
    dataset = made_dataset([[3, 1], [2, 5]])
    whole = PanelTable(dataset)
    chunked = PanelTable(concatenate_datasets([dataset.select([0, 1]), dataset.select([2, 3])]))
    panels = np.arange(11)
    assert np.array_equal(whole.gather("panel_embeddings", panels), chunked.gather("panel_embeddings", panels))
    for table in (whole, chunked):
        with pytest.raises(IndexError):
            table.gather("panel_embeddings", np.asarray([0, table.offsets[-1]]))
    selected = PanelTable(dataset.select([3, 0]))
    assert identities(selected.gather("panel_embeddings", np.asarray([0, 5]))) == [(1, 1, 0), (0, 0, 0)]


def test_a_copy_for_another_process_reads_the_same():
    dataset = made_dataset([[3, 1], [2, 5]])
    table = PanelTable(concatenate_datasets([dataset.select([0, 1]), dataset.select([3, 2])]))
    copy = pickle.loads(pickle.dumps(table))
    panels = np.asarray([[-1, 3, 10], [0, -1, 4]])
    expected = table.gather("visual_embeddings", panels)
    assert np.array_equal(copy.gather("visual_embeddings", panels), expected)
    assert not expected[panels < 0].any() and expected.flags.writeable


def test_pages_are_numbered_in_book_order_whatever_the_row_order():
    table = made_table([[2, 2, 2], [2, 2]], order=np.asarray([4, 1, 3, 0, 2]))
    assert table.pages.tolist() == [4, 1, 3, 0, 2]
    assert table.book_pages.tolist() == [0, 3, 5]
    pool = identities(table.gather("panel_embeddings", table.pool.panels))
    assert pool == sorted(pool)


def test_windows_share_their_page_and_count_each_panel_once():
    table = made_table([[7, 2]], window=4)
    assert table.pages.tolist() == [0, 0, 1]
    assert identities(table.gather("panel_embeddings", table.pool.panels)) == [(0, 0, p) for p in range(7)] + [
        (0, 1, 0),
        (0, 1, 1),
    ]


def test_an_empty_split_and_a_ragged_column_are_refused():
    dataset = made_dataset([[2, 3]])
    with pytest.raises(ComicSeqDataError, match="holds no page"):
        PanelTable(dataset.select([]))
    broken = dataset.map(lambda row: {"text_embeddings": row["text_embeddings"][:-1]})
    with pytest.raises(ComicSeqDataError, match="`text_embeddings` does not hold one vector per panel"):
        PanelTable(broken)
