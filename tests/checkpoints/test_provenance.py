"""Where the vectors come from that a model was trained on, and how they lie: others are refused, or warned of."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from modeling_comicseq.checkpoints.opening import open_checkpoint
from modeling_comicseq.checkpoints.provenance import (
    check_origin,
    compare_origins,
    read_training_provenance,
    save_training_provenance,
    strange_vectors,
)
from modeling_comicseq.checkpoints.statistics import compare_vectors, describe_vectors, sample_vectors
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.stores.stage3 import Stage3Store
from modeling_comicseq.synthetic.world import SyntheticWorld, synthesize
from modeling_comicseq.vectors import unit
from tests.model_inputs import build, tiny_config

WIDTH = 64


def space(seed: int) -> np.ndarray:
    """Directions of an encoder, the first ones the strongest."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((WIDTH, WIDTH)))
    return basis * 0.9 ** np.arange(WIDTH)


def vectors(seed: int, encoder: int = 0, count: int = 400) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, WIDTH)) @ space(encoder).T).astype(np.float32)


def test_compare_origins():
    mine = {"origin": {"encoders": "a", "fusion": "sum", "books": 3}}
    assert compare_origins(mine, mine) is None
    assert compare_origins(mine, {"origin": {"fusion": "sum"}}) is None
    assert compare_origins(mine, {"origin": {"encoders": "b"}}) == "encoders is 'a' here and 'b' there"
    image = {"origin": {"image_encoder": "a", "normalization": "unit"}}
    assert compare_origins(image, {"origin": {"encoders": {"visual": "a"}, "normalisation": "none"}}) == (
        "normalisation is 'unit' here and 'none' there"
    )


def test_an_array_that_was_replaced_is_of_another_origin():
    whole = {"origin": {"text_encoder": "a", "visual_encoder": "v"}}
    replaced = {"origin": whole["origin"] | {"arrays": {"text_embeddings": {"text_encoder": "b"}}}}
    same = {"origin": whole["origin"] | {"arrays": {"text_embeddings": {"text_encoder": "a"}}}}
    has_texts, has_none = ({"widths": {"panel_embeddings": 8} | more} for more in ({"text_embeddings": 8}, {}))
    assert compare_origins(whole | has_texts, replaced) == "text_embeddings.text_encoder is 'a' here and 'b' there"
    assert compare_origins(replaced, whole | has_texts) == "text_embeddings.text_encoder is 'b' here and 'a' there"
    assert compare_origins(whole | has_texts, same) is None
    assert compare_origins(whole | has_none, replaced) is None  # what one has no texts of cannot differ


def test_an_origin_that_is_known_or_not(tmp_path):
    save_training_provenance(tmp_path, {"origin": {"image_encoder": "a", "fusion": "sum"}})
    check = {"name": str(tmp_path), "dataset": "data"}
    assert check_origin(origin={"visual_encoder": "a"}, other_origin=False, **check) == []
    with pytest.raises(
        ComicSeqDataError, match="another origin than those of data .*'a' here and 'b' there.*--other-or"
    ):
        check_origin(origin={"visual_encoder": "b"}, other_origin=False, **check)
    (note,) = check_origin(origin={"visual_encoder": "b"}, other_origin=True, **check)
    assert "of another origin" in note and "--other-origin" not in note
    (note,) = check_origin(origin={"books": 3}, other_origin=False, **check)
    assert note.startswith("data does not say which encoders made its vectors; ") and "visual_encoder a" in note
    (tmp_path / "old").mkdir()
    assert check_origin(str(tmp_path / "old"), {"visual_encoder": "b"}, "data", other_origin=False) == []


def test_what_is_remembered_of_vectors():
    known = json.loads(json.dumps(describe_vectors(2 * unit(vectors(0)))))
    assert known["vectors"] == 400 and round(known["norm"], 5) == 2 and round(known["norm_spread"], 5) == 0
    assert len(json.dumps(describe_vectors(np.tile(vectors(0), 8)))) < 30_000  # at 512 numbers a vector
    assert describe_vectors(vectors(0, count=3)) is None


