"""One small thing of each kind that the commands read, made once; every row works on a copy of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig

from modeling_comicseq import (
    ComicSeqConfig,
    ComicSeqForPanelPicking,
    ComicSeqForPreTraining,
    ComicSeqForReadingOrder,
    ComicSeqModel,
)
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from modeling_comicseq.evaluation.question_sets import freeze
from modeling_comicseq.library.encode import encode_store
from modeling_comicseq.library.index import build_index
from modeling_comicseq.pages.ingest import ingest
from modeling_comicseq.tasks import get_tasks

from ..checkpoints.upstream_stage4 import UpstreamModel, upstream_checkpoint
from ..comics_pap.test_comics_pap import made_row, write
from ..pages.made_pages import annotation, write_pages
from ..stores.stage3_stores import WIDTHS, make_source
from ..tiny_encoders import write_text_model, write_vision_model

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
DIMS = {name.removesuffix("_embeddings") + "_embedding_dim": width for name, width in WIDTHS.items()}
CLASSES = {
    "model": ComicSeqForPreTraining,
    "picking": ComicSeqForPanelPicking,
    "order": ComicSeqForReadingOrder,
    "encoder": ComicSeqModel,
}


def write_comics(root: Path) -> None:
    """`comics`, two books of three pages, and `comics.json`, which tells of their panels."""
    names = [f"{book}/{number}.png" for book in ("one", "two") for number in (1, 2, 3)]
    write_pages(root / "comics", names)
    (root / "comics.json").write_text(json.dumps([annotation(name) for name in names]))


def make_good(root: Path) -> None:
    """
    `store.zarr` and `metadata.json` (24 pages in 6 books), `data`, `questions`, the checkpoints `model`, `picking`,
    `order`, `encoder`, the foreign checkpoint `bert`, `stage5.zarr`, its `index`, `original.pt`, `pages.json`, `boxes.json`, `vector.npy`,
    `pap.parquet`, `comics` and `comics.json`, the data set of `comic_pages`, the panel encoder `panel`, `bare`, a store of
    panel vectors alone, `run.yaml`, `model.json`, `split.json` and `notes.txt`.
    """
    source = make_source(root, pages=24, pages_per_book=4, chunk_rows=24)
    store, metadata = root / "store.zarr", root / "metadata.json"
    Path(source.embeddings).rename(store)
    Path(source.metadata).rename(metadata)
    books = {"validation": ["Book 01", "Book 04"], "test": ["Book 02", "Book 05"]}
    (root / "split.json").write_text(json.dumps(books))
    convert_store(str(store), str(metadata), root / "data", split_books=root / "split.json", progress=False)
    freeze(
        open_split(str(root / "data"), "test"),
        root / "questions",
        split="test",
        tasks=get_tasks(["panel_picking"]),
        protocols=["cross_book"],
        repeats=1,
    )
    torch.manual_seed(0)
    for name, made in CLASSES.items():
        made(ComicSeqConfig(**TINY, **DIMS)).save_pretrained(root / name)
    BertConfig().save_pretrained(root / "bert")
    encode_store(str(root / "model"), str(store), str(metadata), str(root / "stage5.zarr"), progress=False)
    build_index(root / "stage5.zarr", root / "index", progress=False)
    torch.save(upstream_checkpoint(UpstreamModel()), root / "original.pt")
    rng = np.random.default_rng(0)
    np.save(root / "vector.npy", rng.standard_normal(16).astype(np.float32))
    pages = [{"page_name": f"p{row}", "panel_embeddings": rng.standard_normal((3, 8)).tolist()} for row in range(3)]
    (root / "pages.json").write_text(json.dumps(pages))
    boxes = [
        {"book_id": "b", "image": f"{row}.png", "panel_boxes": [[0, 0.5, 1, 1], [0, 0, 1, 0.4]]} for row in range(3)
    ]
    (root / "boxes.json").write_text(json.dumps(boxes))
    write(root / "pap.parquet", [made_row(row, "sequence_filling") for row in range(4)])
    (root / "run.yaml").write_text("dataset: data\nmodel: model.json\noutput_dir: out\nuse_cpu: true\n")
    (root / "model.json").write_text(json.dumps(TINY))
    write_comics(root)
    ingest([root / "comics"], root / "comic_pages", annotations=root / "comics.json", progress=False)
    make_source(root / "bare", pages=6, names=("panel_embeddings",))
    encoder = load_panel_encoder(f"{write_vision_model(root / 'vision')}+{write_text_model(root / 'text')}", width=8)
    encoder.model.save_pretrained(root / "panel")
    encoder.processor.save_pretrained(root / "panel")
    for name in ("vision", "text"):
        shutil.rmtree(root / name)
    (root / "notes.txt").write_text("Not ours.\n")


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    """The folder that `make_good` fills."""
    root = tmp_path_factory.mktemp("good")
    make_good(root)
    return root


@pytest.fixture
def place(good, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which the test runs."""
    shutil.copytree(good, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"
