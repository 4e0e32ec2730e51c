"""Stage 3 store to Stage 5 store."""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import zarr
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqModel
from modeling_comicseq.checkpoints.opening import open_checkpoint
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.layouts.boxes import mirror
from modeling_comicseq.library import encode, reading
from modeling_comicseq.library.encode import encode_store
from modeling_comicseq.library.encoder import encoder_of, model_fingerprint
from modeling_comicseq.stores import stage5 as store
from modeling_comicseq.stores.arrays import metadata_beside
from modeling_comicseq.stores.output import Output
from modeling_comicseq.stores.windows import expand_windows

from ..closeness import assert_close
from ..model_inputs import build, draw_boxes, tiny_config
from ..stores.stage3_stores import Source, make_source
from .killed import Children, same_files

SHARED_DATA = os.environ.get("COMICSEQ_DATA", "")
PANELS = ("panel_embeddings",)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A pretraining checkpoint whose every weight shows in the outputs; it takes 12 panels."""
    return save(tmp_path_factory.mktemp("model"), "pretraining")


def save(folder: Path, name: str, **changes) -> str:
    build(name, tiny_config(panel_embedding_dim=8, **changes)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def source(tmp_path) -> Source:
    return make_source(tmp_path / "in", names=PANELS)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 8 rows in chunks of 4, so that 24 pages are three parts."""
    monkeypatch.setattr(store, "_CHUNK_ROWS", 4)
    monkeypatch.setattr(store, "_PART_BYTES", 8 * 6 * 32 * 4)


def run(checkpoint, source, output, **options):
    return encode_store(checkpoint, source.embeddings, source.metadata, output, progress=False, **options)


def read(output) -> dict[str, np.ndarray]:
    return {name: array[:] for name, array in zarr.open_group(str(output), mode="r").arrays()}


def metadata_of(output) -> list[dict]:
    with fsspec.open(metadata_beside(str(output))) as file:
        return json.load(file)


def reference(checkpoint: str, source: Source, rows=None, boxes=None) -> dict[str, np.ndarray]:
    """Page by page through the model as a user would, windows in plain loops."""
    model = ComicSeqModel.from_pretrained(checkpoint).eval()
    limit, slots = model.config.max_position_embeddings, source.mask.shape[1]
    panels, strips, masks = [], [], []
    for row in range(len(source.mask)) if rows is None else rows:
        page = torch.from_numpy(source.arrays["panel_embeddings"][row][source.mask[row]].astype(np.float32))
        sums, times = torch.zeros(len(page), model.config.hidden_size), torch.zeros(len(page), 1)
        with torch.no_grad():
            for start in expand_windows(np.array([len(page)]), limit, limit // 2)[1]:
                window = slice(start, start + limit)
                shown = None if boxes is None else torch.from_numpy(boxes[row][None, window])
                sums[window] += model(page[None, window], panel_boxes=shown).contextualized_panels[0]
                times[window] += 1
            mean = sums / times
            strips.append(model.pooler(mean[None], torch.ones(1, len(page), dtype=torch.bool))[0][0].numpy())
        panels.append(np.concatenate([mean, np.zeros((slots - len(page), mean.shape[1]), np.float32)]))
        masks.append(np.arange(slots) < len(page))
    return {
        "contextualized_panels": np.stack(panels),
        "strip_embeddings": np.stack(strips),
        "panel_masks": np.stack(masks),
    }


def check_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert np.array_equal(found["panel_masks"], expected["panel_masks"])
    for name in ("contextualized_panels", "strip_embeddings"):
        assert_close(found[name], expected[name])
    assert not found["contextualized_panels"][~expected["panel_masks"]].any()


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({}, {"zarr_format": 2, "dtype": "float32", "mask_name": "panel_mask"}),
        ({"zarr_format": 2, "batch_size": 3}, {"dtype": "float16", "shard_rows": 8}),
        ({"dtype": "float16", "batch_size": 100}, {"dtype": ">f4", "zarr_format": 2, "chunk_rows": 7}),
        ({"dtype": "float16", "zarr_format": 2}, {"chunk_rows": 5}),
    ],
)
def test_rows_are_what_the_model_says(checkpoint, tmp_path, small_parts, monkeypatch, options, made):
    monkeypatch.setattr(reading, "_PIECE_BYTES", 1)  # a piece is one row of chunks
    source = make_source(tmp_path / "in", **made)  # the padded slots hold NaN
    attributes = run(checkpoint, source, tmp_path / "out.zarr", **options)
    dtype = options.get("dtype", "float32")
    check_close(read(tmp_path / "out.zarr"), reference(checkpoint, source))
    group = zarr.open_group(tmp_path / "out.zarr", mode="r", use_consolidated=True)
    assert group.metadata.zarr_format == options.get("zarr_format", 3)
    assert group["contextualized_panels"].dtype == group["strip_embeddings"].dtype == dtype
    assert metadata_of(tmp_path / "out.zarr") == source.entries
    assert (attributes["pages"], attributes["panels"]) == (24, int(source.mask.sum()))
    assert dict(group.attrs) == attributes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.zarr", "out_metadata.json"]


