"""Opening a split whose files are damaged: one sentence that names the folder, never a traceback or a lost process."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_arrow, open_split
from modeling_comicseq.errors import ComicSeqDataError, ComicSeqError

from ..stores.stage3_stores import make_source
from .made_dataset import made_dataset


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    source = make_source(folder / "in")
    convert_store(source.embeddings, source.metadata, folder / "out", fractions=(1, 0, 0), progress=False)
    return folder / "out"


@pytest.fixture
def data(converted, tmp_path):
    return Path(shutil.copytree(converted, tmp_path / "data"))


def refused(data, *words):
    with pytest.raises(ComicSeqDataError) as error:
        open_split(str(data), "train")
    message = str(error.value)
    assert str(data) in message and "\n" not in message and len(message) < 500
    for word in words:
        assert re.search(word, message), message


@pytest.mark.parametrize("left", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_arrow_file_that_was_cut_off(data, left):
    file = data / "train/data-00000.arrow"
    file.write_bytes(file.read_bytes()[: int(left * file.stat().st_size)])
    refused(data, "cannot be read")


def test_arrow_file_that_ends_between_two_parts(data):
    file = data / "train/data-00000.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as stream:
        table = stream.read_all()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table.slice(0, 20))
    refused(data, "'train' of .* has 20 rows, but its provenance.json says 24: convert the store again")


@pytest.mark.parametrize("missing", ["data-00000.arrow", "state.json", "dataset_info.json"])
def test_missing_file(data, missing):
    (data / "train" / missing).unlink()
    refused(data, "cannot be read", missing if missing != "dataset_info.json" else "neither a `Dataset`")


INFO = "train/dataset_info.json"
STATE = "train/state.json"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (INFO, "[]"),
        (INFO, "{"),
        (INFO, "[" * 100_000),
        (INFO, {"features": {"text": {"dtype": "string", "_type": "Value"}}}),
        (INFO, {"features": {"panel_embeddings": {"dtype": "float1", "_type": "Value"}}}),
        (INFO, {"features": 3}),
        (STATE, "3"),
        (STATE, {"_data_files": None}),
        (STATE, {"_data_files": [{"filename": "../../data-00001.arrow"}]}),
        ("provenance.json", "{"),
        ("provenance.json", "[1]"),
        ("provenance.json", "[" * 100_000),
    ],
)
def test_description_of_another_kind(data, file, content):
    (data / file).write_text(content if isinstance(content, str) else json.dumps(content))
    refused(data)


@pytest.mark.parametrize("content", ["[]", '"splits"', '{"splits": 3}', '{"splits": null}', "[" * 100_000, "\0"])
def test_list_of_splits_of_another_kind(data, content):
    (data / "dataset_dict.json").write_text(content)
    with pytest.raises(ComicSeqDataError, match="data is no data set: name the folder"):
        open_split(str(data), "train")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("num_panels", [None, 2]),
        ("num_panels", ["two", "2"]),
        ("num_panels", [2**31 - 1, 2]),
        ("num_panels", [-1, 3]),
        ("num_panels", [[2], [2]]),
        ("num_panels", [1e308, 2.0]),
        ("book_id", [["a"], ["b"]]),
        ("page_index", ["a", "b"]),
        ("window_start", [None, None]),
        ("panel_embeddings", ["a", "b"]),
        ("panel_embeddings", [1.0, 2.0]),
        ("panel_embeddings", [[1.0, 2.0], None]),
        ("panel_embeddings", [[1.0] * 8, [1.0] * 9]),
        ("panel_embeddings", [[[1.0] * 4] * 2] * 2),
        ("text_embeddings", [[], []]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_columns_of_another_kind(tmp_path, column, values):
    columns = made_dataset([[2, 2]]).to_dict() | {column: values}
    DatasetDict(train=Dataset.from_dict(columns)).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(ComicSeqDataError, match="'train' of .*data.* convert the store") as error:
        open_split(str(tmp_path / "data"), "train")
    assert "\n" not in str(error.value)


def test_flipped_bytes(data):
    """Each is found, or makes other values; none ends the process, as an unchecked offset does."""
    file = data / "train/data-00000.arrow"
    content, rng = file.read_bytes(), np.random.default_rng(0)
    child, outcomes = os.fork(), set()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        return
    code = 1
    try:
        for place in rng.integers(0, len(content), 150).tolist() + rng.integers(0, 4000, 150).tolist():
            damaged = bytearray(content)
            damaged[place] ^= int(rng.integers(1, 256))
            file.write_bytes(damaged)
            try:
                table = open_split(str(data), "train")
                table.gather("panel_embeddings", table.pool.panels)
                outcomes.add("opened")
            except ComicSeqError:
                outcomes.add("refused")
        code = int(outcomes != {"opened", "refused"})
    finally:
        os._exit(code)


def test_data_set_without_a_row(tmp_path):
    made_dataset([[2]]).select([]).save_to_disk(str(tmp_path / "empty"))
    assert open_arrow(tmp_path / "empty") is None
