from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import zarr
from datasets import load_from_disk
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.library.inspect import inspect_store, inspect_stores
from modeling_comicseq.library.near_copies import NEAR, PageSketches, compare_pages, least_cosines, nearest_before
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.stores.vectors import VectorStore

from ..stores.vector_stores import write_store
from .planted import Planted, plant

SHARED_DATA = os.environ.get("COMICSEQ_DATA", "")


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def findings(planted) -> Path:
    _, folder = inspect_stores([planted.url], output=Path(planted.url).parent / "inspection")
    return folder / "findings.json"


def listed(findings: Path) -> list[dict]:
    (store,) = json.loads(findings.read_text())["stores"]
    return store["findings"]


def test_each_planted_fault_is_found_and_nothing_else(planted, findings):
    found = defaultdict(list)
    for finding in listed(findings):
        assert set(finding) >= {"kind", "says", "pages", "of"}
        found[finding["kind"]] += [page["row"] for page in finding["pages"]]
    assert found.pop("unnamed rows") == found.pop("place in vectors") == []
    assert {kind: sorted(rows) for kind, rows in found.items()} == planted.faults
    (rows,) = [finding["rows"] for finding in listed(findings) if finding["kind"] == "unnamed rows"]
    assert rows == [[310, 311], [320, 320]]


def test_copies_name_the_page_that_stays(findings):
    of = {each["pages"][0]["row"]: each for each in listed(findings) if "copy" in each["kind"]}
    assert {row: each["of"]["row"] for row, each in of.items()} == {
        20: 14, 100: 15, 101: 15, 33: 25, 200: 40, 201: 40
    }  # fmt: skip
    assert of[20]["where"] == "their own book" and of[100]["where"] == "another book"
    assert of[33]["cosine"] > NEAR and "cosine" not in of[20]
    merged = [each for each in listed(findings) if each["kind"] == "merged book"]
    assert [(each["book_id"], each.get("source"), each.get("run")) for each in merged] == [
        ("Book 21", None, 2), ("Book 20", "amazon", None)
    ]  # fmt: skip


def test_the_same_store_without_faults_is_clean(planted, findings, tmp_path):
    output = tmp_path / "data"
    convert_store(planted.url, planted.metadata, output, leave_out=findings, progress=False)
    rows = sorted(row for part in load_from_disk(output).values() for row in part["sequence_index"])
    assert rows == planted.kept
    provenance = read_provenance(output)["left_out"]
    expected = {kind: len(rows) for kind, rows in planted.faults.items()}
    assert provenance["kinds"] == expected and provenance["pages"] == sum(expected.values())
    left_out = json.loads((output / "left_out.json").read_text())
    assert len(left_out) == provenance["pages"] and left_out[0].keys() == {"page", "sequence_index", "kind"}
    assert "pages were left out as `comicseq inspect` had found them wanting" in (output / "README.md").read_text()


def test_what_is_taken_out_of_the_list_stays_in_the_data(planted, findings, tmp_path):
    lines = findings.read_text().splitlines()
    kept = [line for line in lines if not line.startswith('{"kind": "near copy"')]
    assert len(kept) == len(lines) - 3
    edited = tmp_path / "findings.json"
    edited.write_text("\n".join(kept))
    command = f"convert --embeddings {planted.url} --metadata {planted.metadata} --output {tmp_path / 'out'} --leave-out {edited}"
    result = CliRunner().invoke(app, command.split(), env={"COLUMNS": "400"})
    assert result.exit_code == 0, result.output
    rows = {row for part in load_from_disk(tmp_path / "out").values() for row in part["sequence_index"]}
    assert rows - set(planted.kept) == set(planted.faults["near copy"])
    assert "blank page: 6" in result.output and "near copy" not in result.output
    with pytest.raises(ComicSeqDataError, match="was made from other input, by another version or with other options"):
        convert_store(planted.url, planted.metadata, tmp_path / "out", leave_out=findings, progress=False)