@pytest.mark.parametrize("limit", [4, 7])
def test_long_pages_are_windowed_and_merged(tmp_path, limit):
    checkpoint = save(tmp_path / "model", "encoder", max_position_embeddings=limit)
    source = make_source(tmp_path / "in", slots=20, names=PANELS)
    run(checkpoint, source, tmp_path / "out.zarr")
    check_close(read(tmp_path / "out.zarr"), reference(checkpoint, source))


def test_a_model_that_reads_boxes_is_told_where_the_panels_stand(tmp_path, small_parts, caplog):
    checkpoint = save(tmp_path / "model", "encoder", box_embedding=True)
    source = make_source(tmp_path / "in", names=PANELS)
    run(checkpoint, source, tmp_path / "without.zarr")
    (warned,) = [each.message for each in caplog.records if "where panels stand" in each.message]
    assert f"which {checkpoint} can read: it is used without." in warned
    check_close(read(tmp_path / "without.zarr"), reference(checkpoint, source))
    boxes = []
    for entry in source.entries:  # of every third page nothing is known, and every second is read from the right
        number = entry["sequence_index"]
        of_page = draw_boxes(entry["num_panels"], seed=number).numpy() if number % 3 else None
        entry |= {} if of_page is None else {"panel_boxes": of_page.tolist()}
        entry |= {"reading_direction": "rtl" if number % 2 else "ltr"}
        boxes.append(np.zeros((entry["num_panels"], 4), np.float32) if of_page is None else of_page)
    source.write_metadata(source.entries)
    run(checkpoint, source, tmp_path / "out.zarr")
    as_read = [mirror(each) if row % 2 else each for row, each in enumerate(boxes)]
    check_close(read(tmp_path / "out.zarr"), reference(checkpoint, source, boxes=as_read))
    assert metadata_of(tmp_path / "out.zarr") == source.entries
    for entry in source.entries:  # the same, in a file beside the metadata
        entry.pop("panel_boxes", None)
    source.write_metadata(source.entries)
    (tmp_path / "boxes.json").write_text(
        json.dumps(
            [
                {"image": entry["canonical_id"], "panel_boxes": of_page.tolist()}
                for entry, of_page in zip(source.entries, boxes, strict=True)
            ]
        )
    )
    run(checkpoint, source, tmp_path / "beside.zarr", boxes=tmp_path / "boxes.json")
    check_close(read(tmp_path / "beside.zarr"), reference(checkpoint, source, boxes=as_read))
    (tmp_path / "boxes.json").write_text("[]")  # other boxes are another input
    with pytest.raises(ComicSeqDataError, match="beside.zarr"):
        run(checkpoint, source, tmp_path / "beside.zarr", boxes=tmp_path / "boxes.json")


def test_boxes_for_a_model_that_reads_none(checkpoint, source, tmp_path):
    for given in ({"boxes": tmp_path / "boxes.json"}, {"reading_direction": "rtl"}):
        with pytest.raises(ComicSeqArgumentError, match=f"{next(iter(given))} .* reads no boxes; leave it out"):
            run(checkpoint, source, tmp_path / "out.zarr", **given)


