from __future__ import annotations

import json

from rich.console import Console

from modeling_comicseq.evaluation.report import Result, print_results, write_results

RESULTS = [
    Result("panel_picking", "in_page", "chance", 0.2, 0.2, 0.2, 0.211, 0.1, 0.3, 1200, 12),
    Result("panel_picking", "in_page", "model", 0.411, 0.38, 0.44, None, None, None, 1200, 12),
]


def test_the_table_names_leaks_and_shows_intervals():
    console = Console(record=True, width=140, file=open("/dev/null", "w"))  # noqa: SIM115
    print_results(RESULTS, console)
    text = console.export_text()
    assert "panel_picking, in_page (leaky)" in text and "41.1 [38.0, 44.0]" in text and "+21.1 [+10.0, +30.0]" in text
    assert "1,200 questions, 12 books" in text


def test_results_are_json_with_their_settings(tmp_path):
    write_results(RESULTS, {"seed": 3}, tmp_path / "new" / "results.json")
    written = json.loads((tmp_path / "new" / "results.json").read_text())
    assert written["settings"] == {"seed": 3} and written["results"][1]["score"] == 0.411
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]
