"""Where vectors come from: who can say it, whose word counts, and what of it is compared."""

import json

import pytest
import zarr
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.stores.origin import meaning_of, parse_origin, read_origin
from modeling_comicseq.stores.provenance import read_provenance
from modeling_comicseq.stores.stage3 import Stage3Store

from .stage3_stores import make_source


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "in", pages=24)


def describe(source, **attributes):
    """Replaces what a store says about itself."""
    group = zarr.open_group(source.embeddings, mode="r+")
    group.attrs.clear()
    group.attrs.update(attributes)


def test_one_name_for_one_thing():
    said = {"encoders": {"visual": "a", "text": "b"}, "normalization": "unit", "Fusion": "sum", "books": 3}
    assert meaning_of(said) == {"visual_encoder": "a", "text_encoder": "b", "normalisation": "unit", "fusion": "sum"}
    assert meaning_of({"image_encoder": "a", "text_encoder": None}) == {"visual_encoder": "a"}
    assert meaning_of({"encoder": "a"}) == meaning_of({"encoders": "a"}) == {"encoders": "a"}


def test_the_last_word_counts(source):
    describe(source, text_encoder="plain", fusion="plain", origin={"fusion": "attribute", "projection": "attribute"})
    entries = json.loads(open(source.metadata).read())
    entries[0]["origin"] = {"projection": "metadata", "normalisation": "metadata"}
    with open(source.metadata, "w") as file:
        json.dump(entries, file)
    origin = read_origin(Stage3Store.open(source.embeddings), source.metadata, {"normalisation": "declared"})
    assert origin == {
        "text_encoder": "plain",
        "fusion": "attribute",
        "projection": "metadata",
        "normalisation": "declared",
    }


def test_an_origin_of_the_comics_is_none_of_vectors(source):
    describe(source, encoders="a", origin="Belgium")
    source.write_metadata([entry | {"origin": "France"} for entry in source.entries])
    origin = read_origin(Stage3Store.open(source.embeddings), source.metadata)
    assert origin == {"encoders": "a", "origin": "Belgium"} and meaning_of(origin) == {"encoders": "a"}


def test_words_and_files(tmp_path):
    (tmp_path / "origin.json").write_text('{"encoders": {"visual": "a"}}')
    assert parse_origin([str(tmp_path / "origin.json"), "fusion = sum=1"]) == {
        "encoders": {"visual": "a"},
        "fusion": "sum=1",
    }
    assert parse_origin([]) == {}
    for word in ("clip", "=clip", "encoder=", str(tmp_path)):
        with pytest.raises(ComicSeqArgumentError, match="--origin is .* but must be like visual_encoder=NAME"):
            parse_origin([word])
    with pytest.raises(ComicSeqArgumentError, match="--origin names encodr, of which nothing is compared"):
        parse_origin(["encodr=clip"])


def test_an_origin_is_declared_in_conversion(source, tmp_path, caplog):
    describe(source)
    convert_store(source.embeddings, source.metadata, tmp_path / "unsaid", progress=False)
    assert caplog.text.count("does not say which encoders made its vectors: declare it with --origin") == 1
    caplog.clear()
    command = ["convert", "--embeddings", source.embeddings, "--metadata", source.metadata]
    command += ["--output", str(tmp_path / "said"), "--origin", "visual_encoder=clip", "--origin", "fusion=sum"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert "does not say" not in caplog.text
    assert read_provenance(tmp_path / "said")["origin"] == {"visual_encoder": "clip", "fusion": "sum"}
    assert "clip" in (tmp_path / "said" / "README.md").read_text()
    again = CliRunner().invoke(app, [*command[:-1], "fusion=concat"])
    assert again.exit_code == 1 and "with other options" in again.output
