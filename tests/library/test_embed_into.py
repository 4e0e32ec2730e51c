"""A store gets what it lacks: vectors of texts, captions and pictures, boxes, characters and directions."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.library import embed_into as module
from modeling_comicseq.library.embed_into import embed_into
from modeling_comicseq.model.tasks_comicseq import TASKS
from modeling_comicseq.stores import stage3_layout as layout
from modeling_comicseq.stores.origin import meaning_of, read_origin
from modeling_comicseq.stores.stage3 import Stage3Store

from ..training.processes import FIELDS, MODEL, Run, argv
from .fake_encoder import WIDTH, FakeEncoder
from .killed import Children
from .page_sets import boxes_of, picture, write_pages
from .page_sets import rows_of as page_rows

SLOTS = 5
BOOKS, PAGES_OF_BOOK = 4, 6


class Original(NamedTuple):
    """A store in the original pipeline's form, page JSON for it, and what each slot is about."""

    store: str
    metadata: str
    pages: str
    entries: list[dict[str, Any]]
    slots: list[list[dict[str, Any]]]  # of each row, the panels of its slots
    panels: np.ndarray


def page_json(book: int, number: int) -> dict[str, Any]:
    """A page as a vision-language model writes it, beside the pipeline's own pages: panels without a usable box among them.

    Every sixth page has no panel at all, the last but one of a book more panels than the store has slots.
    """
    count = {0: 0, 4: SLOTS + 2}.get(number, 2 + (book + number) % 3)
    panels = []
    for panel in range(count):
        name = f"{book} {number} {panel}"
        edge = 1000 * panel // count
        box: Any = [edge, 100, edge + 1000 // count, 900]
        if count > 2 and panel == 1:  # not usable, in one way or another
            box = (None, [], [500, 100, 500, 900], "none")[number % 4]
        said = [{"text": f"text {name}"}, {"text": "twice"}] if panel % 3 < 2 else []
        about = {"description": f"caption {name}", "speakers": said, "characters": [f"c{panel % 2}"]}
        panels.append({"panel_number": panel + 1, "box_2d": box} | about)
    return {"reading_direction": "rtl" if book % 2 else "ltr", "panels": panels}


def make_original(folder: Path, zarr_format: int = 2) -> Original:
    """`panel_embeddings` alone, garbage in the padded slots, `canonical_id` metadata; a page without panels is a blank one."""
    rng = np.random.default_rng(0)
    slots, entries = [], []
    for book in range(BOOKS):
        for number in range(PAGES_OF_BOOK):
            page = page_json(book, number)
            path = folder / "pages" / f"Book {book}" / f"page_{number:03d}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(page))
            usable = [panel for place, panel in enumerate(page["panels"]) if len(page["panels"]) == 2 or place != 1]
            if len(page["panels"]) > SLOTS:  # the first ones are taken, then those without a box are skipped
                usable = [panel for place, panel in enumerate(page["panels"][:SLOTS]) if place != 1]
            slots.append(usable)
            entries.append(
                {
                    "sequence_index": len(entries),
                    "canonical_id": f"CalibreComics/Book {book}/page_{number:03d}.jpg",
                    "num_panels": max(1, len(usable)),
                    "overall_summary": "",
                }
            )
    counts = np.array([entry["num_panels"] for entry in entries])
    panels = rng.standard_normal((len(entries), SLOTS, WIDTH)).astype(np.float32)
    panels[np.arange(SLOTS) >= counts[:, None]] = np.nan
    folder.mkdir(exist_ok=True)
    store = str(folder / "stage3_embeddings.zarr")
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    group.create_array("panel_embeddings", shape=panels.shape, dtype="f4", chunks=(7, SLOTS, WIDTH))[:] = panels
    mask = np.arange(SLOTS) < counts[:, None]
    group.create_array("panel_mask", shape=mask.shape, dtype="f4", chunks=(7, SLOTS))[:] = mask
    group.attrs["encoders"] = {"visual": "the pipeline's"}
    metadata = folder / "stage3_metadata.json"
    metadata.write_text(json.dumps(entries))
    return Original(store, str(metadata), str(folder / "pages"), entries, slots, panels)


@pytest.fixture
def original(tmp_path) -> Original:
    return make_original(tmp_path / "in")


def run(original: Original, pages: Any = ..., encoder=None, **options) -> dict[str, Any]:
    pages = original.pages if pages is ... else pages
    return embed_into(original.store, pages, encoder=encoder or FakeEncoder(), progress=False, **options)


def expected_vectors(original: Original) -> dict[str, np.ndarray]:
    """Panel by panel, as one would write it first."""
    encoder = FakeEncoder()
    arrays = {name: np.zeros(original.panels.shape, np.float32) for name in ("text_embeddings", "caption_embeddings")}
    for row, panels in enumerate(original.slots):
        for slot, panel in enumerate(panels):
            text = " ".join(each["text"] for each in panel["speakers"])
            arrays["text_embeddings"][row, slot] = encoder.encode_texts([text])[0]
            arrays["caption_embeddings"][row, slot] = encoder.encode_captions([panel["description"]])[0]
    return arrays


def check_added(original: Original) -> None:
    """Texts, captions, boxes and characters stand where their panels do; what was there is as it was."""
    group = zarr.open_group(original.store, mode="r", use_consolidated=False)
    for name, expected in expected_vectors(original).items():
        assert np.array_equal(group[name][:], expected), name
        assert dict(group[name].attrs)["origin"]["text_encoder"] == "fake"
    np.testing.assert_array_equal(group["panel_embeddings"][:], original.panels)
    entries = json.loads(Path(original.metadata).read_text())
    for row, (entry, panels) in enumerate(zip(entries, original.slots, strict=True)):
        assert {name: entry[name] for name in original.entries[row]} == original.entries[row]
        assert entry["reading_direction"] == ("rtl" if row // PAGES_OF_BOOK % 2 else "ltr")
        assert entry.get("character_ids") == ([panel["characters"] for panel in panels] or None)
        assert entry.get("captions") == ([panel["description"] for panel in panels] or None)
        for slot, panel in enumerate(panels):
            y0, x0, y1, x1 = panel["box_2d"]
            np.testing.assert_allclose(group["panel_boxes"][row, slot], np.array([x0, y0, x1, y1]) / 1000, atol=1e-6)
        assert not group["panel_boxes"][row, len(panels) :].any()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_page_json_gives_texts_captions_boxes_and_characters_to_their_panels(tmp_path, zarr_format):
    original = make_original(tmp_path / "in", zarr_format)
    made = run(original)
    check_added(original)
    assert (
        made["arrays"] == ["text_embeddings", "caption_embeddings", "panel_boxes"] and made["counts"]["blank"] == BOOKS
    )
    assert made["fields"]["reading_direction"] == len(original.entries)
    assert zarr.open_group(original.store, mode="r").metadata.zarr_format == zarr_format
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == [
        "pages",
        "stage3_embeddings.zarr",
        "stage3_metadata.json",
    ]
    origin = read_origin(Stage3Store.open(original.store), original.metadata)
    assert meaning_of(origin)["visual_encoder"] == "the pipeline's"
    assert meaning_of(origin)["text_embeddings.text_encoder"] == "fake"


@pytest.mark.slow
def test_a_store_of_panel_vectors_alone_then_serves_all_seven_tasks(original, tmp_path):
    run(original)
    split = {"validation": ["Book 3"]}
    convert_store(original.store, original.metadata, tmp_path / "data", split_books=split, progress=False)
    provenance = json.loads((tmp_path / "data" / "provenance.json").read_text())
    assert provenance["widths"]["caption_embeddings"] == WIDTH and provenance["character_ids"]
    (tmp_path / "model.json").write_text(json.dumps(MODEL | {"panel_embedding_dim": WIDTH}))
    options = FIELDS | {"tasks": "all", "max_steps": 4, "per_device_train_batch_size": 64}
    options |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = Run(argv(tmp_path, tmp_path / "run") + words, tmp_path / "log")
    assert done.exit_codes == [0], done.output
    history = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    trained = {name for entry in history for name in TASKS if any(name in key for key in entry)}
    assert trained == set(TASKS), history[:2]


def test_the_texts_of_a_stores_own_metadata(original):
    entries = [
        entry | {"texts": [f"words {row} {slot}" if slot else "" for slot in range(entry["num_panels"])]}
        for row, entry in enumerate(original.entries)
    ]
    Path(original.metadata).write_text(json.dumps(entries))
    before = Path(original.metadata).read_bytes()
    made = run(original, None)
    assert made["arrays"] == ["text_embeddings"] and not made["fields"]
    assert Path(original.metadata).read_bytes() == before
    found = zarr.open_group(original.store, mode="r")["text_embeddings"][:]
    for row, entry in enumerate(entries):
        assert not found[row, 0].any()
        assert np.array_equal(found[row, : entry["num_panels"]], FakeEncoder().encode_texts(entry["texts"]))


def test_comics_themselves_give_picture_vectors_too(tmp_path):
    """From a data set of pages: a page that is stored as a blank panel gets the picture of the page, and no text."""
    original = make_original(tmp_path / "in")
    rows = page_rows(counts=tuple(max(len(panels), 0) for panels in original.slots))
    for row, entry in zip(rows, original.entries, strict=True):
        book, name = entry["canonical_id"].split("/")[1:]
        row |= {"book_id": book, "page_name": name.replace("jpg", "png")}
    pages = write_pages(tmp_path / "comics", rows[::-1])  # in any order
    made = run(original, pages)
    assert made["arrays"] == ["visual_embeddings", "text_embeddings", "caption_embeddings", "panel_boxes"]
    group, encoder = zarr.open_group(original.store, mode="r"), FakeEncoder()
    for row, panels in enumerate(original.slots):
        page = picture(row)
        boxes = [[4, round(y0 * 60), 36, round(y1 * 60)] for _, y0, _, y1 in boxes_of(len(panels))]
        expected = encoder.encode_images([page.crop(box) for box in boxes] or [page])
        assert np.array_equal(group["visual_embeddings"][row, : max(1, len(panels))], expected)
        assert group["text_embeddings"][row, : len(panels)].any() == bool(panels)
        assert not group["text_embeddings"][row, len(panels) :].any()
    convert_store(original.store, original.metadata, tmp_path / "data", fractions=(1, 0, 0), progress=False)
    few = write_pages(tmp_path / "few", rows[:3])
    with pytest.raises(
        ComicSeqDataError, match=r"few has no picture of 21 of the 24 pages of .* with --encoder \+TEXT"
    ):
        run(original, few, overwrite=True)


def test_what_is_there_stays_unless_it_is_to_be_replaced(original):
    run(original)
    again = run(original, encoder=FakeEncoder(version="2"))
    assert not again["arrays"] and again["kept"] == ["text_embeddings", "caption_embeddings", "panel_boxes"]
    check_added(original)
    made = run(original, encoder=FakeEncoder(version="2"), overwrite=True)
    assert made["arrays"] == ["text_embeddings", "caption_embeddings", "panel_boxes"]
    check_added(original)
    attributes = dict(zarr.open_group(original.store, mode="r")["text_embeddings"].attrs)
    assert attributes["origin"]["encoder_fingerprint"].startswith("fake 2")


def test_what_a_killed_replacement_has_left_is_in_nobodys_way(original):
    run(original)
    left = Path(original.store).with_name(".stage3_embeddings.zarr.adding") / "replaced text_embeddings"
    left.mkdir(parents=True)
    (left / "zarr.json").write_text("{}")
    run(original, encoder=FakeEncoder(version="2"), overwrite=True)
    check_added(original)
    assert not left.parent.exists()


def test_fields_that_an_entry_has_stay(original):
    original.entries[1] |= {"texts": ["mine", "too"], "reading_direction": "rtl"}
    Path(original.metadata).write_text(json.dumps(original.entries))
    run(original)
    entry = json.loads(Path(original.metadata).read_text())[1]
    assert entry["texts"] == ["mine", "too"] and entry["reading_direction"] == "rtl" and entry["captions"]


# Faults


def change_page(original: Original, change) -> None:
    path = Path(original.pages, "Book 0", "page_001.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda page: page | {"panels": page["panels"] * 2},
            r"page 'CalibreComics/Book 0/page_001.jpg' \(sequence_index 1\): 6 panels are described, 4 of them with a"
            " box, but the store has 2; describe the panels",
        ),
        (lambda page: page | {"panels": []}, "0 panels are described but the store has 2"),
        (lambda page: page | {"panels": ["no object"]}, "panel 0 is 'no object'; give an object a panel"),
        (lambda page: page | {"reading_direction": "down"}, "reading_direction is 'down'; give ltr or rtl"),
        (lambda page: [page], "page_001.jpg' .*its file is no JSON object"),
    ],
)
def test_a_page_whose_panels_are_not_those_of_the_store(original, tmp_path, change, message):
    change_page(original, change)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(ComicSeqDataError, match=message):
        run(original)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 1, 1, 0, 0], "num_panels is 2 but the mask marks 3; make the metadata and the mask agree"),
        ([1, 0, 1, 0, 0], r"the mask has a hole \(10100\); move the panels to the first slots"),
    ],
)
def test_a_mask_that_tells_other_panels_than_the_metadata(original, tmp_path, mask, message):
    zarr.open_group(original.store, mode="r+")["panel_mask"][1] = mask
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(ComicSeqDataError, match=rf"page_001.jpg' \(sequence_index 1\): {message}"):
        run(original)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_metadata_that_tell_other_numbers_of_texts_than_panels(original):
    original.entries[1]["texts"] = ["one"] * 3
    Path(original.metadata).write_text(json.dumps(original.entries))
    with pytest.raises(ComicSeqDataError, match="sequence_index 1.: 3 panels are described but the store has 2"):
        run(original, None)
    original.entries[1] |= {"captions": ["one"] * 2}
    Path(original.metadata).write_text(json.dumps(original.entries))
    with pytest.raises(ComicSeqDataError, match="it has 3 texts but 2 captions; give one of each a panel"):
        run(original, None)


