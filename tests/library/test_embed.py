"""Data set of pages to Stage 3 store."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from datasets import Dataset, Image, load_from_disk
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.library import embed
from modeling_comicseq.library.embed import embed_pages
from modeling_comicseq.pages.ingest import ingest
from modeling_comicseq.stores import stage3_layout as layout
from modeling_comicseq.stores.arrays import metadata_beside
from modeling_comicseq.stores.output import Output
from modeling_comicseq.stores.stage3 import Stage3Store

from ..pages.made_pages import annotation, content
from ..pages.made_pages import write_pages as write_pictures
from .fake_encoder import WIDTH, FakeEncoder
from .killed import Children, same_files
from .page_sets import COUNTS, SIZE, picture, rows_of, write_pages

ARRAYS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")


@pytest.fixture
def pages(tmp_path) -> Path:
    return write_pages(tmp_path / "pages", rows_of())


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 3 rows, so that 10 pages are four parts."""
    monkeypatch.setattr(layout, "_LEAST_ROWS", 3)
    monkeypatch.setattr(layout, "_MOST_ROWS", 3)


def run(pages, output, encoder=None, **options) -> dict[str, Any]:
    return embed_pages(pages, output, encoder=encoder or FakeEncoder(), progress=False, **options)


def read(output) -> dict[str, np.ndarray]:
    return {name: array[:] for name, array in zarr.open_group(str(output), mode="r").arrays()}


def metadata_of(output) -> list[dict]:
    with fsspec.open(metadata_beside(str(output))) as file:
        return json.load(file)


def reference(rows: list[dict[str, Any]], encoder: FakeEncoder) -> dict[str, np.ndarray]:
    """Panel by panel, as one would write it first."""
    slots = max(len(row["boxes"]) for row in rows)
    arrays = {name: np.zeros((len(rows), slots, WIDTH), np.float32) for name in ARRAYS}
    mask, boxes = np.zeros((len(rows), slots), bool), np.zeros((len(rows), slots, 4), np.float32)
    for number, row in enumerate(rows):
        for slot, box in enumerate(row["boxes"]):
            pixels = [round(share * side) for share, side in zip(box, SIZE * 2, strict=True)]
            visual = encoder.encode_images([picture(number).crop(pixels)])[0]
            text = encoder.encode_texts([" ".join(row["texts"][slot])])[0]
            caption = encoder.encode_captions([row["captions"][slot] if row["captions"] else ""])[0]
            for name, vector in zip(ARRAYS, (visual + text, visual, text, caption), strict=True):
                arrays[name][number, slot] = vector
            mask[number, slot], boxes[number, slot] = True, box
    return arrays | {"panel_masks": mask, "panel_boxes": boxes}


@pytest.mark.parametrize(
    "options", [{}, {"zarr_format": 2, "dtype": "float16"}, {"dtype": "float16"}, {"zarr_format": 2}]
)
def test_rows_are_what_the_encoder_says(pages, tmp_path, small_parts, options):
    made = run(pages, tmp_path / "out_embeddings.zarr", **options)
    found, expected = read(tmp_path / "out_embeddings.zarr"), reference(rows_of(), FakeEncoder())
    assert found.keys() == expected.keys()
    dtype = options.get("dtype", "float32")
    for name, values in expected.items():
        values = values.astype(dtype) if name in ARRAYS else values
        assert found[name].dtype == values.dtype and np.array_equal(found[name], values), name
    group = zarr.open_group(tmp_path / "out_embeddings.zarr", mode="r", use_consolidated=True)
    assert group.metadata.zarr_format == options.get("zarr_format", 3) and dict(group.attrs) == made
    assert made["origin"] == FakeEncoder().origin and made["source"]["pages"] == str(pages)
    counts = (made["pages"], made["panels"], made["pages_without_panels"], made["texts"], made["captions"])
    assert counts == (10, sum(COUNTS), 1, 17, sum(COUNTS[::2]))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out_embeddings.zarr", "out_metadata.json", "pages"]


