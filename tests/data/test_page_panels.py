"""Numbers of pictures and texts in the place of vectors: the same panels, questions and twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq import ComicPageForPreTraining
from modeling_comicseq.data.contents import Contents
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.data.page_panels import (
    CONTENT_METADATA,
    CONTENT_STORE,
    ContentTable,
    number_pages,
    open_pages,
    with_vectors,
    within,
)
from modeling_comicseq.data.panels import VECTOR_COLUMNS, PanelTable
from modeling_comicseq.encoders.panel_encoder import PanelEncoder, load_panel_encoder
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.files import write_json
from modeling_comicseq.library.embed import embed_pages
from modeling_comicseq.tasks import TASKS
from tests.model_inputs import build
from tests.page_inputs import sequence_config

from ..training.page_runs import page_rows, write_encoder, write_pages
from .made_dataset import made_table


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> PanelEncoder:
    return load_panel_encoder(str(write_encoder(tmp_path_factory.mktemp("model") / "encoder")), device="cpu")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    return write_pages(tmp_path_factory.mktemp("pages") / "pages", page_rows())


def numbered(source, encoder: PanelEncoder, folder: Path, sees: bool = True) -> ContentTable:
    opened = open_pages(source)
    number_pages(opened, folder / "contents", encoder.processor, sees=sees, origin=encoder.origin)
    store, metadata = (folder / "contents" / name for name in (CONTENT_STORE, CONTENT_METADATA))
    convert_store(store, metadata, folder / "arrow", dtype="float32", fractions=(1, 0, 0), window=3, progress=False)
    contents = Contents.open(folder / "contents", None if isinstance(opened, str) else opened, encoder.processor)
    dataset = open_split(str(folder / "arrow"), "train").dataset
    return ContentTable(dataset, contents, dict.fromkeys(VECTOR_COLUMNS, encoder.width))


@pytest.fixture(scope="module")
def table(pages, encoder, tmp_path_factory) -> ContentTable:
    return numbered(pages, encoder, tmp_path_factory.mktemp("numbers"))


@torch.no_grad()
def encode(table: ContentTable, encoder: PanelEncoder) -> np.ndarray:
    width = encoder.width
    model = ComicPageForPreTraining.from_parts(
        encoder.model, build("encoder", sequence_config(panel_embedding_dim=width))
    )
    rows, contents = table.contents.select(table.numbers())
    return model.eval().encode_contents(**contents).numpy()[rows]


def test_panels_and_questions_are_those_of_the_embedded_pages(pages, encoder, table, tmp_path):
    embed_pages(pages, tmp_path / "store.zarr", encoder=encoder, progress=False)
    metadata = tmp_path / "store_metadata.json"
    convert_store(
        tmp_path / "store.zarr",
        metadata,
        tmp_path / "arrow",
        dtype="float32",
        fractions=(1, 0, 0),
        window=3,
        progress=False,
    )
    expected = open_split(str(tmp_path / "arrow"), "train")
    assert table.widths == expected.widths and table.dataset["metadata"] == expected.dataset["metadata"]
    found = with_vectors(table, table.numbers(), encode(table, encoder))
    everything = np.arange(expected.offsets[-1])
    for column in (*VECTOR_COLUMNS, "panel_boxes"):
        np.testing.assert_allclose(found.gather(column, everything), expected.gather(column, everything), atol=2e-6)
    assert (table.twins == expected.twins).all() and (table.twins != np.arange(len(table.twins))).sum() == 1
    for task in TASKS.values():
        for protocol in ("same_book", "cross_book")[: len(task.protocols) or 1]:
            asked = [draw_question_set(each, task, protocol, seed=3, repeats=2) for each in (expected, table, found)]
            for other in asked[1:]:
                assert all((mine == theirs).all() for mine, theirs in zip(asked[0].drawn, other.drawn, strict=True))
                assert (asked[0].rows == other.rows).all() and len(other)


def test_equal_texts_and_panels_have_one_number_and_nothing_has_none(table):
    texts = [panel for row in page_rows() for panel in row["texts"]]
    numbers = table.columns["text_embeddings"][0]
    assert (numbers > 0).sum() > table.contents.num_texts - len(texts) and (numbers == 0).any()
    assert table.contents.num_images == len(np.unique(np.concatenate(table.columns["visual_embeddings"])))
    fused = np.concatenate(table.columns["panel_embeddings"])
    assert (fused[:, 0] <= table.contents.num_images).all() and not (fused == 0).all(1).any()


def test_metadata_with_texts_are_pages_without_pictures(encoder, tmp_path):
    said = [["the cat", "a dog"], ["here", "the cat", "no"], ["yes ?", "a DOG"]]
    entries = [
        {
            "sequence_index": 7 * number,
            "book_id": "b",
            "page_name": str(number),
            "texts": texts,
            "num_panels": len(texts),
        }
        for number, texts in enumerate(said)
    ]
    write_json(tmp_path / "pages.json", entries)
    table = numbered(tmp_path / "pages.json", encoder, tmp_path / "out", sees=False)
    assert set(table.columns) == {"panel_embeddings", "text_embeddings"} and table.contents.num_images == 0
    numbers = np.concatenate(table.columns["panel_embeddings"])
    assert numbers[:, 0].max() == 0 and numbers[:, 1].tolist() == [
        1,
        2,
        3,
        1,
        4,
        5,
        2,
    ]  # in lower case for this tokenizer
    entries[1]["texts"][2] = " "
    write_json(tmp_path / "pages.json", entries)
    with pytest.raises(ComicSeqDataError, match="page 'b/1': panel 2 has no text"):
        numbered(tmp_path / "pages.json", encoder, tmp_path / "out", sees=False)
    entries[1]["num_panels"] = 2
    write_json(tmp_path / "pages.json", entries)
    with pytest.raises(ComicSeqDataError, match="page 'b/1': it has 3 texts for 2 panels"):
        numbered(tmp_path / "pages.json", encoder, tmp_path / "out", sees=False)


@given(st.data())
def test_rows_of_a_batch_stand_for_its_numbers(table, data):
    most = table.contents.num_images + table.contents.num_texts
    asked = np.asarray(data.draw(st.lists(st.lists(st.integers(0, most), min_size=2, max_size=2), max_size=12)))
    batch = {"panel_embeddings": asked.reshape(-1, 1, 2).astype(np.float32), "labels": np.arange(len(asked))}
    table.contents.image_features = np.arange(table.contents.num_images, dtype=np.float32)[:, None]
    table.contents.text_features = -1 - np.arange(table.contents.num_texts, dtype=np.float32)[:, None]
    try:
        filled = table.contents.fill({"task": batch})
    finally:
        table.contents.image_features = table.contents.text_features = None
    features = torch.cat([filled["contents"][name] for name in ("image_features", "text_features")])[:, 0].tolist()
    shown = [[None, *features][row] for row in filled["task"]["panel_embeddings"].ravel()]
    images = table.contents.num_images
    expected = [None if n == 0 else n - 1 if n <= images else images - n for n in asked.ravel().tolist()]
    assert shown == expected and len(features) == len(set(features)) == len(set(asked.ravel().tolist()) - {0})


def test_wrong_candidates_come_from_the_given_pages_alone():
    table = made_table([[3, 4, 2, 5], [2, 6, 3], [4, 4]])
    pages = np.asarray([0, 1, 4, 5])
    near = within(table, pages)
    assert isinstance(near, PanelTable) and (near.pool.page_sizes > 0).nonzero()[0].tolist() == pages.tolist()
    for protocol in ("same_book", "cross_book"):
        asked = draw_question_set(near, TASKS["panel_picking"], protocol, num_candidates=4, seed=1)
        right = table.panel(asked.rows, asked.drawn.slots)
        wrong = asked.drawn.candidates[(asked.drawn.candidates >= 0) & (asked.drawn.candidates != right[:, None])]
        assert len(wrong) and np.isin(table.page_of[wrong], pages).all()
    assert len(within(table, np.asarray([0])).pool.panels) == 3 and len(table.pool.panels) == 33
