from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from PIL import Image
from rich.console import Console

from modeling_comicseq.checkpoints.card import write_card
from modeling_comicseq.evaluation.card import put_on_card
from modeling_comicseq.evaluation.plots import plot_results
from modeling_comicseq.evaluation.report import print_results, report_markdown, share_of_optimum, told_by_geometry
from modeling_comicseq.evaluation.results import Difference, Group, Result, Score, results_json, write_results
from modeling_comicseq.model.tasks_comicseq import TASKS

from ..model_inputs import tiny_config

NAN = float("nan")


def result(
    answerer: str, role: str, score: float, model: str = "", task="panel_picking", protocol="in_page"
) -> Result:
    metrics = {"top-1 accuracy": Score(score, score - 0.03, score + 0.03), "mean reciprocal rank": Score(score + 0.2)}
    groups = [Group(n, Score(score, NAN, NAN), 600, 1) for n in (3, 4)]
    return Result(task, protocol, answerer, role, model, metrics, groups, [groups[0]], 1200, 12, "xxh3:abc")


RESULTS = [
    result("chance", "baseline", 0.2),
    result("last-panel cosine", "baseline", 0.3),
    result("context-mean cosine", "baseline", 0.35),
    result("optimum, one candidate", "optimum", 0.6),
    result("optimum", "optimum", 0.62),
    result("model, without context", "ablation", 0.21, "model"),
    result("model", "model", 0.411, "model"),
    result("other", "model", 0.4, "other"),
]
DIFFERENCES = [
    Difference("panel_picking", "in_page", "model", minus, "top-1 accuracy", Score(gain, gain - 0.1, gain + 0.1))
    for minus, gain in (("chance", 0.211), ("context-mean cosine", 0.061), ("other", 0.011))
]
ABOUT = {"dataset": "data", "split": "test", "data_fingerprint": "xxh3:d", "questions_fingerprint": "xxh3:q"}


@pytest.mark.parametrize("width", [80, 140])
def test_the_overview_names_leaks_and_fits_the_terminal(width):
    console = Console(file=io.StringIO(), width=width, record=True)
    print_results(RESULTS, DIFFERENCES, console)
    text = console.export_text()
    assert "in_page (leaky)" in text and "1,200 questions of 12 books" in text
    assert "41.1" in text and "[38.1, 44.1]" in text and "[-3.9, +16.1]" in text and "62.0" in text
    assert "model minus other +1.1 [-8.9, +11.1]" in text
    assert max(map(len, text.splitlines())) <= width