def test_metadata_for_some_rows_in_any_order(checkpoint, source, tmp_path, small_parts, monkeypatch):
    monkeypatch.setattr("modeling_comicseq.stores.pages._BATCH", 2)
    chosen = [17, 3, 4, 5, 22, 0, 9, 8]
    for entry in source.entries:
        entry["note"] = {"nested": [1.5, None, "ü"]}
    source.write_metadata([source.entries[row] for row in chosen])
    run(checkpoint, source, tmp_path / "out.zarr")
    check_close(read(tmp_path / "out.zarr"), reference(checkpoint, source, sorted(chosen)))
    expected = [{**source.entries[row], "sequence_index": place} for place, row in enumerate(sorted(chosen))]
    assert metadata_of(tmp_path / "out.zarr") == expected


def test_page_without_panels_keeps_its_row(checkpoint, source, tmp_path):
    source.array("panel_masks")[[5, 6]] = False
    for row in (5, 6):
        source.entries[row]["num_panels"] = 0
    source.write_metadata(source.entries)
    run(checkpoint, source, tmp_path / "out.zarr", batch_size=2)
    found = read(tmp_path / "out.zarr")
    assert not any(found[name][5:7].any() for name in found)
    others = [row for row in range(24) if row not in (5, 6)]
    check_close({name: values[others] for name, values in found.items()}, reference(checkpoint, source, others))


def test_an_encoder_checkpoint_will_do(source, tmp_path):
    checkpoint = save(tmp_path / "model", "encoder")
    run(checkpoint, source, tmp_path / "out.zarr")
    check_close(read(tmp_path / "out.zarr"), reference(checkpoint, source))


def test_a_checkpoint_of_one_task_has_no_strip_vectors(source, tmp_path):
    checkpoint = save(tmp_path / "model", "panel_picking")
    with pytest.raises(ComicSeqDataError, match="model is a checkpoint of one task, which has no strip vectors: name"):
        run(checkpoint, source, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_fingerprint_of_the_model_is_of_its_encoder(checkpoint, tmp_path):
    whole = encoder_of(open_checkpoint(checkpoint).model)
    whole.save_pretrained(tmp_path / "encoder")
    first = model_fingerprint(whole)
    assert model_fingerprint(encoder_of(open_checkpoint(str(tmp_path / "encoder")).model)) == first
    whole.pooler.strip_query.data[0, 0, 0] += 1e-3
    assert model_fingerprint(whole) != first


def test_provenance(checkpoint, source, tmp_path, small_parts):
    attributes = run(checkpoint, source, tmp_path / "out.zarr", dtype="float16")
    assert attributes["source"]["origin"] == {"encoders": {"visual": "some-encoder"}}
    assert attributes["source"]["embeddings"] == source.embeddings
    assert attributes["model"]["name"] == checkpoint and attributes["model"]["fingerprint"].startswith("xxh3:")
    assert attributes["dtype"] == "float16" and attributes["versions"]["torch"] == version("torch")
    copy = make_source(tmp_path / "copy", zarr_format=2, chunk_rows=5, names=PANELS)
    same = run(checkpoint, copy, tmp_path / "2.zarr", batch_size=1)
    assert same["source"]["fingerprint"] == attributes["source"]["fingerprint"]
    assert same["fingerprint"] != attributes["fingerprint"]
    copy.array("panel_embeddings")[9, 0, 0] = 0.125
    assert run(checkpoint, copy, tmp_path / "3.zarr")["source"]["fingerprint"] != same["source"]["fingerprint"]


def test_another_origin_is_refused_unless_meant(source, tmp_path, caplog):
    model = build("encoder", tiny_config(panel_embedding_dim=8))
    model.save_pretrained(tmp_path / "model")
    provenance = {"origin": {"encoders": {"visual": "other"}}}
    (tmp_path / "model" / "training_provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(
        ComicSeqDataError, match="of another origin .* 'other' here and 'some-encoder' there.*--other-or"
    ):
        run(str(tmp_path / "model"), source, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    with caplog.at_level(logging.WARNING):
        run(str(tmp_path / "model"), source, tmp_path / "out.zarr", other_origin=True)
    assert "another origin" in caplog.text and "'some-encoder'" in caplog.text and "'other'" in caplog.text


# Faults


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s: s.array("panel_embeddings").__setitem__((9, 1), np.nan), "page 9.*panel 1, holds nan; compute"),
        (lambda s: s.array("panel_embeddings").__setitem__((9, 0, 3), -np.inf), "panel 0, holds -inf"),
        (
            lambda s: s.array("panel_embeddings").__setitem__((9, 2), 0),
            r"index 9\): panel_embeddings, panel 2, is all",
        ),
        (lambda s: s.array("panel_masks").__setitem__((9, 0), False), "mask marks 3"),
        (
            lambda s: Path(s.embeddings, "panel_embeddings/c/2/0/0").unlink(),
            r"panel_embeddings, panel 0, is all zero; .*restore its chunk",
        ),
        (lambda s: s.write_metadata(s.entries + s.entries[9:10]), "sequence_index 9 stands twice"),
        (lambda s: s.write_metadata([{**s.entries[0], "sequence_index": 24}]), "24 is out of range"),
        (lambda s: s.write_metadata([{"sequence_index": 0}]), "'num_panels' is missing"),
        (lambda s: Path(s.metadata).write_text("[{"), "truncated"),
        (lambda s: Path(s.metadata).unlink(), "cannot be read"),
    ],
)
def test_faulty_input(checkpoint, source, tmp_path, fault, message):
    fault(source)
    with pytest.raises(ComicSeqDataError, match=message):
        run(checkpoint, source, tmp_path / "out.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_faults_in_pages_that_are_left_out_do_not_matter(checkpoint, source, tmp_path):
    source.array("panel_embeddings")[9, 1] = np.nan
    source.write_metadata(source.entries[:9] + source.entries[10:])
    run(checkpoint, source, tmp_path / "out.zarr")
    assert len(read(tmp_path / "out.zarr")["strip_embeddings"]) == 23


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype 'bfloat16'"),
        ({"zarr_format": 1}, "zarr_format 1"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_wrong_options(checkpoint, source, tmp_path, options, message):
    with pytest.raises(ComicSeqArgumentError, match=message):
        run(checkpoint, source, tmp_path / "out.zarr", **options)


def test_model_of_another_width(source, tmp_path):
    build("encoder").save_pretrained(tmp_path / "model")
    with pytest.raises(ComicSeqDataError, match="is 8 wide but `panel_embedding_dim` of .* is 24: use"):
        run(str(tmp_path / "model"), source, tmp_path / "out.zarr")


def test_vectors_that_float16_does_not_hold(source, tmp_path):
    model = build("encoder", tiny_config(panel_embedding_dim=8))
    model.layernorm.bias.data[3] = 1e5
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ComicSeqDataError, match="not finite in float16 of page 'library/Book 00/page 8.jpg'.*float32"):
        run(str(tmp_path / "model"), source, tmp_path / "out.zarr", dtype="float16")
    run(str(tmp_path / "model"), source, tmp_path / "out.zarr")
    model.layernorm.bias.data[3] = float("nan")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ComicSeqDataError, match="`comicseq.layernorm.bias` of .*model holds NaN or infinity"):
        run(str(tmp_path / "model"), source, tmp_path / "broken.zarr")