def test_nothing_that_could_be_added(original, tmp_path):
    with pytest.raises(
        ComicSeqDataError, match="stage3_metadata.json tells nothing of the panels of .* that it lacks"
    ):
        run(original, None)
    (tmp_path / "other.json").write_text(json.dumps([{"image": "x/1.png", "panels": []}]))
    with pytest.raises(
        ComicSeqDataError, match="other.json names no page of the metadata, but 'x/1.png'; there are pages"
    ):
        run(original, tmp_path / "other.json")


def test_lists_whose_order_says_nothing_leave_their_pages_without(original, caplog):
    """The original pipeline's own pages, matched with a detector's panels: best match first."""

    def matched(page):
        boxes = [None if place == 1 else [10, 10 * place + 10, 50, 10] for place in range(len(page["panels"]))]
        panels = [{"rcnn_bbox": box, "text_content": "x"} for box in boxes]
        return {"image_width": 100, "image_height": 100, "panels": panels}

    change_page(original, matched)
    run(original)
    assert (
        "1 pages are left without texts, captions and characters, the first 'CalibreComics/Book 0/page_001.jpg'"
        in (caplog.text)
    )
    assert not zarr.open_group(original.store, mode="r")["text_embeddings"][1].any()


# Interrupts


def test_the_store_can_be_read_wherever_the_work_breaks_off(original, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "_LEAST_ROWS", 5)
    monkeypatch.setattr(layout, "_MOST_ROWS", 5)
    encoder = FakeEncoder()

    class Interrupted(FakeEncoder):
        def encode_captions(self, texts, progress=False):
            if self.texts > 60:
                raise KeyboardInterrupt
            return super().encode_captions(texts)

    with pytest.raises(KeyboardInterrupt):
        run(original, encoder=Interrupted())
    assert set(Stage3Store.open(original.store).arrays) == {"panel_embeddings"}
    finished = len(list(Path(tmp_path, "in", ".stage3_embeddings.zarr.adding", "done").iterdir()))
    assert 0 < finished < 5
    run(original, encoder=encoder)
    assert 0 < encoder.texts < 2 * sum(entry["num_panels"] for entry in original.entries) - 20
    check_added(original)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_anywhere(original, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(layout, "_LEAST_ROWS", 8)
    monkeypatch.setattr(layout, "_MOST_ROWS", 8)
    shutil.copytree(tmp_path / "in", tmp_path / "clean")
    children = Children(lambda: run(original), processes)
    assert children.run() == [0] * processes
    check_added(original)
    total, seen = children.steps.value, set()
    last = range(total - 12, total - 2, 2) if processes == 1 else ()  # when it is put in place
    for moment in sorted({*np.linspace(0, total - 2, 4).astype(int).tolist(), *last}):
        shutil.rmtree(tmp_path / "in")
        shutil.copytree(tmp_path / "clean", tmp_path / "in")
        assert -signal.SIGKILL in children.run(moment)
        names = set(Stage3Store.open(original.store).arrays) - {"panel_embeddings"}
        group, expected = zarr.open_group(original.store, mode="r"), expected_vectors(original)
        assert all(np.array_equal(group[name][:], expected[name]) for name in names)
        assert len(json.loads(Path(original.metadata).read_text())) == len(original.entries)
        seen.add(len(names))
        assert children.run() == [0] * processes
        check_added(original)
        assert sorted(path.name for path in (tmp_path / "in").iterdir() if path.name[0] == ".") == []
    assert 0 in seen


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_at_a_url(tmp_path, zarr_format, monkeypatch):
    original = make_original(tmp_path / "in", zarr_format)
    root = f"memory://into/{zarr_format}"
    fsspec.filesystem("memory").put(str(tmp_path / "in") + "/", f"/into/{zarr_format}/", recursive=True)
    there = original._replace(store=f"{root}/stage3_embeddings.zarr", metadata=f"{root}/stage3_metadata.json")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modeling_comicseq.stores.addition._replace_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(there)
    encoder = FakeEncoder()
    run(there, encoder=encoder)
    assert not encoder.texts  # all arrays were in place
    group = zarr.open_group(there.store, mode="r", use_consolidated=False)
    for name, expected in expected_vectors(original).items():
        assert np.array_equal(group[name][:], expected)
    with fsspec.open(there.metadata) as file:
        assert json.load(file)[1]["captions"]
    run(there, encoder=FakeEncoder(version="2"), overwrite=True)
    assert np.array_equal(group["text_embeddings"][:], expected_vectors(original)["text_embeddings"])
    system = fsspec.filesystem("memory")
    assert {path.rpartition("/")[2] for path in system.ls(f"/into/{zarr_format}", detail=False)} == {
        "pages",
        "stage3_embeddings.zarr",
        "stage3_metadata.json",
    }


# Command line


def test_command(original, monkeypatch):
    monkeypatch.setattr(module, "load_panel_encoder", lambda *_, **__: FakeEncoder())
    result = CliRunner().invoke(app, ["embed", original.pages, "--into", original.store])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "text_embeddings added" in said and "4 pages without panels, stored as a blank one: no texts" in said
    result = CliRunner().invoke(app, ["embed", original.pages, "--into", original.store])
    assert "lacks nothing of what is told: nothing to do" in " ".join(result.output.split())
    result = CliRunner().invoke(app, ["embed", original.pages])
    assert result.exit_code == 1 and "name either --output" in result.stderr


def test_wrong_options(original, tmp_path):
    with pytest.raises(ComicSeqArgumentError, match="dtype 'int8'"):
        run(original, dtype="int8")
    with pytest.raises(ComicSeqDataError, match="no .*stage3_metadata.json beside it|cannot be read"):
        Path(original.metadata).unlink()
        run(original)
