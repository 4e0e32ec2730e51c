"""A task from outside the package: trained, evaluated, asked, and its checkpoint loaded again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "new_task.py"


@pytest.mark.slow
def test_the_example_runs_and_its_checkpoint_loads(tmp_path):
    command, environment = [sys.executable, str(EXAMPLE), str(tmp_path)], os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    answer = run.stdout.strip().splitlines()[-1]
    assert answer.startswith("{'index': ") and "'scores': [" in answer
    results = json.loads((tmp_path / "model" / "results.json").read_text())["results"]
    scores = {(each["task"], each["protocol"], each["answerer"]): each["score"] for each in results}
    assert scores["opening_panel", "cross_book", "model"] > scores["opening_panel", "cross_book", "chance"] + 0.2

    load = """
import sys
from modeling_comicseq import ComicSeqForPreTraining
try:
    ComicSeqForPreTraining.from_pretrained(sys.argv[1])
except Exception as error:
    print(error)
sys.path.insert(0, sys.argv[2])
import new_task
print(ComicSeqForPreTraining.from_pretrained(sys.argv[1]).tasks[-1])
"""
    words = [sys.executable, "-c", load, str(tmp_path / "model"), str(EXAMPLE.parent)]
    loaded = subprocess.run(words, capture_output=True, text=True)
    *without, after = loaded.stdout.strip().splitlines()
    assert "the module that calls `register_task` is imported: import it" in " ".join(without)
    assert after == "opening_panel", loaded.stderr[-2000:]


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 120