# Outputs that are there already


def test_complete_output(checkpoint, source, tmp_path, capsys, monkeypatch):
    first = run(checkpoint, source, tmp_path / "out.zarr")
    monkeypatch.setattr(encode, "read_panels", None)  # nothing is read again
    again = encode_store(checkpoint, source.embeddings, source.metadata, tmp_path / "out.zarr")
    assert "already done" in capsys.readouterr().err.replace("\n", " ") and again == first
    with pytest.raises(ComicSeqDataError, match="other options; .* --overwrite"):
        run(checkpoint, source, tmp_path / "out.zarr", dtype="float16")
    monkeypatch.undo()
    assert run(checkpoint, source, tmp_path / "out.zarr", dtype="float16", overwrite=True)["dtype"] == "float16"
    assert read(tmp_path / "out.zarr")["strip_embeddings"].dtype == np.float16
    source.write_metadata(source.entries[:5])
    with pytest.raises(ComicSeqDataError, match="other input"):
        run(checkpoint, source, tmp_path / "out.zarr", dtype="float16")
    os.unlink(tmp_path / "out_metadata.json")
    with pytest.raises(ComicSeqDataError, match="lacks .*out_metadata.json; "):
        run(checkpoint, source, tmp_path / "out.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.zarr"]


def test_what_else_stands_there_is_left_alone(checkpoint, source, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("text")
    (tmp_path / "out_metadata.json").write_text("{}")
    for output, found in (("thesis", "thesis exists"), ("out.zarr", "out_metadata.json exists")):
        with pytest.raises(ComicSeqDataError, match=f"{found} and is of no Stage 5 store"):
            run(checkpoint, source, tmp_path / output, overwrite=True)
    with pytest.raises(ComicSeqDataError, match="is of no Stage 5 store"):
        run(checkpoint, source, make_source(tmp_path / "other", names=PANELS).embeddings, overwrite=True)
    with pytest.raises(ComicSeqDataError, match="stage3_metadata.json is the input .*: name another output"):
        run(checkpoint, source, tmp_path / "in" / "stage3.zarr", overwrite=True)
    (tmp_path / "empty.zarr").mkdir()
    run(checkpoint, source, tmp_path / "empty.zarr")


def test_what_came_after_an_interrupt_is_left_alone(checkpoint, source, tmp_path, small_parts):
    source.array("panel_embeddings")[20, 0] = np.nan
    with pytest.raises(ComicSeqDataError):
        run(checkpoint, source, tmp_path / "out.zarr")
    assert (tmp_path / ".out.zarr.partial" / "fingerprint").exists()
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "chapter.txt").write_text("text")
    with pytest.raises(ComicSeqDataError, match="out.zarr exists and is of no Stage 5 store"):
        run(checkpoint, source, tmp_path / "out.zarr", overwrite=True)
    assert (tmp_path / "out.zarr" / "chapter.txt").exists()


