"""The synthetic corpus: its store, its fingerprint, its reproducibility and its moments."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.layouts.boxes import READING_DIRECTIONS, check_boxes
from modeling_comicseq.synthetic import world as synthetic
from modeling_comicseq.synthetic.world import DEMO_WORLD, Shares, SyntheticCorpus, SyntheticWorld, synthesize

from ..closeness import assert_close

DEMO_FINGERPRINT = "9ef01f3e6b6e6ebdced2e7d1e71a973da7a92497258fe6830c5ac04bcbf32d61"
FIRST_PAGES = [4, 3, 2, 7, 8, 6]
FIRST_VALUES = {
    "panel": [-0.04422, 0.01102, 0.00548],
    "visual": [-0.04309, -0.00815, 0.03656],
    "text": [-0.01944, 0.02373, -0.02881],
    "caption": [-0.0445, -0.04307, 0.02017],
}
NARROW = dataclasses.replace(DEMO_WORLD, width=32)
CHANNELS = ("panel", "visual", "text", "caption")


def read(folder):
    group = zarr.open_group(folder / "stage3_embeddings.zarr", mode="r")
    return group, json.loads((folder / "stage3_metadata.json").read_text())


def test_demo_corpus_is_frozen():
    corpus = SyntheticCorpus()
    assert corpus.fingerprint == DEMO_FINGERPRINT
    first = corpus.book_vectors(0)
    # The numbers themselves, so that neither the generator nor the maps change under an unchanged fingerprint.
    assert [len(page) for page in first["panel"]][:6] == FIRST_PAGES
    for channel, expected in FIRST_VALUES.items():
        np.testing.assert_allclose(first[channel][0][0, :3], expected, atol=2e-5)


def test_layouts_stand_beside_the_same_vectors(tmp_path):
    plain, with_boxes = (
        {"num_books": 3, "seed": 1, "world": NARROW, "progress": False, "boxes": b} for b in (False, True)
    )
    assert synthesize(tmp_path / "plain", **plain) == synthesize(tmp_path / "boxes", **with_boxes)
    (first, without), (second, entries) = read(tmp_path / "plain"), read(tmp_path / "boxes")
    assert "panel_boxes" not in first and "reading_direction" not in without[0]
    np.testing.assert_array_equal(second["panel_embeddings"][:], first["panel_embeddings"][:])
    boxes, real = second["panel_boxes"][:], second["panel_masks"][:]
    assert check_boxes(boxes[real]) is None and (boxes[real] != 0).any(-1).all() and np.isnan(boxes[~real]).all()
    directions = {entry["book_id"]: entry["reading_direction"] for entry in entries}
    assert all(entry["reading_direction"] == directions[entry["book_id"]] for entry in entries)
    assert set(directions.values()) <= set(READING_DIRECTIONS)
    kept = [e | {"reading_direction": None} for e in entries]
    assert kept == [e | {"reading_direction": None} for e in without]
    result = CliRunner().invoke(
        app, ["synthesize", "--output", str(tmp_path / "cli"), "--books", "1", "--boxes", "--no-progress"]
    )
    assert result.exit_code == 0 and "panel_boxes" in read(tmp_path / "cli")[0]


def test_other_parameters_are_another_corpus():
    corpora = [
        SyntheticCorpus(),
        SyntheticCorpus(seed=1),
        SyntheticCorpus(num_books=241),
        SyntheticCorpus(NARROW),
        SyntheticCorpus(dataclasses.replace(DEMO_WORLD, damping=0.5)),
        SyntheticCorpus(dataclasses.replace(DEMO_WORLD, text=Shares(0.25, 0.25, 0.25, 0.25))),
    ]
    assert len({corpus.fingerprint for corpus in corpora}) == len(corpora)


def test_store_is_plain_zarr_with_garbage_in_the_padding(tmp_path):
    corpus = synthesize(tmp_path / "out", num_books=5, seed=2, world=NARROW, progress=False)
    group, metadata = read(tmp_path / "out")
    masks = group["panel_masks"][:]
    pages = [page for book in range(5) for page in corpus.page_sizes(book)]
    assert group.metadata.zarr_format == 3
    assert [entry["num_panels"] for entry in metadata] == pages == masks.sum(1).tolist()
    assert [entry["sequence_index"] for entry in metadata] == list(range(len(pages)))
    assert metadata[0]["canonical_id"] == f"{metadata[0]['book_id']}/{metadata[0]['page_name']}"
    assert len({entry["book_id"] for entry in metadata}) == 5
    for channel in CHANNELS:
        stored = group[f"{channel}_embeddings"][:]
        assert stored.shape == (len(pages), 16, 32) and stored.dtype == np.float16
        expected = np.concatenate([p for book in range(5) for p in corpus.book_vectors(book)[channel]])
        np.testing.assert_array_equal(stored[masks], expected.astype(np.float16))
        assert np.isfinite(stored).all() and np.abs(stored[~masks]).mean() > 10


def test_chunking_and_size_do_not_change_the_books(tmp_path):
    synthesize(tmp_path / "one", num_books=3, world=NARROW, progress=False)
    options = {"rows_per_chunk": 7, "chunks_per_shard": 2, "slots": 9, "dtype": "float32"}
    synthesize(tmp_path / "other", num_books=6, world=NARROW, progress=False, **options)
    one, entries = read(tmp_path / "one")
    other, other_entries = read(tmp_path / "other")
    assert other["panel_embeddings"].chunks == (7, 9, 32) and other["panel_embeddings"].shards == (14, 9, 32)
    assert other_entries[: len(entries)] == entries
    mask = one["panel_masks"][:, :9]
    for channel in CHANNELS:
        small, large = one[f"{channel}_embeddings"][:, :9], other[f"{channel}_embeddings"][: len(entries)]
        np.testing.assert_array_equal(small[mask], large[mask].astype(np.float16))


def test_world_comes_back_from_the_store(tmp_path):
    corpus = synthesize(tmp_path / "out", num_books=2, seed=5, world=NARROW, progress=False)
    group, _ = read(tmp_path / "out")
    assert SyntheticCorpus.from_provenance(dict(group.attrs)) == corpus
    assert SyntheticCorpus.from_provenance({"origin": json.loads(json.dumps(dict(group.attrs)))}) == corpus
    changed = corpus.provenance() | {"seed": 6}
    with pytest.raises(ComicSeqDataError, match="synthesize the corpus again"):
        SyntheticCorpus.from_provenance(changed)
    with pytest.raises(ComicSeqDataError, match="holds no"):
        SyntheticCorpus.from_provenance({"origin": {"encoders": "others"}})


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def pages(corpus, boxes):
        yield from list(real(corpus, boxes))[:10]
        raise KeyboardInterrupt

    real = synthetic._pages
    monkeypatch.setattr(synthetic, "_pages", pages)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "out", num_books=3, world=NARROW, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 8}, "width is 8"),
        ({"damping": 1.0}, "damping is 1.0"),
        ({"surprise": 1.0}, "surprise is 1.0"),
        ({"visual": Shares(0.5, 0.5, 0.0, 0.0)}, "visual is"),
        ({"page_lengths": ((2, 0.5), (3, 0.4))}, "page_lengths is"),
        ({"pages_per_book": (9, 8)}, "pages_per_book is"),
    ],
)
def test_refuses_parameters_that_describe_no_world(change, message):
    with pytest.raises(ComicSeqArgumentError, match=message):
        dataclasses.replace(DEMO_WORLD, **change)


def test_refuses_to_overwrite_and_to_cut_pages(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ComicSeqDataError, match="exists: name another folder, or remove it"):
        synthesize(tmp_path, progress=False)
    with pytest.raises(ComicSeqArgumentError, match="use more slots"):
        synthesize(tmp_path / "out", slots=4, progress=False)


def test_maps_are_orthonormal():
    visual, text = DEMO_WORLD.map_of("visual"), DEMO_WORLD.map_of("text")
    size = np.eye(DEMO_WORLD.latent_dim)
    for channel in CHANNELS:
        gram = DEMO_WORLD.map_of(channel).T @ DEMO_WORLD.map_of(channel)
        assert_close(gram, np.eye(len(gram)))
    assert_close(visual.T @ text, 0 * size)


def test_moments_are_those_of_the_formulas():
    world = SyntheticWorld(
        width=24,
        style_dim=2,
        scene_dim=2,
        angles=(60.0,),
        damping=0.8,
        surprise=0.2,
        page_lengths=((4, 1.0),),
    )
    corpus = SyntheticCorpus(world, num_books=600)
    books = [corpus.book_vectors(book) for book in range(600)]
    for channel in ("panel", "visual", "text", "caption"):
        pages = np.stack([page for book in books for page in book[channel]])
        assert np.mean(pages**2) * 24 == pytest.approx(1, abs=0.02)  # norm 1 on average
        seen = world.observe(pages, channel)
        assert_close(seen @ world.map_of(channel).T, pages)  # nothing outside the map
        loading = world.loading(channel)
        for lag in (0, 1, 2):
            latent = np.eye(6)
            latent[4:, 4:] = world.action_covariance(lag)
            expected = loading @ latent @ loading.T + (np.diag(world.noise(channel)) if lag == 0 else 0)
            later, earlier = seen[:, lag:].reshape(-1, len(loading)), seen[:, : 4 - lag].reshape(-1, len(loading))
            np.testing.assert_allclose(later.T @ earlier / len(later), expected, atol=0.02)
        apart = np.mean([book[channel][0][0] * book[channel][1][3] for book in books]) * 24
        assert apart == pytest.approx(np.trace(loading[:, :2] @ loading[:, :2].T), abs=0.06)  # style only


def test_command(tmp_path):
    arguments = ["synthesize", "--output", str(tmp_path / "out"), "--books", "2", "--width", "32", "--no-progress"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert SyntheticCorpus(NARROW, num_books=2).fingerprint in result.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1 and "exists" in again.output
