"""Ctrl-C and SIGTERM end a command soon, with one line that says how to go on, also during its first imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.command import main; main()"


@pytest.mark.parametrize(
    ("number", "word", "code"), [(signal.SIGINT, "Interrupted", 130), (signal.SIGTERM, "Terminated", 143)]
)
@pytest.mark.parametrize("at", [["import torch"], ["import datasets"], ["work"]])
def test_one_line_and_the_exit_code(tmp_path, number, word, code, at):
    """The signal comes as the first module of torch or datasets is imported, and in the midst of writing."""
    out = tmp_path / "out"
    send = f"os.kill(os.getpid(), {int(number)})"
    if at == ["work"]:
        hook = f"import os\nimport modeling_comicseq.synthetic.world as w\nw._pages = lambda *_: {send}\n"
        words = ["synthesize", "--output", str(out), "--books", "2"]
    else:
        module = at[0].split()[1]
        hook = (
            "import os, sys\nfrom importlib.abc import MetaPathFinder\nclass Finder(MetaPathFinder):\n"
            f"    def find_spec(self, name, *_):\n        if name == {module!r}: {send}\n"
            "sys.meta_path.insert(0, Finder())\n"
        )
        words = ["evaluate", "--model", "m", "--dataset", "d"]
        if module == "datasets":
            words = ["convert", "--embeddings", "a.zarr", "--metadata", "a.json", "--output", str(out)]
    started = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            hook.replace("\nimport modeling", f"\n{SCRIPT.split(';')[0]}; sys.argv[0] = 'comicseq'\nimport modeling")
            + SCRIPT,
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == code, done.stderr
    *_, line = done.stderr.strip().splitlines()
    assert line == f"{word}: nothing half-written is in place, and the same command starts again."
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_the_script_of_evaluation(tmp_path):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(
            [sys.executable, "run_eval.py", "--model", "m", "--dataset", "d"], stderr=subprocess.PIPE, text=True
        )
        time.sleep(1.5)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert "Traceback" not in stderr and stderr.count("\n") == 1, stderr
        assert process.returncode == code