def test_two_commands_to_one_output(checkpoint, source, tmp_path):
    with Output(str(tmp_path / "out.zarr"), "other").locked():
        with pytest.raises(ComicSeqDataError, match="another process"):
            run(checkpoint, source, tmp_path / "out.zarr")


def test_an_output_that_is_a_link_to_an_empty_folder_elsewhere(checkpoint, source, tmp_path, monkeypatch):
    scratch, link = tmp_path / "scratch" / "empty", tmp_path / "out.zarr"
    scratch.mkdir(parents=True)
    link.symlink_to(scratch)
    replace = os.replace

    def replace_on_one_disk(old, new):
        on_scratch = (Path(os.path.abspath(path)).is_relative_to(scratch.parent) for path in (old, new))
        if len(set(on_scratch)) > 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(old, new)

    monkeypatch.setattr("modeling_comicseq.files.os.replace", replace_on_one_disk)
    run(checkpoint, source, link)
    assert link.is_symlink() and read(scratch)["strip_embeddings"].shape[0] == len(source.mask)
    names = sorted(path.name for path in (*tmp_path.iterdir(), *scratch.parent.iterdir()))
    assert names == ["empty", "in", "out.zarr", "out_metadata.json", "scratch"]


# Interrupts


def test_rerun_encodes_only_what_is_missing(checkpoint, source, tmp_path, small_parts, monkeypatch):
    run(checkpoint, source, tmp_path / "reference" / "out.zarr")
    began = []

    def interrupted(store, pages, lo, hi):
        began.append(lo)  # by two threads, in any order
        if lo == 16 and -1 not in began:
            raise KeyboardInterrupt
        return reading.read_panels(store, pages, lo, hi)

    monkeypatch.setattr(encode, "read_panels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, source, tmp_path / "out.zarr")
    done = {path.name for path in (tmp_path / ".out.zarr.partial" / "done").iterdir()}
    assert not (tmp_path / "out.zarr").exists() and done == {"00000.json", "00001.json"}
    began.append(-1)
    run(checkpoint, source, tmp_path / "out.zarr")
    assert sorted(began[:3]) == [0, 8, 16] and began[3:] == [-1, 16]
    assert same_files(tmp_path / "out.zarr", tmp_path / "reference" / "out.zarr")


def test_work_for_other_input_is_not_reused(checkpoint, source, tmp_path, small_parts):
    source.array("panel_embeddings")[20, 0] = np.nan
    with pytest.raises(ComicSeqDataError):
        run(checkpoint, source, tmp_path / "out.zarr")
    assert (tmp_path / ".out.zarr.partial").exists()
    source.array("panel_embeddings")[20, 0] = 1
    source.array("panel_embeddings")[0, 0] = 2
    run(checkpoint, source, tmp_path / "out.zarr")
    source.arrays["panel_embeddings"][20, 0] = 1
    source.arrays["panel_embeddings"][0, 0] = 2
    check_close(read(tmp_path / "out.zarr"), reference(checkpoint, source))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "processes"),
    [
        pytest.param({}, 1, id="format 3"),
        pytest.param({"zarr_format": 2, "dtype": "float16"}, 1, id="format 2", marks=pytest.mark.thorough),
        pytest.param({}, 2, id="two processes", marks=pytest.mark.thorough),
    ],
)
def test_killed_anywhere(checkpoint, source, tmp_path, small_parts, monkeypatch, options, processes):
    """No output or the complete one, and the next run completes it with the same bytes."""
    opened = open_checkpoint(checkpoint)
    monkeypatch.setattr(encode, "open_checkpoint", lambda *_, **__: opened)  # once for all runs
    output, expected = tmp_path / "out.zarr", tmp_path / "reference" / "out.zarr"
    assert Children(lambda: run(checkpoint, source, expected, **options), processes).run() == [0] * processes
    run(checkpoint, source, tmp_path / "reference" / "here.zarr", **options)
    check_close(read(expected), read(tmp_path / "reference" / "here.zarr"))
    children = Children(lambda: run(checkpoint, source, output, **options), processes)
    assert children.run() == [0] * processes
    assert same_files(output, expected)
    total = children.steps.value
    assert total > 60
    # Ten moments over the whole work, and the last ones: metadata, attributes, consolidation, the renames.
    last = range(total - 18, total, 3) if not options else ()
    moments = sorted({*np.linspace(0, total - 1, 10).astype(int).tolist(), *last})
    seen = set()
    for number, moment in enumerate(moments):
        shutil.rmtree(output)
        os.unlink(tmp_path / "out_metadata.json")
        # With several processes, every other time only one of them is killed: the others are to end by themselves.
        codes = children.run(moment, kill_all=number % 2 == 0)
        # The first process may succeed only if the other was killed after the output was complete.
        is_right = 0 not in codes[:1] or output.exists()
        assert -signal.SIGKILL in codes and (number % 2 == 0 or is_right), (moment, codes)
        seen.add(output.exists())
        if output.exists():
            assert same_files(output, expected)
        assert children.run() == [0] * processes
        assert same_files(output, expected), moment
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.zarr", "out_metadata.json", "reference"]
    assert seen == {True, False}


