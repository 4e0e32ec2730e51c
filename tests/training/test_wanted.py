"""Tasks that the data cannot serve: all that is missing is said at once, before it is read, or left out on demand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import DatasetDict

from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.model.tasks_comicseq import CAPTION_RELEVANCE, PANEL_PICKING, READING_ORDER, TEXT_CLOZE
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.run import configuration, pretrain
from modeling_comicseq.training.stores import open_data
from modeling_comicseq.training.wanted import WantedTasks

from ..data.made_dataset import made_dataset
from ..stores.stage3_stores import make_source
from .processes import MODEL, argv, write_inputs

WITHOUT = {CAPTION_RELEVANCE.name, TEXT_CLOZE.name}


def wanted(arguments: PretrainingArguments) -> WantedTasks:
    return WantedTasks(arguments, configuration(arguments))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set of fused panel vectors alone, whose validation split is empty."""
    write_inputs(tmp_path)
    pages = made_dataset([[3, 4, 2, 5, 6, 3]] * 4).remove_columns(["text_embeddings", "caption_embeddings"])
    DatasetDict(train=pages, validation=pages.select([])).save_to_disk(tmp_path / "empty")
    DatasetDict(train=pages, validation=pages).save_to_disk(tmp_path / "plain")
    return tmp_path


def test_everything_that_a_data_set_lacks_is_named_at_once(folder):
    arguments = parse_arguments(argv(folder, folder / "out", dataset=folder / "empty"))
    with pytest.raises(ComicSeqDataError) as error:
        open_data(arguments, wanted(arguments))
    text = str(error.value)
    assert "The split 'validation' of" in text and "--fractions" in text and "--tasks available" in text
    assert all(name in text for name in WITHOUT) and "has no `caption_embeddings`" in text


def test_everything_that_a_store_lacks_is_named_before_it_is_converted(tmp_path, monkeypatch):
    source = make_source(tmp_path / "in", pages=8, names=("panel_embeddings",))
    for entry in source.entries:  # two books, which the hash puts on one side
        entry["canonical_id"] = f"library/Book {entry['sequence_index'] // 4:02}/{entry['sequence_index']}.jpg"
    source.write_metadata(source.entries)
    monkeypatch.setattr("modeling_comicseq.data.conversion._build", lambda *_: pytest.fail("vectors are read"))
    (tmp_path / "model.json").write_text(json.dumps(MODEL | {"panel_embedding_dim": 8}))
    given = {"train_embeddings": source.embeddings, "train_metadata": source.metadata, "use_cpu": True}
    arguments = PretrainingArguments(
        output_dir=str(tmp_path / "out"), model=str(tmp_path / "model.json"), fractions=[1, 0, 0], **given
    )
    with pytest.raises(ComicSeqDataError) as error:
        open_data(arguments, wanted(arguments))
    text = str(error.value)
    assert f"{source.embeddings} cannot be trained on: " in text and text.count("\n") == 0
    assert "none of its 2 books falls into validation" in text
    assert "--fractions 0.5 0.5 0" in text and "--split_books" in text and "--val_embeddings" in text
    assert "there is no `caption_embeddings`" in text and "there is no `text_embeddings`" in text
    assert "--tasks available" in text


def test_books_are_split_by_a_list(tmp_path):
    source = make_source(tmp_path / "in", pages=8)
    books = sorted({entry["canonical_id"].split("/")[1] for entry in source.entries})
    (tmp_path / "split.json").write_text(json.dumps({"validation": books[:1]}))
    given = {"train_embeddings": source.embeddings, "train_metadata": source.metadata, "use_cpu": True}
    given |= {"output_dir": str(tmp_path / "out"), "tasks": [READING_ORDER.name]}
    arguments = PretrainingArguments(split_books=str(tmp_path / "split.json"), **given)
    train, validation = open_data(arguments, wanted(arguments))
    assert validation.book_ids.tolist() == books[:1] and train.book_ids.tolist() == books[1:]
    (tmp_path / "split.json").write_text(json.dumps({"validation": [books[0].replace("Book", "Boook")]}))
    with pytest.raises(ComicSeqDataError, match=f"did you mean `{books[0]}`"):
        open_data(arguments, wanted(arguments))
    with pytest.raises(ComicSeqArgumentError, match="`split_books` splits the store of `train_embeddings`"):
        PretrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, dataset="a", split_books="b.json")