def test_metadata_tell_what_is_known_of_the_pages(pages, tmp_path):
    run(pages, tmp_path / "out.zarr")
    entries = metadata_of(tmp_path / "out.zarr")
    assert entries[3] == {
        "sequence_index": 3,
        "canonical_id": "Book 1/3.png",
        "book_id": "Book 1",
        "page_name": "3.png",
        "page_index": 1,
        "num_panels": 1,
        "reading_direction": "rtl",
        "texts": [["page 3", "panel 0"]],
    }
    assert [entry["sequence_index"] for entry in entries] == list(range(10))
    assert entries[4]["captions"] == [f"caption 4 {panel}" for panel in range(4)]
    assert entries[4]["character_ids"] == [["c0"], ["c1"], ["c2"], ["c3"]]
    assert entries[4]["texts"][2] == [] and "reading_direction" not in entries[4]


def test_converts_with_its_origin_boxes_and_a_page_without_panels(pages, tmp_path):
    run(pages, tmp_path / "out.zarr")
    convert_store(
        tmp_path / "out.zarr",
        tmp_path / "out_metadata.json",
        tmp_path / "data",
        split_books={"validation": ["Book 1"]},
        progress=False,
    )
    provenance = json.loads((tmp_path / "data" / "provenance.json").read_text())
    assert provenance["origin"]["text_encoder"] == "fake" and provenance["pages_without_panels"] == 1
    assert provenance["panel_boxes"]["panels"] == sum(COUNTS) and provenance["character_ids"]
    (train,) = [each for name, each in load_from_disk(tmp_path / "data").items() if name == "train"]
    assert train["num_panels"] == [2, 4, 1, 2]  # the empty row gives none


@pytest.mark.parametrize(
    ("encoder", "changes", "arrays"),
    [
        (FakeEncoder(), {"captions": None}, ARRAYS[:3]),
        (FakeEncoder(), {"captions": None, "texts": None}, ARRAYS[:2]),
        (FakeEncoder(reads=False), {}, ARRAYS[:2]),
    ],
)
def test_what_no_panel_has_or_the_encoder_does_not_give_is_left_out(tmp_path, encoder, changes, arrays):
    run(write_pages(tmp_path / "pages", rows_of(**changes)), tmp_path / "out.zarr", encoder)
    assert set(read(tmp_path / "out.zarr")) == {*arrays, "panel_masks", "panel_boxes"}
    assert np.array_equal(*(read(tmp_path / "out.zarr")[name] for name in arrays[:2])) == (len(arrays) == 2)


def test_an_encoder_of_texts_needs_no_pictures_but_texts(tmp_path):
    rows = rows_of(counts=(2, 1), image={"bytes": b"no picture", "path": None})
    run(write_pages(tmp_path / "pages", rows), tmp_path / "out.zarr", FakeEncoder(sees=False))
    found = read(tmp_path / "out.zarr")
    assert "visual_embeddings" not in found and np.array_equal(found["panel_embeddings"], found["text_embeddings"])
    silent = write_pages(tmp_path / "silent", rows_of(counts=(2, 3)))
    with pytest.raises(
        ComicSeqDataError, match=r"page 'Book 1/1.png': panel 2 has no text, and fake reads nothing else"
    ):
        run(silent, tmp_path / "silent.zarr", FakeEncoder(sees=False))
    with pytest.raises(ComicSeqDataError, match="has no texts, and fake reads nothing else; name one that sees"):
        wordless = write_pages(tmp_path / "wordless", rows_of(texts=None, captions=None))
        run(wordless, tmp_path / "wordless.zarr", FakeEncoder(sees=False))


def test_a_crop_is_at_least_one_pixel(tmp_path):
    boxes = [[0, 0, 1e-4, 1e-4], [0.9999, 0.9999, 1, 1]]
    rows = rows_of(counts=(2,), boxes=boxes)
    run(write_pages(tmp_path / "pages", rows), tmp_path / "out.zarr")
    encoder, page = FakeEncoder(), picture(0)
    expected = encoder.encode_images([page.crop((0, 0, 1, 1)), page.crop((39, 59, 40, 60))])
    assert np.array_equal(read(tmp_path / "out.zarr")["visual_embeddings"][0], expected)


