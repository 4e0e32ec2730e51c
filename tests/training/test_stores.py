"""Runs on Stage 3 stores themselves."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

from modeling_comicseq import ComicSeqConfig
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.stores.splits import split_of
from modeling_comicseq.synthetic.world import DEMO_WORLD, synthesize
from modeling_comicseq.training import stores
from modeling_comicseq.training.arguments import PretrainingArguments
from modeling_comicseq.training.stores import data_folder
from modeling_comicseq.training.wanted import WantedTasks

from ..stores.stage3_stores import Source, make_source
from .processes import FIELDS, MODEL, Run

BOOKS = 14  # enough that no split by hash is empty


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return make_source(tmp_path_factory.mktemp("store") / "train", pages=4 * BOOKS)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Source:
    return other_books(make_source(tmp_path_factory.mktemp("store") / "val", pages=12))


def other_books(source: Source) -> Source:
    for entry in source.entries:
        entry["canonical_id"] = entry["canonical_id"].replace("Book", "Volume")
    source.write_metadata(source.entries)
    panels = source.array("panel_embeddings")
    panels[:] = 2 * panels[:]  # other vectors, too
    return source


def fields(train: Source, val: Source | None = None) -> dict[str, str]:
    given = {"train_embeddings": train.embeddings, "train_metadata": train.metadata}
    if val is not None:
        given |= {"val_embeddings": val.embeddings, "val_metadata": val.metadata}
    return given


def arguments(output: Path, *sources: Source, **more) -> PretrainingArguments:
    return PretrainingArguments(output_dir=str(output), use_cpu=True, **(fields(*sources) | more))


def open_data(arguments: PretrainingArguments):
    return stores.open_data(arguments, WantedTasks(arguments, ComicSeqConfig()))


def words(folder: Path, output: Path, **given) -> list[str]:
    (folder / "model.json").write_text(json.dumps({**MODEL, "panel_embedding_dim": 8}))
    values = FIELDS | {"model": folder / "model.json", "output_dir": output} | given
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def losses(output: Path) -> list[float]:
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def note_who_converts(path: Path) -> None:
    ordinary = stores.convert_store

    def patched(embeddings, *args, **kwargs):
        with open(path, "a") as file:
            file.write(f"{os.environ.get('RANK', '0')} ")
        return ordinary(embeddings, *args, **kwargs)

    stores.convert_store = patched


@pytest.mark.slow
def test_a_run_on_two_stores(source, other, tmp_path):
    """One process converts, the others wait; the same command again converts nothing and resumes."""
    output, who = tmp_path / "model", tmp_path / "who"
    given = words(tmp_path, output, **fields(source, other), max_steps=2)
    run = Run(given, tmp_path / "log", partial(note_who_converts, who), processes=2)
    assert run.exit_codes == [0, 0], run.output
    assert who.read_text() == "0 0 " and (output / "model.safetensors").is_file()
    provenance = [read_provenance(tmp_path / "model_data" / name) for name in ("train", "validation")]
    assert [each["source"]["embeddings"] for each in provenance] == [source.embeddings, other.embeddings]
    assert provenance[0]["counts"]["train"]["pages"] == 4 * BOOKS
    assert provenance[1]["counts"]["validation"]["pages"] == 12
    assert f"{4 * BOOKS} pages of {BOOKS} books" in (output / "README.md").read_text()

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "model_data").rglob("*") if path.is_file()}
    run = Run(given, tmp_path / "again.log")
    assert run.exit_codes == [0] and f"Resuming from {output}" in run.output, run.output
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "model_data").rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_on_one_store_is_that_on_its_data_set(tmp_path):
    synthesize(tmp_path / "in", num_books=41, world=replace(DEMO_WORLD, width=32), progress=False)
    store = {"train_embeddings": tmp_path / "in" / "stage3_embeddings.zarr"}
    store |= {"train_metadata": tmp_path / "in" / "stage3_metadata.json"}
    convert_store(*store.values(), tmp_path / "data", progress=False)
    for name, given in {"one": store, "other": {"dataset": tmp_path / "data"}}.items():
        run = Run(words(tmp_path, tmp_path / name, max_steps=2, **given), tmp_path / f"{name}.log")
        assert run.exit_codes == [0], run.output
    assert losses(tmp_path / "one") == losses(tmp_path / "other") and losses(tmp_path / "one")


def test_a_run_is_told_of_vectors_that_tell_places(tmp_path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(stores.logger, "warning_once", warnings.append)
    source = make_source(tmp_path / "in", pages=4 * BOOKS)
    open_data(arguments(tmp_path / "without", source))
    assert not warnings
    panels = source.array("panel_embeddings")
    values = panels[:]
    values[..., 2] = np.arange(values.shape[1])
    panels[:] = values
    open_data(arguments(tmp_path / "with", source))
    assert len(warnings) == 1 and "can be read off its vector" in warnings[0]


def test_one_store_is_split_by_book(source, tmp_path):
    train, validation = open_data(arguments(tmp_path / "out", source))
    assert {split_of(book) for book in train.book_ids} == {"train"}
    assert {split_of(book) for book in validation.book_ids} == {"validation"}


def test_a_book_in_both_stores(source, other, tmp_path):
    with pytest.raises(ComicSeqDataError, match=r"book 'Book 00' stands in .*train.* \(14 books do\): keep each"):
        open_data(arguments(tmp_path / "out", source, source))
    other_source = make_source(tmp_path / "mixed", pages=12)
    entries = other_source.entries[:4] + [
        {**entry, "canonical_id": f"x/{entry['canonical_id']}", "book_id": f"new {n}"}
        for n, entry in enumerate(other_source.entries[4:])
    ]
    other_source.write_metadata(entries)
    with pytest.raises(ComicSeqDataError, match=r"'Book 00' stands in .* and in .*mixed.* \(1 books do\)"):
        open_data(arguments(tmp_path / "out", source, other_source))


def test_a_book_in_both_stores_in_another_spelling(tmp_path):
    sources = [make_source(tmp_path / name, pages=8) for name in ("train", "val")]
    for source, names in zip(sources, (["Od\u00e9", "A"], ["Ode\u0301", "B"]), strict=True):
        for entry in source.entries:
            entry["book_id"] = names[entry["sequence_index"] // 4]
        source.write_metadata(source.entries)
    with pytest.raises(ComicSeqDataError, match=r"book 'Od\u00e9' stands in .* \(1 books do\): keep each"):
        open_data(arguments(tmp_path / "out", *sources))


def test_a_data_set_of_an_earlier_version_with_a_book_on_both_sides(tmp_path, monkeypatch):
    source, warnings = make_source(tmp_path / "in", pages=4 * BOOKS), []
    names = "Od\u00e9 0", "Ode\u0301 0"  # by its code points, one spelling is in train, the other in validation
    for entry in source.entries[:8]:
        entry["canonical_id"] = f"library/{names[entry['sequence_index'] % 2]}/{entry['sequence_index']}.jpg"
    source.write_metadata(source.entries)
    monkeypatch.setattr(stores.logger, "warning_once", warnings.append)
    for module in ("pages", "splits"):
        monkeypatch.setattr(f"modeling_comicseq.stores.{module}.normal_form", str)
    convert_store(source.embeddings, source.metadata, tmp_path / "data", progress=False)
    open_data(PretrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, dataset=str(tmp_path / "data")))
    (warning,) = warnings
    assert (
        "'Ode\u0301 0' stands in the splits train and validation" in warning and "Convert the store again" in warning
    )


def test_validation_pages_that_are_trained_on_are_told(tmp_path, monkeypatch):
    train, validation = (make_source(tmp_path / name, pages=4 * BOOKS) for name in ("train", "val"))
    panels = other_books(validation).array("panel_embeddings")
    panels[:3] = panels[:3] / 2
    warnings: list[str] = []
    monkeypatch.setattr(stores.logger, "warning_once", warnings.append)
    open_data(arguments(tmp_path / "out", train, validation))
    (warning,) = warnings
    assert warning.startswith("3 validation pages, the first 'library/Volume 00/page 8.jpg', stand among the training")


def test_a_store_that_has_changed_is_converted_again(tmp_path):
    source = make_source(tmp_path / "in", pages=4 * BOOKS)
    given = arguments(tmp_path / "out", source)
    before = len(open_data(given)[0])
    source.write_metadata([entry for entry in source.entries if entry["sequence_index"] % 4])
    assert len(open_data(given)[0]) == before * 3 // 4
    with pytest.raises(
        ComicSeqDataError, match="none of its 11 books falls into validation: .*--fractions 0.5"
    ):  # three books, none of them for validation
        source.write_metadata([entry for entry in source.entries if split_of(book_of(entry)) == "train"])
        open_data(given)


def book_of(entry: dict) -> str:
    return entry["canonical_id"].split("/")[1]


def test_what_is_no_data_set_is_left_alone(source, tmp_path):
    folder = data_folder(str(tmp_path / "out")) / "train"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("text")
    with pytest.raises(ComicSeqDataError, match="is no converted data set"):
        open_data(arguments(tmp_path / "out", source))
    assert (folder / "thesis.txt").read_text() == "text"


@pytest.mark.slow
def test_a_faulty_page_stops_every_process_with_one_sentence(tmp_path):
    source = make_source(tmp_path / "in", pages=4 * BOOKS)
    source.array("panel_embeddings")[9, 0] = np.nan
    given = words(tmp_path, tmp_path / "out", **fields(source), max_steps=1)
    run = Run(given, tmp_path / "log", processes=2)
    assert run.exit_codes == [1, 1] and "Traceback" not in run.output, run.output
    assert run.output.count("sequence_index 9") == 2 and "--on-error skip" in run.output
    assert not (tmp_path / "out_data" / "train").exists()
    run = Run([*given, "--on-error", "skip"], tmp_path / "log")
    assert run.exit_codes == [0], run.output
    (page,) = json.loads((tmp_path / "out_data" / "train" / "skipped.json").read_text())
    assert page["sequence_index"] == 9


def test_urls(source, tmp_path):
    fsspec.filesystem("memory").put(str(Path(source.metadata).parent) + "/", "/run/", recursive=True)
    there = source._replace(
        embeddings="memory://run/stage3_embeddings.zarr", metadata="memory://run/stage3_metadata.json"
    )
    (here, _), (train, _) = open_data(arguments(tmp_path / "a", source)), open_data(arguments(tmp_path / "b", there))
    panels = np.arange(here.offsets[-1])
    assert np.array_equal(here.gather("panel_embeddings", panels), train.gather("panel_embeddings", panels))


def test_stores_of_other_encoders(source, tmp_path, monkeypatch):
    other = other_books(make_source(tmp_path / "val", pages=12))
    warnings: list[str] = []
    monkeypatch.setattr(stores.logger, "warning_once", warnings.append)
    open_data(arguments(tmp_path / "out", source, other))
    assert warnings == []
    attributes = Path(other.embeddings) / "zarr.json"
    attributes.write_text(attributes.read_text().replace("some-encoder", "another-encoder"))
    open_data(arguments(tmp_path / "out", source, other))
    (warning,) = warnings
    assert "are of different origin (visual_encoder is" in warning


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_embeddings": "a"}, "`train_embeddings` is set without `train_metadata`"),
        ({"train_metadata": "a"}, "`train_metadata` is set without `train_embeddings`"),
        (
            {"train_embeddings": "a", "train_metadata": "a", "val_metadata": "a"},
            "`val_metadata` is set without `val_embeddings`",
        ),
        ({"val_embeddings": "a", "val_metadata": "a"}, "`val_embeddings` is set without `train_embeddings`"),
        (
            {"dataset": "a", "train_embeddings": "a", "train_metadata": "a"},
            "`dataset` and `train_embeddings` are both",
        ),
        ({"dataset": "a", "val_embeddings": "a", "val_metadata": "a"}, "`dataset` and `val_embeddings` are both set"),
        ({"num_proc": 0}, "`num_proc` is 0 but must be at least 1"),
        ({"on_error": "ignore"}, "`on_error` is 'ignore' but must be stop or skip"),
    ],
)
def test_wrong_arguments(tmp_path, given, message):
    with pytest.raises(ComicSeqArgumentError, match=message):
        PretrainingArguments(output_dir=str(tmp_path), use_cpu=True, **given)


def test_a_store_that_is_not_there(source, tmp_path):
    with pytest.raises(ComicSeqDataError, match=r"nowhere\.zarr cannot be opened"):
        open_data(arguments(tmp_path / "out", source, train_embeddings="nowhere.zarr"))
    with pytest.raises(ComicSeqDataError, match=r"nowhere\.json cannot be read"):
        open_data(arguments(tmp_path / "out", source, train_metadata="nowhere.json"))
