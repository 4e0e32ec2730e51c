"""The example of a Space starts the app on what lies beside it."""

import runpy
import shutil
from pathlib import Path
from unittest.mock import patch

SPACE = Path(__file__).resolve().parents[2] / "examples" / "space"


def test_a_space_is_the_app_on_the_folders_beside_it(tmp_path):
    shutil.copy(SPACE / "app.py", tmp_path)
    with patch("modeling_comicseq.library.app.server.launch") as launch:
        runpy.run_path(str(tmp_path / "app.py"))
        assert launch.call_args.args == (tmp_path / "index",)
        assert launch.call_args.kwargs["model"] is None and launch.call_args.kwargs["host"] == "0.0.0.0"
        (tmp_path / "model").mkdir()
        runpy.run_path(str(tmp_path / "app.py"))
        assert launch.call_args.kwargs["model"] == str(tmp_path / "model")


def test_the_front_matter_names_the_file_and_the_pinned_gradio():
    front = dict(line.split(": ") for line in (SPACE / "README.md").read_text().split("---\n")[1].strip().splitlines())
    pinned = (SPACE.parents[1] / "constraints.txt").read_text().splitlines()
    assert front["sdk"] == "gradio" and f"gradio=={front['sdk_version']}" in pinned
    assert (SPACE / front["app_file"]).is_file()
