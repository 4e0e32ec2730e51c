"""The data set of pages opens with plain `datasets`, and goes to the Hub and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pytest
from datasets import load_dataset, load_from_disk
from fsspec.implementations.dirfs import DirFileSystem
from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.hf_api import RepoUrl

from modeling_comicseq.pages.ingest import ingest
from modeling_comicseq.pages.ocr import OCR_ENGINES, TextLine

from .made_pages import BOXES, SIZE, annotation, content, page, write_pages

NAMES = [f"{book}/{number}.png" for book in "ab" for number in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    write_pages(root / "comics", NAMES)
    panels = [annotation(name, direction="rtl") for name in NAMES]
    panels[0]["panels"][1] |= {"speakers": ["Pepper"], "caption": "A cat.", "character_ids": ["pepper", "carrot"]}
    (root / "panels.json").write_text(json.dumps(panels))
    ingest([root / "comics"], root / "out", annotations=root / "panels.json", progress=False)
    return root / "out"


@pytest.fixture
def dataset(folder):
    return load_from_disk(str(folder))


def test_it_is_filtered_shuffled_and_mapped(dataset, tmp_path):
    some = dataset.filter(lambda row: row["book_id"] == "b").shuffle(seed=0).map(lambda row: {"n": len(row["boxes"])})
    assert sorted(some["page_name"]) == ["0.png", "1.png", "2.png", "3.png"] and some["n"][:] == [2] * 4
    some.save_to_disk(str(tmp_path / "some"))
    again = load_from_disk(str(tmp_path / "some"))
    assert again[0] == some[0]


def test_what_is_known_of_panels_is_aligned_with_them(dataset):
    row = dataset[0]
    assert row["captions"] == [None, "A cat."]
    assert row["speakers"] == [[None], ["Pepper"]]
    assert row["character_ids"] == [None, ["pepper", "carrot"]]
    assert dataset[1]["captions"] is None and dataset[1]["captions_origin"] is None
    assert row["captions_origin"] == row["speakers_origin"] == row["character_ids_origin"] == "given"


def test_a_small_shard_is_closed_at_its_size(dataset, folder, monkeypatch):
    from modeling_comicseq.pages import page_dataset, parts

    monkeypatch.setattr(page_dataset, "_SHARD", 1)
    monkeypatch.setattr(parts, "_LENGTH", 3)
    output = folder.parent / "sharded"
    ingest([folder.parent / "comics"], output, annotations=folder.parent / "panels.json", progress=False)
    assert len(list(output.glob("*.arrow"))) == 4
    assert load_from_disk(str(output)).with_format("arrow")[:].equals(dataset.with_format("arrow")[:])


def test_the_folder_is_one_that_the_hub_shows(folder, tmp_path):
    """`hf upload` with the card: its header names the files."""
    uploaded = tmp_path / "uploaded"
    shutil.copytree(folder, uploaded)
    (uploaded / "state.json").unlink()  # with it, a local folder is for `load_from_disk`
    opened = load_dataset(str(uploaded), cache_dir=str(tmp_path))["train"]
    assert opened.num_rows == 8 and opened[0]["image"].size == SIZE


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that is a folder: what is pushed is written into it."""
    root = tmp_path / "hub"
    root.mkdir()

    def keep(_, *, additions, **__):
        for each in additions:
            path = root / each.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            with each.as_file() as file:
                path.write_bytes(file.read())
            each._is_committed = True

    def create_commit(self, repo_id, operations, **options):
        keep(self, additions=[each for each in operations if not each._is_committed])
        return CommitInfo(
            commit_url=f"https://huggingface.co/datasets/{repo_id}/commit/1",
            commit_message="",
            commit_description="",
            oid="0" * 40,
        )

    monkeypatch.setattr(
        HfApi, "repo_info", lambda self, repo_id, **_: type("Info", (), {"id": repo_id, "sha": "0" * 40})
    )
    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, repo_id, **_: RepoUrl(f"https://huggingface.co/datasets/{repo_id}")
    )
    monkeypatch.setattr(HfApi, "list_repo_tree", lambda self, *_, **__: iter(()))
    monkeypatch.setattr(
        HfApi, "preupload_lfs_files", lambda self, repo_id, additions, **_: keep(self, additions=additions)
    )
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    # What it holds so far.
    held = DirFileSystem(str(root), fsspec.filesystem("file"))
    monkeypatch.setattr("datasets.arrow_dataset.DirFileSystem", lambda **_: held)
    return root