def test_killed_while_an_output_is_replaced(checkpoint, source, tmp_path, monkeypatch):
    run(checkpoint, source, tmp_path / "out.zarr")
    replace = os.replace

    def stop(old, new):
        if str(new) == str(tmp_path / "out.zarr"):  # nor is the old one put back
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr("modeling_comicseq.files.os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, source, tmp_path / "out.zarr", dtype="float16", overwrite=True)
    monkeypatch.undo()
    assert not (tmp_path / "out.zarr").exists()
    run(checkpoint, source, tmp_path / "out.zarr", dtype="float16")
    assert read(tmp_path / "out.zarr")["strip_embeddings"].dtype == np.float16
    assert not (tmp_path / ".out.zarr.partial").exists()


# Elsewhere


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_url(checkpoint, tmp_path, small_parts, monkeypatch, protocol, zarr_format):
    source = make_source(tmp_path / "in", zarr_format=zarr_format, names=PANELS)
    root = f"memory://encode/{zarr_format}" if protocol == "memory" else f"file://{tmp_path / 'in'}"
    if protocol == "memory":
        fsspec.filesystem("memory").put(str(tmp_path / "in") + "/", f"/encode/{zarr_format}/", recursive=True)
    there = source._replace(embeddings=f"{root}/stage3_embeddings.zarr", metadata=f"{root}/stage3_metadata.json")
    output = f"{root}/stage5_embeddings.zarr"

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modeling_comicseq.stores.output.finish_store", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint, there, output, zarr_format=zarr_format)
    if protocol == "memory":  # made in place, without what marks it as complete
        with pytest.raises((ValueError, KeyError), match="Consolidated|zmetadata"):
            zarr.open_group(output, mode="r", use_consolidated=True)
        assert len(Output(output, "").finished_parts()) == 3
    else:
        assert not (tmp_path / "in" / "stage5_embeddings.zarr").exists()
    with monkeypatch.context() as patch:
        patch.setattr(encode.PageEncoder, "__call__", None)  # all parts are there
        run(checkpoint, there, output, zarr_format=zarr_format)
    check_close(read(output), reference(checkpoint, source))
    assert metadata_of(output) == source.entries
    system, path = fsspec.core.url_to_fs(root)
    names = {name.rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False)}
    assert {name for name in names if "stage5" in name} == {"stage5_embeddings.zarr", "stage5_metadata.json"}
    with pytest.raises(ComicSeqDataError, match="other options"):
        run(checkpoint, there, output, dtype="float16")
    assert run(checkpoint, there, output, dtype="float16", overwrite=True)["dtype"] == "float16"


