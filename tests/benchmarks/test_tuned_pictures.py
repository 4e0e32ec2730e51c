"""What `benchmarks.tuned_pictures` trains, asks and compares."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.tuned_pictures import main, rows_of
from modeling_comicseq.training.run import main as train
from tests.training.page_runs import BOOKS, write_inputs


def test_a_variant_is_compared_with_the_frozen_one_of_the_same_streams():
    right = {
        ("none", "fused", "model"): np.asarray([1.0, 0.0, 0.0, 0.0]),
        ("none", "fused", "cosine"): np.asarray([0.0, 0.0, 0.0, 0.0]),
        ("none", "separate", "model"): np.asarray([0.0, 0.0, 0.0, 0.0]),
        ("none", "separate", "cosine"): np.asarray([0.0, 0.0, 0.0, 0.0]),
        ("all", "separate", "model"): np.asarray([1.0, 1.0, 1.0, 0.0]),
        ("all", "separate", "cosine"): np.asarray([0.0, 0.0, 1.0, 0.0]),
        ("all", "separate", "model without the picture"): np.asarray([0.0, 1.0, 0.0, 0.0]),
    }
    rows = rows_of("text_cloze", np.asarray(["a", "a", "b", "b"]), right)
    assert [(row["tuned"], row["streams"]) for row in rows] == [
        ("none", "fused"),
        ("none", "separate"),
        ("all", "separate"),
    ]
    differences = [{name: value[0] for name, value in row.items() if " minus " in name} for row in rows]
    assert differences == [
        {"model minus own cosine": 0.25},
        {"model minus own cosine": 0.0},
        {
            "model minus own cosine": 0.5,
            "model minus frozen cosine": 0.75,
            "model minus frozen model": 0.75,
            "cosine minus frozen cosine": 0.25,
            "model minus it without the picture": 0.5,
        },
    ]


@pytest.mark.thorough
def test_runs_are_trained_once_and_never_on_what_they_are_asked(tmp_path, monkeypatch):
    write_inputs(tmp_path)
    trained = []

    def run(words, **_):
        words = words[words.index("pretrain") + 1 :]
        trained.append(words)
        assert train([*words, "--use_cpu", "true", "--disable_tqdm", "true"]) is None

    monkeypatch.setattr(subprocess, "run", run)
    runs, output = tmp_path / "runs", tmp_path / "figures.json"
    words = [
        "tuned_pictures",
        "--pages",
        tmp_path / "pages",
        "--encoder",
        tmp_path / "encoder",
        "--model",
        tmp_path / "model.json",
    ]
    words += ["--runs", runs, "--tune", "none", "last_1", "--tasks", "panel_picking", "text_cloze", "--steps", 2]
    words += ["--test_books", 2, "--repeats", 2, "--encoder_learning_rate", 0.01, "--output", output]
    monkeypatch.setattr(sys, "argv", [*map(str, words)])
    main()
    figures = json.loads(output.read_text())
    assert len(trained) == 4 and len(figures["results"]) == 8
    asked = json.loads((runs / "fold0.json").read_text())["validation"]
    assert asked == [f"Book {book}" for book in range(2)] and BOOKS > 2
    frozen, tuned = ([row for row in figures["results"] if row["tuned"] == each] for each in ("none", "last_1"))
    assert all(row["cosine minus frozen cosine"] for row in tuned)
    assert frozen[0]["cosine"] == frozen[1]["cosine"]
    first = output.read_text()
    main()
    assert len(trained) == 4 and output.read_text() == first


def test_what_is_frozen_is_trained_as_well(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tuned_pictures", "--pages", "pages", "--runs", "runs", "--tune", "all"])
    with pytest.raises(SystemExit):
        main()
    assert "--tune lacks none" in capsys.readouterr().err