def test_it_goes_to_the_hub_and_back(dataset, hub, tmp_path):
    dataset.push_to_hub("someone/pages")
    assert sorted(path.name for path in hub.rglob("*") if path.is_file()) == [
        "README.md",
        "train-00000-of-00001.parquet",
    ]
    back = load_dataset(str(hub), cache_dir=str(tmp_path / "cache"))["train"]
    assert back.features == dataset.features
    assert back.with_format("arrow")[:].equals(dataset.with_format("arrow")[:])


def test_a_data_set_of_pages_is_a_source(dataset, folder, hub, tmp_path):
    """As saved, and as it comes back from the Hub: the same rows, from where the data set says that it has them."""
    dataset.push_to_hub("someone/pages")
    for source in (folder, hub):
        output = tmp_path / f"from {source.name}"
        ingest([source], output, progress=False)
        again = load_from_disk(str(output))
        assert again[:] == dataset[:]


def test_a_data_set_of_found_panels_and_texts_does_not_become_one_of_given_ones(folder, tmp_path, monkeypatch):
    lines = [TextLine((0.3, 0.1, 0.7, 0.15), "HIGH"), TextLine((0, 0, 0.05, 0.01), "1")]
    monkeypatch.setitem(OCR_ENGINES, "made", lambda: lambda image: lines)
    comics = folder.parent / "comics"
    ingest([comics], tmp_path / "found", ocr="made", reading_direction="rtl", progress=False)
    report = ingest([tmp_path / "found"], tmp_path / "again", progress=False)
    assert load_from_disk(str(tmp_path / "again"))[:] == load_from_disk(str(tmp_path / "found"))[:]
    assert report["boxes_origin"] == {"gutter cut": 8} and report["texts_origin"] == {"made": 8}


def test_of_objects_of_several_kinds_the_panels_are_taken(tmp_path):
    """As lists and as a list, with names of classes; other columns keep what they hold, whatever their kind."""
    kinds = datasets.ClassLabel(names=["text", "Panel"])
    boxes = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in BOXES]
    box = datasets.List(datasets.Value("float32"), 4)
    for name, feature, objects in (
        ("lists", {"bbox": datasets.List(box), "category": datasets.List(kinds)}, {"bbox": [[9, 9, 9, 9], *boxes], "category": [0, 1, 1]}),
        ("list", datasets.List({"bbox": box, "category": kinds}), [{"bbox": [9, 9, 9, 9], "category": 0}, *({"bbox": each, "category": 1} for each in boxes)]),
    ):  # fmt: skip
        features = datasets.Features(
            {"image": datasets.Image(), "objects": feature, "number": datasets.Value("int64")}
        )
        rows = {"image": [{"bytes": content(), "path": None}], "objects": [objects], "number": [7]}
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / name))
        report = ingest([tmp_path / name], tmp_path / f"{name} out", progress=False)
        row = load_from_disk(str(tmp_path / f"{name} out"))[0]
        np.testing.assert_allclose(row["boxes"], np.array(BOXES) / (*SIZE, *SIZE), rtol=1e-6)
        assert report["boxes_origin"] == {"given": 1} and row["number"] == "7" and '"Panel"' in row["metadata"]


def test_a_data_set_for_object_detection_is_a_source(tmp_path):
    """Boxes `x y width height` in pixels in `objects`, as most of the Hub's have them, in no order."""
    objects = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in reversed(BOXES)]
    rows = {"image": [{"bytes": content(), "path": None}], "objects": [{"bbox": objects, "category": [0, 0]}]}
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("float32"), 4)),
                "category": datasets.List(datasets.Value("int64")),
            },
        }
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "in"))
    ingest([tmp_path / "in"], tmp_path / "out", progress=False)
    row = load_from_disk(str(tmp_path / "out"))[0]
    np.testing.assert_allclose(row["boxes"], np.array(BOXES) / (*SIZE, *SIZE), rtol=1e-6)
    assert row["boxes_origin"] == "given" and row["order_origin"] != "given"
    assert row["page_name"] == "0" and json.loads(row["metadata"])["objects"]["category"] == [0, 0]
    np.testing.assert_array_equal(np.asarray(row["image"]), np.asarray(page()))


def test_a_folder_with_metadata_is_a_source(tmp_path):
    """As `datasets` makes one of pictures: `metadata.jsonl` beside them."""
    folder: Path = write_pages(tmp_path / "in", ["1.png", "2.png"])
    boxes = [[x0 / 48, y0 / 64, x1 / 48, y1 / 64] for x0, y0, x1, y1 in BOXES]
    lines = [{"file_name": f"{number}.png", "panel_boxes": boxes} for number in (1, 2)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = ingest([folder], tmp_path / "out", progress=False)
    assert report["boxes_origin"] == {"given": 2} and report["panels"] == 4