def test_a_list_of_another_store_or_of_changed_metadata_is_refused(planted, findings, tmp_path):
    other = plant(tmp_path / "other", seed=1)
    with pytest.raises(
        ComicSeqDataError, match="which is not .* as it is now; run `comicseq inspect` on this store again"
    ):
        convert_store(other.url, other.metadata, tmp_path / "out", leave_out=findings, progress=False)
    entries = json.loads(Path(planted.metadata).read_text())
    changed = tmp_path / "changed.json"
    for change, says in (
        ([{**e, "sequence_index": 310} if e["sequence_index"] == 3 else e for e in entries], "does not stand in"),
        ([{**e, "canonical_id": f"x/{e['canonical_id']}"} for e in entries], "row 3 is page"),
    ):
        changed.write_text(json.dumps(change))
        with pytest.raises(ComicSeqDataError, match=f"{says}.*the metadata were changed since"):
            convert_store(planted.url, str(changed), tmp_path / "out", leave_out=findings, progress=False)


def test_pages_of_one_panel_with_texts_or_boxes_are_not_blank(tmp_path):
    planted = plant(tmp_path, places=False)
    entries = json.loads(Path(planted.metadata).read_text())
    for told in ({"texts": ["THE END"]}, {"panel_boxes": [[0.2, 0.2, 0.9, 0.9]]}):
        Path(planted.metadata).write_text(
            json.dumps([entry | told if entry["sequence_index"] == 3 else entry for entry in entries])
        )
        report, _ = inspect_store(VectorStore.open(planted.url), planted.metadata)
        assert "blank page" not in report.counts
        assert report.counts["near copy"] == 3 + 5  # they are alike all the same


@pytest.mark.parametrize("copies", [2, 5])
def test_a_page_that_other_books_reprint_is_a_copy(tmp_path, copies):
    generator = np.random.default_rng(0)
    panels = generator.standard_normal((60, 1, 16)).astype(np.float32)
    panels[[6 * each for each in range(copies)]] = panels[0]
    made = write_store(tmp_path, panels, np.ones((60, 1), bool), np.repeat(np.arange(10), 6), stage=3)
    report, _ = inspect_store(VectorStore.open(made.url), made.metadata)
    assert report.counts == {"copy": copies - 1}


@pytest.mark.parametrize("stage", [3, 5])
def test_spaces_with_strong_common_parts_give_no_near_copies(tmp_path, stage):
    """Vectors in a narrow cone that tell their slot, as encoders make them, have large cosines throughout."""
    generator = np.random.default_rng(0)
    books = np.repeat(np.arange(40), 8)
    mask = np.arange(6) < generator.integers(1, 7, len(books))[:, None]
    slots = 5 * generator.standard_normal((6, 32)) + 20
    panels = slots + generator.standard_normal((40, 1, 32))[books] + generator.standard_normal((len(books), 6, 32))
    made = write_store(tmp_path, panels.astype(np.float32), mask, books, stage=stage)
    report, _ = inspect_store(VectorStore.open(made.url), made.metadata)
    assert report.panels.between_books > 0.9 and not {"near copy", "copy", "blank page"} & report.counts.keys()


def test_hashing_finds_what_comparing_all_with_all_finds(monkeypatch):
    generator = np.random.default_rng(0)
    pages, slots, width = 6000, 3, 48
    panels = generator.standard_normal((pages, slots, width)).astype(np.float32)
    originals, copies = np.arange(300), np.arange(3000, 3300)
    panels[copies] = panels[originals] + 0.25 * generator.standard_normal((300, slots, width))
    sketches = PageSketches(pages, slots, width)
    page, slot = (each.ravel() for each in np.indices((pages, slots)))
    for start in (0, 2500):  # in blocks
        inside = (page >= start) & (page < (2500 if start == 0 else pages))
        sketches.add(start, panels[page[inside], slot[inside]], page[inside] - start, slot[inside])
    finished, usable = sketches.finish(), np.ones(pages, bool)
    exact = nearest_before(finished, sketches.counts, usable)
    assert (exact[copies] == originals).all()
    monkeypatch.setattr("modeling_comicseq.library.near_copies._FEW", 100)
    hashed = nearest_before(finished, sketches.counts, usable)
    assert (hashed[copies] == originals).mean() > 0.99
    assert (np.delete(hashed, copies) < 0).mean() > 0.999


