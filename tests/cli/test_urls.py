"""URLs as inputs and outputs of every command: one sentence that says what to install or to do, and nothing made."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqError

from ..stores.stage3_stores import make_source


@pytest.fixture
def place(tmp_path, monkeypatch):
    make_source(tmp_path / "in")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def refused(place, command, *words):
    """The message of a command that refuses a URL and makes nothing."""
    done = CliRunner().invoke(app, command.split(), env={"COLUMNS": "200", "TERM": "dumb"})
    shown = (
        done.output if done.exit_code == 1 and not isinstance(done.exception, ComicSeqError) else str(done.exception)
    )
    error = " ".join(line for line in shown.splitlines() if line.strip())
    assert done.exit_code == 1 and "Traceback" not in shown and len(error) < 600, (done.exception, shown)
    for word in words:
        assert word in error
    assert not list(place.iterdir())


TINY = Path(__file__).parents[2] / "configuration/model/comicseq-tiny.json"
STORE = "--embeddings ../in/stage3_embeddings.zarr --metadata ../in/stage3_metadata.json"


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://bucket/x", "foo://x", "file:///nowhere/x"])
@pytest.mark.parametrize(
    "command",
    [
        f"convert {STORE} --output",
        "synthesize --output",
        "questions --dataset ../in --output",
        f"order --model model {STORE} --output",
        "search --index ../in --page 0 --output",
        "inspect ../in/stage3_embeddings.zarr --output",
        "comics-pap --model model --output",
        "export model",
        "import-checkpoint ../in/stage3_metadata.json",
        "pretrain --dataset ../in --output_dir",
        "evaluate --model model --dataset ../in --output_dir",
    ],
)
def test_output_at_a_url_where_it_must_be_local(place, command, url):
    refused(place, f"{command} {url}", "is a URL", "name a local")


DRIVERS = [("s3://bucket/x", "s3fs"), ("gs://bucket/x", "gcsfs"), ("foo://x", "Protocol not known: foo")]


@pytest.mark.parametrize(("url", "found"), DRIVERS)
@pytest.mark.parametrize(
    "command",
    [
        f"encode --model model {STORE} --output URL",
        "convert --embeddings URL --metadata ../in/stage3_metadata.json --output out",
        "convert --embeddings ../in/stage3_embeddings.zarr --metadata URL --output out",
        "encode --model model --embeddings URL --metadata ../in/stage3_metadata.json --output out.zarr",
        "index --store URL --output out",
        "index --store ../in/stage3_embeddings.zarr --metadata URL --output out",
        "inspect URL",
        "inspect ../in/stage3_embeddings.zarr --metadata URL",
        "order --model model --embeddings URL --metadata URL --output out.json",
        f"comics-pap --model {TINY} --train-split train --data URL",
        "pretrain --train_embeddings URL --train_metadata URL --output_dir out",
    ],
)
def test_url_without_its_driver(place, command, url, found):
    refused(place, command.replace("URL", url), url, found)
