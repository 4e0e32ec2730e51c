"""A page that stands twice, and a vector that two panels have, are no wrong candidates for themselves."""

import logging
import pickle

import numpy as np
import pytest
from datasets import concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.data.draws import Draws
from modeling_comicseq.data.opening import open_split, tell_twins
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.views import Vectors
from modeling_comicseq.tasks import TASKS

from ..stores.stage3_stores import make_source
from .made_dataset import COLUMNS, made_dataset, made_table
from .test_conversion import convert

BOOKS = [[4, 5, 3, 6, 4, 5], [5, 4, 6, 3], [4, 4, 5]]


def with_twins(copies: list[tuple[int, int]], panels: list[tuple[int, int]] = (), names: list[str] | None = None):
    """The table of BOOKS with the panels of some rows copied to other rows, and some panels to other panels, by number."""
    dataset = made_dataset(BOOKS)
    columns = {name: [np.reshape(row, (-1, 4)) for row in dataset[name]] for name in COLUMNS}
    counts = list(dataset["num_panels"])
    for source, target in copies:
        counts[target] = counts[source]
        for rows in columns.values():
            rows[target] = rows[source]
    starts = np.concatenate(([0], np.cumsum(counts)))
    for name, rows in columns.items():
        flat = np.concatenate(rows)
        for source, target in panels:
            flat[target] = flat[source]
        columns[name] = [flat[lo:hi].ravel().tolist() for lo, hi in zip(starts[:-1], starts[1:], strict=True)]
    columns |= {"num_panels": counts} | ({} if names is None else {"canonical_id": names})
    features = dataset.features
    dataset = dataset.remove_columns([*COLUMNS, "num_panels"])
    for name, column in columns.items():
        dataset = dataset.add_column(name, column, feature=features.get(name))
    return PanelTable(dataset)


TABLES = {
    "pages": with_twins([(1, 3), (0, 7), (8, 10)]),
    "panels": with_twins([], [(0, 2), (0, 9), (5, 30), (31, 40)]),
    "names": with_twins([], names=["p", *(f"{n}.jpg" for n in range(1, 5)), " p ", *(f"{n}.jpg" for n in range(7))]),
}
ASKED = [(name, protocol) for name, task in TASKS.items() for protocol in task.protocols]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ASKED), st.sampled_from(sorted(TABLES)), st.integers(0, 50))
def test_no_wrong_candidate_is_right(asked, kind, seed):
    (name, protocol), table = asked, TABLES[kind]
    task, rows = TASKS[name], np.arange(len(table))
    rows = rows[task.servable(table, rows)]
    drawn = task.draw(table, rows, Draws(seed, 0, rows), 5, protocol)
    assert (drawn.candidates >= 0).any(axis=1).all()
    shown = task.inputs(table, rows, drawn.slots, drawn.candidates)
    columns = {
        value.column for key, value in shown.items() if key.startswith("candidate") and isinstance(value, Vectors)
    }
    assert len(columns) == 1
    vectors = table.gather(columns.pop(), drawn.candidates)
    for question, (candidates, answer) in enumerate(zip(drawn.candidates, drawn.answers, strict=True)):
        right = candidates[answer]
        for place, panel in enumerate(candidates):
            if panel < 0 or place == answer:
                continue
            assert not np.array_equal(vectors[question, place], vectors[question, answer])
            pages = table.page_of[[panel, right]]
            assert pages[0] == pages[1] or table.twins[pages[0]] != table.twins[pages[1]]


@pytest.mark.parametrize("protocol", ["same_book", "cross_book"])
def test_another_candidate_takes_the_place_of_a_copy(protocol):
    """Whole pages are copied, and every question has as many candidates as without copies."""
    for name in ("panel_picking", "text_cloze"):
        task, rows = TASKS[name], np.arange(13)
        for seed in range(20):
            drawn = task.draw(TABLES["pages"], rows, Draws(seed, 0, rows), 4, protocol)
            assert (drawn.candidates >= 0).all()


def test_twins_are_those_of_equal_panels_or_names():
    assert TABLES["pages"].twins.tolist() == [0, 1, 2, 1, 4, 5, 6, 0, 8, 9, 8, 11, 12]
    assert TABLES["panels"].twins.tolist() == list(range(13))
    assert TABLES["names"].twins.tolist() == [0, 1, 2, 3, 4, 0, *range(6, 13)]
    assert tell_twins(TABLES["pages"], "it").startswith("6 pages of it stand twice (one `canonical_id`, or equal")
    assert "as 'p' and ' p '" in tell_twins(TABLES["names"], "it")
    assert tell_twins(TABLES["panels"], "it") is None and tell_twins(made_table(BOOKS), "it") is None
    windows = made_dataset([[9, 3], [9, 3]], window=4)
    assert PanelTable(windows).twins.tolist() == [0, 1, 2, 3]
    other = windows.filter(lambda row: row["book_id"] == "book-000").map(lambda row: row | {"book_id": "book-002"})
    assert PanelTable(concatenate_datasets([windows, other])).twins.tolist() == [0, 1, 2, 3, 0, 1]


def test_what_was_read_goes_to_other_processes():
    table = TABLES["pages"]
    assert table.twins is not None
    copy = pickle.loads(pickle.dumps(table))
    assert "twins" in copy.__dict__ and np.array_equal(
        copy.hashes("panel_embeddings"), table.hashes("panel_embeddings")
    )


def test_the_conversion_counts_pages_that_stand_twice(tmp_path, caplog):
    source = make_source(tmp_path / "in", slots=10, names=("panel_embeddings",))
    counts = source.mask.sum(axis=1)
    array, mask = source.array("panel_embeddings"), source.array("panel_masks")
    for page, other in ((0, 13), (5, 6)):  # of two books, and of one
        array[other], mask[other] = array[page], mask[page]
        source.entries[other]["num_panels"] = int(counts[page])
    source.entries[21]["canonical_id"] = f"{source.entries[20]['canonical_id']} "
    source.write_metadata(source.entries)
    for number, options in enumerate(({}, {"window": 4}, {"num_proc": 2})):
        caplog.clear()
        split_books = {"test": ["Book 03"]}
        convert(source, tmp_path / f"out{number}", split_books=split_books, **options)
        (said,) = [message for message in caplog.messages if "twice" in message]
        assert said == (
            "6 pages stand twice (one `canonical_id`, or equal vectors in all panels), as 'library/Book 01/page 9.jpg'"
            " (sequence_index 5) and 'library/Book 01/page 10.jpg' (sequence_index 6): none is a wrong candidate for a"
            " question about the other; copies in another split (of 1 pages) tell the model: give both books one book_id"
        )
    table = open_split(str(tmp_path / "out0"), "train")
    assert "4 pages of train stand twice" in tell_twins(table, "train")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        convert(make_source(tmp_path / "plain"), tmp_path / "none")
    assert not any("twice" in message for message in caplog.messages)