def test_names_of_tasks_are_whole_in_a_narrow_terminal():
    names = list(TASKS)[:-1]
    rows = [replace(each, task=task, protocol="same_book") for task in names for each in RESULTS]
    gains = [replace(each, task=task, protocol="same_book") for task in names for each in DIFFERENCES]
    console = Console(file=io.StringIO(), width=80, record=True)
    print_results(rows, gains, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for task in names:
        assert len([line for line in text.splitlines() if line.split()[:1] == [task]]) == 2  # both models
    assert text.count("[-3.9, +16.1]") == len(names)


WITH_BOXES = [
    result("geometry alone", "baseline", 0.35),
    result("model, boxes alone", "ablation", 0.26, "model"),
    result("model, content alone", "ablation", 0.39, "model"),
]


def test_what_geometry_alone_answers_stands_in_a_table_of_its_own():
    names = list(TASKS)[:-1]
    rows = [replace(each, task=task) for task in names for each in [*RESULTS[:-1], *WITH_BOXES]]
    console = Console(file=io.StringIO(), width=80, record=True)
    print_results(rows, [], console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    table = text[text.index("without reading the context") :]
    for task in names:
        (line,) = [line for line in table.splitlines() if line.split()[:1] == [task]]
        assert line.split()[1:] == ["20.0", "35.0", "26.0", "39.0", "41.1"]
    assert "[32.0, 38.0]" in table
    assert "without reading the context" not in printed(RESULTS)


def printed(results) -> str:
    console = Console(file=io.StringIO(), width=80, record=True)
    print_results(results, [], console)
    return console.export_text()


def test_questions_that_geometry_answers_are_told_of():
    honest = [replace(each, protocol="same_book") for each in (RESULTS[0], result("geometry alone", "baseline", 0.22))]
    assert told_by_geometry(honest) is None  # its interval holds chance
    told = told_by_geometry([*honest, RESULTS[0], *WITH_BOXES])
    assert "panel_picking, in_page (leaky) 35.0 [32.0, 38.0] % (chance 20.0)." in told and "same_book" not in told
    few = [replace(each, num_books=9) for each in (RESULTS[0], *WITH_BOXES)]
    assert told_by_geometry(few) is None  # of so few books, nothing is sure


def test_the_report_holds_every_row():
    text = report_markdown(RESULTS, DIFFERENCES, {"models": ["model"]}, ["a note"], ["scores.png"])
    for each in RESULTS:
        assert f"| {each.answerer} |" in text
    assert "## panel_picking, in_page (leaky)" in text and "`xxh3:abc`" in text and "Note: a note" in text
    assert "model reaches 53 % of the attainable gain" in text and "![scores](scores.png)" in text
    assert "| 3 | 600 | 20.0 | 35.0 |" in text
    assert share_of_optimum(RESULTS, "model") == pytest.approx((0.411 - 0.2) / (0.6 - 0.2))


def test_the_order_s_optimum_is_set_against_the_model_on_the_same_pages():
    order = [
        result("chance", "baseline", 0.5, task="reading_order", protocol=""),
        result("optimum (up to 7 panels)", "optimum", 0.9, task="reading_order", protocol=""),
        result("model (up to 7 panels)", "subset", 0.7, "model", task="reading_order", protocol=""),
        result("model", "model", 0.6, "model", task="reading_order", protocol=""),
    ]
    gap = Score(-0.2, -0.25, -0.15)
    minus = Difference(
        "reading_order", "", "model (up to 7 panels)", "optimum (up to 7 panels)", "top-1 accuracy", gap
    )
    assert share_of_optimum(order, "model") == pytest.approx(0.5)
    boxes = [replace(order[0], answerer=name) for name in ("XY-cut", "model, content alone")]
    assert share_of_optimum([*order, *boxes], "model") is None  # the optimum sees no boxes, the model does
    lines = report_markdown(order, [minus], {}, [], []).splitlines()
    row = next(line for line in lines if line.startswith("| optimum (up to 7 panels) |"))
    assert row.endswith("| -20.0 [-25.0, -15.0] |")
    assert next(line for line in lines if line.startswith("| model |")).endswith("|  |")


def test_results_are_json_that_anything_reads(tmp_path):
    content = {"settings": {"seed": 3}} | results_json(RESULTS, DIFFERENCES)
    write_results(content, tmp_path / "new" / "results.json")
    written = json.loads((tmp_path / "new" / "results.json").read_text(), parse_constant=pytest.fail)
    assert written["settings"] == {"seed": 3} and written["results"][6]["score"] == 0.411
    assert written["results"][0]["by_page_length"][0]["score"]["low"] is None
    assert written["differences"][0]["minus"] == "chance"
    assert all(row["leaky"] for row in written["results"])
    honest = results_json([result("chance", "baseline", 0.2, protocol="same_book")], [])
    assert honest["results"][0]["leaky"] is False
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


def test_plots_are_pictures(tmp_path):
    names = plot_results(RESULTS, tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(names)
    for name in names:
        with Image.open(tmp_path / "plots" / name) as picture:
            colours = picture.convert("RGB").getcolors(10**6)
            assert picture.format == "PNG" and picture.width > 300 and len(colours) > 20


def card_folder(tmp_path):
    folder = tmp_path / "model"
    tiny_config().save_pretrained(folder)
    return folder


def test_the_card_carries_results_that_the_hub_parses(tmp_path):
    folder = card_folder(tmp_path)
    metrics = {"eval_panel_picking_accuracy": 0.4}
    write_card(folder, "org/name", tiny_config(), metrics, 1, "Ten pages of one book.")
    card = (folder / "README.md").read_text()
    assert "| panel_picking | 40.0 |" in card
    assert all(f"| `{task.model_class}` | {task.question} |" in card for task in TASKS.values())
    (folder / "README.md").write_text(card + "\nA word of the author.\n")

    for _ in range(2):  # a second evaluation takes the place of the first
        put_on_card(folder, RESULTS, "model", ABOUT)
    loaded = ModelCard.load(folder / "README.md")
    assert loaded.data.model_name == "model" and loaded.data.license == "apache-2.0"
    found = {(r.task_name, r.dataset_config, r.metric_type): r for r in loaded.data.eval_results}
    top1 = found["panel_picking", "panel_picking, in_page (leaky)", "accuracy"]
    assert top1.metric_value == 0.411 and top1.dataset_revision == "xxh3:abc" and top1.dataset_split == "test"
    assert found["panel_picking", "panel_picking, in_page (leaky)", "mrr"].metric_value == 0.611
    assert len(loaded.data.eval_results) == 2
    text = loaded.text
    assert "| panel_picking, in_page (leaky) | 1,200 | 20.0 | 35.0 | 41.1 [38.1, 44.1] | 21.0 | 0.611 |" in text
    assert "xxh3:d" in text and "xxh3:q" in text and "Ten pages of one book." in text
    assert "| panel_picking | 40.0 |" not in text and text.count("A word of the author.") == 1
    assert text.count("## Results") == 1 and not list(folder.glob(".*partial*"))


def test_the_card_tells_of_geometry_and_places(tmp_path):
    folder = card_folder(tmp_path)
    order = [
        result(name, role, 0.9, model, task="reading_order", protocol="")
        for name, role, model in (("chance", "baseline", ""), ("XY-cut", "baseline", ""), ("model", "model", "model"))
    ]
    put_on_card(folder, [*RESULTS[:-1], *WITH_BOXES, *order], "model", ABOUT | {"place": "A panel's place is told."})
    text = ModelCard.load(folder / "README.md").text
    assert "| best cosine | geometry alone (order: XY-cut) | model |" in text and "A panel's place is told." in text
    assert "| panel_picking, in_page (leaky) | 1,200 | 20.0 | 35.0 | 35.0 | 41.1 [38.1, 44.1] | 21.0 | 0.611 |" in text
    assert "| reading_order | 1,200 | 90.0 |  | 90.0 | 90.0 [87.0, 93.0] |" in text


def test_a_checkpoint_without_a_card_gets_one(tmp_path):
    folder = card_folder(tmp_path)
    (folder / "training_provenance.json").write_text(json.dumps({"counts": {"train": {"pages": 1200, "books": 9}}}))
    put_on_card(folder, RESULTS, "model", ABOUT)
    text = ModelCard.load(folder / "README.md").text
    assert "1,200 pages of 9 books." in text and "41.1 [38.1, 44.1]" in text and "{{" not in text


def test_the_card_of_a_model_that_reads_boxes_says_how_they_are_given(tmp_path):
    for box_embedding in (False, True):
        write_card(
            tmp_path,
            "org/name",
            tiny_config(box_embedding=box_embedding),
            {"eval_panel_picking_accuracy": 0.4},
            1,
            "Ten pages.",
        )
        text = (tmp_path / "README.md").read_text()
        assert ("`panel_boxes` (B, N, 4), optional" in text) == box_embedding and "{%" not in text


def test_a_card_of_another_kind_is_kept(tmp_path):
    folder = card_folder(tmp_path)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n\nAll about it.\n")
    put_on_card(folder, RESULTS, "model", ABOUT)
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit" and card.text.startswith("# Mine\n\nAll about it.")
    assert "41.1 [38.1, 44.1]" in card.text