@pytest.mark.parametrize(
    ("others", "fault"),
    [
        (vectors(1), None),
        (vectors(1, count=20), None),
        (vectors(1, count=10) * 100, None),  # too few to judge
        (vectors(1, encoder=1), "of them lie in the main directions of those, not"),
        (vectors(1, encoder=1, count=20), "of them lie in the main directions of those, not"),
        (vectors(1) * 10, "their mean length is"),
        (unit(vectors(1)) * np.linalg.norm(vectors(0), axis=1).mean(), "they are normalised, those were not"),
    ],
)
def test_vectors_that_lie_otherwise(others, fault):
    found = compare_vectors(describe_vectors(vectors(0)), others)
    assert found is None if fault is None else fault in found


def test_no_direction_no_verdict():
    rng = np.random.default_rng(0)
    known = describe_vectors(rng.standard_normal((400, WIDTH)).astype(np.float32))
    assert compare_vectors(known, rng.standard_normal((400, WIDTH)).astype(np.float32)) is None


def test_a_checkpoint_of_an_earlier_version_reads_nothing(tmp_path):
    save_training_provenance(tmp_path, {"origin": {}})
    assert "statistics" not in read_training_provenance(str(tmp_path))
    assert strange_vectors(str(tmp_path), None, "data") == []  # type: ignore[arg-type]
    (tmp_path / "training_provenance.json").write_text('{"statistics": {"panel_embeddings": {"norm": "long"}}}')
    with pytest.raises(ComicSeqDataError, match="`statistics` in the training_provenance.json of .* cannot be read"):
        strange_vectors(str(tmp_path), {"panel_embeddings": vectors(0)}, "data")


def test_a_store_is_looked_at_before_it_is_read(tmp_path):
    """Two worlds without names: the checkpoint tells them apart by their vectors, in a store and in a data set."""
    for name, maps_seed in (("mine", 0), ("same", 0), ("other", 1)):
        world = SyntheticWorld(width=WIDTH, maps_seed=maps_seed)
        seed = {"mine": 0}.get(name, 1)
        synthesize(tmp_path / name, num_books=12, seed=seed, world=world, progress=False)
        zarr.open_group(tmp_path / name / "stage3_embeddings.zarr", mode="r+").attrs.clear()
    stores = {name: str(tmp_path / name / "stage3_embeddings.zarr") for name in ("mine", "same", "other")}
    model = tmp_path / "model"
    build("pretraining", tiny_config(**dict.fromkeys(FIELDS, WIDTH))).save_pretrained(model)
    described = {
        name: describe_vectors(each) for name, each in sample_vectors(Stage3Store.open(stores["mine"])).items()
    }
    assert set(described) == {f"{each}_embeddings" for each in ("panel", "visual", "text", "caption")}
    save_training_provenance(model, {}, described)

    def notes(name: str) -> list[str]:
        store = Stage3Store.open(stores[name])
        convert_store(
            stores[name], str(tmp_path / name / "stage3_metadata.json"), tmp_path / "data" / name, progress=False
        )
        table = open_split(str(tmp_path / "data" / name), "train")
        found = [open_checkpoint(str(model), each, name, origin={}).notes for each in (store, table)]
        assert bool(found[0]) == bool(found[1])
        return found[0]

    assert notes("mine") == notes("same") == []
    (note,) = notes("other")
    assert note.startswith("The vectors of other are unlike those that ") and "`text_embeddings`: " in note
    assert open_checkpoint(str(model), Stage3Store.open(stores["other"]), "other").notes == []  # not compared


FIELDS = ("panel_embedding_dim", "visual_embedding_dim", "text_embedding_dim", "caption_embedding_dim")


@pytest.mark.skipif(not os.environ.get("COMICSEQ_DATA"), reason="COMICSEQ_DATA names no folder of comics")
def test_real_comics_are_told_from_others():
    stores = Path(os.environ.get("COMICSEQ_DATA", "")) / "stage3"
    comics = sample_vectors(Stage3Store.open(stores / "comics_text" / "stage3_embeddings.zarr"))["panel_embeddings"]
    pepper = sample_vectors(Stage3Store.open(stores / "peppercarrot" / "stage3_embeddings.zarr"))
    known = describe_vectors(comics[:1000])
    assert compare_vectors(known, comics[1000:]) is None
    assert compare_vectors(known, pepper["text_embeddings"]) is None  # other comics, the same encoder
    for name in ("panel_embeddings", "visual_embeddings"):
        assert "main directions" in compare_vectors(known, pepper[name])
    assert "they are normalised" in compare_vectors(known, unit(comics[1000:]))