# Faults


def without(name: str):
    return lambda data: data.remove_columns([name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[0.1, 0.1, 0.5, np.nan]] * 2}, "page 'Book 0/0.png': .*not finite|nan"),
        ({"boxes": [[0.1, 0.1, 1.5, 0.5]] * 2}, "page 'Book 0/0.png': .*outside the page"),
        ({"boxes": [[0.5, 0.1, 0.2, 0.5]] * 2}, "page 'Book 0/0.png': .*inverted"),
        ({"boxes": [[0.0] * 4] * 2}, "nothing tells where panel 0 stands; give its box, or leave the page out"),
        ({"texts": [["one"]]}, "it has 1 texts for 2 boxes; give one a panel"),
        ({"image": {"bytes": content(picture(0))[:200], "path": None}}, "is cut off or damaged"),
        ({"image": None}, "has no picture"),
        ({"book_id": " "}, "its book_id is ' '"),
        ({"boxes": []}, "holds no panel on any of its pages"),
    ],
)
def test_a_page_with_a_fault(tmp_path, change, message):
    texts = change.get("texts", None if "boxes" in change else [[], []])
    rows = rows_of(counts=(2,), **{"captions": None, "character_ids": None, "texts": texts} | change)
    write_pages(tmp_path / "pages", rows)
    with pytest.raises(ComicSeqDataError, match=message):
        run(tmp_path / "pages", tmp_path / "out.zarr")
    assert [each.name for each in tmp_path.iterdir()] == ["pages"]


@pytest.mark.parametrize("column", ["image", "boxes", "page_name"])
def test_a_data_set_that_is_none_of_pages(pages, tmp_path, column):
    load_from_disk(pages).remove_columns([column]).save_to_disk(tmp_path / "other")
    with pytest.raises(ComicSeqDataError, match=f"(has no column '{column}'|not one column of pictures)"):
        run(tmp_path / "other", tmp_path / "out.zarr")


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"zarr_format": 1}, {"batch_size": 0}])
def test_wrong_options(pages, tmp_path, options):
    ((name, value),) = options.items()
    with pytest.raises(ComicSeqArgumentError, match=f"{name} '?{value}'?"):
        run(pages, tmp_path / "out.zarr", **options)


def test_vectors_that_are_not_finite(pages, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeEncoder, "encode_captions", lambda self, texts: self.encode_texts(texts) + np.inf)
    with pytest.raises(
        ComicSeqDataError, match="page 'Book 0/0.png': fake makes caption_embeddings that are not finite"
    ):
        run(pages, tmp_path / "out.zarr")


# Outputs that are there already, and interrupts


def test_complete_output(pages, tmp_path, capsys):
    first = run(pages, tmp_path / "out.zarr")
    encoder = FakeEncoder()
    assert embed_pages(pages, tmp_path / "out.zarr", encoder=encoder) == first and not encoder.images
    assert "already done" in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(ComicSeqDataError, match="other input or with other options; .* --overwrite"):
        run(pages, tmp_path / "out.zarr", FakeEncoder(version="2"))
    made = run(pages, tmp_path / "out.zarr", FakeEncoder(version="2"), overwrite=True)
    assert made["origin"]["encoder_fingerprint"] == "fake 2 True True"
    with pytest.raises(ComicSeqDataError, match="pages .*holds|lies in the input"):
        run(pages, pages / "out.zarr")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("text")
    with pytest.raises(ComicSeqDataError, match="thesis exists and is of no Stage 3 store that was made here"):
        run(pages, tmp_path / "thesis", overwrite=True)