@pytest.mark.slow
def test_a_run_on_what_is_available(folder, caplog):
    words = argv(folder, folder / "out", dataset=folder / "plain", tasks="available")
    pretrain(parse_arguments(words))
    config = json.loads((folder / "out" / "config.json").read_text())
    assert {name for name, weight in config["task_weights"].items() if weight == 0} == WITHOUT
    (folder / "out" / "model.safetensors").unlink()
    pretrain(parse_arguments(words))  # the same command resumes


def test_data_that_serve_no_task_are_told_why(folder):
    """As pages are whose panels were not told apart."""
    whole = made_dataset([[1, 1, 1]] * 4).remove_columns(
        ["text_embeddings", "caption_embeddings", "visual_embeddings"]
    )
    DatasetDict(train=whole, validation=whole).save_to_disk(folder / "whole")
    arguments = parse_arguments(argv(folder, folder / "out", dataset=folder / "whole", tasks="available"))
    with pytest.raises(ComicSeqArgumentError) as error:
        open_data(arguments, wanted(arguments))
    text = str(error.value)
    assert text.startswith("There is no task to train on: the tasks ") and f"{PANEL_PICKING.name} (" in text


@pytest.mark.parametrize("tasks", ["all", "available"])
def test_a_protocol_under_which_one_book_can_be_asked_is_named(folder, tasks, caplog):
    book = made_dataset([[3, 4, 2, 5, 6, 3]])
    DatasetDict(train=book, validation=book).save_to_disk(folder / "book")
    arguments = parse_arguments(argv(folder, folder / "out", dataset=folder / "book", tasks=tasks))
    words = []
    try:
        open_data(arguments, wanted(arguments))
    except ComicSeqDataError as error:
        words = [str(error)]
    (text,) = words or [each.getMessage() for each in caplog.records if PANEL_PICKING.name in each.getMessage()]
    assert "under the protocol cross_book: the split has a single book" in text
    assert "(ask with --protocol same_book)" in text


def test_of_validation_which_asks_under_one_protocol_no_other_is_named(folder):
    books = {"train": made_dataset([[3, 4, 2]] * 4), "validation": made_dataset([[3]])}
    DatasetDict(books).save_to_disk(folder / "page")
    arguments = parse_arguments(argv(folder, folder / "out", dataset=folder / "page", tasks="all"))
    with pytest.raises(ComicSeqDataError, match="under the protocol same_book: .*, in validation") as error:
        open_data(arguments, wanted(arguments))
    assert "--protocol" not in str(error.value)


def test_tasks_by_their_names(folder):
    arguments = parse_arguments(argv(folder, folder / "out", tasks=PANEL_PICKING.name))
    weights = wanted(arguments).weights
    assert {name for name, weight in weights.items() if weight} == {PANEL_PICKING.name}
    with pytest.raises(
        ComicSeqArgumentError, match=f"`tasks` names 'panelpicking' .*: did you mean `{PANEL_PICKING.name}`"
    ):
        wanted(parse_arguments(argv(folder, folder / "out", tasks="panelpicking")))


@pytest.mark.parametrize(("books", "said_books"), [(4, "4 books"), (1, "1 book")])
def test_few_books_to_validate_on_are_told(folder, monkeypatch, books, said_books):
    from modeling_comicseq.training import run

    said: list[str] = []
    monkeypatch.setattr(run.logger, "warning", said.append)
    opened = open_data

    def few(*inputs):
        train, validation = opened(*inputs)
        validation.book_ids = validation.book_ids[:books]
        return train, validation

    monkeypatch.setattr(run, "open_data", few)
    monkeypatch.setattr(run, "build_model", lambda *_: (_ for _ in ()).throw(ComicSeqDataError("enough")))
    with pytest.raises(ComicSeqDataError, match="enough"):
        pretrain(parse_arguments(argv(folder, folder / "out")))
    assert f"Validation asks about {said_books}: below 10" in said[0]