# Command line


def test_command(checkpoint, source, tmp_path):
    arguments = ["encode", "--model", checkpoint, "--embeddings", source.embeddings, "--metadata", source.metadata]
    arguments += ["--output", str(tmp_path / "out.zarr")]
    result = CliRunner().invoke(app, [*arguments, "--zarr-format", "2", "--batch_size", "5"])
    assert result.exit_code == 0, result.output
    assert "24 pages" in result.output
    assert zarr.open_group(tmp_path / "out.zarr", mode="r").metadata.zarr_format == 2
    result = CliRunner().invoke(app, [*arguments, "--dtype", "float16"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and "--overwrite" in result.stderr


@pytest.mark.slow
def test_two_processes_write_the_same(checkpoint, source, tmp_path, small_parts):
    run(checkpoint, source, tmp_path / "one" / "out.zarr")
    script = tmp_path / "encode.py"
    script.write_text(
        "import os, sys\n"
        "from modeling_comicseq.cli import app\n"
        "from modeling_comicseq.stores import stage5 as store\n"
        "print('process', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], file=sys.stderr)\n"
        f"store._CHUNK_ROWS, store._PART_BYTES = {store._CHUNK_ROWS}, {store._PART_BYTES}\n"
        "app()\n"
    )
    # Accelerate starts several CPU processes only under this flag; without a GPU they speak gloo.
    launch = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    options = ("--model", checkpoint, "--embeddings", source.embeddings, "--metadata", source.metadata)
    command = [sys.executable, *launch, str(script), "encode", *options, "--output", str(tmp_path / "out.zarr")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"process {rank} of 2" in done.stderr for rank in (0, 1)) and done.stdout.count("24 pages") == 1
    # The strip vectors' last bit depends on how many rows a process multiplies at a time, on some processors.
    check_close(read(tmp_path / "out.zarr"), read(tmp_path / "one" / "out.zarr"))
    assert metadata_of(tmp_path / "out.zarr") == metadata_of(tmp_path / "one" / "out.zarr")


@pytest.mark.skipif(not SHARED_DATA, reason="COMICSEQ_DATA names no folder with the stores of real comics")
@pytest.mark.parametrize("name", ["upstream_stage4", "stage3/comics_text", "stage3/peppercarrot"])
def test_stores_of_real_comics(tmp_path, name):
    folder = Path(SHARED_DATA) / name
    group = zarr.open_group(str(folder / "stage3_embeddings.zarr"), mode="r")
    mask, panels = group["panel_masks"][:].astype(bool), group["panel_embeddings"][:]
    entries = json.loads((folder / "stage3_metadata.json").read_text())
    build("encoder", tiny_config(panel_embedding_dim=panels.shape[2])).save_pretrained(tmp_path / "model")
    paths = (str(folder / "stage3_embeddings.zarr"), str(folder / "stage3_metadata.json"))
    encode_store(str(tmp_path / "model"), *paths, tmp_path / "out.zarr", progress=False)
    source = Source(*paths, entries, {"panel_embeddings": panels}, mask)
    rows = list(range(0, len(mask), -(-len(mask) // 60)))
    found = {name: values[rows] for name, values in read(tmp_path / "out.zarr").items()}
    check_close(found, reference(str(tmp_path / "model"), source, rows))
    assert metadata_of(tmp_path / "out.zarr") == entries


def test_output_at_a_url_that_cannot_be_written_to(checkpoint, source, tmp_path):
    for url in ("http://127.0.0.1:9/x.zarr", "zip://x.zarr::memory://nothing.zip"):
        with pytest.raises(ComicSeqDataError, match=f"{url} cannot be (written to|opened) .*; check the URL"):
            run(checkpoint, source, url)