def test_rerun_embeds_only_what_is_missing(pages, tmp_path, small_parts):
    run(pages, tmp_path / "reference" / "out.zarr")

    class Interrupted(FakeEncoder):
        def encode_images(self, images):
            if self.images > 6:  # in the third part
                raise KeyboardInterrupt
            return super().encode_images(images)

    with pytest.raises(KeyboardInterrupt):
        run(pages, tmp_path / "out.zarr", Interrupted())
    done = {path.name for path in (tmp_path / ".out.zarr.partial" / "done").iterdir()}
    assert not (tmp_path / "out.zarr").exists() and done == {"00000.json", "00001.json"}
    encoder = FakeEncoder()
    run(pages, tmp_path / "out.zarr", encoder)
    assert encoder.images == sum(COUNTS[6:])
    assert same_files(tmp_path / "out.zarr", tmp_path / "reference" / "out.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_anywhere(pages, tmp_path, small_parts, processes):
    """No output or the complete one, and the next run completes it with the same bytes, in any number of processes."""
    output, expected = tmp_path / "out.zarr", tmp_path / "reference" / "out.zarr"
    run(pages, expected)
    children = Children(lambda: run(pages, output), processes)
    assert children.run() == [0] * processes
    assert same_files(output, expected)
    total, seen = children.steps.value, set()
    assert total > 60
    for number, moment in enumerate(np.linspace(0, total - 2, 6 if processes == 1 else 3).astype(int).tolist()):
        shutil.rmtree(output)
        os.unlink(tmp_path / "out_metadata.json")
        codes = children.run(moment, kill_all=number % 2 == 0)
        assert -signal.SIGKILL in codes, (moment, codes)
        seen.add(output.exists())
        assert not output.exists() or same_files(output, expected)
        assert children.run() == [0] * processes
        assert same_files(output, expected), moment
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "out.zarr",
            "out_metadata.json",
            "pages",
            "reference",
        ]
    assert False in seen


def test_a_store_at_a_url_goes_on_after_an_interrupt(pages, tmp_path, small_parts, monkeypatch):
    output = "memory://embed/stage3_embeddings.zarr"

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modeling_comicseq.stores.output.finish_store", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(pages, output)
    assert len(Output(output, "", 3).finished_parts()) == 4
    encoder = FakeEncoder()
    run(pages, output, encoder)
    assert not encoder.images and len(metadata_of(output)) == 10
    assert np.array_equal(read(output)["panel_embeddings"], reference(rows_of(), FakeEncoder())["panel_embeddings"])


def test_command(pages, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "load_panel_encoder", lambda *_, **__: FakeEncoder())
    arguments = ["embed", str(pages), "--output", str(tmp_path / "out.zarr")]
    result = CliRunner().invoke(app, [*arguments, "--zarr-format", "2", "--batch-size", "5"])
    assert result.exit_code == 0, result.output
    assert "out.zarr: 10 pages, 20 panels, 17 with texts, 9 with captions" in result.output
    assert "1 page without panels: empty rows" in result.output
    assert Stage3Store.open(tmp_path / "out.zarr").widths == dict.fromkeys(ARRAYS, WIDTH)


def test_pages_in_several_splits(pages, tmp_path):
    """What `load_dataset` opens, too."""
    (tmp_path / "parquet").mkdir()
    data: Dataset = load_from_disk(pages).cast_column("image", Image(decode=False))
    for split, rows in (("train", range(5)), ("test", range(5, 10))):
        data.select(rows).to_parquet(tmp_path / "parquet" / f"{split}.parquet")
    run(tmp_path / "parquet", tmp_path / "out.zarr")
    found, expected = read(tmp_path / "out.zarr"), reference(rows_of(), FakeEncoder())
    assert all(np.array_equal(found[name], values) for name, values in expected.items())


def test_pictures_where_they_were(tmp_path):
    names = [f"{number}.png" for number in range(3)]
    comics = write_pictures(tmp_path / "comics", names)
    (tmp_path / "comics.json").write_text(json.dumps([annotation(name) for name in names]))
    ingest([comics], tmp_path / "pages", annotations=tmp_path / "comics.json", images="paths", progress=False)
    assert run(tmp_path / "pages", tmp_path / "out.zarr")["panels"] == 6
    (comics / "1.png").unlink()
    with pytest.raises(
        ComicSeqDataError, match="page 'comics/1.png': cannot be read from .*; name a file that is there"
    ):
        run(tmp_path / "pages", tmp_path / "again.zarr")
