from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import zarr
from sklearn.decomposition import PCA
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqConfig, ComicSeqForReadingOrder
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.library.export_table import Tables, export_table, page_schema, panel_schema
from modeling_comicseq.stores.splits import split_of
from modeling_comicseq.vectors import unit

from ..stores.vector_stores import Made, write_store
from .page_sets import rows_of, write_pages
from .planted import Planted, plant

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "export_table.md"


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"), places=False)


@pytest.fixture(scope="module")
def tables(planted, tmp_path_factory) -> Tables:
    folder = tmp_path_factory.mktemp("tables") / "out"
    return export_table(planted.url, folder, scales=(4, 16), neighbours=3, csv=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """A small Stage 3 store with texts, boxes and a direction in its metadata."""
    generator = np.random.default_rng(0)
    mask = np.arange(4) < generator.integers(1, 5, 40)[:, None]
    panels = generator.standard_normal((40, 4, 8)).astype(np.float32)
    made = write_store(tmp_path_factory.mktemp("made"), panels, mask, np.arange(40) // 5, stage=3)
    entries = json.loads(Path(made.metadata).read_text())
    for row, entry in enumerate(entries):
        count = entry["num_panels"]
        entry["texts"] = [["=1+1", f"page {row}"] if panel == 0 else f"panel {panel}" for panel in range(count)]
        entry["panel_boxes"] = [[0.1, panel / count, 0.9, (panel + 1) / count] for panel in range(count)]
        entry["reading_direction"] = "rtl" if row < 5 else "ltr"
        entry["speakers"] = [["A", None] if panel == 0 else ["B"] for panel in range(count)]
    Path(made.metadata).write_text(json.dumps(entries))
    return made


def test_there_is_a_row_a_page_and_a_row_a_panel(planted, tables):
    pages, panels = (pq.read_table(tables.folder / name) for name in ("pages.parquet", "panels.parquet"))
    assert pages.schema.equals(page_schema((4, 16))) and panels.schema.equals(panel_schema((4, 16)))
    mask = zarr.open_group(planted.url)["panel_masks"][:]
    pages = pages.to_pandas()
    rows = pages["row"].to_numpy()
    assert sorted(set(range(360)) - set(rows)) == [300, 301, 310, 311, 320]  # double, unnamed
    counts = panels.to_pandas().groupby("row").size()
    assert (counts.reindex(rows, fill_value=0).to_numpy() == mask[rows].sum(axis=1)).all()
    assert tables.pages == len(pages) and tables.panels == len(panels)
    assert (pages["num_panels"].to_numpy() == mask[rows].sum(axis=1)).all()
    assert pages["page_id"].is_monotonic_increasing or pages["row"].is_monotonic_increasing
    assert [split_of(book) for book in pages["book_id"]] == pages["split"].tolist()


def test_findings_are_flags_and_copies_are_no_neighbours(planted, tables):
    pages = pd.read_parquet(tables.folder / "pages.parquet").set_index("row")
    flagged = {kind: sorted(group.index) for kind, group in pages.dropna(subset="finding").groupby("finding")}
    assert flagged == {
        kind: [row for row in rows if row in pages.index]
        for kind, rows in planted.faults.items() if any(row in pages.index for row in rows)
    }  # fmt: skip
    assert tables.findings == {kind: len(rows) for kind, rows in flagged.items()}
    assert pages.loc[20, "copy_of"] == pages.loc[14, "page_id"]
    assert pages.loc[201, "copy_of"] == pages.loc[40, "page_id"]
    once = pages[~pages["page_id"].duplicated(keep=False)]  # two books of one name have pages of one name
    flawed = set(once.dropna(subset="finding")["page_id"])
    for row, page in once.iterrows():
        near = set(page["nearest_pages"])
        assert not near & (flawed | {page["page_id"], page["copy_of"]})
        assert len(page["nearest_pages"]) == len(page["nearest_cosines"]) == (0 if row in (280, 290) else 3)
        assert (np.diff(page["nearest_cosines"]) <= 0).all()


def test_clusters_and_the_map_follow_the_vectors(planted, tables):
    pages = pd.read_parquet(tables.folder / "pages.parquet")
    sound = pages[pages["finding"].isna()]
    assert sound["cluster_4"].between(0, 3).all() and sound["cluster_16"].between(0, 15).all()
    assert sound["cluster_16"].nunique() > 8
    books = sound.groupby("book_id")["cluster_16"].agg(lambda labels: labels.value_counts().iloc[0] / len(labels))
    assert books.mean() > 0.5  # a book's pages lie together
    panels, mask = (zarr.open_group(planted.url)[name][:] for name in ("panel_embeddings", "panel_masks"))
    strips = unit(np.stack([panels[row][mask[row]].mean(axis=0) for row in pages["row"] if row not in (280, 290)]))
    expected = PCA(2).fit(strips).transform(strips)
    found = pages[~pages["row"].isin((280, 290))][["map_x", "map_y"]].to_numpy()
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-5)
    unusable = pd.read_parquet(tables.folder / "panels.parquet").query("finding == 'unusable vectors' and panel == 1")
    assert unusable[["cluster_4", "map_x"]].isna().all(axis=None)


def test_other_programs_open_them(tables):
    pages = str(tables.folder / "pages.parquet")
    (count,) = duckdb.sql(f"select count(*) from '{pages}' where finding = 'near copy'").fetchall()[0]
    assert count == 3
    joined = duckdb.sql(
        f"select count(*) from '{pages}' p, unnest(p.nearest_pages) n(page) join '{pages}' q on q.page_id = n.page"
    ).fetchall()[0][0]
    assert joined >= 3 * 300
    with open(tables.folder / "pages.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == tables.pages and len(json.loads(rows[0]["nearest_pages"])) == 3
    assert rows[0]["page_id"] == "CalibreComics/Book 00/page_000.jpg"


def test_texts_boxes_and_orders_are_those_of_the_metadata(made, tmp_path):
    found = export_table(made.url, tmp_path / "out", metadata=made.metadata, csv=True)
    assert found.ordered == 40
    pages = pd.read_parquet(tmp_path / "out" / "pages.parquet")
    panels = pd.read_parquet(tmp_path / "out" / "panels.parquet")
    assert pages["reading_direction"].tolist() == ["rtl"] * 5 + ["ltr"] * 35
    assert pages["text"][7].split("\n")[0] == "=1+1 page 7" and pages["page_index"].tolist() == list(range(5)) * 8
    several = pages[pages["num_panels"] > 1]
    assert (several["given_order_confidence"] > 0.7).all() and (several["order_agreement"] == 1).all()
    first = panels.iloc[0]
    assert (first["panel_id"], first["panel"]) == ("library/book 0/page 0.jpg#1", 1)
    assert first["texts"].tolist() == ["=1+1", "page 0"] and first["speakers"].tolist() == ["A", None]
    assert first[["x0", "y0", "x1"]].tolist() == pytest.approx([0.1, 0, 0.9])
    # What a spreadsheet would take for a formula stands as text.
    with open(tmp_path / "out" / "panels.csv", newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["text"] == "'=1+1 page 0"


def test_a_model_judges_orders_by_vectors_of_stage_3_alone(made, tmp_path):
    torch.manual_seed(0)
    config = ComicSeqConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, panel_embedding_dim=8
    )
    ComicSeqForReadingOrder(config).save_pretrained(tmp_path / "order")
    found = export_table(made.url, tmp_path / "out", metadata=made.metadata, model=str(tmp_path / "order"))
    packaged = export_table(made.url, tmp_path / "packaged", metadata=made.metadata)
    own, other = (pd.read_parquet(each.folder / "pages.parquet")["order_confidence"] for each in (found, packaged))
    assert found.ordered == 40 and (own != other).any()
    stage5 = write_store(tmp_path / "5", made.panels, made.mask, np.arange(40) // 5)
    with pytest.raises(ComicSeqDataError, match="Stage 5 store, whose vectors know their order"):
        export_table(stage5.url, tmp_path / "no", model=str(tmp_path / "order"))


def test_a_data_set_of_pages_tells_texts(tmp_path):
    counts = (2, 3, 1, 4, 2, 1)
    rows = rows_of(counts)
    write_pages(tmp_path / "pages", rows)
    mask = np.arange(4) < np.asarray(counts)[:, None]
    mask[5, 1] = True  # other panels than the data set has
    panels = np.random.default_rng(0).standard_normal((6, 4, 8)).astype(np.float32)
    made = write_store(tmp_path / "store", panels, mask, np.arange(6))
    entries = [
        {"sequence_index": row, "num_panels": int(mask[row].sum()), "canonical_id": f"Book {row % 2}/{row}.png"}
        for row in range(6)
    ]
    Path(made.metadata).write_text(json.dumps(entries))
    found = export_table(made.url, tmp_path / "out", pages=str(tmp_path / "pages"))
    assert found.unknown == 1
    table = pd.read_parquet(tmp_path / "out" / "panels.parquet")
    assert table["caption"][0] == "caption 0 0" and table["text"][1] == "page 0 panel 1"
    assert table["character_ids"][0].tolist() == ["c0"] and pd.isna(table["x0"].iloc[-1])


def test_every_column_is_described():
    rows = [line.split("|")[1] for line in GUIDE.read_text().splitlines() if line.startswith("| `")]
    described = {name.strip(" `") for row in rows for name in row.split(",")}
    columns = {*page_schema((8,)).names, *panel_schema((8,)).names} - {"cluster_8"} | {"cluster_K"}
    assert columns == described


def test_one_page_and_little_more_is_a_table(tmp_path):
    made = write_store(tmp_path, np.ones((1, 1, 4), np.float32), np.ones((1, 1), bool), np.zeros(1, int), stage=3)
    found = export_table(made.url, tmp_path / "out")
    page = pq.read_table(found.folder / "pages.parquet").to_pylist()[0]
    assert page["cluster_128"] == 0 and page["nearest_pages"] == [] and page["order_confidence"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "Nothing is to be written"),
        ("--output out", "needs --store"),
        ("--transcripts t", "Transcripts need texts"),
        ("--pages nowhere/x --transcripts t", "nowhere/x"),
        ("--store STORE --output out --clusters 4 --clusters 4", "not different numbers"),
        ("--store STORE --transcripts t --language <b>", "must be a tag"),
        ("--store STORE --output out --pages nowhere/x", "nowhere/x"),
        ("--store STORE --output out --model nowhere/x", "nowhere/x"),
    ],
)
def test_what_cannot_be_exported_ends_with_one_line(made, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    command = words.replace("STORE", f"{made.url} --metadata {made.metadata}")
    result = CliRunner().invoke(app, ["export-table", *command.split()])
    assert result.exit_code == 1 and says in result.stderr and result.stderr.count("\n") == 1, result.output
    assert not [path for path in tmp_path.iterdir() if path.name in ("out", "t")]


def test_scales_and_neighbours_are_checked(made, tmp_path):
    with pytest.raises(ComicSeqArgumentError, match="from 2 on"):
        export_table(made.url, tmp_path / "out", metadata=made.metadata, scales=(1,))
    with pytest.raises(ComicSeqArgumentError, match="is negative"):
        export_table(made.url, tmp_path / "out", metadata=made.metadata, neighbours=-1)
