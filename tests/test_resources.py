"""Shipped files are found in a checkout, from a wheel and from an editable install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.resources import find_resource, model_card_template, shipped

REPOSITORY = Path(__file__).resolve().parents[1]
LOOK = """
from modeling_comicseq import resources
for path in resources.find_resource("model", "comicseq-base"), resources.find_resource("pretraining", "demo"):
    print(path)
print(resources.model_card_template())
"""


def test_a_shipped_name_and_a_path_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_resource("model", "comicseq-base") == REPOSITORY / "configuration/model/comicseq-base.json"
    assert find_resource("model", "configuration/model/comicseq-base.json").is_file()
    assert find_resource("model", "user/model") == Path("user/model")  # on the Hub, perhaps
    assert {"demo", "base", "synthetic", "text_only"} <= shipped("pretraining").keys()
    assert model_card_template() == REPOSITORY / "model_card.md"
    Path("demo").mkdir()
    assert find_resource("pretraining", "demo").parent.name == "pretraining"  # a folder is no configuration
    Path("mine.yaml").write_text("seed: 1")
    assert find_resource("pretraining", "mine.yaml") == Path("mine.yaml")
    Path("comicseq-base").mkdir()
    Path("comicseq-base/config.json").write_text("{}")
    assert find_resource("model", "comicseq-base") == Path("comicseq-base")  # a checkpoint of that name


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(
        ComicSeqArgumentError, match="no configuration file comicseq-huge: .* comicseq-base, comicseq-"
    ):
        find_resource("model", "comicseq-huge")


@pytest.mark.slow
def test_installed_from_a_wheel_and_editable(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source, prefix = tmp_path / "source", tmp_path / "prefix"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "model_card.md"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("configuration", "modeling_comicseq"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))

    def run(*command: str | Path, **variables: str) -> list[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split()

    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    local = ("--no-deps", "--no-build-isolation")
    run(*pip, "install", *local, "--target", tmp_path / "wheel", source)
    run(*pip, "install", *local, "--prefix", prefix, "--ignore-installed", "--editable", source)

    predictor = tmp_path / "wheel/modeling_comicseq/layouts/order_predictor"
    assert {path.name for path in predictor.iterdir()} == {"config.json", "model.safetensors"}
    found = {"wheel": run("-c", LOOK, PYTHONPATH=str(tmp_path / "wheel"))}
    # Without this environment's own site folder, whose editable install would be found first.
    sites = [sysconfig.get_path("purelib", vars={"base": str(prefix)}), sysconfig.get_path("purelib")]
    start = f"import site, sys; site.addsitedir({sites[0]!r}); sys.path.append({sites[1]!r})\n"
    found["source"] = run("-S", "-c", start + LOOK)
    for place, paths in found.items():
        top = tmp_path / place / ("modeling_comicseq" if place == "wheel" else "")
        names = ["configuration/model/comicseq-base.json", "configuration/pretraining/demo.yaml", "model_card.md"]
        assert paths == [str(top / name) for name in names]
        assert all(
            Path(path).read_bytes() == (REPOSITORY / name).read_bytes()
            for path, name in zip(paths, names, strict=True)
        )