def test_pairs_are_compared_panel_by_panel(tmp_path):
    generator = np.random.default_rng(0)
    panels = generator.standard_normal((40, 4, 16)).astype(np.float32)
    panels[1] = panels[0]
    panels[1, 2] = -panels[0, 2]  # one of four panels is another
    made = write_store(tmp_path, panels, np.ones((40, 4), bool), np.arange(40) // 4)
    centred, plain = compare_pages(
        VectorStore.open(made.url), np.arange(40), np.asarray([[0, 1], [2, 2]]), np.zeros((5, 4, 16), np.float32)
    )
    assert centred == pytest.approx([-1, 1], abs=1e-6) and plain == pytest.approx([-1, 1], abs=1e-6)


def test_copies_tell_no_places(tmp_path):
    """Books that all stand twice: the probe of a book was fitted on its copy, which knows the order of its noise."""
    generator = np.random.default_rng(0)
    panels = np.tile(generator.standard_normal((60, 4, 512)).astype(np.float32), (2, 1, 1))
    made = write_store(tmp_path, panels, np.ones((120, 4), bool), np.arange(120) // 6, stage=3)
    report, _ = inspect_store(VectorStore.open(made.url), made.metadata)
    assert report.counts == {"copy": 60} and report.place.verdict == "not readable"


def test_what_is_near_by_chance_is_no_copy(tmp_path):
    """In five directions, some of many pages of a panel are near: none of them is a copy for that."""
    generator = np.random.default_rng(0)
    panels = generator.standard_normal((400, 1, 5)) @ generator.standard_normal((5, 32))
    made = write_store(tmp_path, panels.astype(np.float32), np.ones((400, 1), bool), np.arange(400) // 8, stage=3)
    report, _ = inspect_store(VectorStore.open(made.url), made.metadata)
    assert report.counts == {}
    few, many = (least_cosines(np.asarray([pages] * 2), np.asarray([1, 6]), 50.0) for pages in (50, 1_000_000))
    assert NEAR == few[0] == few[1] == many[1] < many[0] < 1
    assert np.isinf(least_cosines(np.asarray([100]), np.asarray([1]), 2.0)).all()
    assert least_cosines(np.asarray([400_000] * 3), np.asarray([1, 4, 9]), 160.0) == pytest.approx(NEAR)


@pytest.mark.skipif(not SHARED_DATA, reason="COMICSEQ_DATA names no folder with the stores of real comics")
@pytest.mark.parametrize(
    ("name", "expected"), [("stage3/comics_text", {"copy": 5}), ("stage3/peppercarrot", {}), ("upstream_stage4", {})]
)
def test_real_stores_give_no_false_alarm(name, expected):
    folder = Path(SHARED_DATA) / name
    report, _ = inspect_store(
        VectorStore.open(folder / "stage3_embeddings.zarr"), str(folder / "stage3_metadata.json")
    )
    assert report.counts == expected


def test_the_synthetic_corpus_gives_no_false_alarm(tmp_path):
    result = CliRunner().invoke(
        app, ["synthesize", "--output", str(tmp_path / "made"), "--books", "40", "--no-progress"]
    )
    assert result.exit_code == 0, result.output
    store = VectorStore.open(tmp_path / "made" / "stage3_embeddings.zarr")
    report, _ = inspect_store(store, str(tmp_path / "made" / "stage3_metadata.json"))
    assert report.counts == {}


def test_all_that_is_wrong_with_a_whole_space_is_a_finding(tmp_path):
    generator = np.random.default_rng(0)
    panels = 1 + 1e-3 * generator.standard_normal((100, 3, 16)).astype(np.float32)
    made = write_store(tmp_path, panels, np.ones((100, 3), bool), np.arange(100) // 5, stage=3)
    report, _ = inspect_store(VectorStore.open(made.url), made.metadata)
    assert report.counts == {"collapsed space": 1}
    (finding,) = report.findings
    assert finding.says.startswith("All panel vectors are nearly the same") and not finding.pages


def test_findings_of_several_stores_stand_in_one_file(planted, findings, tmp_path):
    other = plant(tmp_path / "other", seed=1)
    _, folder = inspect_stores([other.url, planted.url], output=tmp_path / "both")
    convert_store(planted.url, planted.metadata, tmp_path / "out", leave_out=folder / "findings.json", progress=False)
    rows = sorted(row for part in load_from_disk(tmp_path / "out").values() for row in part["sequence_index"])
    assert rows == planted.kept


def test_a_touched_store_is_another_store(planted, tmp_path):
    moved = plant(tmp_path)
    _, folder = inspect_stores([moved.url])
    zarr.open_group(moved.url, mode="r+")["panel_masks"][0, 0] = True
    with pytest.raises(ComicSeqDataError, match="as it is now"):
        convert_store(moved.url, moved.metadata, tmp_path / "out", leave_out=folder / "findings.json", progress=False)
