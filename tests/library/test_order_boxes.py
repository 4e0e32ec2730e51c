"""Orders by boxes from files of any form, the direction of books, and boxes beside panel vectors."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqForReadingOrder
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.layouts.boxes import mirror
from modeling_comicseq.layouts.drawn import draw_layout
from modeling_comicseq.layouts.predictor import load_predictor, order_pages
from modeling_comicseq.library.layouts import drawn_pages
from modeling_comicseq.library.order import order_json, order_store
from modeling_comicseq.library.order_boxes import order_boxes
from tests.model_inputs import build, tiny_config
from tests.stores.stage3_stores import make_source


@pytest.fixture
def entries():
    """Three books of eight pages in reading order."""
    pages = [page for page in drawn_pages(48, seed=3) if page["page_index"] < 8]
    return [page | {"panel_boxes": page["panel_boxes"].tolist(), "image": f"p{n}.png"} for n, page in enumerate(pages)]


def written(path, entries):
    path.write_text(json.dumps(entries))
    return str(path)


def ordered(path, entries, **arguments):
    summary = order_boxes(written(path / "pages.json", entries), path / "orders.json", progress=False, **arguments)
    return summary, json.loads((path / "orders.json").read_text())


def without_direction(entries):
    return [{key: value for key, value in entry.items() if key != "reading_direction"} for entry in entries]


def test_orders_are_those_of_the_predictor(entries, tmp_path):
    summary, pages = ordered(tmp_path, entries)
    assert summary.pages == len(pages) == 24 and not summary.notes and summary.left == 0
    for entry, page in zip(entries, pages, strict=True):
        boxes = np.array(entry["panel_boxes"], np.float32)
        boxes = mirror(boxes) if entry["reading_direction"] == "rtl" else boxes
        assert page["order"] == order_pages(load_predictor(), [{"panel_boxes": boxes}])[0].order
        assert page["image"] == entry["image"] and page["reading_direction"] == entry["reading_direction"]
    # What is written can be read again.
    again, same = ordered(tmp_path, pages)
    assert [page["order"] for page in same] == [page["order"] for page in pages] and again.pages == 24


def test_the_direction_of_a_book_is_told_by_the_order_of_its_panels(entries, tmp_path):
    summary, pages = ordered(tmp_path, without_direction(entries))
    assert [page["reading_direction"] for page in pages] == [entry["reading_direction"] for entry in entries]
    assert len(summary.notes) == 3 and all("looks as if it were read from" in note for note in summary.notes)


def test_reversed_books_are_named(entries, tmp_path):
    other = {"ltr": "rtl", "rtl": "ltr"}
    wrong = [entry | {"reading_direction": other[entry["reading_direction"]]} for entry in entries[:8]]
    summary, _ = ordered(tmp_path, wrong + entries[8:])
    assert len(summary.notes) == 1 and f"Book '{entries[0]['book_id']}' looks reversed: on" in summary.notes[0]


def test_where_nothing_tells_the_direction_that_is_said(entries, tmp_path):
    found = [
        {"image": "a.png", "size": [1000, 1000], "panels": [{"bbox": [0, 0, 400, 400]}, {"bbox": [500, 0, 400, 400]}]}
    ]
    summary, (page,) = ordered(tmp_path, found)
    assert "Nothing tells the reading direction of this file, so from left to right" in summary.notes[0]
    assert page["order"] == [0, 1]
    summary, (page,) = ordered(tmp_path, found, reading_direction="rtl")
    assert page["order"] == [1, 0] and not summary.notes


def test_pages_with_unknown_boxes_keep_their_order(tmp_path):
    pages = [
        {"panel_boxes": [[0, 0.5, 1, 1], None, [0, 0, 1, 0.4]]},
        {"panel_boxes": [[0, 0.5, 1, 1], [0, 0, 1, 0.4]]},
    ]
    summary, (first, second) = ordered(tmp_path, pages)
    assert first["order"] == [0, 1, 2] and first["confidence"] is None and summary.left == 1
    assert second["order"] == [1, 0]


def test_places_are_those_of_the_list_whatever_its_numbers_say(tmp_path):
    below, above = {"box": [0, 600, 800, 1100]}, {"box": [0, 0, 800, 500]}
    entry = {"size": [800, 1200], "panels": [below | {"panel_number": 2}, above | {"panel_number": 1}]}
    _, (page,) = ordered(tmp_path, [entry])
    assert page["order"] == [1, 0] and page["panel_boxes"][0][1] == 0.5


def test_the_other_pages_of_a_book_tell_the_direction(tmp_path):
    side_by_side = [[0.0, 0.0, 0.45, 1.0], [0.5, 0.0, 1.0, 1.0]]
    pages = [{"book_id": book, "image": f"{n}.png", "panel_boxes": side_by_side} for book in "ab" for n in range(2)]
    pages[0]["reading_direction"] = "rtl"
    _, found = ordered(tmp_path, pages, reading_direction="ltr")
    assert [page["reading_direction"] for page in found] == ["rtl", "rtl", "ltr", "ltr"]
    assert [page["order"] for page in found] == [[1, 0], [1, 0], [0, 1], [0, 1]]
    summary, found = ordered(tmp_path, pages[:2])
    assert [page["reading_direction"] for page in found] == ["rtl", "rtl"]
    assert not any("Nothing tells" in note or "as if" in note for note in summary.notes)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, reads in (("reads", True), ("blind", False)):
        model = build("reading_order", tiny_config(panel_embedding_dim=8, box_embedding=reads))
        model.save_pretrained(folder / name)
    return folder


def test_boxes_and_content_are_used_together(checkpoints, tmp_path):
    """In a list with both, by `--boxes` and by `--pages`, and in a store whose metadata tell boxes."""
    source = make_source(tmp_path / "store", pages=6, slots=6)
    rng, model = np.random.default_rng(0), str(checkpoints / "reads")
    for number, entry in enumerate(source.entries):
        boxes = [
            box for seed in range(20) for box in draw_layout(np.random.default_rng((number, seed))).boxes.tolist()
        ]
        entry["panel_boxes"] = boxes[: entry["num_panels"]]
        entry["reading_direction"] = "rtl" if number % 2 else "ltr"
        entry["panel_embeddings"] = rng.standard_normal((entry["num_panels"], 8)).tolist()
    given = written(tmp_path / "pages.json", source.entries)
    order_json(model, given, tmp_path / "list.json", progress=False)
    order_boxes(given, tmp_path / "boxes.json", model, progress=False)
    both, by_boxes = (json.loads((tmp_path / name).read_text()) for name in ("list.json", "boxes.json"))
    for entry, page, other in zip(source.entries, both, by_boxes, strict=True):
        boxes = np.array(entry["panel_boxes"], np.float32)
        boxes = mirror(boxes) if entry["reading_direction"] == "rtl" else boxes
        inputs = {"panel_embeddings": torch.tensor(entry.pop("panel_embeddings")), "panel_boxes": boxes}
        order = order_pages(build_of(checkpoints / "reads"), [inputs])[0].order
        assert page["order"] == other["order"] == order
    source.write_metadata(source.entries)
    order_store(model, source.embeddings, source.metadata, tmp_path / "store.json", progress=False)
    for entry, page in zip(source.entries, json.loads((tmp_path / "store.json").read_text()), strict=True):
        row, count, boxes = entry["sequence_index"], entry["num_panels"], np.array(entry["panel_boxes"], np.float32)
        boxes = mirror(boxes) if entry["reading_direction"] == "rtl" else boxes
        vectors = torch.from_numpy(source.arrays["panel_embeddings"][row, :count].astype(np.float32))
        inputs = {"panel_embeddings": vectors, "panel_boxes": boxes}
        assert page["order"] == order_pages(build_of(checkpoints / "reads"), [inputs])[0].order


def build_of(folder):
    return ComicSeqForReadingOrder.from_pretrained(folder).eval()


def test_a_model_that_reads_no_boxes_is_refused(checkpoints, entries, tmp_path):
    pages, blind = written(tmp_path / "pages.json", entries), str(checkpoints / "blind")
    with pytest.raises(ComicSeqDataError, match="reads no boxes"):
        order_boxes(pages, tmp_path / "orders.json", blind, progress=False)
    source = make_source(tmp_path / "store", pages=3)
    with pytest.raises(ComicSeqDataError, match="reads no boxes"):
        order_store(blind, *source[:2], tmp_path / "orders.json", progress=False, boxes=pages)
    short = written(tmp_path / "short.json", [{"panel_boxes": [[0, 0, 1, 1]], "panel_embeddings": [[0.5] * 8] * 2}])
    with pytest.raises(ComicSeqDataError, match="2 panel_embeddings but 1 boxes"):
        order_boxes(short, tmp_path / "orders.json", str(checkpoints / "reads"), progress=False)
    with pytest.raises(ComicSeqDataError, match="1 boxes for 2 panels"):
        order_json(str(checkpoints / "reads"), short, tmp_path / "orders.json", progress=False)


def test_boxes_that_need_not_be_those_of_the_vectors_are_not_used(checkpoints, tmp_path, caplog):
    """The original pipeline lists its panels as they were matched, not as they are read."""
    matched = [{"rcnn_bbox": [0, 600, 800, 500]}, {"rcnn_bbox": [0, 0, 800, 500]}]
    vectors = np.random.default_rng(0).standard_normal((2, 8)).tolist()
    entry = {"image_width": 800, "image_height": 1200, "panels": matched, "panel_embeddings": vectors}
    given, model = written(tmp_path / "pages.json", [entry]), str(checkpoints / "reads")
    order_json(model, given, tmp_path / "orders.json", progress=False)
    assert "1 pages are left without boxes, the first 'entry 0'" in caplog.text
    alone = order_pages(build_of(checkpoints / "reads"), [{"panel_embeddings": torch.tensor(vectors)}])[0]
    assert json.loads((tmp_path / "orders.json").read_text())[0]["confidence"] == alone.confidence
    with pytest.raises(ComicSeqDataError, match="does not tell which box is that of which vector"):
        order_boxes(given, tmp_path / "orders.json", model, progress=False)


def test_pages_of_which_some_boxes_are_known_are_ordered_by_content_too(checkpoints, tmp_path):
    entry = {"panel_boxes": [[0, 0, 1, 0.4], None], "panel_embeddings": np.eye(2, 8).tolist()}
    order_boxes(written(tmp_path / "p.json", [entry]), tmp_path / "o.json", str(checkpoints / "reads"), progress=False)
    assert json.loads((tmp_path / "o.json").read_text())[0]["confidence"] is not None


def test_a_file_of_boxes_is_never_the_output(checkpoints, tmp_path):
    source = make_source(tmp_path / "store", pages=3)
    orders = [{"order": [0], "confidence": 1, "given_confidence": 1, "agreement": 1, "panel_boxes": [[0, 0, 1, 1]]}]
    boxes = written(tmp_path / "boxes.json", orders)  # as `order --boxes` writes them
    with pytest.raises(ComicSeqDataError, match="boxes.json is the input"):
        order_store(str(checkpoints / "reads"), *source[:2], tmp_path / "boxes.json", progress=False, boxes=boxes)
    assert json.loads((tmp_path / "boxes.json").read_text()) == orders


def test_commands(tmp_path):
    layouts, orders = str(tmp_path / "layouts.json"), str(tmp_path / "orders.json")
    drawn = CliRunner().invoke(app, ["layouts", "--pages", "40", "--output", layouts, "--seed", "3"])
    assert drawn.exit_code == 0 and "40 pages" in drawn.output
    result = CliRunner().invoke(app, ["order", "--boxes", layouts, "--output", orders])
    assert result.exit_code == 0, result.output
    assert "mean confidence" in result.output and len(json.loads((tmp_path / "orders.json").read_text())) == 40
    untold = written(tmp_path / "untold.json", without_direction(json.loads((tmp_path / "layouts.json").read_text())))
    result = CliRunner().invoke(app, ["order", "--boxes", untold, "--output", orders])
    assert "looks as if it were read" in result.output
    for words, told in (
        (["--boxes", layouts, "--embeddings", "store"], "Give --boxes, or either"),
        (["--pages", layouts], "Give --model"),
        (["--pages", layouts, "--model", "m", "--reading-direction", "rtl"], "its objects tell both"),
        (["--boxes", layouts, "--pages", layouts, "--model", "m"], "its objects tell both"),
    ):
        result = CliRunner().invoke(app, ["order", *words, "--output", orders])
        assert result.exit_code == 1 and told in " ".join(result.output.split())
